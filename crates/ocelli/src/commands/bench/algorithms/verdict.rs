//! What the scores of presets say: a table in Markdown, with a verdict against the first preset.

use std::collections::BTreeMap;

use super::Score;

/// The task that stands for all rows.
const ALL: &str = "all";

/// One line a preset: the mean over seeds of each score after the stage, in brackets what it rose by, and whether the preset did
/// better than the first one.
///
/// A preset is better or worse where its first score lies on that side in both modes and with every seed; with fewer than three
/// seeds nothing is said.
pub(super) fn table(
    presets: &[String],
    scores: &[Score],
    refused: &BTreeMap<String, String>,
) -> String {
    let mut columns: Vec<(&str, &str)> = Vec::new();
    for s in scores.iter().filter(|s| s.task == ALL) {
        if !columns.contains(&(&s.mode, &s.score)) {
            columns.push((&s.mode, &s.score));
        }
    }
    let mut text = String::from("| preset | seeds |");
    for (mode, score) in &columns {
        text += &format!(" {score}, {mode} |");
    }
    text += " against the first |\n|---|---|";
    text += &"---|".repeat(columns.len() + 1);
    text.push('\n');
    let first = presets.first().map_or("", String::as_str);
    for preset in presets {
        if let Some(reason) = refused.get(preset) {
            text += &format!(
                "| `{preset}` | 0 |{} refused: {reason} |\n",
                " |".repeat(columns.len())
            );
            continue;
        }
        let seeds = seeds(scores, preset);
        text += &format!("| `{preset}` | {} |", seeds.len());
        for column in &columns {
            let (before, after) = mean(scores, preset, *column);
            text += &format!(" {after:.3} ({:+.3}) |", after - before);
        }
        let verdict = match preset == first {
            true => "",
            false => verdict(scores, preset, first, &columns),
        };
        text += &format!(" {verdict} |\n");
    }
    text
}

fn of<'a>(
    scores: &'a [Score],
    preset: &'a str,
    (mode, score): (&'a str, &'a str),
) -> impl Iterator<Item = &'a Score> {
    scores
        .iter()
        .filter(move |s| s.task == ALL && s.preset == preset && s.mode == mode && s.score == score)
}

fn seeds(scores: &[Score], preset: &str) -> Vec<u64> {
    let mut seeds: Vec<u64> = scores
        .iter()
        .filter(|s| s.preset == preset)
        .map(|s| s.seed)
        .collect();
    seeds.sort_unstable();
    seeds.dedup();
    seeds
}

/// Means over seeds, before and after.
fn mean(scores: &[Score], preset: &str, column: (&str, &str)) -> (f64, f64) {
    let found: Vec<&Score> = of(scores, preset, column).collect();
    let count = found.len().max(1) as f64;
    (
        found.iter().map(|s| s.before).sum::<f64>() / count,
        found.iter().map(|s| s.after).sum::<f64>() / count,
    )
}

/// Whether a preset did better than another with the same seeds, by the first score in both modes.
fn verdict(scores: &[Score], preset: &str, first: &str, columns: &[(&str, &str)]) -> &'static str {
    let Some((_, score)) = columns.first() else {
        return "";
    };
    let modes = columns.iter().filter(|(_, s)| s == score);
    let mut differences = Vec::new();
    for column in modes {
        for s in of(scores, preset, *column) {
            let other = of(scores, first, *column).find(|o| o.seed == s.seed);
            differences.extend(other.map(|o| s.after - o.after));
        }
    }
    let theirs = seeds(scores, first);
    let shared = seeds(scores, preset);
    let shared = shared.iter().filter(|seed| theirs.contains(seed)).count();
    if shared < 3 || differences.is_empty() {
        "too few seeds"
    } else if differences.iter().all(|d| *d > 0.0) {
        "better with every seed"
    } else if differences.iter().all(|d| *d < 0.0) {
        "worse with every seed"
    } else {
        "no clear difference"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(preset: &str, after: [f64; 3]) -> Vec<Score> {
        let mut scores = Vec::new();
        for (seed, after) in after.into_iter().enumerate() {
            for mode in ["greedy", "sampled"] {
                scores.push(Score {
                    preset: preset.into(),
                    seed: seed as u64,
                    mode: mode.into(),
                    task: ALL.into(),
                    score: "iou".into(),
                    before: 0.25,
                    after,
                });
            }
        }
        scores
    }

    #[test]
    fn a_preset_is_better_only_with_every_seed() {
        let all = [
            scores("grpo", [0.5, 0.5, 0.5]),
            scores("up", [0.6, 0.6, 0.6]),
            scores("down", [0.4, 0.4, 0.4]),
            scores("mixed", [0.6, 0.4, 0.6]),
        ]
        .concat();
        let names = ["grpo", "up", "down", "mixed", "wrong"].map(str::to_owned);
        let refused = BTreeMap::from([("wrong".to_owned(), "it needs tasks".to_owned())]);
        assert_eq!(
            table(&names, &all, &refused),
            "| preset | seeds | iou, greedy | iou, sampled | against the first |\n\
             |---|---|---|---|---|\n\
             | `grpo` | 3 | 0.500 (+0.250) | 0.500 (+0.250) |  |\n\
             | `up` | 3 | 0.600 (+0.350) | 0.600 (+0.350) | better with every seed |\n\
             | `down` | 3 | 0.400 (+0.150) | 0.400 (+0.150) | worse with every seed |\n\
             | `mixed` | 3 | 0.533 (+0.283) | 0.533 (+0.283) | no clear difference |\n\
             | `wrong` | 0 | | | refused: it needs tasks |\n"
        );
        let two = |s: &Score| s.seed < 2;
        let few: Vec<Score> = all.iter().filter(|s| two(s)).cloned().collect();
        assert!(table(&names, &few, &refused).contains("too few seeds"));
        // Seeds that only one of the two has compare nothing.
        let others: Vec<Score> = all
            .into_iter()
            .filter(|s| s.preset != "grpo" || two(s))
            .collect();
        assert!(!table(&names, &others, &refused).contains("every seed"));
    }
}
