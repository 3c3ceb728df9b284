//! The sizes of a network that memory depends on, read from the names and shapes of its tensors.

use std::collections::BTreeMap;

use burn::tensor::DType;
use ocelli_model::adapter::is_adapter_tensor;
use ocelli_model::config::{Family, ModelConfig};
use ocelli_model::part::{Part, part_of};
use ocelli_model::text_config::TextKind;
use ocelli_model::weights::{Parameter, Weights};

use super::{Block, Shape, Stack, Tower};

/// Bytes of weights in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightBytes {
    /// In f32 once training begins: what is trained, and what was stored so.
    pub wide: usize,
    /// Mapped from the checkpoint's files in half precision.
    pub mapped: usize,
}

impl WeightBytes {
    /// Of weights of which `trains` names those that are trained. A file stays mapped, what was widened of it too, while any tensor of it
    /// is used from there.
    pub fn of(weights: &Weights, trains: impl Fn(&str) -> bool) -> Self {
        let mut bytes = Self::default();
        let mut uses_files = false;
        for (name, parameter) in weights.iter() {
            let (numbers, size) = (scalars(parameter), parameter.value.dtype().size());
            let is_half = parameter.value.dtype() != DType::F32;
            if is_half {
                bytes.mapped += numbers * size;
                uses_files |= !trains(name);
            }
            if !is_half || trains(name) {
                bytes.wide += numbers * size_of::<f32>();
            }
        }
        if !uses_files {
            bytes.mapped = 0;
        }
        bytes
    }

    /// Both.
    pub fn all(&self) -> usize {
        self.wide + self.mapped
    }
}

fn scalars(parameter: &Parameter) -> usize {
    parameter.shape.iter().product()
}

/// A run of blocks: what names begin with before the block's number.
fn stack_of(name: &str) -> Option<(&str, &str)> {
    let mut start = 0;
    for part in name.split('.') {
        let end = start + part.len();
        if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
            return Some((&name[..start], &name[end..]));
        }
        start = end + 1;
    }
    None
}

fn is_attention(name: &str) -> bool {
    ["attn", "attention"].iter().any(|word| name.contains(word))
}

fn is_feed_forward(name: &str) -> bool {
    ["mlp.", ".fc1.", ".fc2."]
        .iter()
        .any(|word| name.contains(word))
}

impl Shape {
    /// The shape of a network with these weights, of which `trains` names those that are trained.
    pub fn of(config: &ModelConfig, weights: &Weights, trains: impl Fn(&str) -> bool) -> Self {
        let (text, names) = (&config.text, config.text_names());
        let prefix = format!("{}layers.", names.body);
        let counts = Counts::new(weights, &trains);
        let language = Stack {
            block: Block {
                hidden: text.hidden_size,
                query: text.num_attention_heads * text.head_dim(),
                key: text.num_key_value_heads() * text.head_dim(),
                wide: text.intermediate_size,
                wide_kept: 3,
                normed: config.text_kind == TextKind::Qwen3,
                ..counts.block(&prefix, text.num_hidden_layers)
            },
            count: text.num_hidden_layers,
        };
        let embeddings = format!("{}embed_tokens.weight", names.body);
        let head = match config.tie_word_embeddings {
            true => embeddings.as_str(),
            false => names.head,
        };
        let trained = |name: &str| {
            let parameter = weights.get(name).filter(|_| trains(name));
            parameter.map_or(0, scalars)
        };
        let matrices = match config.tie_word_embeddings {
            true => trained(head),
            false => trained(head) + trained(&embeddings),
        };
        let is_half = |p: &Parameter| p.value.dtype() != DType::F32;
        Self {
            tower: tower(config, &counts, &prefix),
            language,
            vocabulary: text.vocab_size,
            head_trained: trained(head),
            embeddings_trained: match config.tie_word_embeddings {
                true => 0,
                false => trained(&embeddings),
            },
            rest_trained: (counts.alone(Part::Language) + counts.alone(Part::Heads))
                .saturating_sub(matrices),
            head_is_half: weights.get(head).is_some_and(is_half) && trained(head) == 0,
        }
    }
}

/// Numbers of trained parameters, and of what an adapter keeps, by stack.
struct Counts {
    trained: BTreeMap<String, usize>,
    adapter: BTreeMap<String, usize>,
    /// Trained outside of all stacks, by part.
    alone: BTreeMap<Part, usize>,
}

impl Counts {
    fn new(weights: &Weights, trains: &impl Fn(&str) -> bool) -> Self {
        let mut counts = Self {
            trained: BTreeMap::new(),
            adapter: BTreeMap::new(),
            alone: BTreeMap::new(),
        };
        let settings = weights.adapter().map(|adapter| &adapter.config);
        for (name, parameter) in weights.iter() {
            let stack = stack_of(name).filter(|(_, rest)| {
                is_attention(rest) || is_feed_forward(rest) || part_of(name) != Part::Connector
            });
            if trains(name) {
                match stack {
                    Some((prefix, _)) => {
                        *counts.trained.entry(prefix.to_owned()).or_default() += scalars(parameter);
                    }
                    None => *counts.alone.entry(part_of(name)).or_default() += scalars(parameter),
                }
            }
            let (Some((prefix, rest)), Some(settings)) = (stack, settings) else {
                continue;
            };
            // `A [rank, inputs]`, of which a matrix of three layers takes three outputs.
            if is_adapter_tensor(name) && name.contains("lora_A") {
                let (rank, inputs) = (parameter.shape[0], parameter.shape[1]);
                let uses = if rest.contains("qkv") { 3 } else { 1 };
                let dropped = match settings.lora_dropout > 0.0 {
                    true => 2 * inputs,
                    false => 0,
                };
                *counts.adapter.entry(prefix.to_owned()).or_default() += uses * (rank + dropped);
            }
            // The lengths of DoRA multiply what the layer gives.
            if is_adapter_tensor(name) && name.contains("magnitude") {
                *counts.adapter.entry(prefix.to_owned()).or_default() += 2 * parameter.shape[0];
            }
        }
        counts
    }

