//! What a command shows and plays to a model beside its question.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use ocelli_core::{Message, Part, Role, VideoSource};
use ocelli_model::percept::{Media, Percept};
use ocelli_rollout::{Policy, perceive};

use super::misuse;

/// What error messages call the row.
pub(super) const ROW: &str = "command line";

/// Pictures, videos and sounds, in this order before the question.
#[derive(Args)]
pub(super) struct ShownArguments {
    /// A picture; may be given several times. Pictures, videos and sounds come before the question.
    #[arg(long, value_name = "FILE")]
    pub(super) image: Vec<PathBuf>,
    /// A video: a folder of frames, an animated GIF, WebP or PNG, or any file that ffmpeg reads; may be given several times.
    #[arg(long, value_name = "FILE|FOLDER")]
    pub(super) video: Vec<PathBuf>,
    /// Frames a second of the videos, in place of what their files say.
    #[arg(long, requires = "video")]
    fps: Option<f64>,
    /// A sound, as a WAV file; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub(super) audio: Vec<PathBuf>,
}

impl ShownArguments {
    /// The conversation: the system's turn, if there is one, and the user's.
    pub(super) fn messages(&self, system: Option<&str>, question: &str) -> Vec<Message> {
        let images = (0..self.image.len()).map(|index| Part::Image { index });
        let videos = (0..self.video.len()).map(|index| Part::Video { index });
        let audios = (0..self.audio.len()).map(|index| Part::Audio { index });
        let question = Part::Text {
            text: question.to_owned(),
        };
        let turn = Message {
            role: Role::User,
            content: images
                .chain(videos)
                .chain(audios)
                .chain([question])
                .collect(),
        };
        let system = system.map(|text| Message::text(Role::System, text));
        system.into_iter().chain([turn]).collect()
    }

    /// What the network is given of them.
    ///
    /// # Errors
    /// When a file can't be read, or the model does not read its kind.
    pub(super) fn media(&self, policy: &Policy) -> anyhow::Result<Media<Arc<Percept>>> {
        if let Some(fps) = self.fps
            && !(fps.is_finite() && fps > 0.0)
        {
            return Err(misuse(format!("--fps {fps}: give a number above 0")));
        }
        let picture = |path: &PathBuf| -> anyhow::Result<Arc<Percept>> {
            let picture = ocelli_data::decode_picture(path)?;
            Ok(policy.processor.image(&picture)?)
        };
        let video = |path: &PathBuf| {
            let source = VideoSource {
                path: path.clone(),
                fps: self.fps,
            };
            perceive::video(policy, ROW, &source)
        };
        let sound = |path: &PathBuf| perceive::sound(policy, ROW, path);
        Ok(Media {
            images: self.image.iter().map(picture).collect::<Result<_, _>>()?,
            videos: self.video.iter().map(video).collect::<Result<_, _>>()?,
            audios: self.audio.iter().map(sound).collect::<Result<_, _>>()?,
        })
    }
}
