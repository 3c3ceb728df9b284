//! What is shown, in a prompt: how many tokens each picture, video or sound takes, and where every token lies for the rotary
//! embedding.
//!
//! Rollout and training both call these two functions, so they cannot disagree. Token counts follow the processors of
//! transformers 5.23 (`replace_image_token` and its sisters), positions `get_rope_index` of its Qwen-VL models; the only
//! difference is that a mismatch of tokens and grids is refused here.

use crate::processing_error::ProcessingError;
use crate::tokenizer::SpecialTokens;

/// A token that stands for features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placeholder {
    pub id: u32,
    /// How texts write it, for errors.
    pub name: &'static str,
}

impl SpecialTokens {
    /// What stands for features in a Qwen-VL prompt.
    pub fn placeholders(&self) -> [Placeholder; 2] {
        [
            Placeholder {
                id: self.image_pad,
                name: "<|image_pad|>",
            },
            Placeholder {
                id: self.video_pad,
                name: VIDEO_PAD,
            },
        ]
    }
}

/// How texts write the place of a video's features.
pub const VIDEO_PAD: &str = "<|video_pad|>";

/// A run of placeholders, and the features behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Id of the placeholder.
    pub token: u32,
    /// Features along time, height and width, a token each.
    pub grid: [usize; 3],
    /// What one feature in time adds to the position; the sum is cut to a whole number.
    pub interval: f32,
}

impl Span {
    /// The run of a grid of patches (time, height, width) that a tower merges by `merge` in height and width. `index` counts what
    /// is shown, for errors.
    ///
    /// # Errors
    /// If a side of the grid is zero, or height or width is no multiple of `merge`.
    pub fn merged(
        index: usize,
        token: u32,
        grid: [usize; 3],
        merge: usize,
    ) -> Result<Self, ProcessingError> {
        let [time, height, width] = grid;
        let divides = |side: usize| side > 0 && merge > 0 && side.is_multiple_of(merge);
        if time == 0 || !divides(height) || !divides(width) {
            return Err(ProcessingError::Grid {
                picture: index,
                grid,
                merge,
            });
        }
        Ok(Self {
            token,
            grid: [time, height / merge, width / merge],
            interval: 1.0,
        })
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.grid.iter().product()
    }
}

/// Replaces each placeholder of a rendered prompt by as many as its span needs.
///
/// `ids` holds one placeholder a span, `spans` are in the order in which the prompt shows them, `row` is the task's id for
/// errors.
///
/// # Errors
/// If the numbers of placeholders and spans differ, or their order does.
pub fn expand(
    row: &str,
    ids: &[u32],
    spans: &[Span],
    placeholders: &[Placeholder],
) -> Result<Vec<u32>, ProcessingError> {
    for placeholder in placeholders {
        let found = ids.iter().filter(|&&id| id == placeholder.id).count();
        let given = spans.iter().filter(|s| s.token == placeholder.id).count();
        if found != given {
            return Err(ProcessingError::PlaceholderCount {
                row: row.to_owned(),
                token: placeholder.name,
                placeholders: found,
                given,
            });
        }
    }
    let mut expanded = Vec::with_capacity(ids.len());
    let mut rest = spans.iter();
    for &id in ids {
        if !placeholders.iter().any(|p| p.id == id) {
            expanded.push(id);
            continue;
        }
        match rest.next() {
            Some(span) if span.token == id => {
                expanded.extend(std::iter::repeat_n(id, span.tokens()));
            }
            _ => {
                return Err(ProcessingError::PlaceholderOrder {
                    row: row.to_owned(),
                });
            }
        }
    }
    Ok(expanded)
}

