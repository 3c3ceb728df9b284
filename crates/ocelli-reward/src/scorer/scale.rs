//! Which scores a judge may give, and how they are read from its reply.
//!
//! Nothing is guessed: a reply that holds no value of the scale at the place named by the rule is an error.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The values a judge may give. In recipes: `"yes_no"`, `"zero_one"`, `"zero_to_five"`, `{ tiers = [0, 0.5, 1] }`,
/// `{ one_to_ten = ["realism", "layout"] }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// The words yes and no: 1 and 0.
    YesNo,
    /// The numbers 0 and 1.
    ZeroOne,
    /// One of these numbers in `[0, 1]`.
    Tiers(Vec<f64>),
    /// A number from 0 to 5 (Alpamayo-R1); the value is a fifth of it.
    ZeroToFive,
    /// For each of these aspects a number from 1 to 10; the value is a tenth of their mean. With five aspects that is
    /// the J/50 of MetaSpatial.
    OneToTen(Vec<String>),
}

/// Where in the reply the value stands. In recipes: `"whole"`, `"first"`, `"last"`, `{ after = "Score:" }`. Grades by
/// aspect need no rule: they stand behind the aspects' names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// The reply is the value and nothing else but quotes, stars, a full stop.
    #[default]
    Whole,
    /// The first value in the reply.
    First,
    /// The last value in the reply.
    Last,
    /// The first value behind the last occurrence of this text.
    After(String),
}

/// A value in `[0, 1]`, and the grades it was made of.
pub(super) type Graded = (f64, BTreeMap<String, f64>);

/// Two tiers nearer than this are one.
const SAME: f64 = 1e-9;

