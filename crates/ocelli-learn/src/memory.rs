//! What training needs of memory, from shapes alone: which tensors live at the same time, and how large they are. The graph of a
//! forward pass keeps what its operations' backward passes read (`ocelli-model/src/ops/`), and the backward pass frees it layer by
//! layer while the gradients grow, so the peak lies at one of a few moments, all of which are looked at.

pub mod machine;
pub mod shape;

use std::ops::AddAssign;

/// Bytes of a number.
const F32: usize = 4;
const F64: usize = 8;

/// What the allocator has and nobody uses, as a share of what comes and goes in a step. It keeps freed pages, steps differ in their
/// rows, and not every hole fits what is taken next. One number for all models and stages, which `bench/memory.py` measures.
const OVERHEAD: f64 = 0.25;
/// What it has besides in every run: two of its chunks of 32 MiB, which are begun.
const CHUNKS: usize = 2 * (32 << 20);

/// What the allocator has and nobody uses at a moment when this many bytes come and go.
pub fn unused(bytes: usize) -> usize {
    CHUNKS + (bytes as f64 * OVERHEAD) as usize
}

/// Rows whose attention scores are in memory at once (`ops/attention.rs`).
const SCORE_ROWS: usize = 128;
/// Rows whose logits are: by thread in the forward pass, and by all in the backward pass (`ops/logprob.rs`).
const LOGIT_ROWS: usize = 128;
const LOGIT_ROWS_BACK: usize = 2048;
/// Sequences that are sampled together, and prompt rows in one pass (`ocelli-rollout/src/generate.rs`).
const SEQUENCES: usize = 256;
const PREFILL_ROWS: usize = 8192;

/// One of a run of equal transformer blocks; widths in numbers a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub hidden: usize,
    /// All heads of the queries.
    pub query: usize,
    /// All heads of the keys; the values are as wide.
    pub key: usize,
    /// The feed-forward layer.
    pub wide: usize,
    /// Rows of that width that its activation keeps, the one it gives among them.
    pub wide_kept: usize,
    /// Queries and keys are normed.
    pub normed: bool,
    /// What is added is scaled.
    pub scaled: bool,
    /// What an adapter keeps: its inner rows, and masks of its dropout.
    pub adapter: usize,
    /// Parameters of the block that are trained.
    pub trained: usize,
    /// Parameters of a matrix that holds three layers, which are copied out of it.
    pub fused: usize,
}

impl Block {
    /// Numbers a row that the graph keeps: the inputs of both norms and what they give (4 `hidden`), queries, keys and values as attention
    /// reads them and what it gives (2 `query` + 2 `key`), and the feed-forward layer's.
    pub fn kept(&self) -> usize {
        let attention = 2 * self.query + 2 * self.key;
        let before_norms = usize::from(self.normed) * (self.query + self.key);
        let before_scales = usize::from(self.scaled) * 2 * self.hidden;
        let around = 4 * self.hidden + before_norms + before_scales;
        around + attention + self.wide_kept * self.wide + self.adapter
    }

    /// Numbers a row that are alive at once in a pass without a graph: the block's input, and the widest of attention and feed-forward
    /// layer.
    pub fn passing(&self) -> usize {
        let attention = self.hidden + 2 * self.query + 2 * self.key;
        let feed_forward = (self.hidden + 2 * self.wide).max(3 * self.wide);
        self.hidden + attention.max(feed_forward)
    }

    /// Numbers a row beyond what is kept: a sum in the making and one more tensor as it is computed.
    fn computing(&self) -> usize {
        let widest = match self.adapter {
            0 => self.hidden.max(self.query),
            _ => self.wide.max(self.hidden),
        };
        self.hidden + widest
    }

    /// Numbers a row beyond what is kept in its backward pass: gradients of the sum, of its part, and of the feed-forward layer's gate
    /// and input, less what is freed by then.
    fn returning(&self) -> usize {
        2 * self.hidden + 2 * self.wide
    }
}

/// Equal blocks, one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    pub block: Block,
    pub count: usize,
}

/// A tower and what joins it to the language model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tower {
    pub stack: Stack,
    /// Numbers in a patch.
    pub patch: usize,
    /// Patches that become one feature.
    pub merged: usize,
    /// Whether the gradient goes through it, so that its activations are kept.
    pub tracked: bool,
    /// Parameters outside of the blocks that are trained.
    pub trained: usize,
}

