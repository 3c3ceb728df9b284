//! Graphs of other machines as nodes of this one, and graphs with services behind a server.

use std::sync::Arc;

use ocelli_core::Verdict;
use ocelli_reward::RewardGraph;
use ocelli_reward::server::{RunningServer, ServerConfig, VerifierServer};

use crate::episodes::{build, error, needs_python, rewards, scored, started};

fn serve(graph: RewardGraph) -> RunningServer {
    let config = ServerConfig::new(([127, 0, 0, 1], 0).into());
    VerifierServer::bind(config, Arc::new(graph))
        .unwrap()
        .spawn()
        .unwrap()
}

#[test]
fn a_remote_graphs_reward_is_the_nodes_score() {
    let far = serve(
        build(
            r#"["number", { verifier = "tags", weight = 0.5 },
                { verifier = "box_iou", weight = 0.0, when = { task = "ref" } }]"#,
        )
        .unwrap(),
    );
    let graph = started(&format!(
        r#"["exact", {{ verifier = "remote", servers = ["{}"], name = "far", weight = 2 }}]"#,
        far.url()
    ));
    let episodes = scored(
        &graph,
        &["<think></think><answer>4</answer>", "<answer>x</answer>"],
    );
    assert_eq!(rewards(&episodes), [Some(1.0 + 2.0 * 1.5), Some(0.0)]);
    let verdicts = &episodes[0].outcome.verdicts;
    assert_eq!(verdicts["far"], Verdict::score(1.5));
    assert_eq!(verdicts["far.number"], Verdict::score(1.0));
    assert_eq!(verdicts["far.tags"], Verdict::score(1.0));
    assert_eq!(verdicts["far.box_iou"], Verdict::Skip);
    assert!(matches!(
        &episodes[1].outcome.verdicts["far.number"],
        Verdict::Score {
            parse_failure: Some(_),
            ..
        }
    ));
}

#[test]
fn what_the_remote_graph_cannot_judge_is_an_error_and_what_it_skips_a_skip() {
    let far = serve(build(r#"["box_iou"]"#).unwrap());
    let ask = |url: &str, settings: &str| {
        format!(r#"["tags", {{ verifier = "remote", servers = ["{url}"], {settings} }}]"#)
    };
    let graph = started(&ask(&far.url(), "attempts = 1"));
    let episodes = scored(&graph, &["<answer>4</answer>"]);
    assert_eq!(rewards(&episodes), [None]);
    let message = error(&episodes[0], "remote");
    assert!(
        message.starts_with("`remote`: task `row-0`: `box_iou` cannot judge it"),
        "{message}"
    );

    let skipping = serve(build(r#"[{ verifier = "exact", when = { task = "ref" } }]"#).unwrap());
    let graph = started(&ask(&skipping.url(), "attempts = 1"));
    let episodes = scored(&graph, &["<answer>4</answer>"]);
    assert_eq!(rewards(&episodes), [Some(0.0)]);
    assert_eq!(episodes[0].outcome.verdicts["remote"], Verdict::Skip);

    let url = skipping.url();
    drop(skipping);
    let lost = scored(&graph, &["4"]);
    assert_eq!(rewards(&lost), [None]);
    assert!(matches!(&lost[0].outcome.verdicts["remote"], Verdict::Error(e) if e.retryable));
    let unreachable = build(&ask(&url, "attempts = 1")).unwrap();
    let error = unreachable.start(|_| {}).unwrap_err().to_string();
    assert!(
        error.starts_with("the reward node `remote` cannot start: no verifier server answers"),
        "{error}"
    );
}

#[test]
fn graphs_with_plug_ins_and_judges_can_be_served() {
    needs_python!();
    let far = serve(started(
        r#"["counting.py:compute_score", { verifier = "stub_judge", weight = 0.5 }]"#,
    ));
    let graph = started(&format!(
        r#"[{{ verifier = "remote", servers = ["{}"] }}]"#,
        far.url()
    ));
    let episodes = scored(&graph, &["<answer>4</answer>", "<answer>5</answer>"]);
    assert_eq!(rewards(&episodes), [Some(1.4), Some(0.0)]);
    let verdicts = &episodes[0].outcome.verdicts;
    assert_eq!(
        verdicts["remote.compute_score.accuracy"],
        Verdict::score(1.0)
    );
    assert_eq!(verdicts["remote.stub_judge"], Verdict::score(1.0));
}
