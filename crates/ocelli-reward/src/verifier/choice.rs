//! The letter of an option, and yes or no.

use serde::Deserialize;

use super::Rule;
use super::row::{Refusal, Row, one_if};
use crate::payload::{parse_letter, parse_yes_no};

/// 1 when answer and target choose the same letter ([`parse_letter`]), else 0. The options are not known to it, so an
/// answer must name the letter.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Letter {}

impl Rule for Letter {
    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let target = row.target(|text| parse_letter(text, &[]))?;
        Ok(one_if(row.read(|text| parse_letter(text, &[]))? == target))
    }
}

/// 1 when answer and target both say yes or both say no ([`parse_yes_no`]), else 0.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct YesNo {}

impl Rule for YesNo {
    fn judge(&self, row: &Row) -> Result<f64, Refusal> {
        let target = row.target(parse_yes_no)?;
        Ok(one_if(row.read(parse_yes_no)? == target))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{bad_target, scores, unread};

    #[test]
    fn letters_and_yes_and_no() {
        let letter = json!({"verifier": "letter"});
        scores(letter.clone(), "B", &[("(b) a cat", 1.0), ("C", 0.0)]);
        unread(letter.clone(), "B", "A or B", "letter");
        bad_target(letter, "five", "cannot be read");
        let yes_no = json!({"verifier": "yes_no"});
        scores(
            yes_no.clone(),
            "yes",
            &[("Yes, it is.", 1.0), ("True", 1.0), ("no", 0.0)],
        );
        unread(yes_no.clone(), "yes", "maybe", "yes");
        unread(yes_no.clone(), "yes", "yes and no", "both");
        bad_target(yes_no, "perhaps", "cannot be read");
    }
}