/// Where each token lies for the multimodal rotary embedding, and what to add to the index of a later token.
///
/// Text tokens advance time, height and width together by one. The tokens of a span lie on its grid, from the position after
/// the text before it, and the text after it goes on behind the grid's longer side.
///
/// `ids` are expanded ids, `spans` what their placeholders stand for, in order. Returns positions `[ids.len()]` of (time,
/// height, width), and `delta`: the token sampled after `ids` as number `n` of the sequence (from zero) lies at `n + delta`
/// in all three.
///
/// # Errors
/// If the runs of placeholders do not match the spans.
pub fn rope_index(
    ids: &[u32],
    spans: &[Span],
    placeholders: &[Placeholder],
) -> Result<(Vec<[i32; 3]>, i32), ProcessingError> {
    let mut positions = Vec::with_capacity(ids.len());
    let mut next = 0;
    let mut used = 0;
    while let Some(&id) = ids.get(positions.len()) {
        let index = positions.len();
        if !placeholders.iter().any(|p| p.id == id) {
            positions.push([next; 3]);
            next += 1;
            continue;
        }
        let found = ids[index..].iter().take_while(|&&i| i == id).count();
        let span = spans.get(used).filter(|span| span.token == id);
        let wanted = span.map_or(0, Span::tokens);
        let Some(span) = span.filter(|_| found == wanted) else {
            return Err(ProcessingError::ImageRun {
                picture: used,
                position: index,
                wanted,
                found,
            });
        };
        let [time, height, width] = span.grid;
        for t in 0..time {
            // As torch does it, in f32.
            let t = (t as f32 * span.interval) as i32;
            for h in 0..height as i32 {
                positions.extend((0..width as i32).map(|w| [next + t, next + h, next + w]));
            }
        }
        // Not the time side: transformers does the same, so that a long video overlaps the text after it.
        next += height.max(width) as i32;
        used += 1;
    }
    if used != spans.len() {
        return Err(ProcessingError::UnusedGrids {
            pictures: spans.len(),
            found: used,
        });
    }
    let behind = positions.iter().flatten().max().map_or(0, |last| last + 1);
    Ok((positions, behind - ids.len() as i32))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IMAGE: u32 = 5;
    const VIDEO: u32 = 6;
    const PLACEHOLDERS: [Placeholder; 2] = [
        Placeholder {
            id: IMAGE,
            name: "<|image_pad|>",
        },
        Placeholder {
            id: VIDEO,
            name: "<|video_pad|>",
        },
    ];

    fn image(grid: [usize; 3]) -> Span {
        Span::merged(0, IMAGE, grid, 2).unwrap()
    }

    fn video(grid: [usize; 3], interval: f32) -> Span {
        Span {
            interval,
            ..Span::merged(0, VIDEO, grid, 2).unwrap()
        }
    }

    #[test]
    fn a_placeholder_becomes_one_token_a_merged_patch() {
        let spans = [image([1, 4, 4]), video([2, 2, 4], 1.0), image([1, 2, 2])];
        let ids = expand("row", &[9, 3, 5, 4, 3, 6, 4, 5], &spans, &PLACEHOLDERS).unwrap();
        assert_eq!(ids, [9, 3, 5, 5, 5, 5, 4, 3, 6, 6, 6, 6, 4, 5]);
    }

    #[test]
    fn positions_by_hand() {
        // text, text, a 2x3 grid after merging, text
        let ids = [9, 3, 5, 5, 5, 5, 5, 5, 4];
        let (positions, delta) = rope_index(&ids, &[image([1, 4, 6])], &PLACEHOLDERS).unwrap();
        let picture = [
            [2, 2, 2],
            [2, 2, 3],
            [2, 2, 4],
            [2, 3, 2],
            [2, 3, 3],
            [2, 3, 4],
        ];
        assert_eq!(positions[..2], [[0; 3], [1; 3]]);
        assert_eq!(positions[2..8], picture);
        assert_eq!(positions[8], [5; 3]);
        // The next token is number 9 and lies at 6.
        assert_eq!(delta, -3);
    }

    #[test]
    fn time_goes_on_by_the_interval() {
        // One text, three pairs of frames of 1x2 features, 2.6 positions apart, one text.
        let ids = [9, 6, 6, 6, 6, 6, 6, 9];
        let spans = [video([3, 2, 4], 2.6)];
        let (positions, delta) = rope_index(&ids, &spans, &PLACEHOLDERS).unwrap();
        let times: Vec<i32> = positions.iter().map(|p| p[0]).collect();
        assert_eq!(times, [0, 1, 1, 3, 3, 6, 6, 3]);
        assert_eq!(positions[4], [3, 1, 2]);
        // What is sampled comes after everything: number 8 lies at 7.
        assert_eq!(delta, -1);
    }

    #[test]
    fn text_alone_counts_up() {
        assert_eq!(
            rope_index(&[9, 9], &[], &PLACEHOLDERS).unwrap(),
            (vec![[0; 3], [1; 3]], 0)
        );
        assert_eq!(rope_index(&[], &[], &PLACEHOLDERS).unwrap(), (vec![], 0));
    }

    #[test]
    fn mismatches_are_refused_by_name() {
        let message = |error: ProcessingError| error.to_string();
        let one = [image([1, 2, 2])];
        let error = expand("val-7", &[5, 5], &one, &PLACEHOLDERS).unwrap_err();
        assert!(
            message(error)
                .starts_with("row val-7: the prompt has 2 <|image_pad|> but the row has 1")
        );
        let error = expand("val-7", &[5], &[], &PLACEHOLDERS).unwrap_err();
        assert!(message(error).starts_with("row val-7: the prompt has 1 <|image_pad|>"));
        let spans = [video([1, 2, 2], 1.0), image([1, 2, 2])];
        let error = expand("val-7", &[5, 6], &spans, &PLACEHOLDERS).unwrap_err();
        assert!(message(error).starts_with("row val-7: the chat template shows"));
        for grid in [[1, 3, 2], [1, 2, 0], [0, 2, 2]] {
            assert!(Span::merged(0, IMAGE, grid, 2).is_err(), "{grid:?}");
        }
        let error = rope_index(&[9, 5, 5], &one, &PLACEHOLDERS).unwrap_err();
        assert!(message(error).starts_with("at token 1: 2 placeholders in a row where 1 belong"));
        let error = rope_index(&[5], &[], &PLACEHOLDERS).unwrap_err();
        assert!(message(error).starts_with("at token 0: 1 placeholders in a row where 0 belong"));
        let error = rope_index(&[6], &one, &PLACEHOLDERS).unwrap_err();
        assert!(message(error).starts_with("at token 0: 1 placeholders in a row where 0 belong"));
        let error = rope_index(&[9], &one, &PLACEHOLDERS).unwrap_err();
        assert!(message(error).starts_with("1 pictures, videos or frames are given"));
    }

    proptest! {
        #[test]
        fn expanded_prompts_always_get_positions(
            grids in proptest::collection::vec((0usize..2, 1usize..4, 1usize..5, 1usize..5), 0..4),
            text in 0usize..4,
        ) {
            let spans: Vec<Span> = grids
                .into_iter()
                .map(|(kind, time, height, width)| match kind {
                    0 => image([1, 2 * height, 2 * width]),
                    _ => video([time, 2 * height, 2 * width], 1.5),
                })
                .collect();
            let prompt: Vec<u32> =
                spans.iter().flat_map(|s| [3, s.token, 4]).chain(std::iter::repeat_n(9, text)).collect();
            let ids = expand("row", &prompt, &spans, &PLACEHOLDERS).unwrap();
            let (positions, delta) = rope_index(&ids, &spans, &PLACEHOLDERS).unwrap();
            prop_assert_eq!(positions.len(), ids.len());
            let last = positions.iter().flatten().max().map_or(-1, |last| *last);
            prop_assert_eq!(last + 1, ids.len() as i32 + delta);
        }

        #[test]
        fn any_ids_give_positions_or_an_error(
            ids in proptest::collection::vec(0u32..9, 0..30),
            grids in proptest::collection::vec((5u32..7, [0usize..3, 0usize..6, 0usize..6]), 0..3),
        ) {
            let spans: Vec<Span> =
                grids.into_iter().filter_map(|(token, grid)| Span::merged(0, token, grid, 2).ok()).collect();
            let _ = rope_index(&ids, &spans, &PLACEHOLDERS);
            let _ = expand("row", &ids, &spans, &PLACEHOLDERS);
        }
    }
}
