//! Losses of preference pairs: a chosen and a rejected answer to the same prompt.
//!
//! With `c` and `r` the log-probabilities of the two answers over those of the reference, summed over their tokens, `Δ = c − r`
//! and `σ` the logistic function. `n_c` and `n_r` are the answers' lengths.

use burn::tensor::{Tensor, activation::log_sigmoid, activation::sigmoid};
use serde::{Deserialize, Serialize};

use super::Sequences;

/// The loss of a pair; `ε` is [`PreferenceConfig::label_smoothing`], the chance that a pair is the wrong way round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreferenceLoss {
    /// `−(1−ε) log σ(βΔ) − ε log σ(−βΔ)`: DPO (Rafailov et al. 2023), with smoothing cDPO (Mitchell 2023).
    #[default]
    Sigmoid,
    /// `−log σ(β(c/n_c − r/n_r))`: DPO of mean log-probabilities.
    SigmoidNorm,
    /// `max(0, 1 − βΔ)`: SLiC (Zhao et al. 2023).
    Hinge,
    /// `(c/n_c − r/n_r − 1/(2β))²`: IPO (Azar et al. 2023), of means as its authors do.
    Ipo,
    /// `(−(1−ε) log σ(βΔ) + ε log σ(−βΔ)) / (1−2ε)`: robust DPO (Chowdhury et al. 2024).
    Robust,
    /// `KL(softmax(β(c, r)) ‖ (1−ε, ε))`: EXO (Ji et al. 2024, equation 16); `ε` must be above 0.
    ExoPair,
    /// `−log σ(βc) − ½ log σ(−βc) − ½ log σ(−βr)`: NCA (Chen et al. 2024).
    NcaPair,
    /// `−log σ(βc) − log σ(−βr)`: BCO without its shift (Jung et al. 2024).
    BcoPair,
    /// `(c − 1/(2β))² + (r + 1/(2β))²`: SPPO with certain wins (Wu et al. 2024).
    SppoHard,
    /// `1 − σ(βc) + σ(βr)`: APO for answers better than the model's (D'Oosterlinck et al. 2024, equation 7).
    ApoZero,
    /// `σ(βc) + 1 − σ(βΔ)`: APO for answers worse than the model's (equation 8).
    ApoDown,
    /// `(1−m)·(−log σ(βΔ)) + m·exp(−βΔ)` with `m = σ(βΔ/τ)`, τ = 0.05: DiscoPOP (Lu et al. 2024).
    Discopop,
    /// `−(1−ε) log σ(β(log π_c/n_c − log π_r/n_r) − γ) − ε log σ(…)` without a reference: SimPO (Meng et al. 2024).
    Simpo,
}

/// The temperature of DiscoPOP's mixture.
const DISCOPOP_TEMPERATURE: f32 = 0.05;

/// How a stage learns from pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PreferenceConfig {
    pub loss_type: PreferenceLoss,
    /// How strongly differences count; the KL penalty's factor in DPO's derivation.
    pub beta: f64,
    /// Chance that a pair is the wrong way round (`sigmoid`, `robust`, `exo_pair`, `simpo`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_smoothing: Option<f64>,
    /// SimPO's γ: the margin that the chosen answer must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// Adds so many times the mean negative log-probability of the chosen answers' tokens (TRL's loss type `sft`, RPO's α).
    pub sft_weight: f64,
}

impl Default for PreferenceConfig {
    fn default() -> Self {
        Self {
            loss_type: PreferenceLoss::default(),
            beta: 0.1,
            label_smoothing: None,
            margin: None,
            sft_weight: 0.0,
        }
    }
}

impl PreferenceConfig {
    /// Whether answers are compared with a reference's.
    pub fn has_reference(&self) -> bool {
        self.loss_type != PreferenceLoss::Simpo
    }

    /// # Errors
    /// Says which key is wrong and how to mend it.
    pub fn check(&self) -> Result<(), String> {
        use PreferenceLoss::{ExoPair, Robust, Sigmoid, Simpo};
        let loss = self.loss_type;
        if !(self.beta.is_finite() && self.beta > 0.0) {
            return Err(format!(
                "`preference.beta = {}` must be above 0: with 0 a pair teaches nothing",
                self.beta
            ));
        }
        if !(self.sft_weight.is_finite() && self.sft_weight >= 0.0) {
            return Err(format!(
                "`preference.sft_weight = {}` must be 0 or more",
                self.sft_weight
            ));
        }
        if let Some(smoothing) = self.label_smoothing {
            if !matches!(loss, Sigmoid | Robust | ExoPair | Simpo) {
                return Err(
                    "`preference.label_smoothing` has no effect on this loss; remove it, or choose `sigmoid`, `robust`, \
                     `exo_pair` or `simpo`"
                        .into(),
                );
            }
            if !(0.0..0.5).contains(&smoothing) {
                return Err(format!(
                    "`preference.label_smoothing = {smoothing}` must be from 0 to below 0.5: at 0.5 a pair says nothing"
                ));
            }
        }
        if loss == ExoPair && self.label_smoothing.is_none_or(|s| s == 0.0) {
            return Err(
                "`exo_pair` takes the logarithm of `preference.label_smoothing`: set it above 0, such as 1e-3"
                    .into(),
            );
        }
        match self.margin {
            Some(_) if loss != Simpo => Err(
                "`preference.margin` has no effect without `loss_type = \"simpo\"`; remove it"
                    .into(),
            ),
            Some(margin) if !margin.is_finite() => {
                Err("`preference.margin` must be a number".into())
            }
            _ => Ok(()),
        }
    }
}

