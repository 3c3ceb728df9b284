//! Average precision against pycocotools, assignments against scipy, and box rewards against a plain writing of their
//! definitions, on random scenes and matrices.

use std::collections::BTreeMap;

use ocelli_reward::measure::average_precision::{
    CocoSummary, GoldBox, Scene, ScoredBox, coco_summary, scene_ap,
};
use ocelli_reward::measure::box_rewards::{
    V_TRIUNE_THRESHOLDS, VTriuneRatios, v_triune_accuracy, vlm_r1_weighted_sum,
};
use ocelli_reward::measure::detection::{LabeledBox, match_boxes};
use ocelli_reward::measure::matching::{Matcher, PairScores, optimal};
use ocelli_reward::measure::overlap::Overlap;
use serde::Deserialize;

const TOLERANCE: f64 = 1e-6;
const USABLE: &str = "the scene is small and finite";

#[derive(Deserialize)]
struct Golden {
    scenes: Vec<GoldenScene>,
    groups: Vec<Group>,
    assignments: Vec<Assignment>,
}

#[derive(Deserialize)]
struct GoldenScene {
    gold: Vec<([f64; 4], String, bool, Option<f64>)>,
    predicted: Vec<([f64; 4], String, f64)>,
    #[serde(flatten)]
    summary: Summary,
    scene_ap: Option<[f64; 3]>,
    rewards: Option<Rewards>,
}

#[derive(Deserialize)]
struct Rewards {
    weighted_sum: f64,
    v_triune: f64,
    assigned_iou: f64,
}

#[derive(Deserialize)]
struct Group {
    first: usize,
    count: usize,
    #[serde(flatten)]
    summary: Summary,
}

#[derive(Deserialize)]
struct Summary {
    stats: [Option<f64>; 12],
    class_ap: BTreeMap<String, Option<f64>>,
}

#[derive(Deserialize)]
struct Assignment {
    cost: Vec<Vec<f64>>,
    total: f64,
}

fn golden() -> Golden {
    let golden: Golden = serde_json::from_str(include_str!("golden/detection.json"))
        .expect("make_detection.py writes what Golden reads");
    assert_eq!(golden.scenes.len(), 200);
    assert!(golden.groups.len() >= 20 && golden.assignments.len() >= 60);
    golden
}

fn scene(golden: &GoldenScene) -> Scene<'_> {
    Scene {
        gold: golden
            .gold
            .iter()
            .map(|(corners, label, crowd, area)| GoldBox {
                bounds: (*corners).into(),
                label,
                crowd: *crowd,
                area: *area,
            })
            .collect(),
        predicted: golden
            .predicted
            .iter()
            .map(|(corners, label, score)| ScoredBox {
                bounds: (*corners).into(),
                label,
                score: *score,
            })
            .collect(),
    }
}

fn near(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() < TOLERANCE,
        (a, b) => a == b,
    }
}

#[track_caller]
fn assert_near(name: &str, found: f64, expected: f64) {
    let near = (found - expected).abs() < TOLERANCE;
    assert!(near, "{name}: {found} is not {expected}");
}

#[track_caller]
fn assert_equal(name: &str, found: &CocoSummary, expected: &Summary) {
    let numbers = [
        found.ap,
        found.ap50,
        found.ap75,
        found.ap_small,
        found.ap_medium,
        found.ap_large,
        found.ar1,
        found.ar10,
        found.ar100,
        found.ar_small,
        found.ar_medium,
        found.ar_large,
    ];
    for (place, (found, expected)) in numbers.into_iter().zip(expected.stats).enumerate() {
        assert!(
            near(found, expected),
            "{name}, number {place}: {found:?} is not {expected:?}"
        );
    }
    for (label, expected) in &expected.class_ap {
        let found = found.class_ap.get(label).copied().flatten();
        assert!(near(found, *expected), "{name}, class {label}: {found:?}");
    }
}