/// All sizes of a network that the peak depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    pub tower: Option<Tower>,
    pub language: Stack,
    pub vocabulary: usize,
    /// Trained parameters of the output matrix and of the embeddings; those of a matrix that is both count once, here.
    pub head_trained: usize,
    pub embeddings_trained: usize,
    /// Of the last norm and of heads of values and scores.
    pub rest_trained: usize,
    /// Whether the output matrix is stored in half precision: training widens all of it.
    pub head_is_half: bool,
}

impl Shape {
    /// Parameters that are trained.
    pub fn trained(&self) -> usize {
        let of_stack = |stack: &Stack| stack.count * stack.block.trained;
        let tower = self.tower.map_or(0, |t| of_stack(&t.stack) + t.trained);
        tower
            + of_stack(&self.language)
            + self.head_trained
            + self.embeddings_trained
            + self.rest_trained
    }

    fn head(&self) -> usize {
        self.vocabulary * self.language.block.hidden
    }
}

/// Rows of one pass through the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Of the language model.
    pub rows: usize,
    /// Of the tower.
    pub patches: usize,
    /// Tokens whose log-probability is asked for.
    pub scored: usize,
    /// Most keys that a row sees, in the language model and in the tower.
    pub keys: usize,
    pub patch_keys: usize,
}

impl AddAssign for Pass {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.patches += other.patches;
        self.scored += other.scored;
        self.keys = self.keys.max(other.keys);
        self.patch_keys = self.patch_keys.max(other.patch_keys);
    }
}

/// Bytes in memory at one moment of a step, beside what lies there all the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    pub gradients: usize,
    pub key_values: usize,
    pub activations: usize,
    pub logits: usize,
    /// Patches on their way into the tower.
    pub pixels: usize,
}

impl Moment {
    /// All of it.
    pub fn bytes(&self) -> usize {
        self.gradients + self.key_values + self.activations + self.logits + self.pixels
    }

    fn keep_larger(&mut self, other: Self) {
        if other.bytes() > self.bytes() {
            *self = other;
        }
    }
}

/// How an update is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdatePlan {
    pub threads: usize,
    /// The language layers' activations are computed anew.
    pub recomputes: bool,
    /// A reference model scores the rows between forward and backward pass.
    pub reference: bool,
    /// Gradients of other micro-batches wait to be added to.
    pub adds_up: bool,
}

/// Attention scores: each thread works on one head of some rows at a time.
fn scores(keys: usize, threads: usize) -> usize {
    threads * SCORE_ROWS * keys
}

/// The largest moment of a pass without a graph.
fn passing(shape: &Shape, pass: &Pass, threads: usize) -> Moment {
    let mut peak = Moment::default();
    if let Some(tower) = shape.tower.filter(|_| pass.patches > 0) {
        let block = &tower.stack.block;
        let pixels = 2 * pass.patches * tower.patch;
        peak.keep_larger(Moment {
            pixels: pixels * F32,
            ..Moment::default()
        });
        let live = pass.patches * block.passing() + block.fused;
        peak.keep_larger(Moment {
            activations: (live + scores(pass.patch_keys, threads)) * F32,
            ..Moment::default()
        });
    }
    let block = &shape.language.block;
    let features = shape.tower.map_or(0, |t| pass.patches / t.merged.max(1));
    let live = pass.rows * block.passing() + features * block.hidden;
    peak.keep_larger(Moment {
        activations: (live + scores(pass.keys, threads)) * F32,
        ..Moment::default()
    });
    peak
}

/// What the tower's graph keeps for the backward pass, in numbers.
fn tower_kept(shape: &Shape, pass: &Pass) -> usize {
    let Some(tower) = shape.tower.filter(|t| t.tracked && pass.patches > 0) else {
        return 0;
    };
    let Stack { block, count } = tower.stack;
    let features = pass.patches / tower.merged.max(1);
    let merged_width = block.hidden * tower.merged;
    // Reordered patches; the blocks; the last norm with its input; the merger's two matrices with their activation.
    let merger = 2 * pass.patches * block.hidden + 2 * features * merged_width;
    pass.patches * (tower.patch + count * block.kept()) + merger + count * block.fused
}

