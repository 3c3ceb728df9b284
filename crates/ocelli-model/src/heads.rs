//! Heads beside the output matrix: one number a row, linear in the last hidden state.
//!
//! A checkpoint that has one is loaded like any other. What a stage learns in one is kept with it:
//!
//! | head | tensors | where |
//! |---|---|---|
//! | value | `v_head.summary.weight [1, hidden]`, `v_head.summary.bias [1]` | `value_head.safetensors` beside the weights; the names are those of TRL's `AutoModelForCausalLMWithValueHead` |
//! | score | `score.weight [1, hidden]` | among the model's own tensors, where sequence classifiers of transformers have it; with an adapter in `value_head.safetensors` |

use std::path::Path;

use burn::tensor::{Device, Tensor};
use serde_json::json;

use crate::checkpoint::{
    Checkpoint, file_error, malformed, parse_json, pretty, read_shaped_tensors, write_tensors,
};
use crate::config::Family;
use crate::error::ModelError;
use crate::weights::{Parameter, Weights};

/// A head with one output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// What reward is still to come, at every token.
    Value,
    /// How good a whole answer is, at its last token.
    Score,
}

/// The file that holds heads which are not among the model's own tensors.
const FILE: &str = "value_head.safetensors";

impl Head {
    /// All heads.
    pub const ALL: [Self; 2] = [Self::Value, Self::Score];

    fn weight(self) -> &'static str {
        match self {
            Self::Value => "v_head.summary.weight",
            Self::Score => "score.weight",
        }
    }

    fn bias(self) -> Option<&'static str> {
        match self {
            Self::Value => Some("v_head.summary.bias"),
            Self::Score => None,
        }
    }

    /// Names and shapes of its tensors for a model of this width.
    pub fn parameters(self, hidden: usize) -> Vec<(String, Vec<usize>)> {
        let weight = (self.weight().to_owned(), vec![1, hidden]);
        let bias = self.bias().map(|name| (name.to_owned(), vec![1]));
        [weight].into_iter().chain(bias).collect()
    }
}

/// Whether a tensor belongs to a head.
pub fn is_head(name: &str) -> bool {
    name.starts_with("v_head.") || name == Head::Score.weight()
}

/// A head's tensors, as a network has them.
#[derive(Clone, Debug)]
pub(crate) struct HeadViews {
    /// `[hidden, 1]`.
    weight: Tensor<2>,
    /// `[1]`.
    bias: Option<Tensor<1>>,
}

impl HeadViews {
    pub(crate) fn new(head: Head, weights: &Weights) -> Option<Self> {
        let weight = weights.get(head.weight())?;
        let bias = head.bias().and_then(|name| weights.get(name));
        Some(Self {
            weight: weight.value.clone().reshape([weight.shape[1], 1]),
            bias: bias.map(|bias| bias.value.clone()),
        })
    }

    /// `hidden [n, hidden]` → `[n]`.
    pub(crate) fn forward(&self, hidden: Tensor<2>) -> Tensor<1> {
        let rows = hidden.dims()[0];
        let numbers = hidden.matmul(self.weight.clone()).reshape([rows]);
        match &self.bias {
            Some(bias) => numbers + bias.clone().expand([rows]),
            None => numbers,
        }
    }
}

impl Checkpoint {
    /// Whether the model has a head.
    pub fn has_head(&self, head: Head) -> bool {
        self.weights.get(head.weight()).is_some()
    }

    /// Gives the model a head of zeros, unless it has one: every value and every score is 0 until something is learnt.
    pub fn attach_head(&mut self, head: Head, device: &Device) {
        if self.has_head(head) {
            return;
        }
        for (name, shape) in head.parameters(self.config.text.hidden_size) {
            let count = shape.iter().product();
            self.weights.insert(name, &shape, vec![0.0; count], device);
        }
        if head == Head::Score && self.config.family == Family::Text {
            self.describe_classifier();
        }
    }

    /// Writes into `config.json` what makes transformers load a sequence classifier with one output. There is such a class for language
    /// models alone, so other families keep theirs.
    fn describe_classifier(&mut self) {
        let Some(bytes) = self.files.get("config.json") else {
            return;
        };
        let Ok(mut json) = parse_json(Path::new("config.json"), bytes) else {
            return;
        };
        let class = json["architectures"][0].as_str().unwrap_or("");
        let body = class.strip_suffix("ForCausalLM").unwrap_or("");
        let body = match (body, self.config.model_type.as_str()) {
            ("", "qwen2") => "Qwen2",
            ("", "qwen3") => "Qwen3",
            ("", _) => "Llama",
            (body, _) => body,
        };
        json["architectures"] = json!([format!("{body}ForSequenceClassification")]);
        json["id2label"] = json!({"0": "LABEL_0"});
        json["label2id"] = json!({"LABEL_0": 0});
        self.files.insert("config.json".into(), pretty(&json));
    }
}

/// The heads that a checkpoint's own tensors are checked with.
pub(crate) fn among(weights: &Weights, hidden: usize) -> Vec<(String, Vec<usize>)> {
    let present = |head: &Head| weights.get(head.weight()).is_some();
    let heads = Head::ALL.into_iter().filter(present);
    heads.flat_map(|head| head.parameters(hidden)).collect()
}

