//! Named numbers of one step.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Metrics in the order they were set, written as one JSON object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metrics(Map<String, Value>);

impl Metrics {
    /// Sets `name`. A value that is not finite is written as `null`, which every reader can tell from a number.
    pub fn set(&mut self, name: impl Into<String>, value: f64) {
        let value = serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number);
        self.0.insert(name.into(), value);
    }

    /// Sets an integer, such as a step or a count.
    pub fn set_count(&mut self, name: impl Into<String>, value: u64) {
        self.0.insert(name.into(), value.into());
    }

    /// Sets a label.
    pub fn set_text(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), Value::String(value.into()));
    }

    /// Sets everything that `other` holds.
    pub fn extend(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            self.0.insert(name.clone(), value.clone());
        }
    }

    /// The number under `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(Value::as_f64)
    }

    /// Whether `name` was set, if only to `null`.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }
}

/// Mean and unbiased (n − 1) standard deviation; zeros for what is not defined.
pub fn mean_std(values: &[f64]) -> (f64, f64) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return (mean, 0.0);
    }
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_marks_what_is_not_a_number() {
        let mut m = Metrics::default();
        m.set("reward", 0.5);
        m.set("kl", f64::NAN);
        m.set_count("step", 3);
        assert_eq!(
            serde_json::to_string(&m).unwrap(),
            r#"{"reward":0.5,"kl":null,"step":3}"#
        );
    }

    #[test]
    fn std_is_unbiased() {
        let (mean, std) = mean_std(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(mean, 2.5);
        assert!((std - (5.0f64 / 3.0).sqrt()).abs() < 1e-12);
    }
}
