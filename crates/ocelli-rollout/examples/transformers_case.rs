//! Writes a prompt with a random picture and the logits of a checkpoint for it, so that
//! `crates/ocelli-model/tests/golden/check_checkpoint.py` can compare them with those of transformers:
//!
//! ```text
//! cargo run --release -p ocelli-rollout --example transformers_case -- CHECKPOINT case.safetensors
//! python crates/ocelli-model/tests/golden/check_checkpoint.py CHECKPOINT --cases case.safetensors
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use ocelli_core::{Message, Part, Picture, Purpose, Role, SeedKey};
use ocelli_model::checkpoint::Checkpoint;
use ocelli_model::network::PackedAttention;
use ocelli_model::ops::attention::Forest;
use ocelli_model::percept::Media;
use ocelli_rollout::Policy;
use ocelli_rollout::generate::PackedContexts;
use rand::RngExt;
use safetensors::tensor::{Dtype, TensorView};

/// Sizes of the random pictures; one prompt shows them all.
const SIZES: [(usize, usize); 3] = [(112, 112), (200, 90), (84, 140)];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("usage: transformers_case CHECKPOINT OUT".into());
    };
    let device = Device::flex();
    let policy = Policy::new(Checkpoint::load(Path::new(&folder), &device)?, &device)?;
    let mut rng = SeedKey::new(0, Purpose::Generator).rng();
    let mut content = Vec::new();
    let mut images = Vec::new();
    for (index, (width, height)) in SIZES.into_iter().enumerate() {
        let rgb: Vec<u8> = (0..width * height * 3).map(|_| rng.random()).collect();
        images.push(policy.processor.image(&Picture::new(width, height, rgb))?);
        content.push(Part::Text {
            text: format!("Picture {index}: "),
        });
        content.push(Part::Image { index });
    }
    content.push(Part::Text {
        text: "Where is the red circle? <think>[12, 30, 55, 80]</think>".into(),
    });
    let message = Message {
        role: Role::User,
        content,
    };
    let context = policy
        .processor
        .prompt("random", &[message], &Media::of_images(images))?;
    let network = policy.network();
    let packed = PackedContexts::new(&network, &[&context], &device);
    let forest = Arc::new(Forest::sequences([context.ids.len()], true));
    let mut attend = PackedAttention { forest: &forest };
    let hidden = network.hidden(packed.rows, packed.features, &packed.positions, &mut attend);
    let logits = network.logits(hidden);
    let [tokens, vocabulary] = logits.dims();
    let logits: Vec<f32> = logits
        .into_data()
        .try_into_vec()
        .map_err(|e| format!("{e:?}"))?;

    let integers = |values: Vec<i64>| {
        values
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let floats = |values: Vec<f32>| {
        values
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let pixels: Vec<f32> = context
        .percepts
        .iter()
        .flat_map(|p| p.rows.iter().copied())
        .collect();
    let grids: Vec<i64> = context
        .percepts
        .iter()
        .flat_map(|p| p.extent.grid().map(|side| side as i64))
        .collect();
    let patching = policy.checkpoint.config.patching();
    let width = patching.ok_or("this checks the Qwen families")?.width();
    let data = BTreeMap::from([
        (
            "input_ids",
            (
                Dtype::I64,
                vec![tokens],
                integers(context.ids.iter().map(|&id| i64::from(id)).collect()),
            ),
        ),
        (
            "grid_thw",
            (Dtype::I64, vec![grids.len() / 3, 3], integers(grids)),
        ),
        (
            "pixel_values",
            (
                Dtype::F32,
                vec![pixels.len() / width, width],
                floats(pixels),
            ),
        ),
        (
            "logits",
            (Dtype::F32, vec![tokens, vocabulary], floats(logits)),
        ),
    ]);
    let views: BTreeMap<&str, TensorView> = data
        .iter()
        .map(|(name, (dtype, shape, bytes))| {
            Ok((*name, TensorView::new(*dtype, shape.clone(), bytes)?))
        })
        .collect::<Result<_, safetensors::SafeTensorError>>()?;
    std::fs::write(out, safetensors::serialize(views, None)?)?;
    Ok(())
}
