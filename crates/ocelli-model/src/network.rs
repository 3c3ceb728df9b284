//! A whole network: a tower that sees or hears, and the language model that reads what it gives.
//!
//! The network works on packed rows: a batch is one run of tokens, and a [`Forest`] says who sees whom. Where attention
//! gets its keys from is the caller's choice ([`Attend`]), so training, prompt processing and sampling share this code.

use std::sync::Arc;

use burn::tensor::Tensor;

use crate::config::{ModelConfig, TowerConfig};
pub use crate::decoder::{Attend, Features};
use crate::decoder::{Decoder, layout};
use crate::families::{internvl, qwen2_5_vl, qwen2_audio, qwen2_vl, qwen3_vl, smolvlm};
use crate::heads::{Head, HeadViews};
use crate::ops::attention::{Forest, HeadLayout, attention};
use crate::ops::gather::RowSource;
use crate::ops::logprob::{Choice, choice_logprob};
use crate::weights::Weights;

/// Grid of what a tower reads: frames or tiles, height and width in patches.
pub type Grid = [usize; 3];

/// Attention inside the packed rows themselves.
pub struct PackedAttention<'a> {
    pub forest: &'a Arc<Forest>,
}

impl Attend for PackedAttention<'_> {
    fn attend(
        &mut self,
        _: usize,
        layout: HeadLayout,
        query: Tensor<2>,
        key: Tensor<2>,
        value: Tensor<2>,
    ) -> Tensor<2> {
        attention(query, key, value, layout, self.forest)
    }

    fn forest(&self) -> Option<&Arc<Forest>> {
        Some(self.forest)
    }
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a network has one tower")]
enum Tower {
    Qwen2Vl(qwen2_vl::Tower),
    Qwen2_5Vl(qwen2_5_vl::Tower),
    Qwen3Vl(qwen3_vl::Tower),
    InternVl(internvl::Tower),
    SmolVlm(smolvlm::Tower),
    Qwen2Audio(qwen2_audio::Tower),
}

/// The network, built from weights; tracked weights make a differentiable network.
#[derive(Clone, Debug)]
pub struct Network {
    config: Arc<ModelConfig>,
    tower: Option<Tower>,
    decoder: Decoder,
    value_head: Option<HeadViews>,
    score_head: Option<HeadViews>,
}

impl Network {
    /// Takes views of `weights`, which must have passed [`Weights::check`] for this configuration.
    pub fn new(config: &Arc<ModelConfig>, weights: &Weights) -> Self {
        let tower = config.tower.as_ref().map(|tower| match tower {
            TowerConfig::Qwen2Vl(v) => Tower::Qwen2Vl(qwen2_vl::Tower::new(v, weights)),
            TowerConfig::Qwen2_5Vl(v) => Tower::Qwen2_5Vl(qwen2_5_vl::Tower::new(v, weights)),
            TowerConfig::Qwen3Vl(v) => Tower::Qwen3Vl(qwen3_vl::Tower::new(v, weights)),
            TowerConfig::InternVl(v) => Tower::InternVl(internvl::Tower::new(v, weights)),
            TowerConfig::SmolVlm(v) => Tower::SmolVlm(smolvlm::Tower::new(v, weights)),
            TowerConfig::Qwen2Audio(a) => Tower::Qwen2Audio(qwen2_audio::Tower::new(a, weights)),
        });
        let decoder = Decoder::new(
            &config.text,
            config.text_kind,
            config.text_names(),
            config.tie_word_embeddings,
            config.default_theta(),
            weights,
        );
        Self {
            config: config.clone(),
            tower,
            decoder,
            value_head: HeadViews::new(Head::Value, weights),
            score_head: HeadViews::new(Head::Score, weights),
        }
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &Arc<ModelConfig> {
        &self.config
    }

    /// Number of language layers.
    pub fn layers(&self) -> usize {
        self.decoder.layers()
    }

    /// Heads of the language layers; their windows may differ from layer to layer.
    pub fn head_layout(&self) -> HeadLayout {
        layout(&self.config.text, 0)
    }

    /// Features of pictures, videos or sounds: `patches [Σ t·h·w, patch width]` in the processor's order, one grid each →
    /// one feature a placeholder, pictures one after the other.
    ///
    /// # Panics
    /// When the network has no tower.
    pub fn vision(&self, patches: Tensor<2>, grids: &[Grid]) -> Features {
        let tower = self
            .tower
            .as_ref()
            .expect("a network without a tower is shown no pictures");
        let plain = |rows| Features {
            rows,
            deep: Vec::new(),
        };
        match tower {
            Tower::Qwen2Vl(tower) => plain(tower.forward(patches, grids)),
            Tower::Qwen2_5Vl(tower) => plain(tower.forward(patches, grids)),
            Tower::Qwen3Vl(tower) => tower.forward(patches, grids),
            Tower::InternVl(tower) => plain(tower.forward(patches, grids)),
            Tower::SmolVlm(tower) => plain(tower.forward(patches, grids)),
            Tower::Qwen2Audio(tower) => plain(tower.forward(patches, grids)),
        }
    }

    /// Last hidden states, normed: `rows [n]` names each row's token or feature, `positions [n]` its time, height and
    /// width → `[n, hidden]`.
    pub fn hidden(
        &self,
        rows: Vec<RowSource>,
        features: Option<Features>,
        positions: &[[i32; 3]],
        attend: &mut impl Attend,
    ) -> Tensor<2> {
        self.decoder.hidden(rows, features, positions, attend)
    }

    /// What a head says of rows, `hidden [n, hidden]` → `[n]`; `None` where the model has no such head.
    pub fn head(&self, head: Head, hidden: Tensor<2>) -> Option<Tensor<1>> {
        let views = match head {
            Head::Value => &self.value_head,
            Head::Score => &self.score_head,
        };
        views.as_ref().map(|views| views.forward(hidden))
    }

    /// `hidden [n, hidden]` → logits `[n, vocabulary]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.decoder.head().forward(hidden)
    }

    /// Log-probability and more of each row's chosen token, `[n, 3]`; see [`choice_logprob`].
    pub fn choice_logprob(&self, hidden: Tensor<2>, choice: &Arc<Choice>) -> Tensor<2> {
        let head = self.decoder.head();
        let (hidden, weight) = match &head.low_rank {
            Some(low_rank) => low_rank.widened(hidden, &head.weight),
            None => (hidden, head.weight.clone()),
        };
        choice_logprob(hidden, weight, choice)
    }
}
