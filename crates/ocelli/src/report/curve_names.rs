//! What the measurements are called on the page, and in which order they stand.

/// How a curve is presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CurveName {
    /// Place among the curves of a stage; curves of equal rank keep the order of the file.
    pub(super) rank: usize,
    /// What a reader calls it.
    pub(super) label: String,
}

/// Names in the order of the page. A `*` stands for one part of the name, which takes the place of `*` in the label.
const CATALOGUE: &[(&str, &str)] = &[
    ("reward", "Reward"),
    ("rewards/*/mean", "Reward: *"),
    ("loss", "Loss"),
    ("reward_std", "Reward spread"),
    ("frac_reward_zero_std", "Groups without spread"),
    ("kl", "KL to the reference"),
    ("entropy", "Entropy per token"),
    ("completions/mean_length", "Answer length (tokens)"),
    ("completions/clipped_ratio", "Answers cut off"),
    ("completions/repetition", "Repetition in answers"),
    ("alarms/raised", "Alarms raised"),
    ("accuracy", "Pairs told apart"),
    ("loss/value_avg", "Value loss"),
    ("val/explained_variance", "Variance that values explain"),
    (
        "sampling/sampling_logp_difference/max",
        "Largest log-prob gap",
    ),
    ("grad_norm", "Gradient norm"),
    ("learning_rate", "Learning rate"),
    ("tokens_per_second", "Tokens per second"),
    ("step_time", "Seconds per step"),
    ("sampling_time", "Seconds of it for sampling"),
];

/// The presentation of a measurement, or `None` for one that the catalogue does not know, which goes under its own name
/// to the folded part of the stage.
pub(super) fn known(name: &str) -> Option<CurveName> {
    CATALOGUE
        .iter()
        .enumerate()
        .find_map(|(rank, (pattern, label))| {
            let part = match pattern.split_once('*') {
                None => (*pattern == name).then_some("")?,
                Some((head, tail)) => name.strip_prefix(head)?.strip_suffix(tail)?,
            };
            Some(CurveName {
                rank,
                label: label.replace('*', part),
            })
        })
}

/// Whether a measurement is set or counted and not sampled, so that a mean of neighbours would only distort it.
pub(super) fn is_exact(name: &str) -> bool {
    matches!(name, "learning_rate" | "num_tokens" | "epoch")
}

/// What a reader calls a score; its own name where nothing better is known.
pub(super) fn score_label(name: &str) -> &str {
    match name {
        "box_iou" => "Mean IoU",
        "iou_at_50" => "IoU at least 0.5",
        "tags" => "Well-formed tags",
        "exact" => "Exact match",
        "number" => "Right number",
        "reward" => "Reward",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_names_and_patterns() {
        assert_eq!(known("reward").unwrap().rank, 0);
        assert_eq!(
            known("rewards/box_iou/mean").unwrap().label,
            "Reward: box_iou"
        );
        assert_eq!(known("rewards/box_iou/std"), None);
        assert_eq!(known("rewards/mean"), None);
        assert_eq!(score_label("my_score"), "my_score");
    }
}
