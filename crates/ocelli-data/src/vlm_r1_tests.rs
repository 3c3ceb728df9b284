//! Tests of the VLM-R1 reader.

use ocelli_core::Part;
use proptest::prelude::*;

use super::*;

fn put() -> Put<'static> {
    Put {
        image_dir: Path::new("pictures"),
        system: None,
        prompt: None,
    }
}

fn rows(text: &str) -> Vec<Row> {
    parse(text.as_bytes(), &put()).unwrap()
}

/// The line and the problem of a file that is refused.
fn refused_with(text: &str, put: &Put<'_>) -> (usize, String) {
    match parse(text.as_bytes(), put) {
        Err(Fault::Row { line, problem }) => (line, problem),
        other => panic!("{other:?}"),
    }
}

fn refused(text: &str) -> (usize, String) {
    refused_with(text, &put())
}

/// A row with these conversation texts, and `extra` fields written as JSON.
fn row(human: &str, gold: &str, extra: &str) -> String {
    let human = Value::from(human);
    let gold = Value::from(gold);
    format!(
        r#"{{"conversations": [{{"from": "human", "value": {human}}}, {{"from": "gpt", "value": {gold}}}]{extra}}}"#
    )
}

fn text(text: &str) -> Part {
    Part::Text { text: text.into() }
}

#[test]
fn a_box_row_is_read_whole() {
    let line = row(
        "<image>Where is it?",
        "[53, 63, 80, 90]",
        r#", "id": "a-0", "image": "x/0.png", "task": "ref", "level": 2, "easy": true, "objects": [1], "note": null"#,
    );
    let read = &rows(&line)[0];
    assert_eq!(read.task.id, "a-0");
    assert_eq!(
        read.task.images,
        [ImageSource::Path("pictures/x/0.png".into())]
    );
    assert_eq!(
        read.task.target,
        Some(Target::Box([53.0, 63.0, 80.0, 90.0].into()))
    );
    assert_eq!(
        read.task.messages[0].content,
        [Part::Image { index: 0 }, text("Where is it?")]
    );
    let tags: Vec<(&str, &str)> = read
        .task
        .tags
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(tags, [("easy", "true"), ("level", "2"), ("task", "ref")]);
    assert_eq!(read.question, "Where is it?");
    assert_eq!(
        (read.before_answer.as_str(), read.after_answer.as_str()),
        ("<answer>", "</answer>")
    );
}

