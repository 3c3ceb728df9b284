//! Pictures' places in a prompt: how many image tokens each takes, and where every token lies for the rotary embedding.
//!
//! Rollout and training both call these two functions, so they cannot disagree. Token counts follow the processor of
//! transformers 5.23 (`Qwen2_5_VLProcessor.replace_image_token`), positions its `Qwen2_5_VLModel.get_rope_index`; the
//! only differences are that a mismatch of tokens and grids is refused here, and that videos are not supported yet.

use crate::processing_error::ProcessingError;
use crate::tokenizer::SpecialTokens;

/// Number of tokens that a picture takes after merging: `t * h * w / merge²`.
///
/// `grid` is counted in patches (time, height, width), `picture` names the picture in errors.
///
/// # Errors
/// If a side of the grid is zero, or height or width is no multiple of `merge`.
pub fn image_token_count(
    picture: usize,
    grid: [usize; 3],
    merge: usize,
) -> Result<usize, ProcessingError> {
    let [time, height, width] = grid;
    let divides = |side: usize| side > 0 && merge > 0 && side.is_multiple_of(merge);
    if time == 0 || !divides(height) || !divides(width) {
        return Err(ProcessingError::Grid {
            picture,
            grid,
            merge,
        });
    }
    Ok(time * (height / merge) * (width / merge))
}

/// Replaces each image placeholder of a rendered prompt by as many as its picture needs.
///
/// `ids` holds one `image_pad` a picture, `grids` the pictures' patches (time, height, width) in the order in which
/// the prompt shows them, `row` the task's id for errors.
///
/// # Errors
/// If the numbers of placeholders and pictures differ, or a grid cannot be merged.
pub fn expand_image_tokens(
    row: &str,
    ids: &[u32],
    grids: &[[usize; 3]],
    image_pad: u32,
    merge: usize,
) -> Result<Vec<u32>, ProcessingError> {
    let placeholders = ids.iter().filter(|&&id| id == image_pad).count();
    if placeholders != grids.len() {
        return Err(ProcessingError::PictureCount {
            row: row.to_owned(),
            placeholders,
            pictures: grids.len(),
        });
    }
    let mut expanded = Vec::with_capacity(ids.len());
    let mut pictures = grids.iter().enumerate();
    for &id in ids {
        let picture = if id == image_pad {
            pictures.next()
        } else {
            None
        };
        let count = match picture {
            Some((picture, &grid)) => image_token_count(picture, grid, merge)?,
            None => 1,
        };
        expanded.extend(std::iter::repeat_n(id, count));
    }
    Ok(expanded)
}

