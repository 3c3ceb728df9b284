//! `ocelli generate`.

use std::sync::Arc;

use clap::Args;
use ocelli_core::{Purpose, SeedKey};
use ocelli_model::checkpoint::{Checkpoint, ConfigOverrides};
use ocelli_rollout::generate::{Request, generate};
use ocelli_rollout::{Policy, SamplingParams};

use super::shown::{ROW, ShownArguments};
use super::{misuse, print};

/// Arguments of `ocelli generate`.
#[derive(Args)]
pub struct Arguments {
    /// Checkpoint folder.
    #[arg(long)]
    model: String,
    #[command(flatten)]
    shown: ShownArguments,
    /// The question.
    prompt: String,
    /// The system prompt; without it, the model's chat template decides.
    #[arg(long)]
    system: Option<String>,
    /// Divides the logits; 0 takes the most likely token at every step.
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Samples from the smallest set of tokens with this probability.
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// Samples from this many most likely tokens; 0 keeps all.
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Tokens after which an answer is cut.
    #[arg(long, default_value_t = 128)]
    max_completion_length: usize,
    /// Answers to print.
    #[arg(long, short, default_value_t = 1)]
    number: u64,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON lines with token ids and log-probabilities.
    #[arg(long)]
    json: bool,
}

/// Answers.
///
/// # Errors
/// When checkpoint, pictures, videos or sounds can't be read.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !(arguments.temperature.is_finite() && arguments.temperature >= 0.0) {
        return Err(misuse(format!(
            "--temperature {}: give a number from 0 on",
            arguments.temperature
        )));
    }
    if !(arguments.top_p > 0.0 && arguments.top_p <= 1.0) {
        return Err(misuse(format!(
            "--top-p {}: give a number above 0 and at most 1",
            arguments.top_p
        )));
    }
    let device = burn::tensor::Device::flex();
    let checkpoint = Checkpoint::open(
        &arguments.model,
        &ConfigOverrides::default(),
        arguments.seed,
        &device,
    )?;
    let policy = Policy::new(checkpoint, &device)?;
    let media = arguments.shown.media(&policy)?;
    let messages = arguments
        .shown
        .messages(arguments.system.as_deref(), &arguments.prompt);
    let context = Arc::new(policy.processor.prompt(ROW, &messages, &media)?);
    let key = SeedKey::new(arguments.seed, Purpose::Sampling);
    let request = Request {
        context,
        samples: (0..arguments.number)
            .map(|i| key.clone().sample(i))
            .collect(),
    };
    let params = SamplingParams {
        temperature: arguments.temperature,
        top_p: arguments.top_p,
        top_k: arguments.top_k,
        max_completion_length: arguments.max_completion_length.max(1),
    };
    let completions = generate(
        &policy.network(),
        &[request],
        &params,
        &policy.rules,
        &policy.device,
    );
    let mut text = String::new();
    for completion in completions.into_iter().flatten() {
        let answer = policy.processor.decode(&completion.token_ids)?;
        if arguments.json {
            let line = serde_json::json!({
                "text": answer,
                "token_ids": completion.token_ids,
                "logprobs": completion.logprobs,
                "finish": completion.finish,
            });
            text += &format!("{line}\n");
        } else {
            text += answer.trim_end();
            text.push('\n');
        }
    }
    print(&text)
}
