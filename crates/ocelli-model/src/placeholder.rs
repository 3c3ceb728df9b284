//! Replacing the placeholders of a rendered prompt by what stands for pictures and videos.
//!
//! For families whose replacement is more than a repetition of one token; see `tile_text`, `split_text`, and
//! `timestamp_text`. Qwen2-VL's pictures are expanded on token ids, in `expander.rs`.

use crate::processing_error::ProcessingError;

/// `text` with the n-th `token` replaced by the n-th of `replacements`; `row` names the task in errors.
///
/// # Errors
/// If there are more or fewer placeholders than replacements.
pub fn replace_placeholders(
    row: &str,
    text: &str,
    token: &'static str,
    replacements: &[String],
) -> Result<String, ProcessingError> {
    let placeholders = text.matches(token).count();
    if placeholders != replacements.len() {
        return Err(ProcessingError::PlaceholderCount {
            row: row.to_owned(),
            token,
            placeholders,
            given: replacements.len(),
        });
    }
    let mut parts = text.split(token);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for (part, replacement) in parts.zip(replacements) {
        out.push_str(replacement);
        out.push_str(part);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_placeholder_gets_its_own() {
        let replaced = |text, with: &[&str]| {
            let with: Vec<String> = with.iter().map(|&w| w.to_owned()).collect();
            replace_placeholders("val-7", text, "<image>", &with)
        };
        // A replacement may hold the token itself.
        assert_eq!(
            replaced("a<image>b<image>", &["<image><image>", "y"]).unwrap(),
            "a<image><image>by"
        );
        assert_eq!(replaced("a", &[]).unwrap(), "a");
        let message = replaced("<image>", &[]).unwrap_err().to_string();
        assert!(
            message.starts_with("row val-7: the prompt has 1 <image> but the row has 0"),
            "{message}"
        );
    }
}
