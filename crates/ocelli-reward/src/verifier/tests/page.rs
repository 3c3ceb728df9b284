//! The page of verifiers: every verifier is on it, and its examples hold.

use super::*;

/// A number, a fraction, `unread` or `error`, as the page writes it.
fn holds(written: &str, found: &Verdict) -> bool {
    match found {
        Verdict::Error(_) => written == "error",
        Verdict::Skip => false,
        Verdict::Score {
            parse_failure: Some(_),
            ..
        } => written == "unread",
        Verdict::Score { value, .. } => {
            let (above, below) = written.split_once('/').unwrap_or((written, "1"));
            let number = |text: &str| text.trim().parse::<f64>().ok();
            let wanted = number(above).zip(number(below)).map(|(a, b)| a / b);
            wanted.is_some_and(|wanted| (value - wanted).abs() < 6e-4)
        }
    }
}

#[test]
fn the_page_names_every_verifier_and_its_examples_hold() {
    #[derive(Deserialize)]
    struct Stage {
        reward: crate::RewardConfig,
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/verifiers.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut judged = std::collections::BTreeSet::new();
    let (mut section, mut block, mut turns) = (String::new(), None::<String>, false);
    let mut rule = Value::Null;
    for line in page.lines() {
        match (&mut block, line) {
            (None, "```toml") => block = Some(String::new()),
            (Some(text), "```") => {
                let stage: Stage = toml::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
                crate::RewardGraph::new(&stage.reward).unwrap_or_else(|e| panic!("{text}: {e}"));
                let mut keys = stage.reward[0].settings.clone();
                keys.insert("verifier".into(), stage.reward[0].verifier.clone().into());
                rule = Value::Object(keys);
                block = None;
            }
            (Some(text), line) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, line) => {
                if let Some(name) = line.strip_prefix("## `") {
                    section = name.trim_end_matches('`').to_owned();
                }
                turns = match line {
                    "| target | turn | score |" => true,
                    "| target | answer | score |" => false,
                    _ => turns,
                };
                let cells: Vec<&str> = line.split(" | ").collect();
                let [target, answer, score] = cells.as_slice() else {
                    continue;
                };
                let target = target.trim_start_matches("| ");
                if target == "target" || target == "---" || rule["verifier"] != section.as_str() {
                    continue;
                }
                let plain = |cell: &str| {
                    let inside = cell.strip_prefix('`').and_then(|c| c.strip_suffix('`'));
                    inside.unwrap_or(cell).replace('⏎', "\n")
                };
                let text = match turns {
                    true => plain(answer),
                    false => format!("<answer>{}</answer>", plain(answer)),
                };
                let target = (target != "—").then(|| text_target(&plain(target)));
                let found = verifier(rule.clone()).verify(&episode(target, &text), START);
                let score = score.trim_end_matches(" |");
                assert!(holds(score, &found), "{rule}: {line}: {found:?}");
                judged.insert(section.clone());
            }
        }
    }
    for name in Verifier::NAMES {
        assert!(judged.contains(name), "no example of `{name}` on the page");
        let entry = page.split(&format!("## `{name}`\n")).nth(1).unwrap();
        let entry = entry.split("\n## ").next().unwrap();
        for part in [
            "**Formula.**",
            "**Range.**",
            "**Target.**",
            "**Reading.**",
            "**Errors.**",
            "**Used by.**",
        ] {
            assert!(entry.contains(part), "`{name}` has no {part}");
        }
    }
}
