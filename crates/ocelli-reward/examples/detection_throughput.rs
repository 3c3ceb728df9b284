//! How many scenes a second the box rewards score on one core.
//!
//! Run with `cargo run --release -p ocelli-reward --example detection_throughput`; `bench/detection_pycocotools.py`
//! scores the same scenes with pycocotools and prints the same lines.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ocelli_reward::measure::average_precision::scene_ap;
use ocelli_reward::measure::box_rewards::{
    V_TRIUNE_THRESHOLDS, VTriuneRatios, v_triune_accuracy, vlm_r1_weighted_sum,
};
use ocelli_reward::measure::detection::{LabeledBox, match_boxes};
use ocelli_reward::measure::matching::Matcher;
use ocelli_reward::measure::overlap::Overlap;

const SCENES: usize = 1000;
const LABELS: [&str; 3] = ["cat", "dog", "cup"];
const ALL_PARTS: VTriuneRatios = VTriuneRatios {
    iou_max_label_first: 1.0,
    iou_max_iou_first: 1.0,
    iou_completeness: 0.3,
    map: 1.0,
    map50: 1.0,
    map75: 1.0,
};

struct Scene {
    gold: Vec<LabeledBox<'static>>,
    predicted: Vec<LabeledBox<'static>>,
}

/// A linear congruential generator, so that the Python side can draw the same numbers.
struct Draws(u64);

impl Draws {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = (self.0 * 1_103_515_245 + 12_345) % (1 << 31);
        (self.0 >> 8) % limit
    }
}

/// 2 to 8 objects of three classes; a prediction near each, one in eight with another label, and up to two false ones.
fn scenes() -> Vec<Scene> {
    let mut draws = Draws(7);
    (0..SCENES).map(|_| scene(&mut draws)).collect()
}

fn scene(draws: &mut Draws) -> Scene {
    let mut gold = Vec::new();
    let mut predicted = Vec::new();
    for _ in 0..2 + draws.below(7) {
        let corners = corners(draws);
        let label = draws.below(3) as usize;
        gold.push(labelled(corners, label));
        let moved = corners.map(|corner| corner + draws.below(13));
        let wrong = draws.below(8) == 0;
        let label = if wrong { (label + 1) % 3 } else { label };
        predicted.push(labelled(
            [
                moved[0],
                moved[1],
                moved[2].max(moved[0]),
                moved[3].max(moved[1]),
            ],
            label,
        ));
    }
    for _ in 0..draws.below(3) {
        let corners = corners(draws);
        predicted.push(labelled(corners, draws.below(3) as usize));
    }
    Scene { gold, predicted }
}

fn corners(draws: &mut Draws) -> [u64; 4] {
    let (x, y) = (draws.below(800), draws.below(800));
    [x, y, x + 10 + draws.below(150), y + 10 + draws.below(150)]
}

fn labelled(corners: [u64; 4], label: usize) -> LabeledBox<'static> {
    LabeledBox {
        bounds: corners.map(|corner| corner as f64).into(),
        label: LABELS[label],
    }
}

/// Scores all scenes again and again for a second; prints scenes a second and the mean score.
fn report(name: &str, scenes: &[Scene], score: impl Fn(&Scene) -> f64) {
    let start = Instant::now();
    let mut rounds = 0;
    let mut sum = 0.0;
    while rounds == 0 || start.elapsed() < Duration::from_secs(1) {
        sum = scenes.iter().map(|scene| score(black_box(scene))).sum();
        rounds += 1;
    }
    let rate = (rounds * scenes.len()) as f64 / start.elapsed().as_secs_f64();
    let mean = sum / scenes.len() as f64;
    println!("{name:<24} {rate:>12.0} scenes/s   mean {mean:.9}");
}

fn main() {
    let scenes = scenes();
    let usable = "the scenes are small and finite";
    report("average precision", &scenes, |scene| {
        scene_ap(&scene.predicted, &scene.gold).expect(usable).ap
    });
    report("first box IoU", &scenes, |scene| {
        scene.predicted[0].bounds.iou(&scene.gold[0].bounds)
    });
    report("Hungarian mean IoU", &scenes, |scene| {
        let (overlap, matcher) = (Overlap::Iou, Matcher::Hungarian);
        match_boxes(&scene.predicted, &scene.gold, overlap, matcher, 0.0)
            .expect(usable)
            .mean_over_gold()
    });
    report("VLM-R1 weighted sum", &scenes, |scene| {
        vlm_r1_weighted_sum(&scene.predicted, &scene.gold).expect(usable)
    });
    report("V-Triune, all parts", &scenes, |scene| {
        v_triune_accuracy(
            &scene.predicted,
            &scene.gold,
            &V_TRIUNE_THRESHOLDS,
            &ALL_PARTS,
        )
        .expect(usable)
    });
}
