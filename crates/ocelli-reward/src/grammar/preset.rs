//! Grammars by name: the published ones and our own.

use serde::{Deserialize, Serialize};

use super::{Gap, Grammar, Holds, Marks, Once, Pick, Section};

/// A grammar by name. Where a system is named, the form accepts the same texts as that system's pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Ours: `<think>…</think> <answer>…</answer>`, each of the four tags exactly once, white space around allowed.
    ThinkAnswer,
    /// VLM-R1's generic format: `<think>.*?</think>\s*<answer>.*?</answer>` is the whole text; the first answer is read.
    VlmR1,
    /// VLM-R1's referring-expression format for Qwen: searched for, with a box of whole numbers inside braces in the
    /// answer.
    VlmR1Rec,
    /// VLM-R1's referring-expression format for InternVL: the same without braces.
    VlmR1RecInternvl,
    /// EasyR1's `r1v`: the form of [`Preset::VlmR1`]; the first answer on one line is read, else the whole text.
    R1v,
    /// EasyR1's `math`: white space squeezed, then `<think>.*</think>.*\\boxed\{.*\}.*` is the whole text; the last
    /// `\boxed{}` is read.
    EasyR1Math,
    /// EasyR1's `dapo`: the last `Answer: …` in the last 300 characters.
    Dapo,
    /// TRL's `think_format_reward`: `^<think>(?!.*<think>)(.*?)</think>.*$`; what stands after the last `</think>` is
    /// the answer, as in its `reasoning_accuracy_reward`.
    TrlThink,
    /// OneThinker and MetaSpatial: the form of [`Preset::VlmR1`] with white space around allowed.
    OneThinker,
    /// Visionary-R1: info, think, answer are the whole text, with exactly one white space after `</info>`.
    InfoThinkAnswer,
    /// DIP-R1: think, look, answer.
    ThinkLookAnswer,
    /// `<thinking>`, `<answer>`.
    ThinkingAnswer,
    /// VLA-R1: think, output.
    ThinkOutput,
    /// R1-AQA: an answer is the whole text.
    AnswerOnly,
    /// The last `\boxed{…}`, wherever it stands.
    Boxed,
    /// PeBR-R1's headers: description, rationales, steps, answer; `step` reads the last step.
    PebrHeaders,
    /// V-Triune's marks with their line breaks, for [`Grammar::mark_credit`]; the form is think and answer anywhere.
    VTriune,
    /// No tags: the whole text is the answer.
    Whole,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 18] = [
        Self::ThinkAnswer,
        Self::VlmR1,
        Self::VlmR1Rec,
        Self::VlmR1RecInternvl,
        Self::R1v,
        Self::EasyR1Math,
        Self::Dapo,
        Self::TrlThink,
        Self::OneThinker,
        Self::InfoThinkAnswer,
        Self::ThinkLookAnswer,
        Self::ThinkingAnswer,
        Self::ThinkOutput,
        Self::AnswerOnly,
        Self::Boxed,
        Self::PebrHeaders,
        Self::VTriune,
        Self::Whole,
    ];

    /// The name that recipes use.
    pub fn name(self) -> &'static str {
        match self {
            Self::ThinkAnswer => "think_answer",
            Self::VlmR1 => "vlm_r1",
            Self::VlmR1Rec => "vlm_r1_rec",
            Self::VlmR1RecInternvl => "vlm_r1_rec_internvl",
            Self::R1v => "r1v",
            Self::EasyR1Math => "easy_r1_math",
            Self::Dapo => "dapo",
            Self::TrlThink => "trl_think",
            Self::OneThinker => "one_thinker",
            Self::InfoThinkAnswer => "info_think_answer",
            Self::ThinkLookAnswer => "think_look_answer",
            Self::ThinkingAnswer => "thinking_answer",
            Self::ThinkOutput => "think_output",
            Self::AnswerOnly => "answer_only",
            Self::Boxed => "boxed",
            Self::PebrHeaders => "pebr_headers",
            Self::VTriune => "v_triune",
            Self::Whole => "whole",
        }
    }

    /// The preset that recipes call `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }
}