impl Scale {
    /// # Errors
    /// When a list is empty, has a value out of range or the same one twice.
    pub(super) fn check(&self, reading: &Reading) -> Result<(), String> {
        match self {
            Self::Tiers(tiers) => {
                if tiers.len() < 2 || !tiers.iter().all(|tier| (0.0..=1.0).contains(tier)) {
                    return Err(format!(
                        "`tiers = {tiers:?}` is not allowed; it takes two numbers or more, each from 0 to 1"
                    ));
                }
            }
            Self::OneToTen(aspects) => {
                let named = |aspect: &String| !aspect.is_empty() && aspect.trim() == aspect;
                if aspects.is_empty() || !aspects.iter().all(named) {
                    return Err("`one_to_ten` takes the names of one aspect or more".to_owned());
                }
                let lower: Vec<String> = aspects.iter().map(|a| a.to_lowercase()).collect();
                if let Some(i) = (1..lower.len()).find(|i| lower[..*i].contains(&lower[*i])) {
                    return Err(format!(
                        "`one_to_ten` has the aspect `{}` twice",
                        aspects[i]
                    ));
                }
                if *reading != Reading::Whole {
                    return Err(
                        "`read` has no effect on `one_to_ten`, whose grades stand behind the aspects' names; remove it"
                            .to_owned(),
                    );
                }
            }
            Self::YesNo | Self::ZeroOne | Self::ZeroToFive => {}
        }
        match reading {
            Reading::After(marker) if marker.trim().is_empty() => {
                Err("`after` takes the text in front of the score".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The score that `reply` gives.
    ///
    /// # Errors
    /// The reason why it gives none.
    pub(super) fn read(&self, reply: &str, reading: &Reading) -> Result<Graded, String> {
        if let Self::OneToTen(aspects) = self {
            return read_aspects(reply, aspects);
        }
        let values = |text| self.values(text);
        let value = match reading {
            Reading::Whole => {
                let bare = reply.trim_matches(|c: char| c.is_whitespace() || "\"'`*.".contains(c));
                match self.values(bare).as_slice() {
                    [one] if one.text.len() == bare.len() => Some(one.value),
                    _ => return Err(format!("it is not {} alone", self.wanted())),
                }
            }
            Reading::First => values(reply).first().map(|found| found.value),
            Reading::Last => values(reply).last().map(|found| found.value),
            Reading::After(marker) => {
                let (_, behind) = reply
                    .rsplit_once(marker.as_str())
                    .ok_or_else(|| format!("there is no {marker:?}"))?;
                values(behind).first().map(|found| found.value)
            }
        };
        let value = value.ok_or_else(|| format!("there is no {}", self.wanted()))?;
        Ok((self.on_scale(value)?, BTreeMap::new()))
    }

    /// A value that was read, brought to `[0, 1]`.
    fn on_scale(&self, value: f64) -> Result<f64, String> {
        let found = match self {
            Self::YesNo | Self::ZeroOne if value == 0.0 || value == 1.0 => Some(value),
            Self::Tiers(tiers) => tiers
                .iter()
                .copied()
                .find(|tier| (tier - value).abs() <= SAME),
            Self::ZeroToFive if (0.0..=5.0).contains(&value) => Some(value / 5.0),
            _ => None,
        };
        found.ok_or_else(|| format!("{value} is not {}", self.wanted()))
    }

    /// What a value of this scale is.
    fn wanted(&self) -> String {
        match self {
            Self::YesNo => "yes or no".to_owned(),
            Self::ZeroOne => "0 or 1".to_owned(),
            Self::Tiers(tiers) => {
                let tiers: Vec<String> = tiers.iter().map(ToString::to_string).collect();
                format!("one of {}", tiers.join(", "))
            }
            Self::ZeroToFive => "a number from 0 to 5".to_owned(),
            Self::OneToTen(_) => "a number from 1 to 10".to_owned(),
        }
    }

    /// Everything in `text` that has the form of a value, on the scale or not.
    fn values<'a>(&self, text: &'a str) -> Vec<Found<'a>> {
        match self {
            Self::YesNo => words(text)
                .filter_map(|word| {
                    let value = match word.to_ascii_lowercase().as_str() {
                        "yes" => 1.0,
                        "no" => 0.0,
                        _ => return None,
                    };
                    Some(Found { value, text: word })
                })
                .collect(),
            Self::ZeroToFive => numbers(text, Some(5.0)),
            Self::Tiers(_) | Self::ZeroOne => numbers(text, Some(1.0)),
            Self::OneToTen(_) => numbers(text, Some(10.0)),
        }
    }
}

/// A value and the text it was read from.
struct Found<'a> {
    value: f64,
    text: &'a str,
}

/// Runs of letters.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

/// The numbers in `text`: digits with a fraction and a minus at most, that are no part of a word. In `4/5` and
/// `4 out of 5` with 5 the `top` of the scale, the 5 is no number of its own.
fn numbers(text: &str, top: Option<f64>) -> Vec<Found<'_>> {
    let mut found = Vec::new();
    let bytes = text.as_bytes();
    let mut position = 0;
    while position < bytes.len() {
        let Some(end) = number_at(text, position) else {
            position += 1;
            continue;
        };
        let number = &text[position..end];
        let Ok(value) = number.parse() else {
            position = end;
            continue;
        };
        let behind = top.and_then(|top| end_of_share(text, end, top));
        let end = behind.unwrap_or(end);
        found.push(Found {
            value,
            text: &text[position..end],
        });
        position = end;
    }
    found
}

