//! The check that turns a node of a recipe into a node of the graph.

use ocelli_core::Schedule;
use serde_json::{Map, Value};

use crate::condition::Condition;
use crate::config::{Combine, NodeConfig, Role};
use crate::node::{Node, Source};
use crate::suggest::closest;
use crate::{RewardError, Verifier, service, shape};

/// Keys that every kind of node has, and what is given of those that only some have.
pub(crate) struct Builder<'a> {
    pub(crate) config: &'a NodeConfig,
    /// Position of the node in its list.
    pub(crate) position: usize,
    /// Names of the nodes before it.
    pub(crate) names: &'a [&'a str],
    /// Whether the files that it names are looked for.
    pub(crate) with_files: bool,
}

impl Builder<'_> {
    pub(crate) fn build(&self) -> Result<Node, RewardError> {
        let config = self.config;
        let source = self.source()?;
        let name = self.name()?;
        self.check_when()?;
        let gate = config.gate.texts().iter();
        let gate = gate
            .map(|text| self.condition("gate", text))
            .collect::<Result<Vec<_>, _>>()?;
        let ladder = config.combine == Some(Combine::Ladder);
        if config.otherwise.is_some() && gate.is_empty() && !ladder {
            return Err(self.without_effect("otherwise", "a node without `gate`"));
        }
        let otherwise = config.otherwise.unwrap_or(0.0);
        if !otherwise.is_finite() {
            return Err(self.bad("otherwise", otherwise.to_string(), "a finite number"));
        }
        if let Some(shape) = config.shape {
            let given = || serde_json::json!(shape).to_string();
            shape::check(shape).map_err(|wanted| self.bad("shape", given(), wanted))?;
        }
        if let Some(weight) = &config.weight {
            weight.check().map_err(|problem| RewardError::Setting {
                node: self.position,
                owner: "`weight`".into(),
                problem,
            })?;
            if config.role == Role::SampleWeight {
                return Err(self.without_effect("weight", "a node with `role = \"sample_weight\"`"));
            }
        }
        if config.on_error.is_some()
            && let Source::Verifier(verifier) = &source
            && !verifier.can_fail()
        {
            return Err(
                self.without_effect("on_error", &format!("the verifier `{}`", verifier.name()))
            );
        }
        Ok(Node {
            name,
            source,
            shape: config.shape,
            gate,
            otherwise,
            weight: config.weight.clone().unwrap_or(Schedule::Constant(1.0)),
            role: config.role,
            when: config.when.clone(),
            on_error: config.on_error.unwrap_or_default(),
            kept: true,
        })
    }

    fn source(&self) -> Result<Source, RewardError> {
        let config = self.config;
        let (owner, source) = match (&config.verifier, config.combine, config.transform) {
            (Some(name), None, None) => (format!("the verifier `{name}`"), self.judge(name)?),
            (None, Some(Combine::Ladder), None) => ("a ladder".to_owned(), self.ladder()?),
            (None, Some(how), None) => {
                let of = config.of.iter().map(|name| self.node("of", name));
                let of = of.collect::<Result<Vec<_>, _>>()?;
                if of.is_empty() {
                    return Err(self.bad("of", "[]".into(), "the names of earlier nodes"));
                }
                (
                    format!("the combination `{}`", config.name()),
                    Source::Combine { how, of },
                )
            }
            (None, None, Some(how)) => {
                let [name] = config.of.as_slice() else {
                    let given = serde_json::json!(config.of).to_string();
                    return Err(self.bad("of", given, "the name of one earlier node"));
                };
                let (of, scope) = (self.node("of", name)?, config.scope.unwrap_or_default());
                (
                    "a transform".to_owned(),
                    Source::Transform { how, of, scope },
                )
            }
            _ => {
                return Err(RewardError::NotOneSource {
                    node: self.position,
                });
            }
        };
        if let Some(key) = not_a_number(&config.settings) {
            return Err(self.bad(key, "nan, inf or null".to_owned(), "a finite number"));
        }
        let takes_of = !matches!(source, Source::Verifier(_) | Source::Service(_));
        let takes_values = matches!(source, Source::Ladder { .. });
        let takes_scope = matches!(source, Source::Transform { .. });
        for (key, given, taken) in [
            ("of", !config.of.is_empty(), takes_of),
            ("values", !config.values.is_empty(), takes_values),
            ("scope", config.scope.is_some(), takes_scope),
        ] {
            if given && !taken {
                return Err(self.without_effect(key, &owner));
            }
        }
        if let Some(key) = config.settings.keys().next()
            && takes_of
        {
            return Err(self.without_effect(key, &owner));
        }
        Ok(source)
    }

    fn ladder(&self) -> Result<Source, RewardError> {
        let NodeConfig { of, values, .. } = self.config;
        if of.is_empty() || of.len() != values.len() {
            return Err(RewardError::Setting {
                node: self.position,
                owner: "a ladder".into(),
                problem: format!(
                    "{} conditions in `of` and {} `values`; give one value a condition, best first",
                    of.len(),
                    values.len()
                ),
            });
        }
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(self.bad("values", value.to_string(), "finite numbers"));
        }
        let rungs = of.iter().zip(values);
        let rungs = rungs.map(|(text, value)| Ok((self.condition("of", text)?, *value)));
        Ok(Source::Ladder {
            rungs: rungs.collect::<Result<_, _>>()?,
        })
    }

    fn judge(&self, name: &str) -> Result<Source, RewardError> {
        let settings = &self.config.settings;
        match service::read(self.position, name, settings, self.with_files) {
            Some(service) => Ok(Source::Service(service?)),
            None => Ok(Source::Verifier(self.verifier(name)?)),
        }
    }

    fn verifier(&self, name: &str) -> Result<Verifier, RewardError> {
        if !Verifier::NAMES.contains(&name) {
            return Err(RewardError::UnknownVerifier {
                node: self.position,
                name: name.to_owned(),
                hint: hint(name, &service::known_names()),
            });
        }
        let mut settings: Map<String, Value> = self.config.settings.clone();
        settings.insert("verifier".to_owned(), name.into());
        let setting = |problem: String| RewardError::Setting {
            node: self.position,
            owner: format!("the verifier `{name}`"),
            problem,
        };
        let verifier: Verifier = serde_json::from_value(Value::Object(settings))
            .map_err(|error| setting(error.to_string()))?;
        verifier.check().map_err(setting)?;
        Ok(verifier)
    }

    fn name(&self) -> Result<String, RewardError> {
        let name = self.config.name();
        let allowed = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        if name.is_empty() || !name.chars().all(allowed) {
            let wanted = "letters, digits, `_`, `-` and `.`";
            return Err(self.bad("name", format!("{name:?}"), wanted));
        }
        match self.names.iter().position(|other| *other == name) {
            Some(first) => Err(RewardError::DuplicateName {
                first,
                second: self.position,
                name,
            }),
            None => Ok(name),
        }
    }

    fn check_when(&self) -> Result<(), RewardError> {
        let Some(when) = &self.config.when else {
            return Ok(());
        };
        if when.is_empty() {
            let wanted = "at least one tag; leave it out to judge every row";
            return Err(self.bad("when", "{}".into(), wanted));
        }
        match when
            .iter()
            .find(|(_, accepted)| accepted.values().is_empty())
        {
            Some((tag, _)) => {
                let wanted = "at least one value, or the node never applies";
                Err(self.bad(&format!("when.{tag}"), "[]".into(), wanted))
            }
            None => Ok(()),
        }
    }

    fn condition(&self, key: &'static str, text: &str) -> Result<Condition, RewardError> {
        let find = |name: &str| {
            let found = self.names.iter().position(|other| *other == name);
            found.ok_or_else(|| self.no_node(name))
        };
        Condition::parse(text, find).map_err(|problem| RewardError::Setting {
            node: self.position,
            owner: format!("`{key}`"),
            problem,
        })
    }

    fn node(&self, key: &'static str, name: &str) -> Result<usize, RewardError> {
        let found = self.names.iter().position(|other| *other == name);
        found.ok_or_else(|| RewardError::Setting {
            node: self.position,
            owner: format!("`{key}`"),
            problem: self.no_node(name),
        })
    }

    fn no_node(&self, name: &str) -> String {
        if self.names.is_empty() {
            return format!("no node stands before this one, so there is no `{name}`; move it up");
        }
        format!(
            "no node before this one is named `{name}`; {}",
            hint(name, self.names)
        )
    }

    fn bad(&self, key: &str, value: String, wanted: &'static str) -> RewardError {
        RewardError::BadValue {
            node: self.position,
            key: key.to_owned(),
            value,
            wanted,
        }
    }

    fn without_effect(&self, key: &str, owner: &str) -> RewardError {
        RewardError::KeyWithoutEffect {
            node: self.position,
            owner: owner.to_owned(),
            key: key.to_owned(),
        }
    }
}

/// The first key that holds null. TOML has none, and JSON, in which keys are kept, has no other way to write nan and infinities.
fn not_a_number(settings: &Map<String, Value>) -> Option<&str> {
    fn within(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Array(items) => items.iter().any(within),
            Value::Object(fields) => fields.values().any(within),
            _ => false,
        }
    }
    let found = settings.iter().find(|(_, value)| within(value));
    found.map(|(key, _)| key.as_str())
}

/// The nearest of `names`, or all of them.
pub(crate) fn hint(name: &str, names: &[&str]) -> String {
    closest(name, names.iter().copied()).map_or_else(
        || format!("there are: {}", names.join(", ")),
        |name| format!("did you mean `{name}`?"),
    )
}
