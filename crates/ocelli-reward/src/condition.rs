//! Conditions on the score of a node, as recipes write them: `tags`, `iou >= 0.5`, `length < 1`.

use ocelli_core::{Verdict, VerifierError};

/// A comparison of one node's score with a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Condition {
    /// Position of the node in the graph.
    pub(crate) node: usize,
    comparison: Comparison,
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Condition {
    /// Splits `text` into a node's name and what is asked of its score. A name alone asks for a score above 0.
    ///
    /// `position` finds the node; the error says what is wrong with the text.
    pub(crate) fn parse(
        text: &str,
        position: impl Fn(&str) -> Result<usize, String>,
    ) -> Result<Self, String> {
        use Comparison::{Above, AtLeast, AtMost, Below};
        let signs = [(">=", AtLeast), ("<=", AtMost), (">", Above), ("<", Below)];
        let found = signs
            .into_iter()
            .find_map(|(sign, comparison)| Some((text.split_once(sign)?, comparison)));
        let ((name, bound), comparison) = match found {
            Some(((name, bound), comparison)) => {
                let number = bound.trim().parse::<f64>().ok();
                let number = number.filter(|number| number.is_finite()).ok_or_else(|| {
                    format!(
                        "`{}` is not a number; write it as in `iou >= 0.5`",
                        bound.trim()
                    )
                })?;
                ((name, number), comparison)
            }
            None => ((text, 0.0), Above),
        };
        Ok(Self {
            node: position(name.trim())?,
            comparison,
            bound,
        })
    }

    /// Whether it holds for a verdict. A node that skipped sets no condition; one with an error leaves it open.
    pub(crate) fn holds<'a>(&self, verdict: &'a Verdict) -> Result<bool, &'a VerifierError> {
        let value = match verdict {
            Verdict::Score { value, .. } => *value,
            Verdict::Skip => return Ok(true),
            Verdict::Error(error) => return Err(error),
        };
        Ok(match self.comparison {
            Comparison::Above => value > self.bound,
            Comparison::AtLeast => value >= self.bound,
            Comparison::Below => value < self.bound,
            Comparison::AtMost => value <= self.bound,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Condition, String> {
        Condition::parse(text, |name| match name {
            "iou" => Ok(3),
            other => Err(format!("no node `{other}`")),
        })
    }

    #[test]
    fn comparisons() {
        for (text, value, holds) in [
            ("iou", 0.1, true),
            ("iou", 0.0, false),
            ("iou >= 0.5", 0.5, true),
            (" iou>=0.5 ", 0.49, false),
            ("iou > 0.5", 0.5, false),
            ("iou <= 0.5", 0.5, true),
            ("iou < -1e-3", -0.5, true),
        ] {
            let condition = parse(text).unwrap();
            assert_eq!(condition.node, 3);
            assert_eq!(condition.holds(&Verdict::score(value)), Ok(holds), "{text}");
        }
        assert_eq!(parse("iou").unwrap().holds(&Verdict::Skip), Ok(true));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (text, wanted) in [
            ("iuo", "no node `iuo`"),
            ("", "no node ``"),
            ("iou >= much", "`much` is not a number"),
            ("iou > NaN", "not a number"),
            ("iou = 1", "no node `iou = 1`"),
        ] {
            assert!(parse(text).unwrap_err().contains(wanted), "{text}");
        }
    }
}