/// Where the number that begins at `begin` ends.
fn number_at(text: &str, begin: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let in_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii();
    let before = begin.checked_sub(1).map(|i| bytes[i]);
    if before.is_some_and(|byte| in_word(byte) || byte == b'.' || byte == b'-') {
        return None;
    }
    let digits = |from: usize| {
        bytes[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let first = begin + usize::from(bytes[begin] == b'-');
    let mut end = first + digits(first);
    if end == first {
        return None;
    }
    if bytes.get(end) == Some(&b'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    // `3rd`, `1.2.3` and `50%` are no scores.
    let next = bytes.get(end).copied();
    let is_version = next == Some(b'.') && digits(end + 1) > 0;
    if is_version || next.is_some_and(|byte| in_word(byte) || byte == b'%') {
        return None;
    }
    Some(end)
}

/// Behind a number that ends at `end`: where `/5` or `out of 5` ends.
fn end_of_share(text: &str, end: usize, top: f64) -> Option<usize> {
    let rest = text[end..].trim_start();
    let rest = rest
        .strip_prefix('/')
        .or_else(|| rest.strip_prefix("out of"))?
        .trim_start();
    let begin = text.len() - rest.len();
    // The slash may not be a number's neighbour on both sides for `number_at`, so only the digits are read here.
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let share: f64 = rest[..digits].parse().ok()?;
    (share == top).then_some(begin + digits)
}

/// The grade of each aspect: the number behind the last place where the aspect's name stands as a key.
fn read_aspects(reply: &str, aspects: &[String]) -> Result<Graded, String> {
    let lower = reply.to_ascii_lowercase();
    let mut grades = BTreeMap::new();
    for aspect in aspects {
        let grade = lower
            .match_indices(&aspect.to_ascii_lowercase())
            .filter_map(|(begin, name)| {
                let before = lower[..begin].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                    return None;
                }
                grade_behind(&lower[begin + name.len()..])
            })
            .last()
            .ok_or_else(|| format!("there is no grade for `{aspect}`"))?;
        if !(1.0..=10.0).contains(&grade) {
            return Err(format!(
                "the grade {grade} of `{aspect}` is not a number from 1 to 10"
            ));
        }
        grades.insert(aspect.clone(), grade);
    }
    let sum: f64 = grades.values().sum();
    Ok((sum / grades.len() as f64 / 10.0, grades))
}

/// The number in texts such as `": 8`, `**: 8/10`, ` = 8` and `": {"grade": 8`.
fn grade_behind(text: &str) -> Option<f64> {
    let quotes = |c: char| c.is_whitespace() || "\"'`*_".contains(c);
    let mut rest = text
        .trim_start_matches(quotes)
        .strip_prefix([':', '='])?
        .trim_start_matches(quotes);
    if let Some(inside) = rest.strip_prefix('{') {
        let inside = inside.trim_start_matches(quotes);
        let names = ["grade", "score", "rating"];
        let named = names.iter().find_map(|name| inside.strip_prefix(name))?;
        rest = named
            .trim_start_matches(quotes)
            .strip_prefix(':')?
            .trim_start_matches(quotes);
    }
    let end = (!rest.is_empty()).then(|| number_at(rest, 0)).flatten()?;
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(marker: &str) -> Reading {
        Reading::After(marker.to_owned())
    }

    fn tiers() -> Scale {
        Scale::Tiers(vec![0.0, 0.5, 1.0])
    }

    #[test]
    fn values_of_each_scale() {
        for (scale, reading, reply, value) in [
            (Scale::YesNo, Reading::Whole, " Yes.\n", 1.0),
            (Scale::YesNo, Reading::Whole, "**no**", 0.0),
            (Scale::YesNo, Reading::First, "Yes, there is no doubt", 1.0),
            (
                Scale::YesNo,
                Reading::Last,
                "I know nothing wrong: yes",
                1.0,
            ),
            (
                Scale::YesNo,
                after("Correct:"),
                "No. Correct: yes, or no",
                1.0,
            ),
            (Scale::ZeroOne, Reading::Whole, "1", 1.0),
            (Scale::ZeroOne, Reading::Whole, "1.0", 1.0),
            (
                Scale::ZeroOne,
                after("Judgement:"),
                "Judgement: 1\nJudgement: 0",
                0.0,
            ),
            (tiers(), Reading::Whole, "0.5", 0.5),
            (
                tiers(),
                Reading::Last,
                "Step 1 is right, 3rd is not. 0.5",
                0.5,
            ),
            (Scale::ZeroToFive, Reading::Whole, "4", 0.8),
            (Scale::ZeroToFive, Reading::Whole, "4/5", 0.8),
            (
                Scale::ZeroToFive,
                Reading::Last,
                "I give 3.5 out of 5.",
                0.7,
            ),
            (Scale::ZeroToFive, Reading::First, "Score: 2/5, not 3", 0.4),
        ] {
            let found = scale.read(reply, &reading);
            assert_eq!(found, Ok((value, BTreeMap::new())), "{reply}");
        }
    }

    #[test]
    fn other_replies_are_refused() {
        for (scale, reading, reply, reason) in [
            (
                Scale::YesNo,
                Reading::Whole,
                "yes and no",
                "it is not yes or no alone",
            ),
            (
                Scale::YesNo,
                Reading::Whole,
                "",
                "it is not yes or no alone",
            ),
            (
                Scale::YesNo,
                Reading::Last,
                "nobody, yesterday",
                "there is no yes or no",
            ),
            (Scale::YesNo, after("A:"), "yes", "there is no \"A:\""),
            (Scale::ZeroOne, Reading::Whole, "0.5", "0.5 is not 0 or 1"),
            (Scale::ZeroOne, Reading::Last, "-1", "-1 is not 0 or 1"),
            (
                Scale::ZeroOne,
                Reading::Last,
                "100%, v1.0.2, x1",
                "there is no 0 or 1",
            ),
            (
                tiers(),
                Reading::Whole,
                "0.7",
                "0.7 is not one of 0, 0.5, 1",
            ),
            (
                Scale::ZeroToFive,
                Reading::Whole,
                "6",
                "6 is not a number from 0 to 5",
            ),
            (
                Scale::ZeroToFive,
                Reading::Whole,
                "4/10",
                "it is not a number from 0 to 5 alone",
            ),
            (
                Scale::ZeroToFive,
                Reading::Last,
                "8/10",
                "10 is not a number",
            ),
        ] {
            let found = scale.read(reply, &reading).unwrap_err();
            assert!(found.contains(reason), "{reply}: {found}");
        }
    }

    #[test]
    fn grades_stand_behind_their_aspects() {
        let scale = Scale::OneToTen(vec!["realism".to_owned(), "colour scheme".to_owned()]);
        for reply in [
            "Realism: 8\nColour scheme: 7",
            r#"```json {"realism": 8, "colour scheme": 7} ```"#,
            r#"{"realism": {"grade": 8, "comment": "1 sofa"}, "colour scheme": {"grade": "7"}}"#,
            "**Realism** = 8/10, **Colour scheme**: 7/10",
            "realism: 2? no. surrealism: 1. Realism: 8. colour scheme: 7, for its realism.",
        ] {
            let (value, grades) = scale.read(reply, &Reading::Whole).unwrap();
            assert!((value - 0.75).abs() < 1e-12, "{reply}: {value}");
            assert_eq!(grades["realism"], 8.0);
            assert_eq!(grades["colour scheme"], 7.0);
        }
        for (reply, reason) in [
            ("realism: 8", "there is no grade for `colour scheme`"),
            ("realism: 0, colour scheme: 7", "the grade 0 of `realism`"),
            ("realism: 11, colour scheme: 7", "the grade 11 of `realism`"),
            ("realism is 8, colour scheme: 7", "no grade for `realism`"),
        ] {
            let found = scale.read(reply, &Reading::Whole).unwrap_err();
            assert!(found.contains(reason), "{found}");
        }
    }

    #[test]
    fn bad_scales_are_refused() {
        let aspects =
            |names: &[&str]| Scale::OneToTen(names.iter().map(ToString::to_string).collect());
        for (scale, reading, message) in [
            (
                Scale::Tiers(vec![0.0]),
                Reading::Whole,
                "two numbers or more",
            ),
            (Scale::Tiers(vec![0.0, 2.0]), Reading::Whole, "from 0 to 1"),
            (
                Scale::Tiers(vec![0.0, f64::NAN]),
                Reading::Whole,
                "from 0 to 1",
            ),
            (aspects(&[]), Reading::Whole, "one aspect or more"),
            (aspects(&["a", "A"]), Reading::Whole, "the aspect `A` twice"),
            (aspects(&["a"]), Reading::Last, "`read` has no effect"),
            (Scale::YesNo, after(" "), "the text in front of the score"),
        ] {
            let error = scale.check(&reading).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn recipes_write_scales_as_the_documentation_says() {
        #[derive(Deserialize)]
        struct Row {
            scale: Scale,
            #[serde(default)]
            read: Reading,
        }
        for (text, scale, read) in [
            ("scale = \"yes_no\"", Scale::YesNo, Reading::Whole),
            (
                "scale = \"zero_to_five\"\nread = \"last\"",
                Scale::ZeroToFive,
                Reading::Last,
            ),
            (
                "scale = { tiers = [0, 0.5, 1] }\nread = { after = \"Score:\" }",
                tiers(),
                after("Score:"),
            ),
        ] {
            let row: Row = toml::from_str(text).unwrap();
            assert_eq!((row.scale, row.read), (scale, read));
        }
    }

    proptest! {
        #[test]
        fn every_reply_gives_a_value_in_range_or_a_reason(reply in "(?s)([01579./%-]|yes|no|out of|a: |é|.){0,40}") {
            let scales = [Scale::YesNo, Scale::ZeroOne, tiers(), Scale::ZeroToFive, Scale::OneToTen(vec!["a".to_owned()])];
            for scale in scales {
                for reading in [Reading::Whole, Reading::First, Reading::Last, after("a")] {
                    if let Ok((value, _)) = scale.read(&reply, &reading) {
                        prop_assert!((0.0..=1.0).contains(&value));
                    }
                }
            }
        }
    }
}
