//! The loss of a reward model on pairs of answers.
//!
//! With `Δ = r_c − r_r` the difference of the two answers' numbers, `m` the pair's margin and `θ` how wide ties are:
//!
//! - a won pair: `−log σ(Δ − m − θ)`. Bradley and Terry 1952 where `m = θ = 0`; Touvron et al. 2023, arXiv 2307.09288, equation 2, with a margin.
//! - a tied pair: `−log P(tie)`, `P(tie) = 1 − σ(Δ − θ) − σ(−Δ − θ) = (e^{2θ} − 1) σ(Δ − θ) σ(−Δ − θ)` (Rao and Kupper 1967, `e^θ` is their `θ`; Liu et al.
//!   2024, arXiv 2410.05328).
//! - `c (r_c + r_r)²` for either keeps the numbers around zero (Eisenstein et al. 2023, arXiv 2312.09244).

use burn::tensor::{Tensor, activation::log_sigmoid};
use ocelli_reward::ModelScore;
use serde::{Deserialize, Serialize};

/// How a stage `reward` learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RewardModelTraining {
    /// What the model's number is: `score` of a head of its own, or `yes_probability`, the chance of a yes to a question.
    pub by: ModelScore,
    /// Weight of the squared sum of both numbers (`score`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub center_rewards_coefficient: Option<f64>,
    /// θ: numbers closer than this tie rather than not (`score`); rows with `"tie": true` need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tie_margin: Option<f64>,
    /// What is asked about an answer (`yes_probability`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The word that says yes (`yes_probability`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yes: Option<String>,
    /// The word that says no (`yes_probability`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no: Option<String>,
}

impl Default for RewardModelTraining {
    fn default() -> Self {
        Self {
            by: ModelScore::Score,
            center_rewards_coefficient: None,
            tie_margin: None,
            question: None,
            yes: None,
            no: None,
        }
    }
}

impl RewardModelTraining {
    /// # Errors
    /// Says which key is wrong or has no effect, and how to mend it.
    pub fn check(&self) -> Result<(), String> {
        let below = |value: Option<f64>, low: f64| {
            value.is_some_and(|v| !v.is_finite() || v < low || (v == 0.0 && low == 0.0))
        };
        if below(self.center_rewards_coefficient, 0.0) {
            return Err(
                "`reward_model.center_rewards_coefficient` must be above 0; leave it out for none"
                    .into(),
            );
        }
        if below(self.tie_margin, 0.0) {
            return Err(
                "`reward_model.tie_margin` must be above 0; leave it out where no pair ties".into(),
            );
        }
        let of_score = [
            (
                "center_rewards_coefficient",
                self.center_rewards_coefficient.is_some(),
            ),
            ("tie_margin", self.tie_margin.is_some()),
        ];
        let of_yes = [
            ("question", self.question.is_some()),
            ("yes", self.yes.is_some()),
            ("no", self.no.is_some()),
        ];
        let (foreign, word) = match self.by {
            ModelScore::Score => (&of_yes[..], "yes_probability"),
            ModelScore::YesProbability => (&of_score[..], "score"),
        };
        match foreign.iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(format!(
                "`reward_model.{key}` has no effect without `by = \"{word}\"`; remove it"
            )),
            None => Ok(()),
        }
    }
}

/// The numbers of pairs, each `[pairs]`.
pub struct PairNumbers {
    pub chosen: Tensor<1>,
    pub rejected: Tensor<1>,
    /// How far the chosen answer should be ahead; zeros where nothing is said.
    pub margin: Tensor<1>,
    /// 1 where neither answer is better, else 0.
    pub tie: Tensor<1>,
}

