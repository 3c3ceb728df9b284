//! Average precision of detections as COCO defines it.
//!
//! It follows the rules of pycocotools 2.0.11 for boxes: ten thresholds .50, .55, …, .95; precision read at 101 points
//! of recall; at most 100 predictions of a class in a scene; crowd regions and objects outside of the area range are
//! ignored, which means that a prediction on them counts neither for nor against. The difference is in what is not
//! defined: `None` here, −1 there.

use std::collections::BTreeMap;

use ocelli_core::BoundingBox;

use super::detection::LabeledBox;
use super::error::{MeasureError, check_size};
use super::overlap::share_inside;

/// An object of a scene.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GoldBox<'a> {
    pub bounds: BoundingBox,
    pub label: &'a str,
    /// A region with more objects than one, which any number of predictions may lie in.
    pub crowd: bool,
    /// The object's area where the annotation has one (COCO's is the mask's); else the box's.
    pub area: Option<f64>,
}

/// A prediction with its confidence. Equal scores keep the order of the list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredBox<'a> {
    pub bounds: BoundingBox,
    pub label: &'a str,
    pub score: f64,
}

/// One picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scene<'a> {
    pub predicted: Vec<ScoredBox<'a>>,
    pub gold: Vec<GoldBox<'a>>,
}

/// The twelve numbers of COCO's summary, each in `[0, 1]`, and the average precision of each class. `None` where no
/// object counts: no gold box, or none in the area range.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CocoSummary {
    /// Mean over thresholds and classes.
    pub ap: Option<f64>,
    pub ap50: Option<f64>,
    pub ap75: Option<f64>,
    pub ap_small: Option<f64>,
    pub ap_medium: Option<f64>,
    pub ap_large: Option<f64>,
    /// Recall with at most 1, 10 and 100 predictions of a class in a scene, mean over thresholds and classes.
    pub ar1: Option<f64>,
    pub ar10: Option<f64>,
    pub ar100: Option<f64>,
    pub ar_small: Option<f64>,
    pub ar_medium: Option<f64>,
    pub ar_large: Option<f64>,
    /// Mean over thresholds, by class; classes of the gold boxes only.
    pub class_ap: BTreeMap<String, Option<f64>>,
}

/// Average precision of one scene whose predictions have no confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SceneAp {
    /// Mean over the ten thresholds.
    pub ap: f64,
    pub ap50: f64,
    pub ap75: f64,
}

impl SceneAp {
    fn all(value: f64) -> Self {
        Self {
            ap: value,
            ap50: value,
            ap75: value,
        }
    }
}

/// Most comparisons of a prediction with an object, all scenes together.
const MAX_COMPARISONS: usize = 1 << 26;
/// A prediction beyond this many of its class in its scene is left out.
const MAX_DETECTIONS: usize = 100;
const THRESHOLD_COUNT: usize = 10;
const RECALL_COUNT: usize = 101;
/// Places of .5 and .75 among the thresholds.
const AT_50: usize = 0;
const AT_75: usize = 5;
/// Least and largest area in square pixels, both inside.
const ALL_AREAS: [f64; 2] = [0.0, 1e10];
const SMALL: [f64; 2] = [0.0, 1024.0];
const MEDIUM: [f64; 2] = [1024.0, 9216.0];
const LARGE: [f64; 2] = [9216.0, 1e10];

/// COCO's summary of `scenes`.
///
/// # Errors
/// A score that is not finite, a gold box that is not valid, or more than 2²⁶ comparisons. A predicted box that is not
/// valid is no error: it matches nothing and counts as false.
pub fn coco_summary(scenes: &[Scene]) -> Result<CocoSummary, MeasureError> {
    let classes = by_class(scenes)?;
    let at = |areas| -> Vec<_> { classes.values().map(|c| c.evaluate(areas)).collect() };
    let (all, small) = (at(ALL_AREAS), at(SMALL));
    let (medium, large) = (at(MEDIUM), at(LARGE));
    let ap = |found: &[Evaluation]| mean(found.iter().filter_map(|e| e.mean_precision()));
    let ap_at = |threshold| mean(all.iter().filter_map(|e| e.precision(threshold)));
    let ar = |found: &[Evaluation], most| mean(found.iter().filter_map(|e| e.mean_recall(most)));
    Ok(CocoSummary {
        ap: ap(&all),
        ap50: ap_at(AT_50),
        ap75: ap_at(AT_75),
        ap_small: ap(&small),
        ap_medium: ap(&medium),
        ap_large: ap(&large),
        ar1: ar(&all, 1),
        ar10: ar(&all, 10),
        ar100: ar(&all, MAX_DETECTIONS),
        ar_small: ar(&small, MAX_DETECTIONS),
        ar_medium: ar(&medium, MAX_DETECTIONS),
        ar_large: ar(&large, MAX_DETECTIONS),
        class_ap: classes
            .keys()
            .zip(&all)
            .map(|(label, found)| ((*label).to_owned(), found.mean_precision()))
            .collect(),
    })
}

