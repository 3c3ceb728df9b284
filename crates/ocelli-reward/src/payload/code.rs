//! A block of code between fences.

use serde::{Deserialize, Serialize};

use super::ParseFailure;

/// A block of code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// The first word after the opening fence, in lower case.
    pub language: Option<String>,
    /// The lines between the fences, with their line breaks.
    pub text: String,
}

/// The last fenced block of `text`: a line that opens with three backticks, to the next such line.
///
/// # Errors
/// [`ParseFailure::NoCode`]; [`ParseFailure::CodeNotClosed`] when the last fence opens a block, whatever came before.
pub fn parse_code(text: &str) -> Result<Code, ParseFailure> {
    const FENCE: &str = "```";
    let mut last = None;
    let mut open: Option<(&str, usize)> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        if let Some(info) = line.trim_start().strip_prefix(FENCE) {
            match open.take() {
                None => open = Some((info, end)),
                Some((info, from)) => last = Some((info, from..start)),
            }
        }
        start = end;
    }
    if open.is_some() {
        return Err(ParseFailure::CodeNotClosed);
    }
    let (info, span) = last.ok_or(ParseFailure::NoCode)?;
    Ok(Code {
        language: info.split_whitespace().next().map(str::to_lowercase),
        text: text[span].to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_last_block() {
        for (text, language, code) in [
            (
                "```python\nx = 1\ny = `2`\n```",
                Some("python"),
                "x = 1\ny = `2`\n",
            ),
            (
                "a\n```\n1\n```\nb\n  ```HTML {x}\n2\n  ```\n",
                Some("html"),
                "2\n",
            ),
            ("```\n```", None, ""),
        ] {
            let wanted = Code {
                language: language.map(str::to_owned),
                text: code.to_owned(),
            };
            assert_eq!(parse_code(text), Ok(wanted), "{text}");
        }
        for (text, failure) in [
            ("", ParseFailure::NoCode),
            ("x = 1", ParseFailure::NoCode),
            ("inline ```x``` only", ParseFailure::NoCode),
            ("```\n1\n```\n```\n2", ParseFailure::CodeNotClosed),
        ] {
            assert_eq!(parse_code(text), Err(failure), "{text}");
        }
    }
}
