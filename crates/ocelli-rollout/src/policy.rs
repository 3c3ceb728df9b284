//! The policy: a network with its processor, ready to sample.

use std::sync::Arc;

use burn::tensor::Device;
use ocelli_data::resize::{Filter, PassOrder, resize, resize_torchvision};
use ocelli_model::checkpoint::Checkpoint;
use ocelli_model::error::ModelError;
use ocelli_model::network::Network;
use ocelli_model::processor::Processor;
use ocelli_model::sight::Resizers;
use ocelli_model::weights::Weights;

use crate::generate::TokenRules;

/// What acts: weights, processor, and how many optimizer steps made the weights.
#[derive(Clone, Debug)]
pub struct Policy {
    pub checkpoint: Checkpoint,
    pub processor: Arc<Processor>,
    pub rules: TokenRules,
    /// Optimizer steps taken.
    pub version: u64,
    pub device: Device,
}

impl Policy {
    /// A policy that samples everything but image placeholders and stops at the end of a turn.
    ///
    /// # Errors
    /// When the checkpoint's tokenizer, template or image processor can't be used, or does not fit the network.
    pub fn new(checkpoint: Checkpoint, device: &Device) -> Result<Self, ModelError> {
        let resizers = Resizers {
            bicubic: |picture, width, height| {
                resize(
                    picture,
                    width,
                    height,
                    Filter::Bicubic,
                    PassOrder::PillowBefore13,
                )
            },
            lanczos: |picture, width, height| {
                resize(
                    picture,
                    width,
                    height,
                    Filter::Lanczos,
                    PassOrder::PillowBefore13,
                )
            },
            torchvision: |picture, width, height| {
                resize_torchvision(picture, width, height, Filter::Bicubic)
            },
            torchvision_lanczos: |picture, width, height| {
                resize_torchvision(picture, width, height, Filter::Lanczos)
            },
        };
        let processor = Processor::from_files(&checkpoint.files, &checkpoint.config, resizers)?;
        processor.check(&checkpoint.config)?;
        let rules = TokenRules {
            stop: processor.stop_tokens().to_vec(),
            banned: checkpoint.config.placeholder_tokens(),
        };
        Ok(Self {
            checkpoint,
            processor: Arc::new(processor),
            rules,
            version: 0,
            device: device.clone(),
        })
    }

    /// The network without gradients.
    pub fn network(&self) -> Network {
        Network::new(&self.checkpoint.config, &self.checkpoint.weights)
    }

    /// The network of tracked weights.
    pub fn network_of(&self, weights: &Weights) -> Network {
        Network::new(&self.checkpoint.config, weights)
    }
}
