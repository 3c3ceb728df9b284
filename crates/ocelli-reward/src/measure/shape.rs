//! Shapes that turn one number into a reward.
//!
//! Every shape gives 0 for NaN, unless it says otherwise.

/// 1 up to `best`, 0 from `worst` on, linear between: the reward of a distance or an error (Embodied-R1). With
/// `best > worst` it rises instead. Where both are equal it is a step that is 1 up to `best`.
pub fn ramp(value: f64, best: f64, worst: f64) -> f64 {
    if value.is_nan() {
        0.0
    } else if best == worst {
        step(-value, -best)
    } else if value.is_infinite() {
        f64::from(u8::from((value > 0.0) == (best > worst)))
    } else {
        clip((worst - value) / (worst - best), 0.0, 1.0)
    }
}

/// 1 from `least` on, else 0.
pub fn step(value: f64, least: f64) -> f64 {
    f64::from(u8::from(value >= least))
}

/// 0 below `low`, 1 above `high`, `value` itself between (Vision-R1).
pub fn dead_zone(value: f64, low: f64, high: f64) -> f64 {
    if value > high {
        1.0
    } else if value >= low {
        value
    } else {
        0.0
    }
}

/// `value` kept within `low` and `high`; `low` for NaN, and `high` where the bounds are out of order.
pub fn clip(value: f64, low: f64, high: f64) -> f64 {
    // `max` drops NaN; `f64::clamp` would keep it, and panic on bounds out of order.
    value.max(low).min(high)
}

/// `valueᵉˣᵖᵒⁿᵉⁿᵗ` of a `value` in `[0, 1]`; values outside are clipped first.
pub fn power(value: f64, exponent: f64) -> f64 {
    let raised = clip(value, 0.0, 1.0).powf(exponent);
    if raised.is_nan() { 0.0 } else { raised }
}

/// `n / Σ 1/xᵢ`; 0 for an empty list and when a value is not above 0.
pub fn harmonic_mean(values: &[f64]) -> f64 {
    if values.is_empty() || !values.iter().all(|&value| value > 0.0) {
        return 0.0;
    }
    values.len() as f64 / values.iter().map(|value| 1.0 / value).sum::<f64>()
}

/// `exp(−|difference| / scale)`, in `[0, 1]` (OneThinker: time stamps, scale 2 s).
pub fn exponential(difference: f64, scale: f64) -> f64 {
    let value = (-difference.abs() / scale).exp();
    if scale > 0.0 && value.is_finite() {
        value
    } else {
        0.0
    }
}

/// `exp(−distance² / (2 σ²))`, in `[0, 1]` (OneThinker: points, σ 50).
pub fn gaussian(distance: f64, sigma: f64) -> f64 {
    let value = (-distance * distance / (2.0 * sigma * sigma)).exp();
    if sigma > 0.0 && value.is_finite() {
        value
    } else {
        0.0
    }
}

/// `1 − exp(−β · gap)` where the answer beats the reference by `gap > 0`, else 0 (VLAA-Thinker's open answers).
pub fn saturating_gain(gap: f64, beta: f64) -> f64 {
    if gap > 0.0 {
        clip(1.0 - (-beta * gap).exp(), 0.0, 1.0)
    } else {
        0.0
    }
}

/// The forms of UniVG-R1's weight of a prompt by the mean IoU of its group: harder prompts weigh more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hardness {
    /// `exp(1 − mean)`, the one it uses.
    Exponential,
    /// `(1.05 − mean)ʷ`.
    Power(f64),
    /// `−ln(.02 + mean)`, which is below 0 for a mean above .98.
    Logarithm,
}

