//! What a judge is shown of an episode.

use std::collections::HashMap;
use std::path::Path;

use ocelli_core::{Episode, FailureKind, ImageSource, Verdict};

use super::asking::failure;
use crate::scorer::{ScoreImage, ScoreRequest};
use crate::verifier::{Place, Refusal};

/// Which text of the turn is judged, and whether the row's pictures go with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) place: Place,
    pub(crate) pictures: bool,
}

/// A picture's file, or what is wrong with it.
type Read = Result<ScoreImage, String>;

impl Shown {
    /// One request an episode, or its verdict where there is nothing to ask: a turn without the wanted section scores 0
    /// with its reason, and a picture that cannot be sent is an error of the row.
    pub(super) fn requests(
        &self,
        node: &str,
        episodes: &[&Episode],
    ) -> Vec<Result<ScoreRequest, Verdict>> {
        // The samples of a prompt show the same files.
        let mut files = HashMap::new();
        let requests = episodes.iter().copied();
        requests
            .map(|episode| self.request(node, episode, &mut files))
            .collect()
    }

    fn request<'a>(
        &self,
        node: &str,
        episode: &'a Episode,
        files: &mut HashMap<&'a Path, Read>,
    ) -> Result<ScoreRequest, Verdict> {
        let answer = self.place.answer(episode.answer_text());
        let answer = answer.map_err(|refusal| match refusal {
            Refusal::Unparsed(reason) => Verdict::unparsed(reason),
            Refusal::Unjudgeable(error) => Verdict::Error(error),
        })?;
        let mut request = ScoreRequest::of_episode(episode, &answer);
        if self.pictures {
            for (index, image) in episode.task.images.iter().enumerate() {
                let picture = match image {
                    ImageSource::Path(path) => {
                        files.entry(path).or_insert_with(|| read(path)).clone()
                    }
                    ImageSource::Embedded(name) => Err(format!(
                        "picture {name} is inside a data file; write it to a file of its own, or judge such rows without \
                         `pictures`"
                    )),
                    ImageSource::Pixels(_) | ImageSource::Generated => Err(format!(
                        "picture {index} is generated and no file; judge such rows without `pictures`, or keep them from \
                         this node with `when`"
                    )),
                    ImageSource::Moved { .. } => Err(format!(
                        "picture {index} was moved and is no file; judge such rows without `pictures`, or leave `augment.shift` \
                         out"
                    )),
                };
                request.images.push(picture.map_err(|problem| {
                    let message = format!(
                        "task `{}`: `{node}` cannot judge it, {problem}",
                        episode.task.id
                    );
                    Verdict::Error(failure(FailureKind::InputMissing, message))
                })?);
            }
        }
        Ok(request)
    }
}

fn read(path: &Path) -> Read {
    let bytes = std::fs::read(path)
        .map_err(|error| format!("the picture {} cannot be read: {error}", path.display()))?;
    ScoreImage::new(bytes).ok_or_else(|| {
        format!(
            "the picture {} is neither PNG, JPEG, WebP nor GIF; convert it",
            path.display()
        )
    })
}