/// Average precision of one scene, all predictions with the same confidence: the reward of VLM-R1 (`od_ap`,
/// `od_ap50`) and V-Triune (`map`, `map50`, `map75`).
///
/// Both leave out predictions whose label no gold box has, so these are not false positives; and the order of the
/// predictions matters, since a false one after all true ones costs nothing. Nothing predicted and nothing there is
/// 1; one of both is 0.
///
/// # Errors
/// Those of [`coco_summary`].
pub fn scene_ap(predicted: &[LabeledBox], gold: &[LabeledBox]) -> Result<SceneAp, MeasureError> {
    if predicted.is_empty() || gold.is_empty() {
        return Ok(SceneAp::all(if predicted.len() == gold.len() {
            1.0
        } else {
            0.0
        }));
    }
    let scene = Scene {
        predicted: predicted
            .iter()
            .map(|found| ScoredBox {
                bounds: found.bounds,
                label: found.label,
                score: 1.0,
            })
            .collect(),
        gold: gold
            .iter()
            .map(|object| GoldBox {
                bounds: object.bounds,
                label: object.label,
                crowd: false,
                area: None,
            })
            .collect(),
    };
    let classes = by_class(std::slice::from_ref(&scene))?;
    let found: Vec<Evaluation> = classes.values().map(|c| c.evaluate(ALL_AREAS)).collect();
    let at = |threshold| mean(found.iter().filter_map(|e| e.precision(threshold)));
    // An object beyond 10¹⁰ square pixels is ignored as in COCO; with no other there is nothing to find.
    Ok(SceneAp {
        ap: mean(found.iter().filter_map(|e| e.mean_precision())).unwrap_or(0.0),
        ap50: at(AT_50).unwrap_or(0.0),
        ap75: at(AT_75).unwrap_or(0.0),
    })
}

/// The objects and predictions of one class in one scene.
#[derive(Default)]
struct ClassScene<'a> {
    gold: Vec<&'a GoldBox<'a>>,
    /// Best score first, at most [`MAX_DETECTIONS`].
    predicted: Vec<&'a ScoredBox<'a>>,
    /// Overlap of each prediction with each object, a row for each prediction.
    overlaps: Vec<f64>,
}

/// One class in all scenes that show or predict it.
#[derive(Default)]
struct Class<'a> {
    scenes: BTreeMap<usize, ClassScene<'a>>,
}

/// Sorts objects and predictions by class. Classes without an object are left out: nothing of theirs counts.
fn by_class<'a>(scenes: &'a [Scene<'a>]) -> Result<BTreeMap<&'a str, Class<'a>>, MeasureError> {
    let mut classes: BTreeMap<&str, Class> = BTreeMap::new();
    for (place, scene) in scenes.iter().enumerate() {
        for object in &scene.gold {
            if !object.bounds.is_valid() || object.area.is_some_and(|area| !area.is_finite()) {
                return Err(MeasureError::BadGold {
                    what: "box",
                    reason: "its corners are not finite or out of order, or its area is not finite",
                });
            }
            let class = classes.entry(object.label).or_default();
            class.scenes.entry(place).or_default().gold.push(object);
        }
    }
    let mut comparisons = 0;
    for (place, scene) in scenes.iter().enumerate() {
        for (index, found) in scene.predicted.iter().enumerate() {
            if !found.score.is_finite() {
                return Err(MeasureError::NotFinite {
                    what: "the score of prediction",
                    index,
                    value: found.score,
                });
            }
            if let Some(class) = classes.get_mut(found.label) {
                class.scenes.entry(place).or_default().predicted.push(found);
            }
        }
    }
    for class in classes.values_mut() {
        for scene in class.scenes.values_mut() {
            scene
                .predicted
                .sort_by(|a, b| better_first(a.score, b.score));
            scene.predicted.truncate(MAX_DETECTIONS);
            comparisons += scene.predicted.len() * scene.gold.len();
            check_size("the comparison of boxes", comparisons, 1, MAX_COMPARISONS)?;
            scene.overlaps = scene
                .predicted
                .iter()
                .flat_map(|found| scene.gold.iter().map(|object| overlap(found, object)))
                .collect();
        }
    }
    Ok(classes)
}