/// The loss of each pair, `[pairs]`.
pub fn pair_loss(pairs: PairNumbers, tie_margin: Option<f64>, center: Option<f64>) -> Tensor<1> {
    let PairNumbers {
        chosen,
        rejected,
        margin,
        tie,
    } = pairs;
    let difference = chosen.clone() - rejected.clone();
    let width = tie_margin.unwrap_or(0.0);
    let won = -log_sigmoid(difference.clone() - margin - width);
    let mut loss = match tie_margin {
        None => won,
        Some(width) => {
            let constant = (2.0 * width).exp_m1().ln();
            let tied = -log_sigmoid(difference.clone() - width)
                - log_sigmoid(-difference - width)
                - constant;
            won * (-tie.clone() + 1.0) + tied * tie
        }
    };
    if let Some(weight) = center {
        let sum = chosen + rejected;
        loss = loss + sum.clone() * sum * weight;
    }
    loss
}

/// The loss of answers to the question whether an answer is good: `−log P(yes)` of good ones, `−log P(no)` of others, from `log P(yes) − log P(no)` and
/// signs 1 and −1, all `[answers]`.
pub fn yes_loss(log_odds: Tensor<1>, sign: Tensor<1>) -> Tensor<1> {
    -log_sigmoid(log_odds * sign)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_near, tensor, value_and_gradient};
    use super::*;

    fn pairs(chosen: Tensor<1>, rejected: &[f32], tie: &[f32]) -> PairNumbers {
        PairNumbers {
            margin: tensor(&vec![0.0; rejected.len()]),
            rejected: tensor(rejected),
            tie: tensor(tie),
            chosen,
        }
    }

    #[test]
    fn a_coin_costs_the_logarithm_of_two() {
        let (loss, gradient) = value_and_gradient(&[0.0, 3f32.ln()], |chosen| {
            pair_loss(pairs(chosen, &[0.0, 0.0], &[0.0, 0.0]), None, None)
        });
        assert_near(&loss, &[2f32.ln(), (4f32 / 3.0).ln()]);
        assert_near(&gradient, &[-0.5, -0.25]);
    }

    #[test]
    fn the_chances_of_win_loss_and_tie_add_up_to_one() {
        let (width, numbers) = (0.7, [-2.0f32, 0.0, 0.4, 3.0]);
        let chance = |sign: f32, tie: f32| -> Vec<f32> {
            let chosen: Vec<f32> = numbers.iter().map(|x| sign * x).collect();
            let loss = pair_loss(
                pairs(tensor(&chosen), &[0.0; 4], &[tie; 4]),
                Some(width),
                None,
            );
            (-loss).exp().into_data().try_to_vec().unwrap()
        };
        let (won, lost, tied) = (chance(1.0, 0.0), chance(-1.0, 0.0), chance(1.0, 1.0));
        let sums: Vec<f32> = (0..4).map(|i| won[i] + lost[i] + tied[i]).collect();
        assert_near(&sums, &[1.0; 4]);
        assert!(tied[1] > tied[2] && tied[2] > tied[3]);
    }

    #[test]
    fn a_tie_pulls_numbers_together() {
        let (_, gradient) = value_and_gradient(&[1.0, -1.0, 0.0], |chosen| {
            pair_loss(pairs(chosen, &[0.0; 3], &[1.0; 3]), Some(0.5), None)
        });
        assert!(gradient[0] > 0.0 && gradient[1] < 0.0);
        assert_near(&gradient[2..], &[0.0]);
    }

    #[test]
    fn a_sure_yes_costs_nothing_where_it_is_right() {
        let (loss, gradient) = value_and_gradient(&[0.0, 20.0, 20.0], |odds| {
            yes_loss(odds, tensor(&[1.0, 1.0, -1.0]))
        });
        assert_near(&loss, &[2f32.ln(), 0.0, 20.0]);
        assert_near(&gradient, &[-0.5, 0.0, 1.0]);
    }

    #[test]
    fn settings_without_effect_are_refused() {
        for (keys, words) in [
            ("tie_margin = 0.0", "above 0"),
            ("center_rewards_coefficient = -1.0", "above 0"),
            ("question = 'a'", "by = \"yes_probability\""),
            ("by = 'yes_probability'\ntie_margin = 1.0", "by = \"score\""),
        ] {
            let config: RewardModelTraining = toml::from_str(keys).unwrap();
            let error = config.check().unwrap_err();
            assert!(error.contains(words), "{keys}: {error}");
        }
    }
}