#[test]
fn single_scenes_equal_pycocotools() {
    for (place, golden) in golden().scenes.iter().enumerate() {
        let found = coco_summary(&[scene(golden)]).expect(USABLE);
        assert_equal(&format!("scene {place}"), &found, &golden.summary);
    }
}

#[test]
fn groups_of_scenes_equal_pycocotools() {
    let golden = golden();
    for group in &golden.groups {
        let members = &golden.scenes[group.first..group.first + group.count];
        let scenes: Vec<Scene> = members.iter().map(scene).collect();
        let found = coco_summary(&scenes).expect(USABLE);
        let name = format!("{} scenes from {}", group.count, group.first);
        assert_equal(&name, &found, &group.summary);
    }
}

/// The scene's predictions and objects without scores, areas and crowds.
fn labelled(golden: &GoldenScene) -> (Vec<LabeledBox<'_>>, Vec<LabeledBox<'_>>) {
    let scene = scene(golden);
    let labelled = |bounds, label| LabeledBox { bounds, label };
    let predicted = scene.predicted.iter();
    let gold = scene.gold.iter();
    (
        predicted.map(|p| labelled(p.bounds, p.label)).collect(),
        gold.map(|g| labelled(g.bounds, g.label)).collect(),
    )
}

#[test]
fn scenes_without_scores_equal_what_vlm_r1_and_v_triune_ask_of_pycocotools() {
    let mut compared = 0;
    for (place, golden) in golden().scenes.iter().enumerate() {
        let (predicted, gold) = labelled(golden);
        let found = scene_ap(&predicted, &gold).expect(USABLE);
        if let Some(expected) = golden.scene_ap {
            compared += 1;
            for (found, expected) in [found.ap, found.ap50, found.ap75].into_iter().zip(expected) {
                assert_near(&format!("scene {place}"), found, expected);
            }
        }
    }
    assert!(compared > 100);
}

#[test]
fn box_rewards_equal_a_plain_writing_of_their_definitions() {
    const ALL_PARTS: VTriuneRatios = VTriuneRatios {
        iou_max_label_first: 1.0,
        iou_max_iou_first: 1.0,
        iou_completeness: 0.3,
        map: 1.0,
        map50: 1.0,
        map75: 1.0,
    };
    let mut compared = 0;
    for (place, golden) in golden().scenes.iter().enumerate() {
        let Some(expected) = &golden.rewards else {
            continue;
        };
        compared += 1;
        let (predicted, gold) = labelled(golden);
        let found = vlm_r1_weighted_sum(&predicted, &gold).expect(USABLE);
        assert_near(
            &format!("scene {place}, weighted sum"),
            found,
            expected.weighted_sum,
        );
        let found = v_triune_accuracy(&predicted, &gold, &V_TRIUNE_THRESHOLDS, &ALL_PARTS);
        assert_near(
            &format!("scene {place}, V-Triune"),
            found.expect(USABLE),
            expected.v_triune,
        );
        let (overlap, matcher) = (Overlap::Iou, Matcher::Hungarian);
        let matched = match_boxes(&predicted, &gold, overlap, matcher, 0.0).expect(USABLE);
        assert_near(
            &format!("scene {place}, assigned"),
            matched.mean_over_gold(),
            expected.assigned_iou,
        );
    }
    assert!(compared > 100);
}

#[test]
fn assignments_cost_as_little_as_scipy_finds() {
    for (place, golden) in golden().assignments.iter().enumerate() {
        let cost = &golden.cost;
        let scores = PairScores::new(cost.len(), cost[0].len(), |row, column| -cost[row][column])
            .expect("costs are finite");
        let pairs = optimal(&scores).expect("the matrix is small");
        assert_eq!(pairs.len(), cost.len().min(cost[0].len()));
        let total: f64 = pairs.iter().map(|pair| -pair.score).sum();
        assert!(
            (total - golden.total).abs() < 1e-9,
            "matrix {place}: {total} is not {}",
            golden.total
        );
    }
}