/// The peak of one micro-batch's update, from the first patch to the last gradient.
pub fn update(shape: &Shape, pass: &Pass, plan: &UpdatePlan) -> Moment {
    let Stack { block, count } = shape.language;
    let (rows, head) = (pass.rows, shape.head());
    let waiting = if plan.adds_up { shape.trained() } else { 0 };
    let mut peak = Moment::default();
    let mut see = |gradients: usize, activations: usize, logits: usize| {
        peak.keep_larger(Moment {
            gradients: (waiting + gradients) * F32,
            activations: activations * F32,
            logits: logits * F32,
            ..Moment::default()
        });
    };
    let tower = tower_kept(shape, pass);
    // Forward pass: layer by layer, then the reference's pass on top.
    let by_layer = match plan.recomputes {
        true => rows * block.hidden,
        false => rows * block.kept(),
    };
    let ends = 2 * rows * block.hidden + pass.scored * block.hidden;
    let kept = tower + count * by_layer + ends;
    let table = scores(pass.keys, plan.threads);
    let computing = match plan.recomputes {
        true => rows * (block.hidden + block.passing()),
        false => rows * block.computing(),
    };
    see(0, kept + computing + table, 0);
    let untracked = passing(shape, pass, plan.threads).bytes() / F32;
    see(0, tower + untracked, 0);
    let widened = if shape.head_is_half { head } else { 0 };
    let scratch = plan.threads * LOGIT_ROWS.min(pass.scored.max(1)) * shape.vocabulary;
    see(0, kept, widened + scratch);
    if plan.reference {
        let both = untracked.max(scratch + widened);
        see(0, kept + both, widened);
    }
    // Backward pass: the output matrix first, whose gradient is computed whether it is kept or not.
    let tables = LOGIT_ROWS_BACK.min(pass.scored) * shape.vocabulary;
    see(head, kept + pass.scored * block.hidden, widened + tables);
    let mut gradients = shape.head_trained;
    for layer in (1..=count).rev() {
        let inside = match plan.recomputes {
            // Copies of input and gradient, the layer's own graph, and the product whose gradient it is.
            true => rows * (4 * block.hidden + block.kept()),
            false => 0,
        };
        gradients += block.trained;
        let live = tower + layer * by_layer + inside + rows * block.returning() + 2 * table;
        see(gradients, live, 0);
    }
    gradients += shape.embeddings_trained + shape.rest_trained;
    // The gradient of the embeddings is added to that of the same matrix as output.
    let tied = match shape.embeddings_trained {
        0 => shape.head_trained,
        _ => 0,
    };
    see(gradients + tied, tower + rows * block.hidden, 0);
    if let Some(t) = shape.tower.filter(|t| t.tracked && pass.patches > 0) {
        let Stack { block, count } = t.stack;
        let by_block = pass.patches * block.kept() + block.fused;
        gradients += t.trained;
        for layer in (1..=count).rev() {
            gradients += block.trained;
            let after = (count - layer) * by_block;
            let live = tower - after + pass.patches * block.returning() + 2 * block.fused;
            see(gradients, live, 0);
        }
    }
    see(gradients, 0, 0);
    peak
}

/// What is sampled in one go: prompts with the same number of samples each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampling {
    /// All prompts' rows and patches.
    pub prompts: Pass,
    pub count: usize,
    /// Samples of each prompt.
    pub samples: usize,
    /// Tokens of a sample, at most.
    pub tokens: usize,
    pub threads: usize,
}