fn overlap(found: &ScoredBox, object: &GoldBox) -> f64 {
    if object.crowd {
        share_inside(&found.bounds, &object.bounds)
    } else {
        found.bounds.iou(&object.bounds)
    }
}

/// The order of finite scores; −0 is 0.
fn better_first(a: f64, b: f64) -> std::cmp::Ordering {
    (b + 0.0).total_cmp(&(a + 0.0))
}

/// What became of one prediction, a bit for each threshold.
#[derive(Clone, Copy, Default)]
struct Outcome {
    score: f64,
    /// Place in its scene, best score first.
    rank: usize,
    matched: u16,
    /// Matched with an ignored object, or outside of the area range and not matched.
    ignored: u16,
}

/// One class in one area range.
struct Evaluation {
    /// Predictions of all scenes, best score first.
    outcomes: Vec<Outcome>,
    /// Number of objects that count.
    objects: usize,
    precision: [f64; THRESHOLD_COUNT],
}

impl Class<'_> {
    fn evaluate(&self, areas: [f64; 2]) -> Evaluation {
        let mut outcomes = Vec::new();
        let mut objects = 0;
        for scene in self.scenes.values() {
            objects += scene.judge(areas, &mut outcomes);
        }
        outcomes.sort_by(|a: &Outcome, b| better_first(a.score, b.score));
        let mut precision = [0.0; THRESHOLD_COUNT];
        if objects > 0 {
            for (threshold, precision) in precision.iter_mut().enumerate() {
                *precision = interpolated_precision(&outcomes, threshold, objects);
            }
        }
        Evaluation {
            outcomes,
            objects,
            precision,
        }
    }
}

impl ClassScene<'_> {
    /// Adds what became of each prediction; returns how many objects count.
    fn judge(&self, areas: [f64; 2], outcomes: &mut Vec<Outcome>) -> usize {
        let outside = |area: f64| area < areas[0] || area > areas[1];
        let ignored: Vec<bool> = self
            .gold
            .iter()
            .map(|o| o.crowd || outside(o.area.unwrap_or_else(|| o.bounds.area())))
            .collect();
        // Objects that count come first: a prediction is matched with an ignored one only if no other is left.
        let (counted, rest): (Vec<usize>, Vec<usize>) =
            (0..self.gold.len()).partition(|&object| !ignored[object]);
        let order: Vec<usize> = counted.iter().chain(&rest).copied().collect();
        let first = outcomes.len();
        outcomes.extend(
            self.predicted
                .iter()
                .enumerate()
                .map(|(rank, found)| Outcome {
                    score: found.score,
                    rank,
                    ..Outcome::default()
                }),
        );
        let mut taken = vec![false; self.gold.len()];
        for (place, threshold) in thresholds().into_iter().enumerate() {
            taken.fill(false);
            for (rank, found) in self.predicted.iter().enumerate() {
                let overlaps = &self.overlaps[rank * self.gold.len()..][..self.gold.len()];
                let mut least = threshold.min(1.0 - 1e-10);
                let mut best = None;
                for &object in &order {
                    if taken[object] && !self.gold[object].crowd {
                        continue;
                    }
                    if ignored[object] && best.is_some_and(|best: usize| !ignored[best]) {
                        break;
                    }
                    // Of equal overlaps the later object wins.
                    if overlaps[object] >= least {
                        least = overlaps[object];
                        best = Some(object);
                    }
                }
                let outcome = &mut outcomes[first + rank];
                let bit = 1 << place;
                if let Some(object) = best {
                    taken[object] = true;
                    outcome.matched |= bit;
                }
                if best.map_or_else(|| outside(found.bounds.area()), |object| ignored[object]) {
                    outcome.ignored |= bit;
                }
            }
        }
        counted.len()
    }
}

