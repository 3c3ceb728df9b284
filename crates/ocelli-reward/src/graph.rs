//! The reward graph: nodes judge, combine and transform, and the weighted sum of their scores is the reward.
//!
//! Nodes are evaluated in the recipe's order, each over the whole batch at once, because a transform needs the values of
//! a group and a plug-in wants many episodes in one call. A node can read those before it only, so there are no cycles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use ocelli_core::{Episode, Progress, Verdict};

use crate::RewardError;
use crate::builder::{Builder, hint};
use crate::config::{NodeConfig, Role};
use crate::node::{Batch, Column, Details, Node, Source};
use crate::plugin::Log;
use crate::service::OpenModel;

/// Checked nodes, ready to score. A graph with plug-ins, judges or remote graphs is [started](Self::start) first.
///
/// ```
/// use ocelli_reward::{NodeConfig, RewardGraph};
///
/// let graph = RewardGraph::new(&[NodeConfig::new("box_iou"), NodeConfig::new("tags")]).unwrap();
/// assert_eq!(graph.node_names().collect::<Vec<_>>(), ["box_iou", "tags"]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RewardGraph {
    nodes: Vec<Node>,
}

impl RewardGraph {
    /// Checks and builds a graph whose paths start at the working directory. Nothing is started.
    ///
    /// # Errors
    /// When there is no node or none with a weight, or a node names an unknown verifier or node, sets a key that it does
    /// not read, has a value out of range, has the name of another, or names a plug-in whose file or function is missing.
    pub fn new(configs: &[NodeConfig]) -> Result<Self, RewardError> {
        Self::built(configs, true)
    }

    /// A graph without nodes, for episodes that have been judged already; it is not for scoring.
    pub fn empty() -> Self {
        Self { nodes: Vec::new() }
    }

    /// The same with paths that start at `root`: files and interpreters of plug-ins, and the caches of judges.
    ///
    /// # Errors
    /// As [`RewardGraph::new`].
    pub fn rooted(configs: &[NodeConfig], root: &Path) -> Result<Self, RewardError> {
        let mut configs = configs.to_vec();
        configs.iter_mut().for_each(|node| node.settle(root));
        Self::built(&configs, true)
    }

    /// Everything that [`RewardGraph::new`] checks but the files, for a reward whose root is not known yet.
    ///
    /// # Errors
    /// As [`RewardGraph::new`], missing files aside.
    pub fn check(configs: &[NodeConfig]) -> Result<(), RewardError> {
        Self::built(configs, false).map(drop)
    }

    fn built(configs: &[NodeConfig], with_files: bool) -> Result<Self, RewardError> {
        let mut nodes: Vec<Node> = Vec::with_capacity(configs.len());
        for (position, config) in configs.iter().enumerate() {
            let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
            let node = Builder {
                config,
                position,
                names: &names,
                with_files,
            }
            .build()?;
            nodes.push(node);
        }
        if nodes.is_empty() {
            return Err(RewardError::NoNodes);
        }
        let read: BTreeSet<usize> = nodes.iter().flat_map(|node| node.source.reads()).collect();
        for (position, (node, config)) in nodes.iter_mut().zip(configs).enumerate() {
            if config.weight.is_none() && read.contains(&position) {
                node.weight = 0.0.into();
            }
        }
        if !nodes.iter().any(Node::rewards) {
            return Err(RewardError::NothingWeighted);
        }
        Ok(Self { nodes })
    }

    /// Starts the processes of plug-ins and the clients of judges and remote graphs, all at once; does nothing where they
    /// run already. `log` gets the lines that plug-ins print, each opened by the plug-in's name. Clones share what runs,
    /// and it stops with the last of them.
    ///
    /// # Errors
    /// Names the first node that cannot start, with the mend: the file does not load, the variable with the key is not
    /// set, no server answers.
    pub fn start(&self, log: impl FnMut(&str) + Send + 'static) -> Result<(), RewardError> {
        let log: Log = Arc::new(Mutex::new(log));
        std::thread::scope(|scope| {
            let services = self.nodes.iter().filter_map(|node| match &node.source {
                Source::Service(service) => Some((&node.name, service)),
                _ => None,
            });
            let starting: Vec<_> = services
                .map(|(name, service)| {
                    let log = &log;
                    (name, scope.spawn(move || service.start(log)))
                })
                .collect();
            starting.into_iter().try_for_each(|(name, thread)| {
                let started = thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                started.map_err(|problem| RewardError::NotStarted {
                    name: name.clone(),
                    problem,
                })
            })
        })
    }