/// The peak of sampling: the log of keys and values, which has room for all tokens to come, with a pass over prompts or the logits of
/// one token a sequence.
pub fn sampling(shape: &Shape, s: &Sampling) -> Moment {
    let Stack { block, count } = shape.language;
    let together = (SEQUENCES / s.samples.max(1)).clamp(1, s.count.max(1));
    let share = |all: usize| all * together / s.count.max(1);
    let prompts = Pass {
        rows: share(s.prompts.rows),
        patches: share(s.prompts.patches),
        ..s.prompts
    };
    let sequences = together * s.samples;
    let capacity = prompts.rows + sequences * s.tokens.saturating_sub(1);
    let key_values = 2 * count * capacity * block.key * F32;
    let part = |all: usize| match prompts.rows {
        0..=PREFILL_ROWS => all,
        rows => all * PREFILL_ROWS / rows,
    };
    let pass = Pass {
        rows: part(prompts.rows),
        patches: part(prompts.patches),
        ..prompts
    };
    let mut peak = Moment {
        key_values,
        ..passing(shape, &pass, s.threads)
    };
    let weights = s.threads * shape.vocabulary * F64;
    peak.keep_larger(Moment {
        key_values,
        activations: sequences * block.passing() * F32,
        logits: (sequences + 1) * shape.vocabulary * F32 + weights,
        ..Moment::default()
    });
    peak
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> Block {
        Block {
            hidden: 4,
            query: 4,
            key: 2,
            wide: 10,
            wide_kept: 3,
            trained: 100,
            ..Block::default()
        }
    }

    fn shape() -> Shape {
        Shape {
            tower: None,
            language: Stack {
                block: block(),
                count: 3,
            },
            vocabulary: 50,
            head_trained: 200,
            ..Shape::default()
        }
    }

    #[test]
    fn a_worked_block() {
        // 4·4 around, 2·4 + 2·2 attention, 3·10 feed-forward layer.
        assert_eq!(block().kept(), 16 + 12 + 30);
        // The input and the three wide tensors of the gate.
        assert_eq!(block().passing(), 4 + 30);
        let normed = Block {
            normed: true,
            scaled: true,
            adapter: 6,
            ..block()
        };
        assert_eq!(normed.kept(), 58 + 6 + 8 + 6);
    }

    #[test]
    fn a_worked_update() {
        let pass = Pass {
            rows: 10,
            scored: 6,
            keys: 10,
            ..Pass::default()
        };
        let plan = UpdatePlan {
            threads: 1,
            ..UpdatePlan::default()
        };
        let peak = update(&shape(), &pass, &plan);
        // Backward pass of the last layer: the head's gradient and one layer's, three layers' activations, gradients of the sum and
        // its part (2·4) and of the gate (2·10) a row, and two tables of scores; more than the pass before it.
        let activations = 10 * 3 * 58 + 10 * 28 + 2 * 128 * 10;
        assert_eq!(peak.gradients, (200 + 100) * 4);
        assert_eq!((peak.activations, peak.logits), (activations * 4, 0));
        // Other micro-batches' gradients wait beside it: 200 + 3·100 of them.
        let more = update(
            &shape(),
            &pass,
            &UpdatePlan {
                adds_up: true,
                ..plan
            },
        );
        assert_eq!(more.bytes(), peak.bytes() + 500 * 4);
    }

    #[test]
    fn a_large_vocabulary_puts_the_peak_at_the_logits() {
        let shape = Shape {
            vocabulary: 100_000,
            ..shape()
        };
        let pass = Pass {
            rows: 10,
            scored: 3000,
            keys: 10,
            ..Pass::default()
        };
        let plan = UpdatePlan {
            threads: 1,
            ..UpdatePlan::default()
        };
        let peak = update(&shape, &pass, &plan);
        // The gradient of the matrix, and the logits of 2048 rows at a time.
        assert_eq!(peak.gradients, 100_000 * 4 * 4);
        assert_eq!(peak.logits, 2048 * 100_000 * 4);
    }

    #[test]
    fn layers_computed_anew_keep_their_inputs_only() {
        let pass = Pass {
            rows: 1000,
            scored: 6,
            keys: 10,
            ..Pass::default()
        };
        let deep = Shape {
            language: Stack {
                block: block(),
                count: 50,
            },
            ..shape()
        };
        let plan = UpdatePlan {
            threads: 1,
            ..UpdatePlan::default()
        };
        let kept = update(&deep, &pass, &plan).activations;
        let anew = UpdatePlan {
            recomputes: true,
            ..plan
        };
        let anew = update(&deep, &pass, &anew).activations;
        // 50 inputs of 4 numbers and one layer's graph, against 50 graphs of 58.
        assert!(anew * 8 < kept, "{anew} {kept}");
    }

    #[test]
    fn the_allocator_keeps_a_share_and_two_chunks() {
        assert_eq!(unused(400), 67_108_864 + 100);
    }

    #[test]
    fn a_worked_sampling() {
        let sampling = super::sampling(
            &shape(),
            &Sampling {
                prompts: Pass {
                    rows: 80,
                    keys: 10,
                    ..Pass::default()
                },
                count: 8,
                samples: 64,
                tokens: 5,
                threads: 1,
            },
        );
        // Four prompts of eight are sampled at once: 40 rows and 256 sequences of four rows more, in 3 layers of 2·2 numbers.
        assert_eq!(sampling.key_values, 3 * 2 * 2 * (40 + 256 * 4) * 4);
        assert_eq!(sampling.logits, 257 * 50 * 4 + 50 * 8);
    }
}
