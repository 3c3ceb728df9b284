//! Functions of one score.

use crate::config::Shape;

/// What `x` becomes.
pub(crate) fn shaped(shape: Shape, x: f64) -> f64 {
    match shape {
        Shape::Ramp([low, high]) => ((x - low) / (high - low)).clamp(0.0, 1.0),
        Shape::Step(from) => f64::from(u8::from(x >= from)),
        Shape::DeadZone([low, _]) if x < low => 0.0,
        Shape::DeadZone([_, high]) if x >= high => 1.0,
        Shape::DeadZone(_) => x,
        Shape::Power(_) if x < 0.0 => 0.0,
        Shape::Power(exponent) => x.powf(exponent),
        Shape::Clip([low, high]) => x.clamp(low, high),
        Shape::Affine([a, b]) => a + b * x,
        Shape::Exponential([a, b]) => a * (b * x).exp(),
    }
}

/// What is wrong with a shape's numbers, in words that say what they must be.
pub(crate) fn check(shape: Shape) -> Result<(), &'static str> {
    let (numbers, must_rise) = match shape {
        Shape::Ramp(pair) | Shape::DeadZone(pair) | Shape::Clip(pair) => (pair, true),
        Shape::Affine(pair) | Shape::Exponential(pair) => (pair, false),
        Shape::Step(number) | Shape::Power(number) => ([number; 2], false),
    };
    if !numbers.iter().all(|number| number.is_finite()) {
        return Err("finite numbers");
    }
    match shape {
        _ if must_rise && numbers[0] >= numbers[1] => Err("two numbers, the lower one first"),
        Shape::Power(exponent) if exponent <= 0.0 => Err("an exponent above 0"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_worked_examples() {
        for (shape, pairs) in [
            (
                Shape::Ramp([0.2, 0.6]),
                [(0.1, 0.0), (0.4, 0.5), (0.7, 1.0)],
            ),
            (Shape::Step(0.5), [(0.49, 0.0), (0.5, 1.0), (2.0, 1.0)]),
            // Vision-R1's first phase: below .5 nothing, from .75 on full marks.
            (
                Shape::DeadZone([0.5, 0.75]),
                [(0.49, 0.0), (0.6, 0.6), (0.75, 1.0)],
            ),
            (Shape::Power(2.0), [(-1.0, 0.0), (0.5, 0.25), (1.0, 1.0)]),
            (
                Shape::Clip([0.0, 1.0]),
                [(-1.0, 0.0), (0.3, 0.3), (9.0, 1.0)],
            ),
            (
                Shape::Affine([1.0, -1.0]),
                [(0.0, 1.0), (0.25, 0.75), (1.0, 0.0)],
            ),
            // UniVG-R1: exp(1 − mean IoU).
            (
                Shape::Exponential([std::f64::consts::E, -1.0]),
                [(1.0, 1.0), (0.0, std::f64::consts::E), (0.5, 0.5f64.exp())],
            ),
        ] {
            check(shape).unwrap();
            for (x, y) in pairs {
                assert!((shaped(shape, x) - y).abs() < 1e-12, "{shape:?} of {x}");
            }
        }
    }

    #[test]
    fn shapes_that_mean_nothing_are_refused() {
        for shape in [
            Shape::Ramp([0.5, 0.5]),
            Shape::Clip([1.0, 0.0]),
            Shape::Power(0.0),
            Shape::Step(f64::NAN),
            Shape::Affine([0.0, f64::INFINITY]),
        ] {
            assert!(check(shape).is_err(), "{shape:?}");
        }
    }
}
