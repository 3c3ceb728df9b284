//! Verifiers: pure functions of a recorded episode to a verdict.
//!
//! The enum [`Kind`] and its `match` are the registry; each variant holds the keys of its verifier and stands in the file
//! of its family. A wrong answer and an answer that cannot be read both score 0, the second with its reason; a row that
//! the verifier cannot judge is an error and never a 0.

mod boxes;
mod choice;
mod curves;
mod detection;
mod driving;
mod form;
mod intervals;
mod number;
mod place;
mod points;
mod published_detection;
mod range;
mod row;
mod sequences;
mod similarity;
mod structures;
mod text;
mod tracks;
mod worlds;

use ocelli_core::{Episode, Frame, Progress, Verdict};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

pub use place::AnswerIn;
pub(crate) use place::Place;
use place::{Common, Frames, Reads};
pub(crate) use row::Refusal;
use row::Row;

use boxes::{BoxIou, GuiG1};
use choice::{Letter, YesNo};
use curves::{PolygonIou, Trajectory};
use detection::Detection;
use driving::{Driving, MetaActionMatch, PlanConsistency};
use form::{Readable, Repetition, SoftOverlong, Tags};
use intervals::IntervalMatch;
use number::{Math, MeanRelativeAccuracy, Number, Percent};
use points::{PointDistance, PointInBox, PointsAssignment, PointsInPolygon, Relation3d};
use published_detection::{VTriuneDetection, VisionR1Detection, VlmR1WeightedSum};
use sequences::{HitAt, Ndcg, Permutation, ReciprocalRank};
use similarity::{Keywords, Levenshtein, Rouge, TokenF1, WordAccuracy};
use structures::{Skeleton, TaxonomyCredit};
use text::{Anls, Exact, Label, LabelSet};
use tracks::{SegmentationMatch, TrackMatch};
use worlds::{Layout, Route};

/// A check of the text of the policy's last turn, most of the time against the task's target.
///
/// It is read from the keys that a recipe's node takes beside those that all nodes have: `verifier`, the verifier's own,
/// and where they have an effect `answer_in`, `section`, `frame` and `target_frame`.
#[derive(Clone, Debug, PartialEq)]
pub struct Verifier {
    name: &'static str,
    // On the heap: some verifiers have many keys, most have none.
    kind: Box<Kind>,
    place: Place,
    frames: Frames,
}

/// The verifiers by the names that recipes use.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "verifier", rename_all = "snake_case")]
enum Kind {
    BoxIou(BoxIou),
    Tags(Tags),
    Exact(Exact),
    Number(Number),
    Math(Math),
    Letter(Letter),
    Anls(Anls),
    YesNo(YesNo),
    Label(Label),
    LabelSet(LabelSet),
    Percent(Percent),
    MeanRelativeAccuracy(MeanRelativeAccuracy),
    Levenshtein(Levenshtein),
    WordAccuracy(WordAccuracy),
    Rouge(Rouge),
    Keywords(Keywords),
    TokenF1(TokenF1),
    Repetition(Repetition),
    Readable(Readable),
    SoftOverlong(SoftOverlong),
    GuiG1(GuiG1),
    Detection(Detection),
    VlmR1WeightedSum(VlmR1WeightedSum),
    VTriuneDetection(VTriuneDetection),
    VisionR1Detection(VisionR1Detection),
    PointInBox(PointInBox),
    PointsInPolygon(PointsInPolygon),
    PointDistance(PointDistance),
    PointsAssignment(PointsAssignment),
    #[serde(rename = "relation_3d")]
    Relation3d(Relation3d),
    PolygonIou(PolygonIou),
    Trajectory(Trajectory),
    #[serde(rename = "interval")]
    IntervalMatch(IntervalMatch),
    #[serde(rename = "track")]
    TrackMatch(TrackMatch),
    #[serde(rename = "segmentation")]
    SegmentationMatch(SegmentationMatch),
    Permutation(Permutation),
    Ndcg(Ndcg),
    HitAt(HitAt),
    ReciprocalRank(ReciprocalRank),
    Route(Route),
    Layout(Layout),
    Driving(Driving),
    #[serde(rename = "meta_action")]
    MetaActionMatch(MetaActionMatch),
    PlanConsistency(PlanConsistency),
    #[serde(rename = "taxonomy")]
    TaxonomyCredit(TaxonomyCredit),
    Skeleton(Skeleton),
}

/// What one verifier does with its keys.
trait Rule {
    /// What it reads, and so which of the common keys it takes.
    fn reads(&self) -> Reads {
        Reads::Answer
    }

    /// Whether a row can be such that it has no score.
    fn can_fail(&self) -> bool {
        true
    }

    /// What is wrong with its keys, in words that say how to mend them.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Whether it counts in whole pixels, so that a picture of side 1 has no place for its boxes.
    fn counts_pixels(&self) -> bool {
        false
    }

    /// What is wrong with where the answer stands.
    fn check_place(&self, place: &Place) -> Result<(), String> {
        let _ = place;
        Ok(())
    }

    /// Judges one row. Targets are read before answers.
    fn judge(&self, row: &Row) -> Result<f64, Refusal>;
}

