//! How alike two texts are: edit distances, word errors, shared words.
//!
//! Texts are compared by Unicode scalar values, as Python does. Nothing is folded or trimmed unless a function says so.

use std::collections::{BTreeMap, BTreeSet};

use super::detection::f_score;
use super::error::{MeasureError, check_size};

/// Most cells of an edit table, about a fifth of a second. What both sides share at their ends needs no cells.
const MAX_CELLS: usize = 1 << 26;

/// Least number of insertions, removals and replacements that turn `a` into `b`.
///
/// # Errors
/// More than 2²⁶ cells of the table.
pub fn levenshtein<T: PartialEq>(a: &[T], b: &[T]) -> Result<usize, MeasureError> {
    let (a, b) = without_shared_ends(a, b);
    check_size("the edit table", a.len(), b.len(), MAX_CELLS)?;
    // Distances of the prefixes of `b` to the prefix of `a` before the current item.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (place, item) in a.iter().enumerate() {
        let mut diagonal = place;
        row[0] = place + 1;
        for (column, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(item != other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    Ok(row[b.len()])
}

/// Length of the longest common subsequence.
///
/// # Errors
/// More than 2²⁶ cells of the table.
pub fn common_subsequence<T: PartialEq>(a: &[T], b: &[T]) -> Result<usize, MeasureError> {
    let shared = a.len();
    let (a, b) = without_shared_ends(a, b);
    let shared = shared - a.len();
    check_size("the table of subsequences", a.len(), b.len(), MAX_CELLS)?;
    let mut row = vec![0; b.len() + 1];
    for item in a {
        let mut diagonal = 0;
        for (column, other) in b.iter().enumerate() {
            let before = row[column + 1];
            row[column + 1] = if item == other {
                diagonal + 1
            } else {
                before.max(row[column])
            };
            diagonal = before;
        }
    }
    Ok(shared + row[b.len()])
}

fn without_shared_ends<'a, T: PartialEq>(a: &'a [T], b: &'a [T]) -> (&'a [T], &'a [T]) {
    let front = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[front..], &b[front..]);
    let back = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    (&a[..a.len() - back], &b[..b.len() - back])
}

/// `1 − distance / length of the longer text`, in `[0, 1]`; 1 for two empty texts (Visionary-R1's OCR reward).
///
/// # Errors
/// Those of [`levenshtein`].
pub fn levenshtein_similarity(a: &str, b: &str) -> Result<f64, MeasureError> {
    let (a, b) = (letters(a), letters(b));
    Ok(1.0 - share(levenshtein(&a, &b)?, a.len().max(b.len())))
}

/// `2 · common subsequence / sum of both lengths`, in `[0, 1]`; 1 for two empty texts. It is the `ratio` of the Python
/// package Levenshtein, where a replacement costs two steps: VLM-R1's fall-back score of an answer.
///
/// # Errors
/// Those of [`common_subsequence`].
pub fn levenshtein_ratio(a: &str, b: &str) -> Result<f64, MeasureError> {
    let (a, b) = (letters(a), letters(b));
    let total = a.len() + b.len();
    Ok(1.0 - share(total - 2 * common_subsequence(&a, &b)?, total))
}

/// Average normalised Levenshtein similarity of one answer, in `[0, 1]`: the best of `accepted`, letter case and outer
/// white space apart, where a normalised distance of `threshold` or more counts 0. The benchmark's threshold is .5
/// (Biten and others, 2019). 0 when nothing is accepted.
///
/// # Errors
/// Those of [`levenshtein`].
pub fn anls(answer: &str, accepted: &[&str], threshold: f64) -> Result<f64, MeasureError> {
    let fold = |text: &str| letters(&text.trim().to_lowercase());
    let answer = fold(answer);
    let mut best = 0.0f64;
    for text in accepted {
        let text = fold(text);
        let distance = share(levenshtein(&answer, &text)?, answer.len().max(text.len()));
        if distance < threshold {
            best = best.max(1.0 - distance);
        }
    }
    Ok(best)
}

/// Word errors over the number of gold words, at least 0 and without an upper bound. Without gold words it is the
/// number of predicted words, as in jiwer 4. Words stand between white space; jiwer's default takes a single tab or
/// line break as part of a word, which is not followed.
///
/// # Errors
/// Those of [`levenshtein`].
pub fn word_error_rate(predicted: &str, gold: &str) -> Result<f64, MeasureError> {
    let words =
        |text: &'_ str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    error_rate(&words(predicted), &words(gold))
}

