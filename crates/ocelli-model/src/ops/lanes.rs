//! Loops the compiler turns into vector instructions.
//!
//! Sums run over a fixed number of lanes, so the order of additions (and with it the result) is the same on every machine
//! and at every vector width.

/// Lanes of a reduction.
const LANES: usize = 16;

/// Runs `body` compiled for the best vector instructions of this machine.
#[inline(always)]
pub(super) fn vectorized<R>(body: impl FnOnce() -> R) -> R {
    struct Body<F>(F);
    impl<R, F: FnOnce() -> R> pulp::NullaryFnOnce for Body<F> {
        type Output = R;
        #[inline(always)]
        fn call(self) -> R {
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Body(body))
}

/// e^x to about two units in the last place, for arguments of a softmax or a sigmoid: inputs are clamped to the range of
/// normal results.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Round-to-nearest by adding 1.5·2^23; the integer then sits in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    // ln 2 in two parts, so that the remainder keeps full precision.
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    // Minimax polynomial of e^r on [-ln2/2, ln2/2] (Cephes).
    let p = 1.987_569_1e-4f32;
    let p = p.mul_add(r, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r * r, r) + 1.0;
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

/// Σ f(a_i, b_i).
#[inline(always)]
fn reduce2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_chunks.remainder(), b_chunks.remainder());
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += f(x[i], y[i]);
        }
    }
    for (i, (&x, &y)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[i] += f(x, y);
    }
    fold(lanes, |x, y| x + y)
}

#[inline(always)]
fn fold(lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    let mut lanes = lanes;
    while width > 0 {
        for i in 0..width {
            lanes[i] = f(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// Σ a_i b_i.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    reduce2(a, b, |x, y| x * y)
}

/// Σ a_i.
#[inline(always)]
pub(super) fn sum(a: &[f32]) -> f32 {
    reduce2(a, a, |x, _| x)
}

/// max a_i, `-inf` when empty.
#[inline(always)]
pub(super) fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = a.chunks_exact(LANES);
    let rest = chunks.remainder();
    for x in chunks {
        for i in 0..LANES {
            lanes[i] = lanes[i].max(x[i]);
        }
    }
    for (i, &x) in rest.iter().enumerate() {
        lanes[i] = lanes[i].max(x);
    }
    fold(lanes, f32::max)
}

/// `y += a · x`.
#[inline(always)]
pub(super) fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// Turns scores into softmax weights in place and returns the log of their sum of exponentials.
#[inline(always)]
pub(super) fn softmax(scores: &mut [f32]) -> f32 {
    let peak = max(scores);
    for s in scores.iter_mut() {
        *s = exp(*s - peak);
    }
    let total = sum(scores);
    let inverse = 1.0 / total;
    for s in scores.iter_mut() {
        *s *= inverse;
    }
    peak + total.ln()
}

/// Largest score, log of the sum of exponentials, and entropy of the softmax weights in nats: `H = ln Σe^z − Σ z e^z / Σe^z`, `z` counted from the
/// largest score.
#[inline(always)]
pub(super) fn softmax_entropy(scores: &mut [f32]) -> (f32, f32, f32) {
    let peak = max(scores);
    let mut total = [0.0f32; LANES];
    let mut weighted = [0.0f32; LANES];
    for chunk in scores.chunks_mut(LANES) {
        for (i, s) in chunk.iter_mut().enumerate() {
            let z = *s - peak;
            *s = exp(z);
            total[i] += *s;
            weighted[i] += *s * z;
        }
    }
    let (total, weighted) = (fold(total, |x, y| x + y), fold(weighted, |x, y| x + y));
    let inverse = 1.0 / total;
    for s in scores.iter_mut() {
        *s *= inverse;
    }
    (peak, peak + total.ln(), total.ln() - weighted * inverse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate() {
        for i in -8_000..8_000 {
            let x = i as f32 * 0.01;
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            assert!(((got - want) / want).abs() < 3e-7, "exp({x}) = {got}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn reductions_cover_the_remainder() {
        let a: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(sum(&a), 666.0);
        assert_eq!(max(&a), 36.0);
        assert_eq!(dot(&a, &a), (0..37).map(|i| (i * i) as f32).sum::<f32>());
    }

    #[test]
    fn softmax_of_a_worked_example() {
        let mut s = [0.0, 2.0f32.ln(), 3.0f32.ln()];
        let log_total = softmax(&mut s);
        for (got, want) in s.iter().zip([1.0 / 6.0, 2.0 / 6.0, 3.0 / 6.0]) {
            assert!((got - want).abs() < 1e-6);
        }
        assert!((log_total - 6.0f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn entropy_of_a_uniform_row_is_the_log_of_its_size() {
        let mut s = [0.7f32; 21];
        let (peak, log_total, entropy) = softmax_entropy(&mut s);
        assert_eq!(peak, 0.7);
        assert!((log_total - (0.7 + 21f32.ln())).abs() < 1e-6);
        assert!((entropy - 21f32.ln()).abs() < 1e-6);
    }
}