/// Where each token lies for the multimodal rotary embedding, and what to add to the index of a later token.
///
/// Text tokens advance time, height and width together by one. The tokens of a picture lie on its merged grid, from the
/// position after the text before it, and the text after it goes on behind the grid's longer side.
///
/// `ids` are expanded ids, `grids` the pictures' patches (time, height, width) in order. Returns positions `[ids.len()]`
/// of (time, height, width), and `delta`: the token sampled after `ids` as number `n` of the sequence (from zero) lies at
/// `n + delta` in all three.
///
/// # Errors
/// If the runs of image tokens do not match the grids, or a video placeholder occurs.
pub fn rope_index(
    ids: &[u32],
    grids: &[[usize; 3]],
    special: &SpecialTokens,
    merge: usize,
) -> Result<(Vec<[i32; 3]>, i32), ProcessingError> {
    let mut positions = Vec::with_capacity(ids.len());
    let mut next = 0;
    let mut used = 0;
    while let Some(&id) = ids.get(positions.len()) {
        let index = positions.len();
        if id == special.video_pad {
            return Err(ProcessingError::Video { position: index });
        }
        if id != special.image_pad {
            positions.push([next; 3]);
            next += 1;
            continue;
        }
        let found = ids[index..]
            .iter()
            .take_while(|&&id| id == special.image_pad)
            .count();
        let wanted = match grids.get(used) {
            Some(&grid) => image_token_count(used, grid, merge)?,
            None => 0,
        };
        if found != wanted {
            return Err(ProcessingError::ImageRun {
                picture: used,
                position: index,
                wanted,
                found,
            });
        }
        let [time, height, width] = grids[used];
        let (height, width) = (height / merge, width / merge);
        for t in 0..time {
            for h in 0..height {
                positions.extend((0..width).map(|w| [t, h, w].map(|step| next + step as i32)));
            }
        }
        // Not the time side: transformers does the same, and an image's time side is 1.
        next += height.max(width) as i32;
        used += 1;
    }
    if used != grids.len() {
        return Err(ProcessingError::UnusedGrids {
            pictures: grids.len(),
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

    const SPECIAL: SpecialTokens = SpecialTokens {
        im_start: 1,
        im_end: 2,
        endoftext: 0,
        vision_start: 3,
        vision_end: 4,
        image_pad: 5,
        video_pad: 6,
        vision_pad: 7,
    };

    #[test]
    fn a_placeholder_becomes_one_token_a_merged_patch() {
        let ids = expand_image_tokens("row", &[9, 3, 5, 4, 3, 5, 4], &[[1, 4, 4], [1, 2, 4]], 5, 2)
            .unwrap();
        assert_eq!(ids, [9, 3, 5, 5, 5, 5, 4, 3, 5, 5, 4]);
    }

    #[test]
    fn positions_by_hand() {
        // text, text, a 2x3 grid after merging, text
        let ids = [9, 3, 5, 5, 5, 5, 5, 5, 4];
        let (positions, delta) = rope_index(&ids, &[[1, 4, 6]], &SPECIAL, 2).unwrap();
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
    fn text_alone_counts_up() {
        assert_eq!(
            rope_index(&[9, 9], &[], &SPECIAL, 2).unwrap(),
            (vec![[0; 3], [1; 3]], 0)
        );
        assert_eq!(rope_index(&[], &[], &SPECIAL, 2).unwrap(), (vec![], 0));
    }

    #[test]
    fn mismatches_are_refused_by_name() {
        let message = |error: ProcessingError| error.to_string();
        let error = expand_image_tokens("val-7", &[5, 5], &[[1, 2, 2]], 5, 2).unwrap_err();
        assert!(message(error).starts_with(
            "row val-7: the prompt has 2 image placeholders but the row has 1 pictures"
        ));
        for grid in [[1, 3, 2], [1, 2, 0], [0, 2, 2]] {
            assert!(
                expand_image_tokens("row", &[5], &[grid], 5, 2).is_err(),
                "{grid:?}"
            );
        }
        let error = rope_index(&[9, 5, 5], &[[1, 2, 2]], &SPECIAL, 2).unwrap_err();
        assert!(
            message(error)
                .starts_with("at token 1: 2 image tokens in a row where picture 0 needs 1")
        );
        let error = rope_index(&[5], &[], &SPECIAL, 2).unwrap_err();
        assert!(
            message(error)
                .starts_with("at token 0: 1 image tokens in a row where picture 0 needs 0")
        );
        let error = rope_index(&[9], &[[1, 2, 2]], &SPECIAL, 2).unwrap_err();
        assert!(message(error).starts_with("1 grids given, but the tokens hold only 0 pictures"));
        let error = rope_index(&[9, 6], &[], &SPECIAL, 2).unwrap_err();
        assert!(message(error).starts_with("at token 1: a <|video_pad|>"));
    }

    proptest! {
        #[test]
        fn expanded_prompts_always_get_positions(
            grids in proptest::collection::vec((1usize..5, 1usize..5), 0..4),
            text in 0usize..4,
        ) {
            let grids: Vec<_> = grids.into_iter().map(|(height, width)| [1, 2 * height, 2 * width]).collect();
            let prompt: Vec<u32> = grids.iter().flat_map(|_| [3, 5, 4]).chain(std::iter::repeat_n(9, text)).collect();
            let ids = expand_image_tokens("row", &prompt, &grids, 5, 2).unwrap();
            let (positions, delta) = rope_index(&ids, &grids, &SPECIAL, 2).unwrap();
            prop_assert_eq!(positions.len(), ids.len());
            prop_assert!(delta <= 0);
            if let (Some(last), Some(&id)) = (positions.last(), ids.last()) && id != 5 {
                prop_assert_eq!(*last, [ids.len() as i32 + delta - 1; 3]);
            }
        }

        #[test]
        fn any_ids_give_positions_or_an_error(
            ids in proptest::collection::vec(0u32..9, 0..30),
            grids in proptest::collection::vec([0usize..3, 0usize..6, 0usize..6], 0..3),
        ) {
            let _ = rope_index(&ids, &grids, &SPECIAL, 2);
        }
    }
}