/// Pairs of a packed run: the tokens of each chosen answer, then those of the rejected one.
pub struct PairScores<'a> {
    /// `[tokens]`.
    pub logprob: Tensor<1>,
    /// `[tokens]`; `None` where the loss has no reference.
    pub reference: Option<Tensor<1>>,
    /// Two a pair.
    pub sequences: &'a Sequences,
}

/// What a loss is made of, `[pairs]` each.
pub struct PairLoss {
    pub loss: Tensor<1>,
    /// `β c`: the reward that the policy gives the chosen answer, up to the prompt's own part. Without a reference, `β` times the
    /// mean log-probability, as SimPO has it.
    pub chosen_reward: Tensor<1>,
    /// The same of the rejected answer.
    pub rejected_reward: Tensor<1>,
    /// Log-probabilities summed over the answers.
    pub chosen_logprob: Tensor<1>,
    pub rejected_logprob: Tensor<1>,
}

/// Columns of a `[pairs, 2]` list that is given as `[2 pairs]`.
fn columns(both: Tensor<1>) -> [Tensor<1>; 2] {
    let pairs = both.dims()[0] / 2;
    let both = both.reshape([pairs, 2]);
    [0, 1].map(|i| both.clone().slice([0..pairs, i..i + 1]).reshape([pairs]))
}

/// The loss of each pair.
pub fn preference_loss(config: &PreferenceConfig, scores: PairScores<'_>) -> PairLoss {
    let PairScores {
        logprob,
        reference,
        sequences,
    } = scores;
    let [chosen_logprob, rejected_logprob] = columns(sequences.sum(logprob.clone()));
    let gain = match &reference {
        Some(reference) => logprob - reference.clone(),
        None => logprob,
    };
    let [chosen_mean, rejected_mean] = columns(sequences.mean(gain.clone()));
    let [chosen, rejected] = columns(sequences.sum(gain));
    let beta = config.beta as f32;
    let smoothing = config.label_smoothing.unwrap_or(0.0) as f32;
    let delta = (chosen.clone() - rejected.clone()) * beta;
    let mean_delta = chosen_mean.clone() - rejected_mean.clone();
    let (c, r) = (chosen.clone() * beta, rejected.clone() * beta);
    let loss = match config.loss_type {
        PreferenceLoss::Sigmoid => smoothed(delta, smoothing),
        PreferenceLoss::SigmoidNorm => -log_sigmoid(mean_delta.clone() * beta),
        PreferenceLoss::Hinge => (-delta + 1.0).clamp_min(0.0),
        PreferenceLoss::Ipo => square(mean_delta.clone() - 0.5 / beta),
        PreferenceLoss::Robust => {
            let right = -log_sigmoid(delta.clone()) * (1.0 - smoothing);
            (right + log_sigmoid(-delta) * smoothing) / (1.0 - 2.0 * smoothing)
        }
        PreferenceLoss::ExoPair => {
            let [right, wrong] = [delta.clone(), -delta];
            let share =
                |x: Tensor<1>, wanted: f32| sigmoid(x.clone()) * (log_sigmoid(x) - wanted.ln());
            share(right, 1.0 - smoothing) + share(wrong, smoothing)
        }
        PreferenceLoss::NcaPair => {
            -log_sigmoid(c.clone()) - log_sigmoid(-c.clone()) * 0.5 - log_sigmoid(-r.clone()) * 0.5
        }
        PreferenceLoss::BcoPair => -log_sigmoid(c.clone()) - log_sigmoid(-r.clone()),
        PreferenceLoss::SppoHard => square(chosen - 0.5 / beta) + square(rejected + 0.5 / beta),
        PreferenceLoss::ApoZero => -sigmoid(c.clone()) + 1.0 + sigmoid(r.clone()),
        PreferenceLoss::ApoDown => sigmoid(c.clone()) + 1.0 - sigmoid(delta),
        PreferenceLoss::Discopop => {
            let mix = sigmoid(delta.clone() / DISCOPOP_TEMPERATURE);
            -log_sigmoid(delta.clone()) * (-mix.clone() + 1.0) + (-delta).exp() * mix
        }
        PreferenceLoss::Simpo => smoothed(
            mean_delta.clone() * beta - config.margin.unwrap_or(0.0) as f32,
            smoothing,
        ),
    };
    let (chosen_reward, rejected_reward) = match config.loss_type {
        PreferenceLoss::Simpo => (chosen_mean * beta, rejected_mean * beta),
        _ => (c, r),
    };
    PairLoss {
        loss,
        chosen_reward,
        rejected_reward,
        chosen_logprob,
        rejected_logprob,
    }
}