#[test]
fn missing_and_numeric_ids_are_named() {
    let text = format!(
        "\n{}\r\n{}\n\n",
        row("q", "a", ""),
        row("q", "a", r#", "id": 70"#)
    );
    let ids: Vec<String> = rows(&text).into_iter().map(|row| row.task.id).collect();
    assert_eq!(ids, ["2", "70"]);
}

#[test]
fn markers_stand_for_pictures_in_order() {
    let two = r#", "image": ["a.png", "b.png"]"#;
    let content = |human: &str| {
        rows(&row(human, "x", two))[0].task.messages[0]
            .content
            .clone()
    };
    let (first, second) = (Part::Image { index: 0 }, Part::Image { index: 1 });
    assert_eq!(
        content("From <image> to <image>?"),
        [
            text("From "),
            first.clone(),
            text(" to "),
            second.clone(),
            text("?")
        ]
    );
    assert_eq!(content("Same?"), [first, second, text("Same?")]);
    let (line, problem) = refused(&row("<image>Same?", "x", two));
    assert_eq!(line, 1);
    assert!(
        problem.contains("1 `<image>`") && problem.contains("2 pictures"),
        "{problem}"
    );
    assert!(
        refused(&row("<image>Same?", "x", ""))
            .1
            .contains("0 pictures")
    );
}

#[test]
fn a_prompt_keeps_pictures_in_front_and_a_system_prompt_goes_first() {
    let template = Template::parse("prompt", "Q: {question} Think.", &["question"]).unwrap();
    let put = Put {
        system: Some("Be brief."),
        prompt: Some(&template),
        ..put()
    };
    let line = row("<image>\nHow many?", "3", r#", "image": "a.png""#);
    let read = parse(line.as_bytes(), &put).unwrap().remove(0);
    assert_eq!(
        read.task.messages[0],
        Message::text(Role::System, "Be brief.")
    );
    assert_eq!(
        read.task.messages[1].content,
        [Part::Image { index: 0 }, text("Q: How many? Think.")]
    );
    assert_eq!(read.question, "How many?");

    let own = r#"{"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}"#;
    assert_eq!(rows(own)[0].task.messages.len(), 2);
    assert!(refused_with(own, &put).1.contains("data.system"));
}

#[test]
fn earlier_turns_stay_in_the_conversation() {
    let text = r#"{"conversations": [{"from": "human", "value": "one"}, {"from": "gpt", "value": "1"}, {"from": "human", "value": "two"}, {"from": "gpt", "value": "2"}]}"#;
    let read = &rows(text)[0];
    let roles: Vec<Role> = read.task.messages.iter().map(|m| m.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::User]);
    assert_eq!(read.task.target, Some(Target::Text("2".into())));
    assert_eq!(read.question, "two");
}

#[test]
fn answer_tags_in_the_gold_turn_are_looked_into() {
    let read = &rows(&row(
        "q",
        "<think>Left.</think>\n<answer> [1, 2, 3, 4] </answer>\n",
        "",
    ))[0];
    assert_eq!(
        read.task.target,
        Some(Target::Box([1.0, 2.0, 3.0, 4.0].into()))
    );
    assert_eq!(read.before_answer, "<think>Left.</think>\n<answer>");
    assert_eq!(read.answer, "[1, 2, 3, 4]");
    assert_eq!(read.after_answer, "</answer>\n");
}

#[test]
fn every_error_has_its_line_and_its_mend() {
    let good = row("q", "a", "");
    for (bad, hint) in [
        (r#"{"id": "#, "not JSON at column"),
        ("[", "one object a line"),
        ("[]", "one object a line"),
        ("7", "not a JSON object"),
        ("{}", "no `conversations`"),
        (r#"{"conversations": []}"#, "empty"),
        (r#"{"conversations": 3}"#, "give a list"),
        (
            r#"{"conversations": [{"from": "human"}]}"#,
            "no text `value`",
        ),
        (
            r#"{"conversations": [{"from": "robot", "value": "a"}]}"#,
            "`robot`",
        ),
        (
            r#"{"conversations": [{"from": "human", "value": "a"}]}"#,
            "no gpt turn",
        ),
        (
            r#"{"conversations": [{"from": "gpt", "value": "a"}]}"#,
            "no human turn",
        ),
        (&row("q", " ", ""), "gold answer is empty"),
        (&row("q", "<answer></answer>", ""), "gold answer is empty"),
        (&row("q", "[9, 2, 3, 4]", ""), "out of order"),
        (&row("q", "a", r#", "id": []"#), "`id`"),
        (&row("q", "a", r#", "image": 5"#), "file name"),
        (
            &row("q", "a", r#", "image": "a", "images": "b""#),
            "keep one",
        ),
    ] {
        let (line, problem) = refused(&format!("{good}\n\n{bad}\n"));
        assert_eq!(line, 3, "{bad}");
        assert!(problem.contains(hint), "{bad}: {problem}");
    }
}

#[test]
fn ids_may_not_repeat() {
    let line = row("q", "a", r#", "id": "x""#);
    let (at, problem) = refused(&format!("{line}\n{line}"));
    assert_eq!(at, 2);
    assert!(
        problem.contains("`x`") && problem.contains("line 1"),
        "{problem}"
    );
}

#[test]
fn a_file_without_rows_is_refused_and_a_byte_order_mark_is_not() {
    assert!(matches!(parse(b"\n \n", &put()), Err(Fault::Empty)));
    assert_eq!(rows(&format!("\u{feff}{}", row("q", "a", ""))).len(), 1);
}

#[test]
fn broken_utf_8_is_an_error_of_its_line() {
    let mut bytes = row("q", "a", "").into_bytes();
    bytes.extend(b"\n{\"id\": \"\xff\"}");
    assert!(matches!(
        parse(&bytes, &put()),
        Err(Fault::Row { line: 2, .. })
    ));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, &put());
    }

    #[test]
    fn any_texts_are_read_or_refused(human in "(<image>|[a-z{}]| ){0,8}", gold in "(<answer>|</answer>|[0-9,\\[\\] ]){0,12}") {
        let _ = parse(row(&human, &gold, r#", "image": ["a", "b"]"#).as_bytes(), &put());
    }
}
