//! What a rule sees of an episode: the row's target, the answer, and the frames that places are written in.

use std::borrow::Cow;

use ocelli_core::{
    BoundingBox, Episode, FailureKind, Frame, FrameFailure, FrameSizes, Progress, Target, Task,
    VerifierError,
};
use serde::de::DeserializeOwned;

use super::place::{Frames, Place};
use crate::grammar::GrammarFailure;
use crate::measure::MeasureError;
use crate::payload::{ParseFailure, parse_box, parse_boxes, parse_text};

/// Why there is no plain score.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The answer cannot be read, for this reason.
    Unparsed(String),
    Unjudgeable(VerifierError),
}

impl From<ParseFailure> for Refusal {
    fn from(failure: ParseFailure) -> Self {
        Self::Unparsed(failure.to_string())
    }
}

impl From<FrameFailure> for Refusal {
    fn from(failure: FrameFailure) -> Self {
        Self::Unparsed(failure.to_string())
    }
}

impl From<GrammarFailure> for Refusal {
    fn from(failure: GrammarFailure) -> Self {
        Self::Unparsed(failure.to_string())
    }
}

/// One episode as a rule of the named verifier sees it.
pub(crate) struct Row<'a> {
    pub(super) verifier: &'static str,
    pub(super) place: &'a Place,
    pub(super) frames: Frames,
    pub(super) episode: &'a Episode,
    pub(super) progress: Progress,
}

/// A box of a list with its label, folded; the label is empty where labels do not count.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NamedBox {
    pub(crate) bounds: BoundingBox,
    pub(crate) label: String,
}

