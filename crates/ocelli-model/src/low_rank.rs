//! What an adapter adds to a linear layer: LoRA (Hu et al. 2021), rank-stabilised LoRA (Kalajdzievski 2023) and DoRA (Liu et
//! al. 2024), as PEFT 0.21 computes them.

use burn::tensor::{DType, Tensor, TensorData};
use ocelli_core::SeedKey;
use rand::RngExt;
use rayon::prelude::*;

use crate::ops::linear::linear;

/// `y = W x + b + s B A drop(x)`; with a magnitude `m`, and `c = m / ‖W + s B A‖` (the norm of each row, a constant in the
/// backward pass), `y = W x + b + (c − 1) W drop(x) + c s B A drop(x)`.
#[derive(Clone, Debug)]
pub(crate) struct LowRank {
    /// `A [rank, inputs]`.
    pub(crate) down: Tensor<2>,
    /// `B [outputs, rank]`.
    pub(crate) up: Tensor<2>,
    /// `c [outputs]`.
    pub(crate) gain: Option<Tensor<1>>,
    /// `s`.
    pub(crate) scale: f32,
    pub(crate) dropout: Option<Dropout>,
}

/// `c = m / ‖W + s B A‖`; the gradient reaches the magnitude `m` only, as in section 4.3 of the paper.
pub(crate) fn gain(
    weight: &Tensor<2>,
    (down, up, scale): (&Tensor<2>, &Tensor<2>, f32),
    magnitude: Tensor<1>,
) -> Tensor<1> {
    let weight = wide(weight.clone().detach());
    let norms = row_norms(weight + product(&up.clone().detach(), &down.clone().detach(), scale));
    magnitude / norms
}

/// The same numbers in f32; a frozen matrix may be kept in half precision, which widens exactly.
pub(crate) fn wide<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if x.dtype() == DType::F32 {
        x
    } else {
        x.cast(DType::F32)
    }
}

/// `‖W_o‖` of each row, `[outputs]`.
pub(crate) fn row_norms(weight: Tensor<2>) -> Tensor<1> {
    let outputs = weight.dims()[0];
    wide(weight).square().sum_dim(1).sqrt().reshape([outputs])
}

/// `s B A`, `[outputs, inputs]`.
pub(crate) fn product(up: &Tensor<2>, down: &Tensor<2>, scale: f32) -> Tensor<2> {
    linear(up.clone(), down.clone().swap_dims(0, 1), None).mul_scalar(scale)
}

impl LowRank {
    /// What the layer with weight `W [outputs, inputs]` and this adapter maps `x [rows, inputs]` to.
    pub(crate) fn forward(
        &self,
        x: Tensor<2>,
        weight: &Tensor<2>,
        bias: Option<&Tensor<1>>,
    ) -> Tensor<2> {
        let dropped = self.dropped(x.clone());
        let low = linear(dropped.clone(), self.down.clone(), None);
        let low = linear(low, self.up.clone(), None).mul_scalar(self.scale);
        let Some(gain) = &self.gain else {
            return linear(x, weight.clone(), bias.cloned()) + low;
        };
        let gain: Tensor<2> = gain.clone().unsqueeze();
        let plain = linear(x, weight.clone(), None);
        let y = if self.dropout.is_some() {
            let base = linear(dropped, weight.clone(), None);
            plain + base * (gain.clone() - 1.0) + low * gain
        } else {
            (plain + low) * gain
        };
        match bias {
            Some(bias) => y + bias.clone().unsqueeze(),
            None => y,
        }
    }

    /// The same map without a bias as one product, for operations that take a weight: `[x, …] · [W, …]ᵀ`.
    pub(crate) fn widened(&self, x: Tensor<2>, weight: &Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let (dropped, weight) = (self.dropped(x.clone()), wide(weight.clone()));
        let low = linear(dropped.clone(), self.down.clone(), None).mul_scalar(self.scale);
        let Some(gain) = &self.gain else {
            let weight = Tensor::cat(vec![weight, self.up.clone()], 1);
            return (Tensor::cat(vec![x, low], 1), weight);
        };
        let gain: Tensor<2> = gain.clone().reshape([-1, 1]);
        let (base, up) = (weight, self.up.clone() * gain.clone());
        if self.dropout.is_some() {
            let more = base.clone() * (gain - 1.0);
            (
                Tensor::cat(vec![x, dropped, low], 1),
                Tensor::cat(vec![base, more, up], 1),
            )
        } else {
            (
                Tensor::cat(vec![x, low], 1),
                Tensor::cat(vec![base * gain, up], 1),
            )
        }
    }

    fn dropped(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.dropout {
            Some(dropout) => dropout.forward(x),
            None => x,
        }
    }
}

/// Zeroes a share of the numbers and scales the others up, so that the mean stays. What falls out depends on the key alone.
#[derive(Clone, Debug)]
pub(crate) struct Dropout {
    pub(crate) share: f64,
    /// Of the module in its step and micro-batch.
    pub(crate) key: SeedKey,
}