/// [`word_error_rate`] with letters in the place of words; outer white space is no error.
///
/// # Errors
/// Those of [`levenshtein`].
pub fn character_error_rate(predicted: &str, gold: &str) -> Result<f64, MeasureError> {
    error_rate(&letters(predicted.trim()), &letters(gold.trim()))
}

fn error_rate<T: PartialEq>(predicted: &[T], gold: &[T]) -> Result<f64, MeasureError> {
    Ok(levenshtein(predicted, gold)? as f64 / gold.len().max(1) as f64)
}

/// `max(0, 1 − word error rate)`: OneThinker's OCR reward.
///
/// # Errors
/// Those of [`levenshtein`].
pub fn word_accuracy(predicted: &str, gold: &str) -> Result<f64, MeasureError> {
    Ok((1.0 - word_error_rate(predicted, gold)?).max(0.0))
}

/// Share of `keywords` that occur in `text`, letter case apart, in `[0, 1]`; 1 without keywords. A keyword may be part
/// of a longer word (PeBR-R1; whether it wants whole words is not known to us).
pub fn keyword_coverage(text: &str, keywords: &[&str]) -> f64 {
    let text = text.to_lowercase();
    let found = keywords
        .iter()
        .filter(|k| text.contains(&k.to_lowercase()))
        .count();
    if keywords.is_empty() {
        1.0
    } else {
        share(found, keywords.len())
    }
}

/// Harmonic mean of precision and recall of two sets, in `[0, 1]`; items that occur twice count once, and two empty
/// sets score 1. AlphaDrive takes it of a plan's actions.
pub fn set_f1<T: Ord>(predicted: &[T], gold: &[T]) -> f64 {
    let (predicted, gold): (BTreeSet<_>, BTreeSet<_>) =
        (predicted.iter().collect(), gold.iter().collect());
    overlap_f1(
        predicted.intersection(&gold).count(),
        predicted.len(),
        gold.len(),
    )
}

/// `|both| / |either|` of two sets, in `[0, 1]`; 1 for two empty sets.
pub fn jaccard<T: Ord>(predicted: &[T], gold: &[T]) -> f64 {
    let (predicted, gold): (BTreeSet<_>, BTreeSet<_>) =
        (predicted.iter().collect(), gold.iter().collect());
    let either = predicted.union(&gold).count();
    if either == 0 {
        1.0
    } else {
        share(predicted.intersection(&gold).count(), either)
    }
}

/// Harmonic mean of precision and recall of the words, each as often as it occurs, in `[0, 1]`: the F1 of SQuAD, which
/// folds letter case, drops ASCII punctuation and the words a, an, the. Two texts without a word score 1.
pub fn token_f1(predicted: &str, gold: &str) -> f64 {
    let (predicted, gold) = (plain_words(predicted), plain_words(gold));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for word in &gold {
        *counts.entry(word).or_default() += 1;
    }
    let mut shared = 0;
    for word in &predicted {
        if let Some(count) = counts.get_mut(word.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            shared += 1;
        }
    }
    overlap_f1(shared, predicted.len(), gold.len())
}

fn plain_words(text: &str) -> Vec<String> {
    let text = text
        .to_lowercase()
        .replace(|c: char| c.is_ascii_punctuation(), "");
    text.split_whitespace()
        .filter(|word| !matches!(*word, "a" | "an" | "the"))
        .map(str::to_owned)
        .collect()
}

fn overlap_f1(shared: usize, predicted: usize, gold: usize) -> f64 {
    if predicted == 0 && gold == 0 {
        return 1.0;
    }
    f_score(share(shared, predicted), share(shared, gold), 1.0)
}

fn letters(text: &str) -> Vec<char> {
    text.chars().collect()
}