    /// Gives the nodes of the verifier `reward_model` what runs for them; before [`Self::start`]. Clones share it.
    ///
    /// # Errors
    /// Names the first node whose model cannot be had.
    pub fn provide(&self, open: &OpenModel) -> Result<(), RewardError> {
        self.nodes.iter().try_for_each(|node| match &node.source {
            Source::Service(service) => {
                service
                    .provide(open)
                    .map_err(|problem| RewardError::NotStarted {
                        name: node.name.clone(),
                        problem,
                    })
            }
            _ => Ok(()),
        })
    }

    /// The nodes' names in the order of the recipe. Verdicts have further names, `<node>.<name>`, for what a service's
    /// score was made of.
    pub fn node_names(&self) -> impl Iterator<Item = &str> {
        let kept = self.nodes.iter().filter(|node| node.kept);
        kept.map(|node| node.name.as_str())
    }

    /// The same graph with the verdicts and weights of the named nodes only. Names may repeat; their order does not
    /// count.
    ///
    /// # Errors
    /// When there is no name, or one is unknown.
    pub fn select(&self, names: &[String]) -> Result<Self, RewardError> {
        if names.is_empty() {
            return Err(RewardError::NoNodes);
        }
        let known: Vec<&str> = self.node_names().collect();
        if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(RewardError::UnknownNode {
                name: unknown.clone(),
                hint: hint(unknown, &known),
            });
        }
        let mut nodes = self.nodes.clone();
        for node in &mut nodes {
            node.kept = node.kept && names.contains(&node.name);
        }
        Ok(Self { nodes })
    }

    /// Whether the kept node `name` is a verifier that compares boxes.
    pub(crate) fn judges_boxes(&self, name: &str) -> bool {
        let mut nodes = self.nodes.iter().filter(|node| node.kept);
        nodes.any(|node| {
            let compares = |source: &Source| match source {
                Source::Verifier(verifier) => verifier.compares_boxes(),
                _ => false,
            };
            node.name == name && compares(&node.source)
        })
    }

    /// Weight of each node's score in the reward at this point of the stage, in the nodes' order; 0 for nodes that are no part of it.
    pub fn weights(&self, progress: Progress) -> Vec<f64> {
        let weight = |node: &Node| {
            if node.rewards() {
                node.weight.at(progress)
            } else {
                0.0
            }
        };
        self.nodes.iter().map(weight).collect()
    }

    /// Judges the episodes of one step, given group by group, and writes of each `outcome.verdicts`, one a node,
    /// `outcome.reward` and `outcome.sample_weight`, over whatever stood there.
    ///
    /// What a plug-in, a judge or a remote graph says beside its score stands among the verdicts as `<node>.<name>`; it is
    /// no part of the reward.
    ///
    /// The reward is Σ weight · score over the nodes that have scored, weight 0 left out. It is `None` when no such node
    /// applies to the row, and when one had an error and does not say otherwise in `on_error`. The sample weight is the
    /// product of the scores of the nodes with that role, 1 without any.
    pub fn score_batch(&self, groups: &mut [&mut [Episode]], progress: Progress) {
        let mut columns: Vec<Column> = Vec::with_capacity(self.nodes.len());
        let mut details: Vec<Details> = Vec::with_capacity(self.nodes.len());
        {
            let mut starts = vec![0];
            starts.extend(groups.iter().scan(0, |end, group| {
                *end += group.len();
                Some(*end)
            }));
            let batch = Batch {
                episodes: groups.iter().flat_map(|group| group.iter()).collect(),
                groups: starts.windows(2).map(|pair| pair[0]..pair[1]).collect(),
                progress,
            };
            for (node, needed) in self.nodes.iter().zip(self.needed()) {
                let (column, detail) = if needed {
                    node.column(&batch, &columns)
                } else {
                    (vec![Verdict::Skip; batch.episodes.len()], Vec::new())
                };
                columns.push(column);
                details.push(detail);
            }
        }
        let episodes = groups.iter_mut().flat_map(|group| group.iter_mut());
        for (index, episode) in episodes.enumerate() {
            let verdicts: Vec<&Verdict> = columns.iter().map(|column| &column[index]).collect();
            episode.outcome.reward = self.reward(&verdicts, progress);
            episode.outcome.sample_weight = self.sample_weight(&verdicts);
            let mut recorded = BTreeMap::new();
            for (node, details) in self.nodes.iter().zip(&mut details) {
                if node.kept
                    && let Some(details) = details.get_mut(index)
                {
                    let named = std::mem::take(details).into_iter();
                    recorded.extend(named.map(|(name, v)| (format!("{}.{name}", node.name), v)));
                }
            }
            // After the details: a node of the recipe may have the name of one.
            let kept = self.nodes.iter().zip(verdicts).filter(|(n, _)| n.kept);
            recorded.extend(kept.map(|(node, verdict)| (node.name.clone(), verdict.clone())));
            episode.outcome.verdicts = recorded;
        }
    }

    /// Which nodes are kept, or read by one that is needed. The others are not asked.
    fn needed(&self) -> Vec<bool> {
        let mut needed: Vec<bool> = self.nodes.iter().map(|node| node.kept).collect();
        for (position, node) in self.nodes.iter().enumerate().rev() {
            if needed[position] {
                node.needs().for_each(|read| needed[read] = true);
            }
        }
        needed
    }

    /// Judges one episode by itself, as at the start of a stage.
    pub fn score(&self, episode: &mut Episode) {
        self.score_group(std::slice::from_mut(episode));
    }

    /// Judges the samples of one prompt, as at the start of a stage.
    pub fn score_group(&self, episodes: &mut [Episode]) {
        self.score_batch(&mut [episodes], Progress::default());
    }

    fn reward(&self, verdicts: &[&Verdict], progress: Progress) -> Option<f64> {
        let mut reward = None;
        for (node, verdict) in self.nodes.iter().zip(verdicts) {
            let weight = node.weight.at(progress);
            if !node.kept || node.role != Role::Reward || weight == 0.0 {
                continue;
            }
            match node.resolved(verdict) {
                Verdict::Score { value, .. } => {
                    reward = Some(reward.unwrap_or(0.0) + weight * value);
                }
                Verdict::Skip => {}
                Verdict::Error(_) => return None,
            }
        }
        // Weights may be too large for a sum.
        reward.filter(|reward| reward.is_finite())
    }

    fn sample_weight(&self, verdicts: &[&Verdict]) -> f64 {
        let weights = self.nodes.iter().zip(verdicts);
        weights
            .filter(|(node, _)| node.kept && node.role == Role::SampleWeight)
            .filter_map(|(node, verdict)| node.resolved(verdict).value())
            .product()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{box_target, episode};

    const TURN: &str = "<think>a</think><answer>[0, 0, 10, 5]</answer>";

    fn graph(nodes: &str) -> RewardGraph {
        #[derive(serde::Deserialize)]
        struct Stage {
            reward: crate::RewardConfig,
        }
        let stage: Stage = toml::from_str(&format!("reward = [ {nodes} ]")).unwrap();
        RewardGraph::new(&stage.reward).unwrap()
    }

    fn scored(nodes: &str) -> Episode {
        let mut episode = episode(Some(box_target([0.0, 0.0, 10.0, 10.0])), TURN);
        graph(nodes).score(&mut episode);
        episode
    }

    #[test]
    fn what_is_not_finite_is_an_error() {
        let huge = r#"[{ verifier = "tags", shape = { affine = [1e308, 1e308] } }]"#;
        let sum = r#"[{ verifier = "tags", weight = 1e308 }, { verifier = "tags", name = "b", weight = 1e308 }]"#;
        for (nodes, errs) in [(huge, true), (sum, false)] {
            let written: toml::Table = toml::from_str(&format!("reward = {nodes}")).unwrap();
            let nodes: crate::RewardConfig = written["reward"].clone().try_into().unwrap();
            let graph = RewardGraph::new(&nodes).unwrap();
            let mut group = [episode(None, "<think>a</think><answer>b</answer>")];
            graph.score_batch(&mut [&mut group], Progress::default());
            assert_eq!(group[0].outcome.reward, None);
            let verdict = &group[0].outcome.verdicts["tags"];
            assert_eq!(matches!(verdict, Verdict::Error(_)), errs, "{verdict:?}");
        }
    }

    #[test]
    fn sums_weighted_scores() {
        let episode = scored(
            r#"{ verifier = "box_iou", weight = 1.0 }, { verifier = "tags", weight = 0.5 },
               { verifier = "box_iou", name = "strict", threshold = 0.9, weight = -3.0 }"#,
        );
        assert_eq!(episode.outcome.reward, Some(0.5 + 0.5));
        assert_eq!(
            episode.outcome.verdicts,
            BTreeMap::from([
                ("box_iou".to_owned(), Verdict::score(0.5)),
                ("strict".to_owned(), Verdict::score(0.0)),
                ("tags".to_owned(), Verdict::score(1.0)),
            ])
        );
    }

    #[test]
    fn a_gate_skips_rows_without_the_tag() {
        for (when, reward) in [
            (r#"{ task = "ref" }"#, Some(1.5)),
            (r#"{ task = ["count", "ref"] }"#, Some(1.5)),
            (r#"{ task = ["count"] }"#, Some(1.0)),
            (r#"{ source = "digits" }"#, Some(1.0)),
            (r#"{ task = "ref", source = "digits" }"#, Some(1.0)),
        ] {
            let gated =
                format!(r#"{{ verifier = "tags" }}, {{ verifier = "box_iou", when = {when} }}"#);
            assert_eq!(scored(&gated).outcome.reward, reward, "{when}");
        }
    }

    #[test]
    fn no_node_no_reward() {
        let episode = scored(r#"{ verifier = "tags", when = { task = "count" } }"#);
        assert_eq!(episode.outcome.reward, None);
        assert_eq!(episode.outcome.verdicts["tags"], Verdict::Skip);
    }

    #[test]
    fn a_shut_gate_hides_what_went_wrong_behind_it() {
        // `exact` cannot judge a box.
        let gated = |gate: &str| {
            scored(&format!(
                r#"{{ verifier = "tags", name = "form", weight = 0.0 }},
                   {{ verifier = "exact", gate = "{gate}", otherwise = -1.0 }}"#
            ))
        };
        assert_eq!(gated("form < 1").outcome.reward, Some(-1.0));
        assert_eq!(gated("form").outcome.reward, None);
    }

    #[test]
    fn an_error_drops_the_episode_or_counts_as_zero() {
        for (setting, reward) in [
            ("", None),
            (r#", on_error = "drop""#, None),
            (r#", on_error = "zero""#, Some(1.0)),
            (", weight = 0.0", Some(1.0)),
        ] {
            let nodes = format!(r#"{{ verifier = "tags" }}, {{ verifier = "exact" {setting} }}"#);
            let episode = scored(&nodes);
            assert_eq!(episode.outcome.reward, reward, "{setting}");
            assert!(matches!(
                episode.outcome.verdicts["exact"],
                Verdict::Error(_)
            ));
        }
    }

    #[test]
    fn scoring_again_forgets_the_old_verdicts() {
        let mut episode = scored(r#"{ verifier = "box_iou" }"#);
        let graph = graph(r#"{ verifier = "tags" }"#);
        graph.score(&mut episode);
        let once = episode.clone();
        graph.score_group(std::slice::from_mut(&mut episode));
        assert_eq!(episode, once);
        assert_eq!(episode.outcome.verdicts.len(), 1);
        assert_eq!(episode.outcome.reward, Some(1.0));
    }

    #[test]
    fn a_saved_episode_scores_as_the_live_one() {
        let graph = graph(r#"{ verifier = "box_iou" }, { verifier = "tags", partial = true }"#);
        let mut live = episode(Some(box_target([0.0, 0.0, 10.0, 10.0])), TURN);
        let saved = serde_json::to_string(&live).unwrap();
        let mut read: Episode = serde_json::from_str(&saved).unwrap();
        graph.score(&mut live);
        graph.score(&mut read);
        assert_eq!(read, live);
    }

    #[test]
    fn bad_graphs_are_refused() {
        let named = |name: &str| NodeConfig::new("exact").named(name);
        let watched = NodeConfig {
            weight: Some(0.0.into()),
            ..NodeConfig::new("tags")
        };
        for (nodes, message) in [
            (vec![], "the reward has no verifier"),
            (vec![watched], "every reward node has weight 0"),
            (
                vec![NodeConfig::new("tags"), NodeConfig::new("tags")],
                "reward nodes 0 and 1 are both named `tags`; give one of them another `name`",
            ),
            (
                vec![NodeConfig::new("tags"), named("a"), named("tags")],
                "reward nodes 0 and 2 are both named `tags`",
            ),
            (
                vec![NodeConfig::new("tags"), NodeConfig::new("numbers")],
                "reward node 1: there is no verifier `numbers`; did you mean `number`?",
            ),
        ] {
            let error = RewardGraph::new(&nodes).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    /// Scores of the nodes in `nodes` on groups of answers, given as boxes of growing height: the IoU with the target is
    /// height / 10.
    fn heights(nodes: &str, groups: &[&[u32]], progress: Progress) -> Vec<Vec<Episode>> {
        let target = box_target([0.0, 0.0, 10.0, 10.0]);
        let attempt = |height: &u32| {
            let text = format!("<think>a</think><answer>[0, 0, 10, {height}]</answer>");
            episode(Some(target.clone()), &text)
        };
        let mut groups: Vec<Vec<Episode>> = groups
            .iter()
            .map(|group| group.iter().map(attempt).collect())
            .collect();
        let mut batch: Vec<&mut [Episode]> = groups.iter_mut().map(Vec::as_mut_slice).collect();
        graph(nodes).score_batch(&mut batch, progress);
        groups
    }

    fn rewards(groups: &[Vec<Episode>]) -> Vec<Vec<Option<f64>>> {
        let reward = |episode: &Episode| episode.outcome.reward;
        groups
            .iter()
            .map(|group| group.iter().map(reward).collect())
            .collect()
    }

    #[test]
    fn a_node_that_another_reads_does_not_count_by_itself() {
        let episode = scored(
            r#"{ verifier = "box_iou" }, { verifier = "tags" },
               { combine = "product", of = ["box_iou", "tags"], name = "both", weight = 3 }"#,
        );
        assert_eq!(episode.outcome.reward, Some(1.5));
        assert_eq!(episode.outcome.verdicts["both"], Verdict::score(0.5));
        let counted = scored(
            r#"{ verifier = "box_iou", weight = 1 }, { combine = "sum", of = ["box_iou"] }"#,
        );
        assert_eq!(counted.outcome.reward, Some(1.0));
    }

    #[test]
    fn a_selection_keeps_what_it_names_and_computes_what_that_reads() {
        let graph = graph(
            r#"{ verifier = "box_iou" }, { verifier = "tags", weight = 0.5 },
               { combine = "product", of = ["box_iou", "tags"], name = "both", weight = 3 }"#,
        );
        let judged = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let mut one = episode(Some(box_target([0.0, 0.0, 10.0, 10.0])), TURN);
            graph.select(&names).unwrap().score(&mut one);
            (
                one.outcome.reward,
                one.outcome.verdicts.into_keys().collect::<Vec<_>>(),
            )
        };
        assert_eq!(judged(&["both"]), (Some(1.5), vec!["both".to_owned()]));
        assert_eq!(
            judged(&["tags", "tags"]),
            (Some(0.5), vec!["tags".to_owned()])
        );
        assert_eq!(judged(&["box_iou"]), (None, vec!["box_iou".to_owned()]));
        let error = graph.select(&["tag".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "there is no reward node `tag`; did you mean `tags`?");
    }

    #[test]
    fn a_gate_replaces_the_score_where_it_does_not_hold() {
        for (gate, reward) in [
            (r#""tags""#, 0.5),
            (r#"["tags", "iou >= 0.5"]"#, 0.5),
            (r#""iou > 0.5""#, -1.0),
        ] {
            let nodes = format!(
                r#"{{ verifier = "tags", weight = 0 }}, {{ verifier = "box_iou", name = "iou", weight = 0 }},
                   {{ verifier = "box_iou", gate = {gate}, otherwise = -1 }}"#
            );
            assert_eq!(scored(&nodes).outcome.reward, Some(reward), "{gate}");
        }
    }

    #[test]
    fn a_ladder_gives_the_best_rung_that_holds() {
        // ViCrit: .9 when correct, .1 for the form alone.
        let nodes = r#"{ verifier = "box_iou", name = "iou" }, { verifier = "tags" },
            { combine = "ladder", of = ["iou >= 0.5", "tags"], values = [0.9, 0.1], otherwise = -1 }"#;
        let groups = heights(nodes, &[&[6, 3]], Progress::default());
        assert_eq!(rewards(&groups), [[Some(0.9), Some(0.1)]]);
        let mut formless = episode(Some(box_target([0.0, 0.0, 10.0, 10.0])), "no");
        graph(nodes).score(&mut formless);
        assert_eq!(formless.outcome.reward, Some(-1.0));
    }

    #[test]
    fn transforms_stay_inside_their_scope() {
        for (scope, expected) in [
            ("", [[0.0, 1.0], [0.0, 1.0]]),
            (r#", scope = "batch""#, [[0.0, 0.25], [0.75, 1.0]]),
        ] {
            let nodes = format!(
                r#"{{ verifier = "box_iou", name = "iou" }}, {{ transform = "stretch", of = ["iou"] {scope} }}"#
            );
            let groups = heights(&nodes, &[&[2, 4], &[8, 10]], Progress::default());
            for (found, wanted) in rewards(&groups).concat().iter().zip(expected.concat()) {
                assert!(
                    (found.unwrap() - wanted).abs() < 1e-12,
                    "{scope}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn a_sample_weight_is_not_part_of_the_reward() {
        // UniVG-R1: a prompt weighs exp(1 − mean IoU of its group).
        let nodes = r#"{ verifier = "box_iou", name = "iou", weight = 1 },
            { transform = "group_mean", of = ["iou"], role = "sample_weight",
              shape = { exponential = [2.718281828459045, -1.0] } }"#;
        let groups = heights(nodes, &[&[2, 6], &[10, 10]], Progress::default());
        assert_eq!(rewards(&groups)[0], [Some(0.2), Some(0.6)]);
        let weights: Vec<f64> = groups.iter().map(|g| g[1].outcome.sample_weight).collect();
        assert!((weights[0] - 0.6f64.exp()).abs() < 1e-9, "{weights:?}");
        assert!((weights[1] - 1.0).abs() < 1e-9, "{weights:?}");
    }

    #[test]
    fn weights_follow_their_schedule() {
        let nodes = r#"{ verifier = "box_iou" , weight = { linear = [1.0, 0.0] } }"#;
        for (step, reward) in [(0, Some(0.5)), (5, Some(0.25)), (10, None)] {
            let progress = Progress {
                step,
                max_steps: 10,
            };
            assert_eq!(rewards(&heights(nodes, &[&[5]], progress)), [[reward]]);
        }
    }

    #[test]
    fn an_error_reaches_what_reads_the_node() {
        let nodes = r#"{ verifier = "exact" }, { verifier = "tags", gate = "exact" },
            { verifier = "box_iou", on_error = "skip" }"#;
        let judged = scored(nodes);
        assert!(matches!(judged.outcome.verdicts["tags"], Verdict::Error(_)));
        assert_eq!(judged.outcome.reward, None);
        let skipped = scored(r#"{ verifier = "exact", on_error = "skip" }, { verifier = "tags" }"#);
        assert_eq!(skipped.outcome.reward, Some(1.0));
    }

    #[test]
    fn a_reward_model_is_run_by_the_caller() {
        struct Longest;
        impl crate::EpisodeScorer for Longest {
            fn score(&self, episodes: &[&Episode]) -> Vec<Verdict> {
                let length = |e: &&Episode| Verdict::score(e.answer_text().len() as f64);
                episodes.iter().map(length).collect()
            }
        }
        let nodes = || {
            graph(
                r#"{ verifier = "tags", weight = 0 }, { verifier = "reward_model", path = "a", gate = "tags" }"#,
            )
        };
        let unprovided = nodes().start(|_| {}).unwrap_err().to_string();
        assert!(unprovided.contains("runs no reward models"), "{unprovided}");
        let graph = nodes();
        graph.provide(&|_| Ok(Box::new(Longest))).unwrap();
        graph.start(|_| {}).unwrap();
        let mut scored = [episode(None, TURN), episode(None, "no tags")];
        graph.score_group(&mut scored);
        assert_eq!(
            scored[0].outcome.verdicts["reward_model"],
            Verdict::score(TURN.len() as f64)
        );
        // Whom the gate shuts out is not asked.
        assert_eq!(
            scored[1].outcome.verdicts["reward_model"].value(),
            Some(0.0)
        );
        let error = nodes()
            .provide(&|config| Err(format!("no model at {}", config.path.display())))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("reward_model") && error.contains("no model at a"),
            "{error}"
        );
    }

    #[test]
    fn nodes_that_cannot_be_built_say_why() {
        for (node, message) in [
            (r#"{ verifier = "boxiou" }"#, "did you mean `box_iou`?"),
            (
                r#"{ verifier = "llm" }"#,
                "there are: box_iou, tags, exact, number, math, letter, anls",
            ),
            (
                r#"{ verifier = "tags", threshold = 0.5 }"#,
                "the verifier `tags`: unknown field `threshold`",
            ),
            (
                r#"{ verifier = "tags", on_error = "zero" }"#,
                "`on_error` has no effect on the verifier `tags`",
            ),
            (
                r#"{ verifier = "box_iou", threshold = 1.5 }"#,
                "`threshold = 1.5` is not allowed",
            ),
            (
                r#"{ verifier = "number", tolerance = -1 }"#,
                "`tolerance = -1` is not allowed",
            ),
            (
                r#"{ verifier = "tags", weight = inf }"#,
                "`weight`: inf is not a finite number",
            ),
            (r#"{ verifier = "tags", name = "a/b" }"#, "`name = \"a/b\"`"),
            (
                r#"{ verifier = "tags", when = {} }"#,
                "leave it out to judge every row",
            ),
            (
                r#"{ verifier = "tags", when = { task = [] } }"#,
                "`when.task = []`",
            ),
            (r#"{ weight = 1 }"#, "give exactly one of `verifier`"),
            (
                r#"{ verifier = "tags", combine = "sum" }"#,
                "give exactly one",
            ),
            (
                r#"{ combine = "sum", of = ["frist"] }"#,
                "no node before this one is named `frist`; did you mean `first`?",
            ),
            (r#"{ combine = "sum" }"#, "`of = []` is not allowed"),
            (
                r#"{ combine = "ladder", of = ["first"], values = [1, 0] }"#,
                "1 conditions in `of` and 2 `values`",
            ),
            (r#"{ transform = "rank" }"#, "the name of one earlier node"),
            (
                r#"{ combine = "sum", of = ["first"], threshold = 1 }"#,
                "`threshold` has no effect on the combination `sum`",
            ),
            (
                r#"{ verifier = "tags", scope = "batch" }"#,
                "`scope` has no effect",
            ),
            (
                r#"{ verifier = "tags", otherwise = 1 }"#,
                "`otherwise` has no effect on a node without `gate`",
            ),
            (
                r#"{ verifier = "tags", gate = "first >= x" }"#,
                "`gate`: `x` is not a number",
            ),
            (
                r#"{ verifier = "tags", shape = { clip = [1, 0] } }"#,
                "the lower one first",
            ),
            (
                r#"{ verifier = "tags", role = "sample_weight", weight = 2 }"#,
                "`weight` has no effect",
            ),
        ] {
            let first = NodeConfig::new("exact").named("first");
            let second: NodeConfig =
                toml::from_str::<BTreeMap<String, NodeConfig>>(&format!("n = {node}"))
                    .unwrap()
                    .remove("n")
                    .unwrap();
            let error = RewardGraph::new(&[first, second]).unwrap_err().to_string();
            assert!(error.starts_with("reward node 1: "), "{error}");
            assert!(error.contains(message), "{node}: {error}");
        }
    }
}