/// Rows that share one random stream.
const ROWS: usize = 64;

impl Dropout {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let [rows, width] = x.dims();
        let kept = (1.0 / (1.0 - self.share)) as f32;
        let bound = (self.share * (f64::from(u32::MAX) + 1.0)) as u32;
        let mut mask = vec![0.0f32; rows * width];
        let chunks = mask.par_chunks_mut((ROWS * width).max(1)).enumerate();
        chunks.for_each(|(chunk, mask)| {
            let mut rng = self.key.clone().turn(chunk as u64).rng();
            for value in mask {
                if rng.random::<u32>() >= bound {
                    *value = kept;
                }
            }
        });
        let mask = Tensor::from_data(TensorData::new(mask, [rows, width]), &x.device());
        x * mask
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use ocelli_core::Purpose;

    use super::*;
    use crate::ops::values;

    fn low_rank(gain: Option<[f32; 2]>, dropout: Option<f64>) -> LowRank {
        let device = Device::flex();
        LowRank {
            down: Tensor::from_floats([[1.0, -1.0, 0.5]], &device),
            up: Tensor::from_floats([[2.0], [-1.0]], &device),
            gain: gain.map(|gain| Tensor::from_floats(gain, &device)),
            scale: 0.5,
            dropout: dropout.map(|share| Dropout {
                share,
                key: SeedKey::new(3, Purpose::Dropout).step(1).task("a"),
            }),
        }
    }

    fn weight() -> Tensor<2> {
        Tensor::from_floats([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0]], &Device::flex())
    }

    #[test]
    fn a_worked_layer() {
        let x = || Tensor::<2>::from_floats([[1.0, 2.0, 4.0]], &Device::flex());
        let bias = Tensor::from_floats([10.0, 20.0], &Device::flex());
        // W x = (5, 14), A x = 1, s B A x = (1, −0.5).
        let y = low_rank(None, None).forward(x(), &weight(), Some(&bias));
        assert_eq!(values(y), [16.0, 33.5]);
        let y = low_rank(Some([2.0, 0.5]), None).forward(x(), &weight(), Some(&bias));
        assert_eq!(values(y), [22.0, 26.75]);
        // W + s B A = (2, 1, 0.5), (−0.5, 1.5, 2.75).
        let adapter = low_rank(None, None);
        let magnitude = Tensor::from_floats([3.0, 4.0], &Device::flex());
        let gain = values(gain(
            &weight(),
            (&adapter.down, &adapter.up, 0.5),
            magnitude,
        ));
        let half = weight().cast(DType::BF16);
        let magnitude = Tensor::from_floats([3.0, 4.0], &Device::flex());
        let of_half = super::gain(&half, (&adapter.down, &adapter.up, 0.5), magnitude);
        assert_eq!(values(of_half), gain);
        let norms = [5.25f32.sqrt(), (0.25f32 + 2.25 + 7.5625).sqrt()];
        assert!((gain[0] - 3.0 / norms[0]).abs() < 1e-6 && (gain[1] - 4.0 / norms[1]).abs() < 1e-6);
    }

    #[test]
    fn the_widened_product_is_the_layer() {
        let x = Tensor::<2>::from_floats([[1.0, 2.0, 4.0], [-3.0, 0.5, 1.0]], &Device::flex());
        for gain in [None, Some([2.0, 0.5])] {
            for dropout in [None, Some(0.5)] {
                let adapter = low_rank(gain, dropout);
                let want = values(adapter.forward(x.clone(), &weight(), None));
                let (wide, weight) = adapter.widened(x.clone(), &weight());
                for (a, b) in values(linear(wide, weight, None)).iter().zip(want) {
                    assert!((a - b).abs() < 1e-5, "{gain:?} {dropout:?}: {a} {b}");
                }
            }
        }
    }

    #[test]
    fn dropout_keeps_the_mean_and_follows_its_key() {
        let ones = || Tensor::<2>::ones([200, 50], &Device::flex());
        let key = SeedKey::new(3, Purpose::Dropout);
        let draw = |key: &SeedKey| {
            let dropout = Dropout {
                share: 0.25,
                key: key.clone(),
            };
            values(dropout.forward(ones()))
        };
        let first = draw(&key);
        let zeros = first.iter().filter(|v| **v == 0.0).count();
        assert!((zeros as f64 / 10_000.0 - 0.25).abs() < 0.02, "{zeros}");
        assert!(
            first
                .iter()
                .all(|v| *v == 0.0 || (v - 4.0 / 3.0).abs() < 1e-6)
        );
        assert_eq!(first, draw(&key));
        assert_ne!(first, draw(&key.clone().step(1)));
        assert_ne!(first, draw(&key.clone().task("b")));
    }
}
