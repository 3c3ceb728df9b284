//! The parts of a model that a stage trains or leaves alone.

use serde::{Deserialize, Serialize};

use crate::heads::is_head;

/// A part of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The tower that sees, or hears.
    Vision,
    /// What makes the tower's features the language model's: mergers and projectors.
    Connector,
    /// Embeddings and layers of the language model.
    Language,
    /// The output matrix, unless it is the embeddings' own, and heads of values and scores.
    Heads,
}

impl Part {
    /// All parts, in the order of the network.
    pub const ALL: [Self; 4] = [Self::Vision, Self::Connector, Self::Language, Self::Heads];

    /// The word used in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vision => "vision",
            Self::Connector => "connector",
            Self::Language => "language",
            Self::Heads => "heads",
        }
    }
}

/// What names of tensors hold, in the order in which they are tried: a merger lies inside of the tower.
const MARKS: [(&str, Part); 8] = [
    ("lm_head.", Part::Heads),
    ("merger", Part::Connector),
    ("multi_modal_projector.", Part::Connector),
    ("connector.", Part::Connector),
    ("visual.", Part::Vision),
    ("vision_tower.", Part::Vision),
    ("vision_model.", Part::Vision),
    ("audio_tower.", Part::Vision),
];

/// The part that a tensor of any family belongs to, by its name or by that of an adapter on it.
pub fn part_of(name: &str) -> Part {
    if is_head(name) {
        return Part::Heads;
    }
    let mark = MARKS.iter().find(|(mark, _)| name.contains(mark));
    mark.map_or(Part::Language, |(_, part)| *part)
}

/// Something for each part, or for some of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts<T> {
    /// Of the tower that sees, or hears.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub vision: Option<T>,
    /// Of mergers and projectors.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub connector: Option<T>,
    /// Of the language model, its embeddings included.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub language: Option<T>,
    /// Of the output matrix, and of heads of values and scores.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub heads: Option<T>,
}

fn none<T>() -> Option<T> {
    None
}

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Self {
            vision: None,
            connector: None,
            language: None,
            heads: None,
        }
    }
}

impl<T: Copy> Parts<T> {
    /// What is given for a part.
    pub fn get(&self, part: Part) -> Option<T> {
        match part {
            Part::Vision => self.vision,
            Part::Connector => self.connector,
            Part::Language => self.language,
            Part::Heads => self.heads,
        }
    }

    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        self.given().next().is_none()
    }

    /// The parts for which something is given.
    pub fn given(&self) -> impl Iterator<Item = (Part, T)> {
        let given = Part::ALL.map(|part| self.get(part).map(|value| (part, value)));
        given.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_of_all_families_have_their_part() {
        for (name, part) in [
            ("visual.blocks.0.attn.qkv.weight", Part::Vision),
            ("visual.merger.mlp.0.weight", Part::Connector),
            (
                "model.visual.deepstack_merger_list.1.norm.bias",
                Part::Connector,
            ),
            ("vision_tower.encoder.layer.0.lambda_1", Part::Vision),
            (
                "multi_modal_projector.linear_1.lora_A.weight",
                Part::Connector,
            ),
            ("model.vision_model.post_layernorm.weight", Part::Vision),
            (
                "model.connector.modality_projection.proj.weight",
                Part::Connector,
            ),
            ("audio_tower.layers.0.fc1.weight", Part::Vision),
            ("multi_modal_projector.linear.bias", Part::Connector),
            ("language_model.model.norm.weight", Part::Language),
            ("language_model.lm_head.weight", Part::Heads),
            ("lm_head.lora_B.weight", Part::Heads),
            ("v_head.summary.bias", Part::Heads),
            ("score.weight", Part::Heads),
            ("model.embed_tokens.weight", Part::Language),
            (
                "model.text_model.layers.0.mlp.up_proj.weight",
                Part::Language,
            ),
        ] {
            assert_eq!(part_of(name), part, "{name}");
        }
    }
}