impl Hardness {
    /// The weight for a mean IoU, which is clipped to `[0, 1]`.
    pub fn weight(self, mean_iou: f64) -> f64 {
        let mean = clip(mean_iou, 0.0, 1.0);
        match self {
            Self::Exponential => (1.0 - mean).exp(),
            Self::Power(exponent) => (1.05 - mean).powf(exponent),
            Self::Logarithm => -(0.02 + mean).ln(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn assert_near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 5e-4, "{found} is not {expected}");
    }

    #[test]
    fn embodied_r1_ramps() {
        assert_eq!(
            [5.0, 10.0, 30.0, 50.0, 99.0].map(|d| ramp(d, 10.0, 50.0)),
            [1.0, 1.0, 0.5, 0.0, 0.0]
        );
        // A trace 7.5 px away: Fréchet 7.5 is full, RMSE 7.5 is 1 − 2.5 / 45.
        let trace = 0.3 + 0.3 * ramp(7.5, 10.0, 100.0) + 0.4 * ramp(7.5, 5.0, 50.0);
        assert_near(trace, 0.9778);
    }

    #[test]
    fn ramps_may_rise_or_be_steps() {
        assert_eq!(
            [0.0, 0.5, 0.75, 1.0].map(|v| ramp(v, 1.0, 0.5)),
            [0.0, 0.0, 0.5, 1.0]
        );
        assert_eq!([1.0, 2.0, 3.0].map(|v| ramp(v, 2.0, 2.0)), [1.0, 1.0, 0.0]);
        assert_eq!(ramp(f64::INFINITY, 1.0, 2.0), 0.0);
        assert_eq!(ramp(f64::NEG_INFINITY, 1.0, 2.0), 1.0);
        assert_eq!(ramp(f64::INFINITY, 2.0, 1.0), 1.0);
    }

    #[test]
    fn vision_r1_dead_zone() {
        assert_eq!(
            [0.49, 0.5, 0.6, 0.75, 0.76].map(|v| dead_zone(v, 0.5, 0.75)),
            [0.0, 0.5, 0.6, 0.75, 1.0]
        );
    }

    #[test]
    fn means_and_powers() {
        assert_eq!(harmonic_mean(&[1.0, 0.5]), 2.0 / 3.0);
        assert_eq!(harmonic_mean(&[1.0, 0.0]), 0.0);
        assert_eq!(harmonic_mean(&[]), 0.0);
        assert_eq!(power(0.5, 2.0), 0.25);
        assert_eq!(power(7.0, 2.0), 1.0);
        assert_eq!(power(f64::NAN, 2.0), 0.0);
        assert_eq!(clip(f64::NAN, 0.0, 1.0), 0.0);
        assert_eq!(step(0.5, 0.5), 1.0);
        assert_eq!(step(0.4, 0.5), 0.0);
    }

    #[test]
    fn pe_br_r1_perception_reward() {
        // sim .2 of .4, 2 of 4 keywords, right format, 1,024 tokens of at most 512.
        let reward = 0.4 * ramp(0.2, 0.4, 0.0) + 0.4 * 0.5 + 0.1 + 0.1 * (512.0 / 1024.0);
        assert_near(reward, 0.55);
    }

    #[test]
    fn vlaa_thinker_rewards_a_gain_only() {
        assert_near(saturating_gain(1.0, 1.0), 0.632);
        assert_eq!(saturating_gain(0.0, 1.0), 0.0);
        assert_eq!(saturating_gain(-1.0, 1.0), 0.0);
    }

    #[test]
    fn univg_r1_weighs_hard_prompts_more() {
        let weights = [1.0, 0.0, 0.5].map(|mean| Hardness::Exponential.weight(mean));
        for (found, expected) in weights.into_iter().zip([1.0, std::f64::consts::E, 1.649]) {
            assert_near(found, expected);
        }
        assert_near(Hardness::Power(2.0).weight(0.05), 1.0);
        assert_near(Hardness::Logarithm.weight(0.98), 0.0);
    }

    #[test]
    fn one_thinker_kernels() {
        assert_near(exponential(-2.0, 2.0), 0.3679);
        assert_near(gaussian(50.0, 50.0), 0.6065);
        assert_eq!(exponential(1.0, 0.0), 0.0);
        assert_eq!(gaussian(0.0, 0.0), 0.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn unit_shapes_stay_in_the_unit_interval(value: f64, a: f64, b: f64) {
            let scores = [
                ramp(value, a, b),
                step(value, a),
                dead_zone(value, 0.0, 1.0),
                clip(value, 0.0, 1.0),
                power(value, a.abs()),
                exponential(value, a),
                gaussian(value, a),
                saturating_gain(value, a.abs()),
            ];
            for (place, score) in scores.into_iter().enumerate() {
                prop_assert!((0.0..=1.0).contains(&score), "{} {}", place, score);
            }
            prop_assert_eq!(ramp(f64::NAN, a, b), 0.0);
        }
    }
}
