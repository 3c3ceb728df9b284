//! "Did you mean": the known word nearest to an unknown one.

/// Least similarity, in `[0, 1]`, of a suggestion to what was written: about two letters of five may be wrong.
const LEAST_SIMILARITY: f64 = 0.6;

/// The word of `known` that `unknown` was most likely meant to be; `None` when all are far from it.
pub fn suggest(unknown: &str, known: &[&str]) -> Option<String> {
    let unknown = unknown.to_lowercase();
    known
        .iter()
        .map(|word| {
            let similarity = strsim::normalized_damerau_levenshtein(&unknown, &word.to_lowercase());
            (similarity, *word)
        })
        .filter(|(similarity, _)| *similarity >= LEAST_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word.to_owned())
}

/// `; did you mean …?`, or nothing when no known word is near. Ready to be appended to a message.
pub(crate) fn did_you_mean(unknown: &str, known: &[&str]) -> String {
    suggest(unknown, known).map_or_else(String::new, |word| format!("; did you mean `{word}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["ref", "count", "leftmost", "largest"];
        assert_eq!(suggest("leftmots", &known).as_deref(), Some("leftmost"));
        assert_eq!(suggest("Largest", &known).as_deref(), Some("largest"));
        assert_eq!(suggest("cuont", &known).as_deref(), Some("count"));
        assert_eq!(suggest("colour", &known), None);
        assert_eq!(suggest("", &known), None);
        assert_eq!(suggest("ref", &[]), None);
    }
}