fn smoothed(delta: Tensor<1>, smoothing: f32) -> Tensor<1> {
    let right = -log_sigmoid(delta.clone());
    match smoothing {
        0.0 => right,
        _ => right * (1.0 - smoothing) - log_sigmoid(-delta) * smoothing,
    }
}

fn square(x: Tensor<1>) -> Tensor<1> {
    x.clone() * x
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_near, tensor, values};
    use super::*;

    fn config(loss_type: PreferenceLoss) -> PreferenceConfig {
        PreferenceConfig {
            loss_type,
            beta: 0.5,
            label_smoothing: matches!(loss_type, PreferenceLoss::ExoPair).then_some(0.1),
            ..PreferenceConfig::default()
        }
    }

    /// One pair: a chosen answer of two tokens with `c = 1`, a rejected one of one token with `r = −1`.
    fn loss(config: &PreferenceConfig) -> f32 {
        let reference = config.has_reference().then(|| tensor(&[-1.0, -2.0, -0.5]));
        let found = preference_loss(
            config,
            PairScores {
                logprob: tensor(&[-0.5, -1.5, -1.5]),
                reference,
                sequences: &Sequences::new(vec![2, 1]),
            },
        );
        assert_near(&values(found.chosen_logprob), &[-2.0]);
        assert_near(&values(found.rejected_logprob), &[-1.5]);
        values(found.loss)[0]
    }

    #[test]
    fn worked_numbers() {
        use PreferenceLoss::*;
        let log_sigmoid = |x: f32| -(1.0 + (-x).exp()).ln();
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        // β = 0.5, so βΔ = 1, βc = 0.5, βr = −0.5; the means are 0.5 and −1.
        for (kind, wanted) in [
            (Sigmoid, -log_sigmoid(1.0)),
            (SigmoidNorm, -log_sigmoid(0.75)),
            (Hinge, 0.0),
            (Ipo, 0.25),
            (Robust, -log_sigmoid(1.0)),
            (
                ExoPair,
                sigmoid(1.0) * (log_sigmoid(1.0) - 0.9f32.ln())
                    + sigmoid(-1.0) * (log_sigmoid(-1.0) - 0.1f32.ln()),
            ),
            (
                NcaPair,
                -log_sigmoid(0.5) - 0.5 * log_sigmoid(-0.5) - 0.5 * log_sigmoid(0.5),
            ),
            (BcoPair, -2.0 * log_sigmoid(0.5)),
            (SppoHard, 0.0),
            (ApoZero, 1.0 - sigmoid(0.5) + sigmoid(-0.5)),
            (ApoDown, sigmoid(0.5) + 1.0 - sigmoid(1.0)),
            (
                Discopop,
                -log_sigmoid(1.0) * (1.0 - sigmoid(20.0)) + (-1.0f32).exp() * sigmoid(20.0),
            ),
            // Means without a reference are −1 and −1.5.
            (Simpo, -log_sigmoid(0.25)),
        ] {
            let found = loss(&config(kind));
            assert!(
                (found - wanted).abs() < 1e-5,
                "{kind:?}: {found}, expected {wanted}"
            );
        }
        let smoothed = PreferenceConfig {
            label_smoothing: Some(0.2),
            ..config(Sigmoid)
        };
        let wanted = -0.8 * log_sigmoid(1.0) - 0.2 * log_sigmoid(-1.0);
        assert!((loss(&smoothed) - wanted).abs() < 1e-5);
        let simpo = PreferenceConfig {
            margin: Some(0.5),
            ..config(Simpo)
        };
        assert!((loss(&simpo) + log_sigmoid(-0.25)).abs() < 1e-5);
    }

    #[test]
    fn what_contradicts_is_refused() {
        let wrong = |keys: &str| {
            let config: PreferenceConfig = toml::from_str(keys).unwrap();
            config.check().unwrap_err()
        };
        for (keys, words) in [
            ("beta = 0.0", "preference.beta"),
            ("beta = nan", "preference.beta"),
            ("sft_weight = -1.0", "preference.sft_weight"),
            ("label_smoothing = 0.5", "below 0.5"),
            (
                "loss_type = 'ipo'\nlabel_smoothing = 0.1",
                "no effect on this loss",
            ),
            ("loss_type = 'exo_pair'", "above 0"),
            ("margin = 1.0", "simpo"),
            ("loss_type = 'simpo'\nmargin = inf", "must be a number"),
        ] {
            let found = wrong(keys);
            assert!(found.contains(words), "{keys}: {found}");
        }
        let config: PreferenceConfig = toml::from_str("loss_type = 'simpo'\nmargin = 0.5").unwrap();
        config.check().unwrap();
    }
}
