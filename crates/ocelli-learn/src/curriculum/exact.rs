//! Numbers that are the same after they were written and read.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number that is kept as text, because a JSON reader may round the last digit of a number, and a resumed run may not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Exact(pub f64);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_comes_back(value in any::<f64>().prop_filter("a number", |v| !v.is_nan())) {
            let text = serde_json::to_string(&Exact(value)).unwrap();
            let Exact(read) = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read.to_bits(), value.to_bits());
        }
    }
}
