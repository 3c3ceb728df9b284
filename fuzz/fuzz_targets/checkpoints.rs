//! Files of a checkpoint. The first byte says which of them is replaced by the rest.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use burn::tensor::Device;
use libfuzzer_sys::fuzz_target;
use ocelli_core::{Message, Picture, Role};
use ocelli_model::checkpoint::{Checkpoint, ConfigOverrides};
use ocelli_model::percept::Media;
use ocelli_model::processor::Processor;
use ocelli_model::sight::{Resize, Resizers};

const FILES: [&str; 6] = [
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "chat_template.jinja",
    "preprocessor_config.json",
    "tokenizer_config.json",
];

/// A small checkpoint, and the contents of those of its files.
fn whole() -> &'static (PathBuf, Vec<Vec<u8>>) {
    static WHOLE: OnceLock<(PathBuf, Vec<Vec<u8>>)> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("ocelli-fuzz-{}", std::process::id()));
        let overrides = ConfigOverrides {
            vision_hidden_size: Some(32),
            vision_depth: Some(1),
            vision_intermediate_size: Some(16),
            num_hidden_layers: Some(1),
        };
        let made = Checkpoint::open("tiny-qwen2_5_vl", &overrides, 0, &Device::flex());
        let made = made.expect("a preset");
        made.save(&folder, |_| Ok(())).expect("a folder");
        let read = |name: &&str| std::fs::read(folder.join(name)).expect("a file");
        let files = FILES.iter().map(read).collect();
        (folder, files)
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    let (folder, files) = whole();
    let which = usize::from(*which) % FILES.len();
    let path = folder.join(FILES[which]);
    std::fs::write(&path, bytes).expect("written");
    if let Ok(checkpoint) = Checkpoint::load(folder, &Device::flex()) {
        let same: Resize =
            |_, width, height| Picture::new(width, height, vec![0; width * height * 3]);
        let resizers = Resizers {
            bicubic: same,
            lanczos: same,
            torchvision: same,
            torchvision_lanczos: same,
        };
        let processor = Processor::from_files(&checkpoint.files, &checkpoint.config, resizers);
        if let Ok(processor) = processor
            && processor.check(&checkpoint.config).is_ok()
        {
            let question = Message::text(Role::User, "Where is it?");
            let _ = processor.prompt("row", &[question], &Media::default());
            let _ = processor.grid(640, 480);
        }
    }
    std::fs::write(&path, &files[which]).expect("written");
});