/// Whether a tensor is written to the file of heads.
pub(crate) fn stands_apart(weights: &Weights, name: &str) -> bool {
    is_head(name) && (name != Head::Score.weight() || weights.adapter().is_some())
}

/// Writes the heads that stand apart, if there are any.
///
/// # Errors
/// When the file can't be written.
pub(crate) fn write(folder: &Path, weights: &Weights) -> Result<(), ModelError> {
    let apart: Vec<(&str, &Parameter)> = weights
        .iter()
        .filter(|(name, _)| stands_apart(weights, name))
        .collect();
    if apart.is_empty() {
        return Ok(());
    }
    let tensors = apart
        .into_iter()
        .map(|(name, p)| (name, p.shape.as_slice(), &p.value));
    write_tensors(&folder.join(FILE), tensors)
}

/// Reads the heads that stand apart, if there are any.
///
/// # Errors
/// When the file can't be read, or holds something else.
pub(crate) fn read(
    folder: &Path,
    weights: &mut Weights,
    hidden: usize,
    device: &Device,
) -> Result<(), ModelError> {
    let path = folder.join(FILE);
    if !path.is_file() {
        return Ok(());
    }
    let bytes = std::fs::read(&path).map_err(file_error(&path))?;
    let known: Vec<(String, Vec<usize>)> = Head::ALL
        .into_iter()
        .flat_map(|head| head.parameters(hidden))
        .collect();
    for tensor in read_shaped_tensors(&bytes).map_err(|e| malformed(&path, e))? {
        let fits = known
            .iter()
            .find(|(name, shape)| *name == tensor.name && *shape == tensor.shape);
        let Some((name, shape)) = fits else {
            let wanted: Vec<String> = known.iter().map(|(n, s)| format!("`{n}` {s:?}")).collect();
            return Err(malformed(
                &path,
                format!(
                    "tensor `{}` {:?} belongs to no head of this model; these do: {}",
                    tensor.name,
                    tensor.shape,
                    wanted.join(", ")
                ),
            ));
        };
        weights.insert(name, shape, tensor.values, device);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::ConfigOverrides;
    use crate::network::Network;
    use crate::preset::Preset;

    fn checkpoint() -> Checkpoint {
        let preset = Preset::find("tiny-qwen2_5_vl").unwrap();
        let small = ConfigOverrides {
            vision_depth: Some(1),
            num_hidden_layers: Some(1),
            ..ConfigOverrides::default()
        };
        Checkpoint::from_preset(&preset, &small, 3, &Device::flex()).unwrap()
    }

    #[test]
    fn a_new_head_says_zero_and_is_kept_beside_the_weights() {
        let device = Device::flex();
        let mut checkpoint = checkpoint();
        let plain = checkpoint.weights.scalars();
        checkpoint.attach_head(Head::Value, &device);
        let width = checkpoint.config.text.hidden_size;
        assert_eq!(checkpoint.weights.scalars(), plain + width + 1);
        let rows = Tensor::<2>::ones([3, width], &device);
        let values = |checkpoint: &Checkpoint| {
            let network = Network::new(&checkpoint.config, &checkpoint.weights);
            let values = network.head(Head::Value, rows.clone()).unwrap();
            values.to_data().try_to_vec::<f32>().unwrap()
        };
        assert_eq!(values(&checkpoint), [0.0; 3]);
        checkpoint.weights.insert(
            "v_head.summary.weight",
            &[1, width],
            vec![0.5; width],
            &device,
        );
        checkpoint
            .weights
            .insert("v_head.summary.bias", &[1], vec![-1.0], &device);
        assert_eq!(values(&checkpoint), [0.5 * width as f32 - 1.0; 3]);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("saved");
        checkpoint.save(&path, |_| Ok(())).unwrap();
        let bytes = std::fs::read(path.join("model.safetensors")).unwrap();
        let own = read_shaped_tensors(&bytes).unwrap();
        assert!(own.iter().all(|tensor| !is_head(&tensor.name)));
        let read = Checkpoint::load(&path, &device).unwrap();
        assert_eq!(values(&read), values(&checkpoint));
        // Attaching again changes nothing.
        let mut again = read.clone();
        again.attach_head(Head::Value, &device);
        assert_eq!(values(&again), values(&read));
    }

    #[test]
    fn a_head_of_another_width_is_refused() {
        let device = Device::flex();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("saved");
        let mut wrong = checkpoint();
        wrong
            .weights
            .insert("v_head.summary.weight", &[1, 2], vec![0.0; 2], &device);
        wrong.save(&path, |_| Ok(())).unwrap();
        let error = Checkpoint::load(&path, &device).unwrap_err().to_string();
        assert!(
            error.contains("[1, 2]") && error.contains("no head"),
            "{error}"
        );
    }

    #[test]
    fn a_score_lies_among_the_models_own_tensors() {
        let device = Device::flex();
        let mut checkpoint = checkpoint();
        checkpoint.attach_head(Head::Score, &device);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("saved");
        checkpoint.save(&path, |_| Ok(())).unwrap();
        assert!(!path.join(FILE).exists());
        assert!(
            Checkpoint::load(&path, &device)
                .unwrap()
                .has_head(Head::Score)
        );
    }
}