/// `part / whole`; 0 of nothing.
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn distances_of_known_words() {
        for (a, b, distance, common) in [
            ("kitten", "sitting", 3, 4),
            ("flaw", "lawn", 2, 3),
            ("", "abc", 3, 0),
            ("same", "same", 0, 4),
            ("straße", "strasse", 2, 5),
        ] {
            let (a, b) = (letters(a), letters(b));
            assert_eq!(levenshtein(&a, &b), Ok(distance));
            assert_eq!(common_subsequence(&a, &b), Ok(common));
        }
    }

    #[test]
    fn visionary_r1_ocr_reward() {
        assert_eq!(
            levenshtein_similarity("kitten", "sitting"),
            Ok(1.0 - 3.0 / 7.0)
        );
        assert_eq!(levenshtein_similarity("", ""), Ok(1.0));
        assert_eq!(levenshtein_similarity("", "a"), Ok(0.0));
    }

    #[test]
    fn vlm_r1_ratio_takes_a_replacement_as_two_steps() {
        assert_eq!(levenshtein_ratio("ab", "ac"), Ok(0.5));
        assert_eq!(levenshtein_ratio("", ""), Ok(1.0));
    }

    #[test]
    fn anls_drops_far_answers() {
        assert_eq!(anls(" Hello ", &["hello"], 0.5), Ok(1.0));
        assert_eq!(anls("hallo", &["x", "hello"], 0.5), Ok(0.8));
        // Half of the letters: exactly at the threshold, so it counts nothing.
        assert_eq!(anls("abcd", &["abxy"], 0.5), Ok(0.0));
        assert_eq!(anls("abcd", &[], 0.5), Ok(0.0));
        assert_eq!(anls("", &[""], 0.5), Ok(1.0));
    }

    #[test]
    fn one_thinker_ocr_reward() {
        assert_eq!(
            word_accuracy("the red bus", "the red car"),
            Ok(1.0 - 1.0 / 3.0)
        );
        assert_eq!(word_accuracy("one two three four", "one"), Ok(0.0));
        assert_eq!(word_error_rate("two words", ""), Ok(2.0));
        assert_eq!(word_error_rate(" ", ""), Ok(0.0));
        assert_eq!(character_error_rate("ab", "abcd"), Ok(0.5));
    }

    #[test]
    fn pe_br_r1_keywords() {
        let text = "A Circle of radius 5";
        assert_eq!(
            keyword_coverage(text, &["circle", "radius", "chord", "tangent"]),
            0.5
        );
        assert_eq!(keyword_coverage(text, &[]), 1.0);
    }

    #[test]
    fn alpha_drive_plan_f1() {
        // Naming all four actions: precision 1/4, recall 1.
        let all = ["stop", "keep", "brake", "speed up"];
        assert!((set_f1(&all, &["keep"]) - 0.4).abs() < 1e-12);
        // Right action, weight 1, .5 of the group gives this plan: the penalty stops at .2.
        let reward = |frequency: f64| set_f1(&["keep"], &["keep"]) * (1.0 - frequency.min(0.2));
        assert_eq!([reward(0.5), reward(0.1)], [0.8, 0.9]);
        assert_eq!(set_f1::<u8>(&[], &[]), 1.0);
        assert_eq!(set_f1(&[], &["keep"]), 0.0);
    }

    #[test]
    fn conan_frames_by_jaccard() {
        assert_eq!(jaccard(&[1, 2, 3], &[2, 3, 4]), 0.5);
        assert_eq!(jaccard(&[1, 1], &[1]), 1.0);
        assert_eq!(jaccard::<u8>(&[], &[]), 1.0);
    }

    #[test]
    fn token_f1_counts_repeated_words() {
        assert_eq!(token_f1("The cat, a cat!", "cat"), 2.0 / 3.0);
        assert_eq!(token_f1("the", "a"), 1.0);
        assert_eq!(token_f1("dog", ""), 0.0);
    }

    #[test]
    fn long_texts_are_refused_unless_they_agree() {
        let long = "ab".repeat(20_000);
        let other = "cd".repeat(20_000);
        assert!(levenshtein_similarity(&long, &other).is_err());
        assert!(levenshtein_ratio(&long, &other).is_err());
        assert_eq!(levenshtein_similarity(&long, &long), Ok(1.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn distances_are_metrics(a in "[abc]{0,9}", b in "[abc]{0,9}", c in "[abc]{0,9}") {
            let distance = |x: &str, y: &str| levenshtein(&letters(x), &letters(y)).unwrap();
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert!(distance(&a, &c) <= distance(&a, &b) + distance(&b, &c));
            prop_assert_eq!(distance(&a, &b) == 0, a == b);
            prop_assert_eq!(distance(&a, &b), strsim::levenshtein(&a, &b));
            let common = common_subsequence(&letters(&a), &letters(&b)).unwrap();
            prop_assert!(common <= a.len().min(b.len()));
            prop_assert!(distance(&a, &b) <= a.len() + b.len() - 2 * common);
            prop_assert!(distance(&a, &b) >= a.len().max(b.len()) - common);
        }

        #[test]
        fn similarities_stay_in_the_unit_interval(a: String, b: String) {
            for score in [
                levenshtein_similarity(&a, &b).unwrap(),
                levenshtein_ratio(&a, &b).unwrap(),
                anls(&a, &[&b], 0.5).unwrap(),
                word_accuracy(&a, &b).unwrap(),
                token_f1(&a, &b),
                keyword_coverage(&a, &[&b]),
            ] {
                prop_assert!((0.0..=1.0).contains(&score));
            }
            prop_assert_eq!(token_f1(&a, &b), token_f1(&b, &a));
        }
    }
}