impl Evaluation {
    fn precision(&self, threshold: usize) -> Option<f64> {
        (self.objects > 0).then_some(self.precision[threshold])
    }

    fn mean_precision(&self) -> Option<f64> {
        (self.objects > 0).then(|| self.precision.iter().sum::<f64>() / THRESHOLD_COUNT as f64)
    }

    /// Share of the objects found, mean over the thresholds, by the first `most` predictions of each scene.
    fn mean_recall(&self, most: usize) -> Option<f64> {
        let true_bits: u32 = self
            .outcomes
            .iter()
            .filter(|outcome| outcome.rank < most)
            .map(|outcome| (outcome.matched & !outcome.ignored).count_ones())
            .sum();
        (self.objects > 0).then(|| f64::from(true_bits) / (self.objects * THRESHOLD_COUNT) as f64)
    }
}

/// Mean over 101 recalls of the best precision at that recall or a higher one; 0 where the recall is not reached.
fn interpolated_precision(outcomes: &[Outcome], threshold: usize, objects: usize) -> f64 {
    let bit = 1 << threshold;
    let (mut hits, mut counted) = (0, 0);
    // Recall and precision after each hit; between hits recall stays and precision falls.
    let mut curve: Vec<(f64, f64)> = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.ignored & bit == 0) {
        counted += 1;
        if outcome.matched & bit != 0 {
            hits += 1;
            curve.push((
                f64::from(hits) / objects as f64,
                f64::from(hits) / f64::from(counted),
            ));
        }
    }
    let mut best = 0.0f64;
    for (_, precision) in curve.iter_mut().rev() {
        best = best.max(*precision);
        *precision = best;
    }
    let mut sum = 0.0;
    let mut place = 0;
    for step in 0..RECALL_COUNT {
        let wanted = recall_point(step);
        while curve.get(place).is_some_and(|(recall, _)| *recall < wanted) {
            place += 1;
        }
        match curve.get(place) {
            Some((_, precision)) => sum += precision,
            None => break,
        }
    }
    sum / RECALL_COUNT as f64
}

/// The thresholds as numpy's `linspace(.5, .95, 10)` has them, to the last bit: an overlap of exactly .6 must fall on
/// the same side as there.
fn thresholds() -> [f64; THRESHOLD_COUNT] {
    let step = (0.95 - 0.5) / 9.0;
    std::array::from_fn(|place| {
        if place == 9 {
            0.95
        } else {
            place as f64 * step + 0.5
        }
    })
}