impl Grammar {
    /// The grammar of `preset`.
    pub fn preset(preset: Preset) -> Self {
        let tag = Section::tag;
        let flush = |name| Section {
            gap: Gap::Nothing,
            ..tag(name)
        };
        let anywhere = |name| Section {
            gap: Gap::Anything,
            ..tag(name)
        };
        let (sections, after) = match preset {
            Preset::ThinkAnswer => {
                let once = |name| Section {
                    once: Once::Both,
                    ..tag(name)
                };
                (vec![once("think"), once("answer")], Gap::Space)
            }
            Preset::VlmR1 => (vec![flush("think"), tag("answer")], Gap::Nothing),
            Preset::VlmR1Rec | Preset::VlmR1RecInternvl => {
                let holds = if preset == Preset::VlmR1Rec {
                    Holds::WholeBoxInBraces
                } else {
                    Holds::WholeBox
                };
                let answer = Section {
                    holds,
                    ..tag("answer")
                };
                (vec![anywhere("think"), answer], Gap::Anything)
            }
            Preset::R1v => {
                let answer = Section {
                    single_line: true,
                    or_whole: true,
                    ..tag("answer")
                };
                (vec![flush("think"), answer], Gap::Nothing)
            }
            Preset::EasyR1Math => (vec![flush("think"), boxed()], Gap::Anything),
            Preset::Dapo => {
                let answer = Section {
                    marks: Marks::Line("Answer".to_owned()),
                    pick: Pick::Last,
                    tail: Some(300),
                    ..tag("answer")
                };
                (vec![answer], Gap::Anything)
            }
            Preset::TrlThink => {
                let think = Section {
                    once: Once::Opening,
                    ..flush("think")
                };
                let answer = Section {
                    marks: Marks::After("</think>".to_owned()),
                    pick: Pick::Last,
                    ..tag("answer")
                };
                (vec![think, answer], Gap::Anything)
            }
            Preset::OneThinker => (vec![tag("think"), tag("answer")], Gap::Space),
            Preset::InfoThinkAnswer => {
                let think = Section {
                    gap: Gap::OneSpace,
                    ..tag("think")
                };
                (vec![flush("info"), think, tag("answer")], Gap::Nothing)
            }
            Preset::ThinkLookAnswer => (vec![tag("think"), tag("look"), tag("answer")], Gap::Space),
            Preset::ThinkingAnswer => (vec![tag("thinking"), tag("answer")], Gap::Space),
            Preset::ThinkOutput => (vec![tag("think"), tag("output")], Gap::Space),
            Preset::AnswerOnly => (vec![flush("answer")], Gap::Nothing),
            Preset::Boxed => (vec![boxed()], Gap::Anything),
            Preset::PebrHeaders => {
                let header = |name, text: &str| Section {
                    marks: Marks::Header(text.to_owned()),
                    pick: Pick::Last,
                    ..tag(name)
                };
                let sections = vec![
                    header("description", "### Image Description:"),
                    header("rationales", "### Rationales:"),
                    header("step", "### Step {n}:"),
                    header("answer", "### The final answer is:"),
                ];
                (sections, Gap::Anything)
            }
            Preset::VTriune => {
                let lines = |name, open: &str, close: &str| Section {
                    marks: Marks::Between(open.to_owned(), close.to_owned()),
                    ..anywhere(name)
                };
                let sections = vec![
                    lines("think", "<think>\n", "\n</think>\n"),
                    lines("answer", "\n<answer>\n", "\n</answer>"),
                ];
                (sections, Gap::Anything)
            }
            Preset::Whole => {
                let whole = Section {
                    marks: Marks::Whole,
                    ..tag("answer")
                };
                (vec![whole], Gap::Anything)
            }
        };
        Self {
            sections,
            after,
            squeeze: preset == Preset::EasyR1Math,
        }
    }
}

/// The last `\boxed{…}` as section `answer`.
fn boxed() -> Section {
    Section {
        marks: Marks::Boxed,
        pick: Pick::Last,
        gap: Gap::Anything,
        ..Section::tag("answer")
    }
}
