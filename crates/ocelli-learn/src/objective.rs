//! Objectives: from log-probabilities and advantages to a loss a token. Pure functions, one concept a file.
//!
//! Tensors are `[tokens]`: the trained tokens of a packed run of sequences, one after another; padding and prompts are not there.
//! [`Sequences`] says where each sequence lies. How token losses become one number is [`aggregation`]'s part.
//! Selections and weights that need the whole batch ([`covariance`], [`dependence`], [`entropy`], [`difficulty`], [`staleness`]) are
//! functions of plain slices, because no gradient flows through them.

pub mod aggregation;
pub mod bradley_terry;
pub mod cispo;
pub mod clip;
pub mod covariance;
pub mod dependence;
pub mod difficulty;
pub mod entropy;
pub mod gmpo;
pub mod kl;
pub mod likelihood;
pub mod preference;
pub mod ratio;
pub mod sapo;
pub mod staleness;
pub mod value;
pub mod vespo;

pub use aggregation::{BatchSize, LossAggregation, token_weight};
pub use cispo::CispoBounds;
pub use clip::{ClipBounds, clipped_surrogate};
pub use kl::{KlEstimator, kl};
pub use ratio::{ImportanceSamplingLevel, Sequences, log_ratio};
pub use sapo::SapoTemperatures;
pub use vespo::VespoShape;

use burn::tensor::Tensor;

/// The part of the loss that advantages act on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Surrogate {
    /// [`clip`].
    Clip(ClipBounds),
    /// [`cispo`].
    Cispo(CispoBounds),
    /// [`sapo`].
    Sapo(SapoTemperatures),
    /// [`gmpo`]; the bounds are of log-ratios.
    Gmpo(ClipBounds),
    /// [`vespo`].
    Vespo(VespoShape),
    /// [`likelihood::reinforce`].
    Reinforce,
    /// The plain ratio, unclipped; the tokens that [`covariance::kl_cov_tokens`] chose also pay `coefficient · |log r|`.
    KlCov { coefficient: f64 },
}

/// What a surrogate is computed from, each `[tokens]`. Gradients flow through `logprob` only.
#[derive(Clone)]
pub struct SurrogateInput<'a> {
    pub logprob: Tensor<1>,
    pub old_logprob: Tensor<1>,
    pub advantage: Tensor<1>,
    pub sequences: &'a Sequences,
    pub level: ImportanceSamplingLevel,
    /// 1 at the tokens that [`covariance`] chose, 0 elsewhere.
    pub chosen: Option<Tensor<1>>,
}

impl Surrogate {
    /// The loss of every token.
    pub fn token_loss(&self, input: SurrogateInput) -> Tensor<1> {
        let log_ratio = || {
            log_ratio(
                input.logprob.clone(),
                input.old_logprob.clone(),
                input.level,
                input.sequences,
            )
        };
        let advantage = input.advantage.clone();
        match *self {
            Self::Clip(bounds) => {
                let loss = clipped_surrogate(log_ratio(), advantage, bounds);
                match input.chosen {
                    Some(chosen) => loss * (-chosen + 1.0),
                    None => loss,
                }
            }
            Self::Cispo(bounds) => {
                cispo::cispo(input.logprob.clone(), log_ratio(), advantage, bounds)
            }
            Self::Sapo(temperatures) => sapo::sapo(log_ratio(), advantage, temperatures),
            Self::Gmpo(bounds) => {
                let log_ratio = input.logprob - input.old_logprob;
                gmpo::gmpo(log_ratio, advantage, bounds, input.sequences)
            }
            Self::Vespo(shape) => {
                let log_ratio = input.logprob.clone() - input.old_logprob;
                vespo::vespo(input.logprob, log_ratio, advantage, shape, input.sequences)
            }
            Self::Reinforce => likelihood::reinforce(input.logprob, advantage),
            Self::KlCov { coefficient } => {
                covariance::kl_cov(log_ratio(), advantage, input.chosen, coefficient)
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use burn::tensor::{Device, Tensor};

    pub(crate) fn tensor(values: &[f32]) -> Tensor<1> {
        Tensor::from_floats(values, &Device::flex().autodiff())
    }

    pub(crate) fn values(t: Tensor<1>) -> Vec<f32> {
        t.into_data().try_to_vec().unwrap()
    }

    /// Values of `loss(x)` and the gradient of their sum.
    pub(crate) fn value_and_gradient(
        x: &[f32],
        loss: impl Fn(Tensor<1>) -> Tensor<1>,
    ) -> (Vec<f32>, Vec<f32>) {
        let x = tensor(x).require_grad();
        let loss = loss(x.clone());
        let gradients = loss.clone().sum().backward();
        let gradient = x.grad(&gradients).map_or(vec![0.0; x.dims()[0]], values);
        (values(loss), gradient)
    }

    pub(crate) fn assert_near(got: &[f32], want: &[f32]) {
        assert_eq!(got.len(), want.len());
        for (a, b) in got.iter().zip(want) {
            assert!(
                (a - b).abs() <= 1e-5 * b.abs().max(1.0),
                "{got:?}, expected {want:?}"
            );
        }
    }
}
