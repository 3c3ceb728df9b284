//! Average precision against pycocotools and assignments against scipy, on random scenes and matrices.

use std::collections::BTreeMap;

use ocelli_reward::measure::average_precision::{
    CocoSummary, GoldBox, Scene, ScoredBox, coco_summary, scene_ap,
};
use ocelli_reward::measure::detection::LabeledBox;
use ocelli_reward::measure::matching::{PairScores, optimal};
use serde::Deserialize;

const TOLERANCE: f64 = 1e-6;

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
        let found = coco_summary(&[scene(golden)]).expect("the scene is usable");
        assert_equal(&format!("scene {place}"), &found, &golden.summary);
    }
}

#[test]
fn groups_of_scenes_equal_pycocotools() {
    let golden = golden();
    for group in &golden.groups {
        let members = &golden.scenes[group.first..group.first + group.count];
        let scenes: Vec<Scene> = members.iter().map(scene).collect();
        let found = coco_summary(&scenes).expect("the scenes are usable");
        let name = format!("{} scenes from {}", group.count, group.first);
        assert_equal(&name, &found, &group.summary);
    }
}

#[test]
fn scenes_without_scores_equal_what_vlm_r1_and_v_triune_ask_of_pycocotools() {
    let mut compared = 0;
    for (place, golden) in golden().scenes.iter().enumerate() {
        let scene = scene(golden);
        let labelled = |bounds, label| LabeledBox { bounds, label };
        let gold: Vec<_> = scene
            .gold
            .iter()
            .map(|g| labelled(g.bounds, g.label))
            .collect();
        let predicted: Vec<_> = scene
            .predicted
            .iter()
            .map(|p| labelled(p.bounds, p.label))
            .collect();
        let found = scene_ap(&predicted, &gold).expect("the scene is usable");
        if let Some(expected) = golden.scene_ap {
            compared += 1;
            for (found, expected) in [found.ap, found.ap50, found.ap75].into_iter().zip(expected) {
                assert!(
                    (found - expected).abs() < TOLERANCE,
                    "scene {place}: {found} is not {expected}"
                );
            }
        }
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