/// The recalls of `linspace(0, 1, 101)`.
fn recall_point(step: usize) -> f64 {
    if step == RECALL_COUNT - 1 {
        1.0
    } else {
        step as f64 * 0.01
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| {
        (sum + value, count + 1)
    });
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn boxes<'a>(list: &[([f64; 4], &'a str)]) -> Vec<LabeledBox<'a>> {
        list.iter()
            .map(|&(corners, label)| LabeledBox {
                bounds: corners.into(),
                label,
            })
            .collect()
    }

    #[test]
    fn vlm_r1_junk_after_an_exact_box_costs_nothing_in_ap() {
        let gold = boxes(&[([0.0, 0.0, 10.0, 10.0], "cat")]);
        let mut predicted = boxes(&[
            ([0.0, 0.0, 10.0, 10.0], "cat"),
            ([50.0, 50.0, 60.0, 60.0], "cat"),
        ]);
        assert_eq!(scene_ap(&predicted, &gold).unwrap(), SceneAp::all(1.0));
        predicted.reverse();
        let halved = scene_ap(&predicted, &gold).unwrap();
        assert!((halved.ap - 0.5).abs() < 1e-12, "{}", halved.ap);
    }

    #[test]
    fn labels_that_no_gold_box_has_are_left_out() {
        let gold = boxes(&[([0.0, 0.0, 10.0, 10.0], "cat")]);
        let predicted = boxes(&[
            ([0.0, 0.0, 10.0, 10.0], "dog"),
            ([0.0, 0.0, 10.0, 10.0], "cat"),
        ]);
        assert_eq!(scene_ap(&predicted, &gold).unwrap(), SceneAp::all(1.0));
        assert_eq!(scene_ap(&predicted[..1], &gold).unwrap(), SceneAp::all(0.0));
    }

    #[test]
    fn empty_sides() {
        let some = boxes(&[([0.0, 0.0, 10.0, 10.0], "cat")]);
        assert_eq!(scene_ap(&[], &[]).unwrap(), SceneAp::all(1.0));
        assert_eq!(scene_ap(&some, &[]).unwrap(), SceneAp::all(0.0));
        assert_eq!(scene_ap(&[], &some).unwrap(), SceneAp::all(0.0));
        assert_eq!(coco_summary(&[]).unwrap(), CocoSummary::default());
    }

    #[test]
    fn overlap_decides_which_thresholds_count() {
        // IoU .64: true at .50, .55 and .60, so 3 of 10 thresholds.
        let gold = boxes(&[([0.0, 0.0, 10.0, 10.0], "cat")]);
        let ap = scene_ap(&boxes(&[([0.0, 0.0, 8.0, 8.0], "cat")]), &gold).unwrap();
        assert_eq!((ap.ap50, ap.ap75), (1.0, 0.0));
        assert!((ap.ap - 0.3).abs() < 1e-12);
    }

    #[test]
    fn bad_input_is_named() {
        let gold = GoldBox {
            bounds: [0.0, 0.0, 10.0, 10.0].into(),
            label: "cat",
            crowd: false,
            area: None,
        };
        let scored = |score| ScoredBox {
            bounds: gold.bounds,
            label: "cat",
            score,
        };
        let scene = |predicted, gold| Scene {
            predicted: vec![predicted],
            gold: vec![gold],
        };
        assert!(matches!(
            coco_summary(&[scene(scored(f64::NAN), gold)]),
            Err(MeasureError::NotFinite { index: 0, .. })
        ));
        let bad = GoldBox {
            bounds: [5.0, 0.0, 1.0, 1.0].into(),
            ..gold
        };
        assert!(matches!(
            coco_summary(&[scene(scored(1.0), bad)]),
            Err(MeasureError::BadGold { .. })
        ));
        let lost = ScoredBox {
            bounds: [f64::NAN, 0.0, 1.0, 1.0].into(),
            ..scored(1.0)
        };
        assert_eq!(coco_summary(&[scene(lost, gold)]).unwrap().ap, Some(0.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn bounded_and_blind_to_the_order_of_what_has_different_scores(
            gold in proptest::collection::vec((0..4usize, 0..60i32, 0..2usize, any::<bool>()), 0..12),
            found in proptest::collection::vec((0..4usize, 0..60i32, 0..2usize), 0..12),
        ) {
            let labels = ["cat", "dog"];
            let bounds = |at: i32| BoundingBox::from([at, 0, at + 40, 40].map(f64::from));
            let mut scenes = vec![Scene::default(); 4];
            for &(scene, at, label, crowd) in &gold {
                let label = labels[label];
                scenes[scene].gold.push(GoldBox { bounds: bounds(at), label, crowd, area: None });
            }
            for (rank, &(scene, at, label)) in found.iter().enumerate() {
                let (label, score) = (labels[label], rank as f64);
                scenes[scene].predicted.push(ScoredBox { bounds: bounds(at), label, score });
            }
            let before = coco_summary(&scenes).unwrap();
            for value in [before.ap, before.ap50, before.ap75, before.ar1, before.ar10, before.ar100] {
                prop_assert_eq!(value.is_none(), gold.iter().all(|&(_, _, _, crowd)| crowd));
                prop_assert!(value.is_none_or(|value| (0.0..=1.0).contains(&value)));
            }
            prop_assert!(before.ar1 <= before.ar10 && before.ar10 <= before.ar100);
            scenes.reverse();
            for scene in &mut scenes {
                scene.predicted.reverse();
            }
            prop_assert_eq!(coco_summary(&scenes).unwrap(), before);
        }
    }
}
