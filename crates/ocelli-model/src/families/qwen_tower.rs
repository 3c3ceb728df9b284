//! What the towers of Qwen2-VL, Qwen2.5-VL and Qwen3-VL are built from.

use burn::tensor::{Tensor, activation};

use crate::config::Patching;
use crate::layers::{Attention, Linear, Norm, ParameterList, Views};
use crate::ops::attention::HeadLayout;
use crate::size_checks::{COUNTS, WIDTHS, check_ranges, require};

/// Epsilon of the norms, fixed in the reference.
pub(super) const EPSILON: f32 = 1e-6;

pub(super) fn default_channels() -> usize {
    3
}

/// The sizes that every one of the towers has. Widths come with their keys, which differ from family to family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) depth: usize,
    pub(crate) heads: usize,
    /// Of the blocks.
    pub(crate) width: (&'static str, usize),
    /// Of the features, which is the language model's.
    pub(crate) out: (&'static str, usize),
    pub(crate) patching: Patching,
}

impl Sizes {
    pub(super) fn head_dim(&self) -> usize {
        self.width.1 / self.heads
    }

    /// Patches that become one feature.
    pub(super) fn unit(&self) -> usize {
        self.patching.merge_size * self.patching.merge_size
    }

    /// Numbers of the patches that become one feature.
    pub(super) fn merged_width(&self) -> usize {
        self.width.1 * self.unit()
    }

    /// Shape of the kernel that makes rows of patches.
    pub(super) fn kernel(&self) -> [usize; 5] {
        let p = self.patching;
        [
            self.width.1,
            p.channels,
            p.temporal_patch_size,
            p.patch_size,
            p.patch_size,
        ]
    }

    /// Refuses what no tower has.
    pub(super) fn check(&self, text_width: usize) -> Result<(), String> {
        let Self {
            width: (width_key, width),
            out: (out_key, out),
            heads,
            patching: p,
            ..
        } = *self;
        check_ranges(
            "vision_config.",
            &[
                ("depth", self.depth, COUNTS),
                (width_key, width, WIDTHS),
                (out_key, out, WIDTHS),
                ("num_heads", heads, WIDTHS),
                ("patch_size", p.patch_size, COUNTS),
                ("spatial_merge_size", p.merge_size, COUNTS),
                ("temporal_patch_size", p.temporal_patch_size, COUNTS),
                ("in_channels", p.channels, COUNTS),
            ],
        )?;
        require(
            width.is_multiple_of(heads) && self.head_dim().is_multiple_of(4),
            || {
                format!(
                    "vision {width_key} {width} must give {heads} heads of a width divisible by 4"
                )
            },
        )?;
        require(out == text_width, || {
            format!(
                "vision {out_key} {out} differs from the language model's hidden_size {text_width}"
            )
        })
    }

    /// Names and shapes of a block's attention.
    pub(super) fn attention_parameters(&self, list: &mut ParameterList, block: &str) {
        let width = self.width.1;
        list.linear(&format!("{block}.attn.qkv"), 3 * width, width, true);
        list.linear(&format!("{block}.attn.proj"), width, width, true);
    }

    /// A block's attention, whose queries, keys and values lie in one tensor.
    pub(super) fn attention(&self, block: &Views<'_>) -> Attention {
        let width = self.width.1;
        Attention {
            query: block.third("attn.qkv", width, 0),
            key: block.third("attn.qkv", width, 1),
            value: block.third("attn.qkv", width, 2),
            output: block.linear("attn.proj", width, true),
            norms: None,
            layout: HeadLayout {
                heads: self.heads,
                kv_heads: self.heads,
                head_dim: self.head_dim(),
                window: None,
            },
        }
    }
}

/// Neighbouring patches to one feature. The norm is as wide as a patch, or as all that are joined.
#[derive(Clone, Debug)]
pub(super) struct Merger {
    norm: Norm,
    layers: [Linear; 2],
    width: usize,
}

impl Merger {
    /// `layers` are the names of its two linear layers.
    pub(super) fn new(views: &Views<'_>, norm: Norm, layers: [&str; 2], sizes: &Sizes) -> Self {
        let width = sizes.merged_width();
        Self {
            norm,
            layers: layers.map(|name| views.linear(name, width, true)),
            width,
        }
    }

    /// `x [rows, width]`, patches of a feature one after the other → `[rows / unit, out]`.
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let [rows, width] = x.dims();
        let joined = x.reshape([rows * width / self.width, self.width]);
        let hidden = self.layers[0].forward(self.norm.forward_parts(joined));
        self.layers[1].forward(activation::gelu(hidden))
    }
}