impl<'a> Row<'a> {
    fn task(&self) -> &'a Task {
        &self.episode.task
    }

    /// The text of the last turn.
    pub(crate) fn turn(&self) -> &'a str {
        self.episode.answer_text()
    }

    /// The text in which the answer stands.
    pub(crate) fn answer(&self) -> Result<Cow<'a, str>, Refusal> {
        self.place.answer(self.turn())
    }

    /// The text of the section `name`.
    pub(crate) fn section(&self, name: &str) -> Result<Cow<'a, str>, Refusal> {
        self.place.section(self.turn(), name)
    }

    /// The answer as `read` understands it. Targets are to be read before: a row that cannot be judged is an error
    /// whatever the policy has said.
    pub(crate) fn read<T>(
        &self,
        read: impl Fn(&str) -> Result<T, ParseFailure>,
    ) -> Result<T, Refusal> {
        Ok(read(&self.answer()?)?)
    }

    /// The target's text.
    pub(crate) fn target_text(&self) -> Result<&'a str, Refusal> {
        match &self.task().target {
            Some(Target::Text(target)) => Ok(target),
            other => Err(self.wrong_target("text", other.as_ref())),
        }
    }

    /// The target as `read` understands its text.
    pub(crate) fn target<T>(
        &self,
        read: impl Fn(&str) -> Result<T, ParseFailure>,
    ) -> Result<T, Refusal> {
        let text = self.target_text()?;
        read(text).map_err(|failure| self.unreadable_target(text, &failure.to_string()))
    }

    /// The target's text as JSON of the wanted form.
    pub(crate) fn target_json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let text = self.target_text()?;
        serde_json::from_str(text).map_err(|error| self.unreadable_target(text, &error.to_string()))
    }

    /// The accepted texts: the target, or the texts of its JSON list with `any_of`.
    pub(crate) fn accepted(&self, any_of: bool) -> Result<Vec<String>, Refusal> {
        if !any_of {
            return Ok(vec![self.target_text()?.to_owned()]);
        }
        let accepted: Vec<String> = self.target_json()?;
        if accepted.is_empty() {
            return Err(self.unreadable_target("[]", "it accepts nothing"));
        }
        Ok(accepted)
    }

    /// The accepted texts, each as `read` understands it.
    pub(crate) fn accepted_as<T>(
        &self,
        any_of: bool,
        read: impl Fn(&str) -> Result<T, ParseFailure>,
    ) -> Result<Vec<T>, Refusal> {
        let one = |text: &String| {
            read(text).map_err(|failure| self.unreadable_target(text, &failure.to_string()))
        };
        self.accepted(any_of)?.iter().map(one).collect()
    }

    /// The target as a box with an area: a box, or a text that one can be read from.
    pub(crate) fn target_box(&self) -> Result<BoundingBox, Refusal> {
        let target = match &self.task().target {
            Some(Target::Box(target)) => *target,
            Some(Target::Text(_)) => self.target(parse_box)?,
            None => return Err(self.wrong_target("box", None)),
        };
        self.check_box(&target)?;
        Ok(target)
    }

    fn check_box(&self, target: &BoundingBox) -> Result<(), Refusal> {
        if target.is_valid() && target.area() > 0.0 {
            return Ok(());
        }
        Err(self.unjudgeable(
            FailureKind::TargetUnreadable,
            &format!("the row's box {:?} has no area", <[f64; 4]>::from(*target)),
            "write it as [x1, y1, x2, y2] with x1 < x2 and y1 < y2",
        ))
    }

    /// The boxes of the target, which may be none; with `labels` each must have one.
    pub(crate) fn target_boxes(&self, labels: bool) -> Result<Vec<NamedBox>, Refusal> {
        let boxes = match &self.task().target {
            Some(Target::Box(target)) => vec![(*target, None)],
            Some(Target::Text(_)) => {
                let list = self.target(parse_boxes)?.boxes;
                list.into_iter()
                    .map(|b| (b.bounding_box, b.label))
                    .collect()
            }
            None => return Err(self.wrong_target("list of boxes", None)),
        };
        let named = |(bounds, label): (BoundingBox, Option<String>)| {
            self.check_box(&bounds)?;
            let label = label.as_deref().map(parse_text);
            match label {
                _ if !labels => Ok(NamedBox {
                    bounds,
                    label: String::new(),
                }),
                Some(Ok(label)) => Ok(NamedBox { bounds, label }),
                _ => Err(self.unjudgeable(
                    FailureKind::TargetUnreadable,
                    "a box of the row has no label",
                    "give it one, or set `labels = false`",
                )),
            }
        };
        boxes.into_iter().map(named).collect()
    }

    /// The boxes of the answer in the target's frame; a box without a label has the empty one.
    pub(crate) fn read_boxes(
        &self,
        labels: bool,
        places: &Places,
    ) -> Result<Vec<NamedBox>, Refusal> {
        let named = |found: crate::payload::LabelledBox| {
            let label = found.label.filter(|_| labels);
            Ok(NamedBox {
                bounds: places.bounds(found.bounding_box)?,
                label: label.and_then(|l| parse_text(&l).ok()).unwrap_or_default(),
            })
        };
        let found = self.read(parse_boxes)?.boxes;
        found.into_iter().map(named).collect()
    }

    /// The way from the answer's frame to the target's.
    pub(crate) fn places(&self) -> Result<Places, Refusal> {
        let Frames { answer, target } = self.frames;
        let in_pixels = |frame| matches!(frame, Frame::SourcePixels | Frame::ModelPixels);
        let sizes = if !in_pixels(answer) && !in_pixels(target) {
            // Their extents are the same for every picture.
            Some(FrameSizes::new([1, 1], [1, 1])?)
        } else if answer == target {
            None
        } else {
            Some(self.sizes(answer)?)
        };
        Ok(Places {
            sizes,
            frames: self.frames,
        })
    }

    /// Width and height of the picture in the target's frame.
    pub(crate) fn extent(&self) -> Result<[f64; 2], Refusal> {
        match self.frames.target {
            Frame::PerThousand => Ok([1000.0; 2]),
            Frame::Unit => Ok([1.0; 2]),
            frame => Ok(self.sizes(frame)?.extent(frame)),
        }
    }

    fn sizes(&self, frame: Frame) -> Result<FrameSizes, Refusal> {
        self.episode.pictures.first().copied().ok_or_else(|| {
            let name = serde_json::json!(frame);
            let what = format!(
                "the episode does not say how large its pictures are, so {name} is not known"
            );
            let mend = "score the episode as it is recorded now, or leave the frames as they are";
            self.unjudgeable(FailureKind::FrameUnknown, &what, mend)
        })
    }

    /// A measure that refuses the answer is a reason not to read it; one that refuses the target is an error.
    pub(crate) fn measured<T>(&self, measured: Result<T, MeasureError>) -> Result<T, Refusal> {
        measured.map_err(|error| match error {
            MeasureError::BadGold { .. } => self.unjudgeable(
                FailureKind::TargetUnreadable,
                &error.to_string(),
                "mend the row",
            ),
            _ => Refusal::Unparsed(error.to_string()),
        })
    }

    fn wrong_target(&self, wanted: &str, found: Option<&Target>) -> Refusal {
        let (kind, found) = match found {
            None => (FailureKind::TargetMissing, "the row has no target"),
            Some(Target::Text(_)) => (FailureKind::TargetUnreadable, "the row's target is a text"),
            Some(Target::Box(_)) => (FailureKind::TargetUnreadable, "the row's target is a box"),
        };
        let mend = format!("give the row a {wanted}, or keep such rows from this node with `when`");
        self.unjudgeable(kind, found, &mend)
    }

    /// The target's text says nothing that could be compared, for this reason.
    pub(crate) fn unreadable_target(&self, text: &str, reason: &str) -> Refusal {
        const LONGEST: usize = 200;
        let shown: String = text.chars().take(LONGEST).collect();
        let more = if shown.len() < text.len() { " …" } else { "" };
        let what = format!("the row's text {shown:?}{more} cannot be read: {reason}");
        self.unjudgeable(FailureKind::TargetUnreadable, &what, "mend the row")
    }

    pub(crate) fn unjudgeable(&self, kind: FailureKind, what: &str, mend: &str) -> Refusal {
        Refusal::Unjudgeable(VerifierError {
            kind,
            message: format!(
                "task `{}`: `{}` cannot judge it, {what}; {mend}",
                self.task().id,
                self.verifier
            ),
            retryable: false,
        })
    }
}

/// The one way of an answer's places into the target's frame.
pub(crate) struct Places {
    /// None when both are in the same pixels, so that nothing has to be known.
    sizes: Option<FrameSizes>,
    frames: Frames,
}

impl Places {
    pub(crate) fn point(&self, point: [f64; 2]) -> Result<[f64; 2], Refusal> {
        let Frames { answer, target } = self.frames;
        Ok(match &self.sizes {
            Some(sizes) => sizes.convert(point, answer, target)?,
            None => point,
        })
    }

    pub(crate) fn points(&self, points: Vec<[f64; 2]>) -> Result<Vec<[f64; 2]>, Refusal> {
        points.into_iter().map(|point| self.point(point)).collect()
    }

    pub(crate) fn bounds(&self, bounds: BoundingBox) -> Result<BoundingBox, Refusal> {
        let Frames { answer, target } = self.frames;
        Ok(match &self.sizes {
            Some(sizes) => sizes.convert_box(bounds, answer, target)?,
            None => bounds,
        })
    }
}

/// 1 or 0.
pub(crate) fn one_if(right: bool) -> f64 {
    f64::from(u8::from(right))
}
