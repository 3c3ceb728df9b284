//! The `sampler` table of a stage.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};

use super::phases::{self, Phase};
use super::posterior::Posterior;
use super::retry::Retry;
use super::success::SuccessRule;
use crate::recipe::StageKind;

/// Which rows a step draws.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplerKind {
    /// All rows once an epoch, in a new order each.
    #[default]
    Shuffled,
    /// All rows once an epoch, in the order of a tag.
    Ordered,
    /// Rows whose tag has the values of the current phase.
    Staged,
    /// The rows of a pool whose guessed success rates are nearest to a target ([`super::posterior`]).
    Mopps,
}

impl SamplerKind {
    fn name(self) -> &'static str {
        match self {
            Self::Shuffled => "shuffled",
            Self::Ordered => "ordered",
            Self::Staged => "staged",
            Self::Mopps => "mopps",
        }
    }
}

/// In which direction numbers are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagOrder {
    #[default]
    Ascending,
    Descending,
}

/// A value of a tag: a text, or a number or flag as its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TagValue(pub String);

impl<'de> Deserialize<'de> for TagValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Value;

        impl Visitor<'_> for Value {
            type Value = TagValue;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a text, a number, true or false")
            }

            fn visit_str<E>(self, value: &str) -> Result<TagValue, E> {
                Ok(TagValue(value.to_owned()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<TagValue, E> {
                Ok(TagValue(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<TagValue, E> {
                Ok(TagValue(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<TagValue, E> {
                Ok(TagValue(value.to_string()))
            }

            fn visit_bool<E>(self, value: bool) -> Result<TagValue, E> {
                Ok(TagValue(value.to_string()))
            }
        }

        deserializer.deserialize_any(Value)
    }
}

/// Which rows a step draws, and in which order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplerConfig {
    /// `shuffled`, `ordered`, `staged` or `mopps`.
    pub kind: SamplerKind,
    /// The tag that rows are ordered or staged by (`ordered`, `staged`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// `ascending` (the default) or `descending` numbers (`ordered`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<TagOrder>,
    /// The tag's values in their order, where it is no number (`ordered`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<TagValue>>,
    /// Whether rows of one value come in a new order each epoch (the default), or as the data have them (`ordered`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<bool>,
    /// Which values may be drawn, from when on (`staged`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
    /// Rows looked at for each one that is drawn; 8 by default (`mopps`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<usize>,
    /// The success rate sought; 0.5 by default (`mopps`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// Share of what was seen before that a row's posterior keeps; 0.5 by default, 1 forgets nothing (`mopps`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<f64>,
    /// α and β of rows never seen; 1 and 1 by default (`mopps`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prior: Option<[f64; 2]>,
    /// The reward node whose score is the success; by default the reward as a share of the largest one (`mopps`, `retry`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<String>,
    /// From which score on an answer counts as right, and wrong below it; by default scores count as they are (`mopps`, `retry`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Rows that failed come back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

/// Settings of [`super::posterior`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bandit {
    pub candidates: usize,
    pub target: f64,
    pub decay: f64,
    pub prior: Posterior,
}

impl SamplerConfig {
    /// Whether nothing was said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether successes are looked at.
    pub fn learns(&self) -> bool {
        self.kind == SamplerKind::Mopps || self.retry.is_some()
    }

    /// What counts as success.
    pub fn success(&self) -> SuccessRule {
        SuccessRule {
            node: self.success.clone(),
            threshold: self.threshold,
        }
    }

    /// The bandit's settings, when there is one.
    pub fn bandit(&self) -> Option<Bandit> {
        let [alpha, beta] = self.prior.unwrap_or([1.0, 1.0]);
        (self.kind == SamplerKind::Mopps).then_some(Bandit {
            candidates: self.candidates.unwrap_or(8),
            target: self.target.unwrap_or(0.5),
            decay: self.decay.unwrap_or(0.5),
            prior: Posterior { alpha, beta },
        })
    }

    /// # Errors
    /// Says which key is wrong, or has no effect in a stage of `kind` and `max_steps` steps, and how to mend it.
    pub fn check(&self, kind: StageKind, max_steps: u64) -> Result<(), String> {
        self.refuse_keys_without_effect(kind)?;
        match self.kind {
            SamplerKind::Shuffled => {}
            SamplerKind::Ordered => {
                if self.order.is_some() && self.values.is_some() {
                    return Err("`sampler.order` is for numbers and `sampler.values` for anything else; remove one".into());
                }
                if let Some(values) = &self.values {
                    distinct(values)?;
                }
            }
            SamplerKind::Staged => {
                for phase in &self.phases {
                    distinct(&phase.values)?;
                }
                phases::check(&self.phases, max_steps)?;
            }
            SamplerKind::Mopps => self.check_bandit()?,
        }
        if matches!(self.kind, SamplerKind::Ordered | SamplerKind::Staged) && self.tag.is_none() {
            return Err(format!(
                "`sampler.kind = \"{}\"` needs `sampler.tag`, the tag that rows are chosen by",
                self.kind.name()
            ));
        }
        if self.threshold.is_some_and(|t| !(t > 0.0 && t.is_finite())) {
            return Err("`sampler.threshold` must be above 0".into());
        }
        self.retry.as_ref().map_or(Ok(()), Retry::check)
    }

    fn refuse_keys_without_effect(&self, kind: StageKind) -> Result<(), String> {
        use SamplerKind::{Mopps, Ordered, Staged};
        let name = self.kind.name();
        for (key, given, kinds) in [
            ("tag", self.tag.is_some(), [Ordered, Staged].as_slice()),
            ("order", self.order.is_some(), &[Ordered]),
            ("values", self.values.is_some(), &[Ordered]),
            ("shuffle", self.shuffle.is_some(), &[Ordered]),
            ("phases", !self.phases.is_empty(), &[Staged]),
            ("candidates", self.candidates.is_some(), &[Mopps]),
            ("target", self.target.is_some(), &[Mopps]),
            ("decay", self.decay.is_some(), &[Mopps]),
            ("prior", self.prior.is_some(), &[Mopps]),
        ] {
            if given && !kinds.contains(&self.kind) {
                let kinds: Vec<String> =
                    kinds.iter().map(|k| format!("\"{}\"", k.name())).collect();
                return Err(format!(
                    "`sampler.{key}` has no effect with `kind = \"{name}\"`; remove it, or write `kind = {}`",
                    kinds.join(" or ")
                ));
            }
        }
        if kind != StageKind::Grpo && self.learns() {
            let key = if self.retry.is_some() {
                "sampler.retry"
            } else {
                "sampler.kind = \"mopps\""
            };
            return Err(format!(
                "`{key}` looks at successes, of which a stage that samples nothing has none; remove it or make the stage `kind = \"grpo\"`"
            ));
        }
        if self.kind == Mopps && self.retry.is_some() {
            return Err("`sampler.retry` and `kind = \"mopps\"` both choose rows by their successes; remove one".into());
        }
        for (key, given) in [
            ("success", self.success.is_some()),
            ("threshold", self.threshold.is_some()),
        ] {
            if given && !self.learns() {
                return Err(format!(
                    "`sampler.{key}` has no effect without `kind = \"mopps\"` or `sampler.retry`; remove it"
                ));
            }
        }
        Ok(())
    }

    fn check_bandit(&self) -> Result<(), String> {
        let Some(bandit) = self.bandit() else {
            return Ok(());
        };
        for (key, holds, mend) in [
            (
                "candidates",
                bandit.candidates >= 2,
                "at least 2, or there is nothing to choose",
            ),
            (
                "target",
                (0.0..=1.0).contains(&bandit.target),
                "from 0 to 1",
            ),
            ("decay", (0.0..=1.0).contains(&bandit.decay), "from 0 to 1"),
            (
                "prior",
                [bandit.prior.alpha, bandit.prior.beta]
                    .iter()
                    .all(|p| *p > 0.0 && p.is_finite()),
                "two numbers above 0",
            ),
        ] {
            if !holds {
                return Err(format!("`sampler.{key}` must be {mend}"));
            }
        }
        Ok(())
    }
}

fn distinct(values: &[TagValue]) -> Result<(), String> {
    for (index, TagValue(value)) in values.iter().enumerate() {
        if values[..index].iter().any(|TagValue(other)| other == value) {
            return Err(format!(
                "`sampler`: `values` has `{value}` twice; remove one"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> SamplerConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn settings_are_read_and_written_back() {
        for text in [
            "",
            "kind = 'ordered'\ntag = 'difficulty'\norder = 'descending'\nshuffle = false",
            "kind = 'ordered'\ntag = 'task'\nvalues = ['a', 2, true]",
            "kind = 'staged'\ntag = 'task'\nphases = [ { values = [1] }, { values = [1, 2], from_step = 2 } ]",
            "kind = 'mopps'\ncandidates = 4\nsuccess = 'box_iou'\nthreshold = 0.5",
            "retry = { after = 2 }",
        ] {
            let config = read(text);
            config.check(StageKind::Grpo, 9).unwrap();
            assert_eq!(read(&toml::to_string(&config).unwrap()), config, "{text}");
            assert_eq!(config.is_default(), text.is_empty());
        }
        let error = toml::from_str::<SamplerConfig>("kind = 'mops'").unwrap_err();
        assert!(error.to_string().contains("`mopps`"), "{error}");
    }

    #[test]
    fn settings_without_sense_or_effect_are_refused() {
        for (text, words) in [
            (
                "tag = 'task'",
                "`sampler.tag` has no effect with `kind = \"shuffled\"`",
            ),
            ("kind = 'ordered'", "needs `sampler.tag`"),
            (
                "kind = 'ordered'\ntag = 'x'\norder = 'ascending'\nvalues = [1]",
                "remove one",
            ),
            (
                "kind = 'ordered'\ntag = 'x'\nvalues = [1, '1']",
                "`1` twice",
            ),
            (
                "kind = 'ordered'\ntag = 'x'\ntarget = 0.5",
                "`kind = \"mopps\"`",
            ),
            ("kind = 'staged'\ntag = 'x'", "two phases"),
            ("kind = 'mopps'\ncandidates = 1", "nothing to choose"),
            ("kind = 'mopps'\ntarget = 2.0", "from 0 to 1"),
            ("kind = 'mopps'\ndecay = -0.1", "from 0 to 1"),
            ("kind = 'mopps'\nprior = [0.0, 1.0]", "above 0"),
            ("kind = 'mopps'\nretry = {}", "both choose"),
            ("threshold = 0.5", "no effect without"),
            ("retry = {}\nthreshold = 0.0", "above 0"),
            ("retry = { after = 0 }", "`sampler.retry.after`"),
        ] {
            let error = read(text).check(StageKind::Grpo, 9).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        for text in ["kind = 'mopps'", "retry = {}"] {
            let error = read(text).check(StageKind::Sft, 9).unwrap_err();
            assert!(error.contains("samples nothing"), "{error}");
        }
    }
}