impl Kind {
    fn rule(&self) -> &dyn Rule {
        match self {
            Self::BoxIou(rule) => rule,
            Self::Tags(rule) => rule,
            Self::Exact(rule) => rule,
            Self::Number(rule) => rule,
            Self::Math(rule) => rule,
            Self::Letter(rule) => rule,
            Self::Anls(rule) => rule,
            Self::YesNo(rule) => rule,
            Self::Label(rule) => rule,
            Self::LabelSet(rule) => rule,
            Self::Percent(rule) => rule,
            Self::MeanRelativeAccuracy(rule) => rule,
            Self::Levenshtein(rule) => rule,
            Self::WordAccuracy(rule) => rule,
            Self::Rouge(rule) => rule,
            Self::Keywords(rule) => rule,
            Self::TokenF1(rule) => rule,
            Self::Repetition(rule) => rule,
            Self::Readable(rule) => rule,
            Self::SoftOverlong(rule) => rule,
            Self::GuiG1(rule) => rule,
            Self::Detection(rule) => rule,
            Self::VlmR1WeightedSum(rule) => rule,
            Self::VTriuneDetection(rule) => rule,
            Self::VisionR1Detection(rule) => rule,
            Self::PointInBox(rule) => rule,
            Self::PointsInPolygon(rule) => rule,
            Self::PointDistance(rule) => rule,
            Self::PointsAssignment(rule) => rule,
            Self::Relation3d(rule) => rule,
            Self::PolygonIou(rule) => rule,
            Self::Trajectory(rule) => rule,
            Self::IntervalMatch(rule) => rule,
            Self::TrackMatch(rule) => rule,
            Self::SegmentationMatch(rule) => rule,
            Self::Permutation(rule) => rule,
            Self::Ndcg(rule) => rule,
            Self::HitAt(rule) => rule,
            Self::ReciprocalRank(rule) => rule,
            Self::Route(rule) => rule,
            Self::Layout(rule) => rule,
            Self::Driving(rule) => rule,
            Self::MetaActionMatch(rule) => rule,
            Self::PlanConsistency(rule) => rule,
            Self::TaxonomyCredit(rule) => rule,
            Self::Skeleton(rule) => rule,
        }
    }
}

impl<'de> Deserialize<'de> for Verifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_settings(Map::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Verifier {
    fn from_settings(mut settings: Map<String, Value>) -> Result<Self, String> {
        let given = settings.get("verifier").and_then(Value::as_str);
        let given = given.unwrap_or_default().to_owned();
        let name = Self::NAMES.into_iter().find(|name| *name == given);
        let name = name.ok_or_else(|| format!("there is no verifier `{given}`"))?;
        let common = Common::take(&mut settings)?;
        let kind: Box<Kind> =
            serde_json::from_value(Value::Object(settings)).map_err(|error| error.to_string())?;
        let (place, frames) = common.for_reader(kind.rule().reads())?;
        Ok(Self {
            name,
            kind,
            place,
            frames,
        })
    }

    /// Relative tolerance of `number` when none is given: room for rounding in the last digits, and no more.
    pub const DEFAULT_TOLERANCE: f64 = 1e-9;

    /// The names that recipes use, in the order of the documentation.
    pub const NAMES: [&'static str; 46] = [
        "box_iou",
        "tags",
        "exact",
        "number",
        "math",
        "letter",
        "anls",
        "yes_no",
        "label",
        "label_set",
        "percent",
        "mean_relative_accuracy",
        "levenshtein",
        "word_accuracy",
        "rouge",
        "keywords",
        "token_f1",
        "repetition",
        "soft_overlong",
        "readable",
        "gui_g1",
        "detection",
        "vlm_r1_weighted_sum",
        "v_triune_detection",
        "vision_r1_detection",
        "point_in_box",
        "points_in_polygon",
        "point_distance",
        "points_assignment",
        "relation_3d",
        "polygon_iou",
        "trajectory",
        "interval",
        "track",
        "segmentation",
        "permutation",
        "ndcg",
        "hit_at",
        "reciprocal_rank",
        "route",
        "layout",
        "driving",
        "meta_action",
        "plan_consistency",
        "taxonomy",
        "skeleton",
    ];

    /// The name that recipes use.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether a row can be such that it has no score.
    pub(crate) fn can_fail(&self) -> bool {
        self.kind.rule().can_fail()
    }

    /// Whether its target is a box.
    pub(crate) fn compares_boxes(&self) -> bool {
        matches!(*self.kind, Kind::BoxIou(_) | Kind::GuiG1(_))
    }

    /// What is wrong with its settings, in words that say how to mend them.
    pub(crate) fn check(&self) -> Result<(), String> {
        let rule = self.kind.rule();
        rule.check()?;
        if rule.counts_pixels() && self.frames.target == Frame::Unit {
            return Err(
                "`target_frame = \"unit\"` has no pixels, and an overlap of at most one pixel counts as none here: give targets in \
                 another frame, or choose `overlap = \"iou\"` where there is a choice"
                    .to_owned(),
            );
        }
        rule.check_place(&self.place)
    }

    /// Judges `episode` by the text of its last decision.
    ///
    /// An answer that cannot be read gives [`Verdict::unparsed`]; a row without a target of the wanted kind gives
    /// [`Verdict::Error`] with the task's id.
    pub fn verify(&self, episode: &Episode, progress: Progress) -> Verdict {
        let row = Row {
            verifier: self.name,
            place: &self.place,
            frames: self.frames,
            episode,
            progress,
        };
        match self.kind.rule().judge(&row) {
            Ok(value) => Verdict::score(value),
            Err(Refusal::Unparsed(reason)) => Verdict::unparsed(reason),
            Err(Refusal::Unjudgeable(error)) => Verdict::Error(error),
        }
    }
}

#[cfg(test)]
mod tests;
