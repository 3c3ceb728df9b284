//! The nearest known word to a misspelt one.

/// The candidate that `word` was most likely meant to be, or `None` when all are far from it: more than a third of the
/// letters would have to change.
pub(crate) fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::normalized_damerau_levenshtein(&word.to_lowercase(), candidate);
            (distance, candidate)
        })
        .filter(|(similarity, _)| *similarity >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_near_words_only() {
        let known = ["box_iou", "tags", "exact", "number"];
        for (word, found) in [
            ("boxiou", Some("box_iou")),
            ("Box-IoU", Some("box_iou")),
            ("tag", Some("tags")),
            ("numebr", Some("number")),
            ("mathematics", None),
            ("", None),
        ] {
            assert_eq!(closest(word, known), found, "{word}");
        }
    }
}