    fn alone(&self, part: Part) -> usize {
        self.alone.get(&part).copied().unwrap_or(0)
    }

    /// What one of `count` blocks of a stack has on average.
    fn block(&self, prefix: &str, count: usize) -> Block {
        let share = |map: &BTreeMap<String, usize>| {
            map.get(prefix).copied().unwrap_or(0).div_ceil(count.max(1))
        };
        Block {
            trained: share(&self.trained),
            adapter: share(&self.adapter),
            ..Block::default()
        }
    }
}

/// The tower's shape; `language` is what names of the other stack begin with.
fn tower(config: &ModelConfig, counts: &Counts, language: &str) -> Option<Tower> {
    config.tower.as_ref()?;
    let parameters = config.parameters();
    let in_stack = |name: &str| {
        stack_of(name)
            .filter(|(prefix, rest)| *prefix != language && is_attention(rest))
            .map(|(prefix, _)| prefix.to_owned())
    };
    let prefix = parameters.iter().find_map(|(name, _)| in_stack(name))?;
    let first = format!("{prefix}0.");
    let of_first: Vec<(&str, &[usize])> = parameters
        .iter()
        .filter_map(|(name, shape)| Some((name.strip_prefix(&first)?, shape.as_slice())))
        .collect();
    let matrices = |wanted: fn(&str) -> bool| -> Vec<(&str, [usize; 2])> {
        of_first
            .iter()
            .filter(|(name, shape)| shape.len() == 2 && wanted(name))
            .map(|(name, shape)| (*name, [shape[0], shape[1]]))
            .collect()
    };
    let attention = matrices(|name| is_attention(name) && !is_feed_forward(name));
    // The last matrix of attention is the one after it.
    let (&(_, [_, query]), others) = attention.split_last()?;
    let wide = matrices(|name| is_feed_forward(&format!(".{name}")));
    let &(_, [outputs, hidden]) = wide.first()?;
    let inputs: usize = others.iter().map(|(_, [outputs, _])| outputs).sum();
    let fused = others.iter().filter(|(name, _)| name.contains("qkv"));
    let has = |word: &str| of_first.iter().any(|(name, _)| name.contains(word));
    let wide_kept = match (wide.len(), config.family) {
        (3, _) => 3,
        (_, Family::Qwen2Vl) => 3,
        (_, Family::Qwen3Vl | Family::SmolVlm) => 5,
        _ => 2,
    };
    let count = parameters
        .iter()
        .filter_map(|(name, _)| name.strip_prefix(&prefix)?.split('.').next()?.parse().ok())
        .max()
        .map_or(0, |last: usize| last + 1);
    let patch = parameters.iter().find_map(|(name, shape)| {
        let is_embedding = name.contains("patch_embed") && shape.len() > 2;
        is_embedding.then(|| shape[1..].iter().product())
    });
    let widest = parameters
        .iter()
        .filter(|(name, shape)| part_of(name) == Part::Connector && shape.len() == 2)
        .map(|(_, shape)| shape[1]);
    let block = Block {
        hidden,
        query,
        key: inputs.saturating_sub(query) / 2,
        wide: outputs,
        wide_kept,
        normed: has("q_norm"),
        scaled: has("lambda_1"),
        fused: fused.map(|(_, [a, b])| a * b).sum(),
        ..counts.block(&prefix, count)
    };
    Some(Tower {
        tracked: block.trained > 0 || counts.alone(Part::Vision) > 0,
        stack: Stack { block, count },
        patch: patch.unwrap_or(0),
        merged: widest.max().unwrap_or(hidden).div_ceil(hidden),
        trained: counts.alone(Part::Vision) + counts.alone(Part::Connector),
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use ocelli_model::checkpoint::{Checkpoint, ConfigOverrides};

    use super::*;

    #[test]
    fn the_preset_has_the_shape_of_its_configuration() {
        let device = Device::flex();
        let preset =
            Checkpoint::open("tiny-qwen2_5_vl", &ConfigOverrides::default(), 0, &device).unwrap();
        let shape = Shape::of(&preset.config, &preset.weights, |_| true);
        assert_eq!(shape.trained(), preset.weights.scalars());
        assert_eq!((shape.vocabulary, shape.language.count), (768, 2));
        let block = shape.language.block;
        assert_eq!(
            (block.hidden, block.query, block.key, block.wide),
            (128, 128, 64, 352)
        );
        let tower = shape.tower.unwrap();
        assert_eq!((tower.patch, tower.merged, tower.stack.count), (1176, 4, 2));
        let block = tower.stack.block;
        assert_eq!(
            (block.hidden, block.query, block.key, block.wide),
            (64, 64, 64, 128)
        );
        assert_eq!((block.wide_kept, block.fused), (3, 3 * 64 * 64));
        let bytes = WeightBytes::of(&preset.weights, |_| true);
        assert_eq!(bytes.all(), 4 * preset.weights.scalars());
    }
}
