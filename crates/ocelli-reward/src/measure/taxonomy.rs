//! Trees of classes, where a near miss earns a part.

use std::collections::BTreeMap;

use super::error::MeasureError;
use super::shape::clip;

/// A forest of named classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taxonomy {
    /// The parent of each class; `None` for a root.
    parents: BTreeMap<String, Option<String>>,
}

impl Taxonomy {
    /// Builds the forest from `(child, parent)`; classes that are only parents are roots.
    ///
    /// # Errors
    /// A class with two parents, or one that is its own ancestor.
    pub fn new<'a>(
        edges: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, MeasureError> {
        let bad = |reason| MeasureError::BadGold {
            what: "taxonomy",
            reason,
        };
        let mut parents: BTreeMap<String, Option<String>> = BTreeMap::new();
        for (child, parent) in edges {
            let before = parents.insert(child.to_owned(), Some(parent.to_owned()));
            if before.flatten().is_some_and(|before| before != parent) {
                return Err(bad("a class has two parents"));
            }
            parents.entry(parent.to_owned()).or_default();
        }
        let taxonomy = Self { parents };
        // In a forest no way to a root is longer than the number of classes.
        let most = taxonomy.parents.len();
        for class in taxonomy.parents.keys() {
            if taxonomy.upward(class).take(most + 1).count() > most {
                return Err(bad("a class is its own ancestor"));
            }
        }
        Ok(taxonomy)
    }

    /// Whether there is such a class.
    pub fn contains(&self, class: &str) -> bool {
        self.parents.contains_key(class)
    }

    /// The class and its ancestors, up to the root; nothing for an unknown class.
    fn upward<'a>(&'a self, class: &'a str) -> impl Iterator<Item = &'a str> {
        let known = self.contains(class).then_some(class);
        std::iter::successors(known, |class| self.parents.get(*class)?.as_deref())
    }

    /// Number of classes from a root to `class`, both counted; 0 for an unknown class.
    pub fn depth(&self, class: &str) -> usize {
        self.upward(class).count()
    }

    /// Depth of the lowest class that both are or descend from; 0 when there is none.
    pub fn common_depth(&self, a: &str, b: &str) -> usize {
        let mut other: Vec<&str> = self.upward(b).collect();
        let mut own: Vec<&str> = self.upward(a).collect();
        own.reverse();
        other.reverse();
        own.iter().zip(&other).take_while(|(a, b)| a == b).count()
    }

    /// `common depth / depth of the deeper class`, in `[0, 1]`: 1 only for the class itself, 0 for an unknown one. A
    /// reading of Skin-R1's abstract, which divides by the gold class's depth: a class below the gold one then has to
    /// score under 1 as well.
    pub fn credit(&self, predicted: &str, gold: &str) -> f64 {
        let deeper = self.depth(predicted).max(self.depth(gold));
        self.common_depth(predicted, gold) as f64 / deeper.max(1) as f64
    }
}

/// ProGuard's credit of a category of the list: 1 for the right one, .5 for another one of the list, else 0.
pub fn listed_category_credit(predicted: &str, gold: &str, listed: &[&str]) -> f64 {
    if predicted == gold {
        1.0
    } else if listed.contains(&predicted) {
        0.5
    } else {
        0.0
    }
}

/// ProGuard's credit of a category that is not in the list, in `[.5, 1]`, from the similarities in `[0, 1]` of the
/// answer with the gold name and its synonyms: `.5 + max(0, .5 (max − .7) / .3, .5 (mean − .6) / .4)`.
pub fn described_category_credit(similarities: &[f64]) -> f64 {
    let most = similarities.iter().copied().fold(0.0, f64::max);
    let mean = similarities.iter().sum::<f64>() / similarities.len().max(1) as f64;
    let part = |value: f64, from: f64| clip((value - from) / (1.0 - from), 0.0, 1.0);
    0.5 + 0.5 * part(most, 0.7).max(part(mean, 0.6))
}

/// GeoVista's credit of a place: `base²` when the city is right, `base` when only the state is, 1 when only the country
/// is, else 0; its base is 2.
pub fn place_credit(city: bool, state: bool, country: bool, base: f64) -> f64 {
    if city {
        base * base
    } else if state {
        base
    } else {
        f64::from(u8::from(country))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skin() -> Taxonomy {
        Taxonomy::new([
            ("eczema", "inflammatory"),
            ("psoriasis", "inflammatory"),
            ("atopic", "eczema"),
            ("contact", "eczema"),
            ("melanoma", "neoplastic"),
        ])
        .unwrap()
    }

    #[test]
    fn skin_r1_pays_for_the_shared_path() {
        let skin = skin();
        for (predicted, credit) in [
            ("atopic", 1.0),
            ("contact", 2.0 / 3.0),
            ("eczema", 2.0 / 3.0),
            ("psoriasis", 1.0 / 3.0),
            ("neoplastic", 0.0),
            ("melanoma", 0.0),
            ("flu", 0.0),
        ] {
            assert_eq!(skin.credit(predicted, "atopic"), credit, "{predicted}");
        }
        // Below the gold class is not the gold class.
        assert_eq!(skin.credit("atopic", "eczema"), 2.0 / 3.0);
        assert_eq!(skin.credit("flu", "flu"), 0.0);
    }

    #[test]
    fn credit_is_symmetric_and_one_for_itself() {
        let skin = skin();
        for a in skin.parents.keys() {
            assert_eq!(skin.credit(a, a), 1.0);
            for b in skin.parents.keys() {
                assert_eq!(skin.credit(a, b), skin.credit(b, a));
                assert_eq!(skin.credit(a, b) == 1.0, a == b);
            }
        }
    }

    #[test]
    fn bad_trees_are_named() {
        for edges in [
            vec![("a", "b"), ("a", "c")],
            vec![("a", "b"), ("b", "a")],
            vec![("a", "a")],
        ] {
            assert!(matches!(
                Taxonomy::new(edges),
                Err(MeasureError::BadGold { .. })
            ));
        }
        assert!(Taxonomy::new([("a", "b"), ("a", "b")]).is_ok());
    }

    #[test]
    fn pro_guard_categories() {
        let listed = ["S1", "S2"];
        assert_eq!(listed_category_credit("S1", "S1", &listed), 1.0);
        assert_eq!(2.0 + listed_category_credit("S2", "S1", &listed), 2.5);
        assert_eq!(listed_category_credit("S9", "S1", &listed), 0.0);
        let credit = described_category_credit(&[0.85, 0.55]);
        assert!((2.0 + credit - 2.75).abs() < 1e-12);
        assert_eq!(described_category_credit(&[]), 0.5);
        assert_eq!(described_category_credit(&[0.1]), 0.5);
        assert_eq!(described_category_credit(&[1.0]), 1.0);
        assert_eq!(described_category_credit(&[f64::NAN]), 0.5);
    }

    #[test]
    fn geo_vista_places() {
        assert_eq!(place_credit(true, true, true, 2.0), 4.0);
        assert_eq!(place_credit(false, true, true, 2.0), 2.0);
        assert_eq!(place_credit(false, false, true, 2.0), 1.0);
        assert_eq!(place_credit(false, false, false, 2.0), 0.0);
    }
}
