//! ROUGE-N and ROUGE-L (Lin, 2004), equal to the Python package rouge-score 0.1.2.
//!
//! Letter case is folded; words are runs of ASCII letters and digits, all else separates them. With `stem`, words of
//! more than three letters lose their endings first ([`super::stemmer`]).

use std::collections::BTreeMap;

use super::detection::f_score;
use super::error::MeasureError;
use super::similarity::common_subsequence;
use super::stemmer::stem as stemmed;

/// Precision, recall and their harmonic mean, each in `[0, 1]`; all 0 when one side has nothing to compare, also when
/// both have nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RougeScore {
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
}

impl RougeScore {
    fn new(shared: usize, predicted: usize, gold: usize) -> Self {
        let precision = shared as f64 / predicted.max(1) as f64;
        let recall = shared as f64 / gold.max(1) as f64;
        Self {
            precision,
            recall,
            f1: f_score(precision, recall, 1.0),
        }
    }
}

/// Overlap of runs of `n` words, each as often as it occurs; `n` of 0 has no runs.
pub fn rouge_n(predicted: &str, gold: &str, n: usize, stem: bool) -> RougeScore {
    runs_shared(&words(predicted, stem), &words(gold, stem), n)
}

/// Longest common subsequence of words.
///
/// # Errors
/// Those of [`common_subsequence`].
pub fn rouge_l(predicted: &str, gold: &str, stem: bool) -> Result<RougeScore, MeasureError> {
    subsequence_shared(&words(predicted, stem), &words(gold, stem))
}

/// Mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L, in `[0, 1]`: the free-text reward of Visionary-R1, OneThinker and Conan.
///
/// # Errors
/// Those of [`common_subsequence`].
pub fn mean_rouge(predicted: &str, gold: &str, stem: bool) -> Result<f64, MeasureError> {
    let (predicted, gold) = (words(predicted, stem), words(gold, stem));
    let runs = |n| runs_shared(&predicted, &gold, n).f1;
    Ok((runs(1) + runs(2) + subsequence_shared(&predicted, &gold)?.f1) / 3.0)
}

fn runs_shared(predicted: &[String], gold: &[String], n: usize) -> RougeScore {
    if n == 0 {
        return RougeScore::default();
    }
    let mut counts: BTreeMap<&[String], usize> = BTreeMap::new();
    for run in gold.windows(n) {
        *counts.entry(run).or_default() += 1;
    }
    let mut shared = 0;
    for run in predicted.windows(n) {
        if let Some(count) = counts.get_mut(run).filter(|count| **count > 0) {
            *count -= 1;
            shared += 1;
        }
    }
    let runs = |words: &[String]| (words.len() + 1).saturating_sub(n);
    RougeScore::new(shared, runs(predicted), runs(gold))
}

fn subsequence_shared(predicted: &[String], gold: &[String]) -> Result<RougeScore, MeasureError> {
    let shared = common_subsequence(predicted, gold)?;
    Ok(RougeScore::new(shared, predicted.len(), gold.len()))
}

fn words(text: &str, stem: bool) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| {
            if stem && word.len() > 3 {
                stemmed(word)
            } else {
                word.to_owned()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_example() {
        // Four of six and five words shared, one of five and four pairs, three words in order.
        let (predicted, gold) = ("The cat sat on the mat", "a cat on the mat sat");
        let one = rouge_n(predicted, gold, 1, false);
        assert_eq!((one.precision, one.recall), (5.0 / 6.0, 5.0 / 6.0));
        let two = rouge_n(predicted, gold, 2, false);
        assert_eq!((two.precision, two.recall), (2.0 / 5.0, 2.0 / 5.0));
        let longest = rouge_l(predicted, gold, false).unwrap();
        assert_eq!(longest.f1, 4.0 / 6.0);
        let mean = mean_rouge(predicted, gold, false).unwrap();
        assert!((mean - (5.0 / 6.0 + 2.0 / 5.0 + 4.0 / 6.0) / 3.0).abs() < 1e-12);
    }

    #[test]
    fn stems_match_what_words_do_not() {
        assert_eq!(rouge_n("running dogs", "run dog", 1, false).f1, 0.0);
        assert_eq!(rouge_n("running dogs", "run dog", 1, true).f1, 1.0);
    }

    #[test]
    fn nothing_to_compare_scores_zero() {
        for (predicted, gold) in [("", ""), ("word", ""), ("", "word"), ("…", "!")] {
            assert_eq!(mean_rouge(predicted, gold, true), Ok(0.0));
        }
        assert_eq!(rouge_n("one", "one", 2, false), RougeScore::default());
        assert_eq!(rouge_n("one", "one", 0, false), RougeScore::default());
    }

    #[test]
    fn long_texts_are_refused() {
        let one: String = (0..9000).map(|i| format!("a{i} ")).collect();
        let other: String = (0..9000).map(|i| format!("b{i} ")).collect();
        assert!(rouge_l(&one, &other, false).is_err());
    }
}
