//! The frames of videos: from a folder of pictures, from an animated GIF, WebP or PNG, or from any video by way of ffmpeg.

use std::fs;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, ImageFormat};
use ocelli_core::{Clip, Picture, VideoSource};

use crate::decode::{decode_picture, decode_picture_bytes, picture_size, picture_size_bytes};
use crate::error::DataError;

/// Most pixels of all frames together; a pixel takes three bytes.
const MAX_CLIP_PIXELS: usize = 1_000_000_000;
/// File names that count as frames in a folder.
const FRAME_ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "gif", "webp", "bmp"];

/// The video that a row names, whose frames a second, if it gives any, count instead of the file's. A folder holds frames; GIF,
/// WebP and PNG are read here, everything else by ffmpeg.
///
/// # Errors
/// If it cannot be read, has no frames or too many, or needs ffmpeg and that is not there.
pub fn open_clip(source: &VideoSource) -> Result<Clip, DataError> {
    let path = &source.path;
    let clip = if path.is_dir() {
        clip_from_folder(path)?
    } else if is_animation(path)? {
        let bytes = fs::read(path).map_err(|error| DataError::read(path, error))?;
        clip_from_animation(&bytes, &path.display().to_string())?
    } else {
        clip_from_video(path)?
    };
    Ok(Clip {
        fps: source.fps.or(clip.fps),
        ..clip
    })
}

/// Number, rate, width and height of a video's frames. Of a folder only one frame's header is read; `None` for what ffmpeg would
/// have to decode.
///
/// # Errors
/// As [`open_clip`].
pub fn measure_clip(source: &VideoSource) -> Result<Option<ClipSize>, DataError> {
    let path = &source.path;
    if path.is_dir() {
        let paths = frame_paths(path)?;
        let Some(first) = paths.first() else {
            return Err(no_frames(&path.display().to_string()));
        };
        let (width, height) = picture_size(first)?;
        return Ok(Some(ClipSize {
            frames: paths.len(),
            fps: source.fps,
            size: [width, height],
        }));
    }
    if !is_animation(path)? {
        return Ok(None);
    }
    let clip = open_clip(source)?;
    let size = clip.frames.first().map_or((0, 0), Picture::size);
    Ok(Some(ClipSize {
        frames: clip.frames.len(),
        fps: clip.fps,
        size: size.into(),
    }))
}

/// Number, rate and size of a video's frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipSize {
    pub frames: usize,
    pub fps: Option<f64>,
    /// Width and height.
    pub size: [usize; 2],
}

/// Whether a file begins as a GIF, WebP or PNG.
fn is_animation(path: &Path) -> Result<bool, DataError> {
    let read = |source| DataError::read(path, source);
    let mut start = Vec::new();
    let file = fs::File::open(path).map_err(read)?;
    file.take(16).read_to_end(&mut start).map_err(read)?;
    Ok(matches!(
        image::guess_format(&start),
        Ok(ImageFormat::Gif | ImageFormat::WebP | ImageFormat::Png)
    ))
}

/// The pictures in `folder`, in the order of their names, where runs of digits count as numbers: `f2.png` comes before
/// `f10.png`.
///
/// # Errors
/// If the folder or a picture cannot be read, there is none, or they differ in size.
pub fn clip_from_folder(folder: &Path) -> Result<Clip, DataError> {
    let mut clip = Growing::default();
    for path in &frame_paths(folder)? {
        clip.push(decode_picture(path)?, &path.display().to_string())?;
    }
    clip.finish(None, &folder.display().to_string())
}

fn frame_paths(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let entries = fs::read_dir(folder).map_err(|source| DataError::read(folder, source))?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()
        .map_err(|source| DataError::read(folder, source))?;
    paths.retain(|path| {
        let ending = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        FRAME_ENDINGS.contains(&ending.to_ascii_lowercase().as_str())
    });
    paths.sort_by_cached_key(|path| name_key(path));
    Ok(paths)
}

/// Text and numbers of a file name in turn, then the name itself for names that differ in leading zeros.
fn name_key(path: &Path) -> (Vec<(String, u128)>, PathBuf) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut parts = vec![];
    let mut rest = &*name;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (text, after) = rest.split_at(digits);
        let end = after
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(after.len());
        let (number, after) = after.split_at(end);
        parts.push((text.to_owned(), number.parse().unwrap_or(0)));
        rest = after;
    }
    (parts, path.to_owned())
}

/// The frames of a GIF, WebP or PNG file, whose contents are `bytes`, as they are shown; a picture that does not move is a clip
/// of one frame. `name` is for errors. Frames a second are those of the mean time between frames.
///
/// # Errors
/// If the file is damaged, cut off, too large or of another format.
pub fn clip_from_animation(bytes: &[u8], name: &str) -> Result<Clip, DataError> {
    // Says what is wrong with an empty, foreign or huge file.
    picture_size_bytes(bytes, name)?;
    let damaged = |error: image::ImageError| {
        DataError::picture(
            name,
            format!("damaged or cut off ({error}): copy or download it again"),
        )
    };
    let source = Cursor::new(bytes);
    let frames = match image::guess_format(bytes).map_err(damaged)? {
        ImageFormat::Gif => GifDecoder::new(source).map_err(damaged)?.into_frames(),
        ImageFormat::WebP => {
            let decoder = WebPDecoder::new(source).map_err(damaged)?;
            if !decoder.has_animation() {
                let mut clip = Growing::default();
                clip.push(decode_picture_bytes(bytes, name)?, name)?;
                return clip.finish(None, name);
            }
            decoder.into_frames()
        }
        ImageFormat::Png => {
            let decoder = PngDecoder::new(source).map_err(damaged)?;
            if !decoder.is_apng().map_err(damaged)? {
                let mut clip = Growing::default();
                clip.push(decode_picture_bytes(bytes, name)?, name)?;
                return clip.finish(None, name);
            }
            decoder.apng().map_err(damaged)?.into_frames()
        }
        _ => {
            return Err(DataError::picture(
                name,
                "not an animated GIF, WebP or PNG: convert it, or give its frames as a folder of pictures",
            ));
        }
    };
    let (mut clip, mut seconds) = (Growing::default(), 0.0);
    for frame in frames {
        let frame = frame.map_err(damaged)?;
        let (above, below) = frame.delay().numer_denom_ms();
        seconds += f64::from(above) / f64::from(below.max(1)) / 1000.0;
        let rgba = frame.into_buffer();
        let (width, height) = (rgba.width() as usize, rgba.height() as usize);
        let rgb: Vec<u8> = rgba.pixels().flat_map(|p| [p[0], p[1], p[2]]).collect();
        clip.push(Picture::new(width, height, rgb), name)?;
    }
    let fps = (seconds > 0.0).then(|| clip.frames.len() as f64 / seconds);
    clip.finish(fps, name)
}

/// The frames of the first video stream of the file `path`, decoded by the programs `ffmpeg` and `ffprobe`, which must be
/// on the search path.
///
/// # Errors
/// If the programs are missing or fail, or the video has no frames or too many.
pub fn clip_from_video(path: &Path) -> Result<Clip, DataError> {
    clip_by(path, Path::new("ffmpeg"), Path::new("ffprobe"))
}

fn clip_by(path: &Path, ffmpeg: &Path, ffprobe: &Path) -> Result<Clip, DataError> {
    fs::metadata(path).map_err(|source| DataError::read(path, source))?;
    // A path that looks like an address or an option stays a path.
    let mut input = std::ffi::OsString::from("file:");
    input.push(path);
    let missing = |program: &Path, error: std::io::Error| {
        let program = program.display();
        DataError::file(
            path,
            format!(
                "reading a video needs the program {program}, which could not be started ({error}): install ffmpeg, or \
                 give the frames as a folder of pictures"
            ),
        )
    };
    let rate = Command::new(ffprobe)
        .args(["-v", "error", "-select_streams", "v:0", "-show_entries"])
        .args(["stream=avg_frame_rate", "-of", "csv=p=0"])
        .arg(&input)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| missing(ffprobe, error))?;
    let fps = frame_rate(&String::from_utf8_lossy(&rate.stdout));
    // Complaints go to a file, so that a full pipe stops nobody.
    let complaints = tempfile::tempfile().map_err(|source| DataError::read(path, source))?;
    let theirs = complaints.try_clone();
    let mut child = Command::new(ffmpeg)
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(&input)
        // Every frame once: frames of uneven times are numbered anew, else ffmpeg doubles and drops some to keep the pace (its switch
        // against that has another name in every version).
        .args(["-map", "0:v:0", "-vf", "settb=1/25,setpts=N,fps=25"])
        // Without the format, videos of ten bits come with two bytes a value.
        .args(["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(theirs.map_err(|source| DataError::read(path, source))?)
        .spawn()
        .map_err(|error| missing(ffmpeg, error))?;
    let name = path.display().to_string();
    let clip = match child.stdout.take() {
        Some(stdout) => read_ppm_frames(BufReader::new(stdout), &name),
        None => Ok(Growing::default()),
    };
    if clip.is_err() {
        let _ = child.kill();
    }
    let status = child
        .wait()
        .map_err(|source| DataError::read(path, source))?;
    let clip = clip?;
    if !status.success() {
        return Err(DataError::file(
            path,
            format!("ffmpeg could not read it: {}", last_line(complaints)),
        ));
    }
    clip.finish(fps, &name)
}

/// What a program complained about at last.
fn last_line(mut complaints: fs::File) -> String {
    use std::io::Seek;
    let mut bytes = vec![];
    let _ = complaints.rewind();
    let _ = complaints.take(1 << 16).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    text.lines().last().unwrap_or("it said nothing").to_owned()
}

/// ffprobe's `30000/1001`; none where it does not know.
fn frame_rate(text: &str) -> Option<f64> {
    let (above, below) = text.trim().split_once('/')?;
    let rate = above.parse::<f64>().ok()? / below.parse::<f64>().ok()?;
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

/// Pictures in the format PPM (`P6`, width, height, 255, then bytes), one after the other.
fn read_ppm_frames(mut source: impl BufRead, name: &str) -> Result<Growing, DataError> {
    let problem = |problem: String| DataError::picture(name, problem);
    let mut clip = Growing::default();
    loop {
        let at_end = source.fill_buf().map(<[u8]>::is_empty);
        if at_end.map_err(|error| problem(format!("ffmpeg broke off: {error}")))? {
            return Ok(clip);
        }
        let mut words = vec![];
        while words.len() < 4 {
            let mut line = String::new();
            let read = (&mut source).take(64).read_line(&mut line);
            if read.unwrap_or(0) == 0 {
                return Err(problem("ffmpeg broke off inside a frame".to_owned()));
            }
            words.extend(line.split_whitespace().map(str::to_owned));
        }
        let side = |index: usize| words[index].parse::<usize>().unwrap_or(0);
        let (width, height) = (side(1), side(2));
        let fits = width
            .checked_mul(height)
            .is_some_and(|n| (1..=MAX_CLIP_PIXELS).contains(&n));
        if words[0] != "P6" || words[3] != "255" || !fits {
            return Err(problem(format!(
                "ffmpeg wrote `{}` where a frame was expected",
                words.join(" ")
            )));
        }
        let mut rgb = vec![0; width * height * 3];
        if source.read_exact(&mut rgb).is_err() {
            return Err(problem("ffmpeg broke off inside a frame".to_owned()));
        }
        clip.push(Picture::new(width, height, rgb), name)?;
    }
}

fn no_frames(name: &str) -> DataError {
    DataError::picture(name, "there are no frames in it")
}

/// Frames that come one by one.
#[derive(Default)]
struct Growing {
    frames: Vec<Picture>,
}

impl Growing {
    /// Adds a frame, which came from what `name` says.
    fn push(&mut self, frame: Picture, name: &str) -> Result<(), DataError> {
        let (width, height) = frame.size();
        if let Some(first) = self.frames.first()
            && first.size() != frame.size()
        {
            let (first_width, first_height) = first.size();
            return Err(DataError::picture(
                name,
                format!(
                    "the frame is {width}×{height} and the clip's first one {first_width}×{first_height}: bring all \
                     frames to one size"
                ),
            ));
        }
        if (self.frames.len() + 1) * width * height > MAX_CLIP_PIXELS {
            return Err(DataError::picture(
                name,
                format!(
                    "the clip has more than {} megapixels in all its frames: cut it, shrink it or take fewer frames",
                    MAX_CLIP_PIXELS / 1_000_000
                ),
            ));
        }
        self.frames.push(frame);
        Ok(())
    }

    fn finish(self, fps: Option<f64>, name: &str) -> Result<Clip, DataError> {
        if self.frames.is_empty() {
            return Err(no_frames(name));
        }
        Ok(Clip {
            frames: self.frames,
            fps,
        })
    }
}

#[cfg(test)]
mod tests {
    use image::codecs::gif::GifEncoder;
    use image::{Delay, Frame, RgbaImage};

    use super::*;
    use crate::decode::encode_png;

    fn plain(width: usize, value: u8) -> Picture {
        Picture::new(width, 2, vec![value; width * 6])
    }

    fn gif(values: &[u8], milliseconds: u32) -> Vec<u8> {
        let mut bytes = vec![];
        let mut encoder = GifEncoder::new(&mut bytes);
        for &value in values {
            let picture = RgbaImage::from_pixel(3, 2, image::Rgba([value, value, value, 255]));
            let delay = Delay::from_numer_denom_ms(milliseconds, 1);
            let frame = Frame::from_parts(picture, 0, 0, delay);
            encoder.encode_frame(frame).unwrap();
        }
        drop(encoder);
        bytes
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_its_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in [("f10.png", 30), ("f2.png", 20), ("f1.PNG", 10)] {
            fs::write(folder.path().join(name), encode_png(&plain(3, value))).unwrap();
        }
        fs::write(folder.path().join("notes.txt"), "no frame").unwrap();
        let clip = clip_from_folder(folder.path()).unwrap();
        let values: Vec<u8> = clip.frames.iter().map(|frame| frame.rgb()[0]).collect();
        assert_eq!((values, clip.fps), (vec![10, 20, 30], None));
        fs::write(folder.path().join("f11.png"), encode_png(&plain(4, 0))).unwrap();
        let text = clip_from_folder(folder.path()).unwrap_err().to_string();
        assert!(text.contains("f11.png: the frame is 4×2"), "{text}");
        let empty = tempfile::tempdir().unwrap();
        assert!(clip_from_folder(empty.path()).is_err());
    }

    #[test]
    fn animations_have_frames_and_a_rate() {
        let clip = clip_from_animation(&gif(&[0, 85, 170], 250), "a.gif").unwrap();
        assert_eq!((clip.frames.len(), clip.fps), (3, Some(4.0)));
        assert_eq!(clip.frames[2], plain(3, 170));
        // As a picture, the first frame counts.
        let still = decode_picture_bytes(&gif(&[85, 0], 250), "a.gif").unwrap();
        assert_eq!(still, plain(3, 85));
        for bytes in [&b""[..], b"BM no bitmap", &gif(&[0, 85], 10)[..40]] {
            let text = clip_from_animation(bytes, "clips/a.gif")
                .unwrap_err()
                .to_string();
            assert!(text.starts_with("clips/a.gif: "), "{text}");
        }
    }

    #[test]
    fn what_a_row_names_is_opened_and_measured() {
        let folder = tempfile::tempdir().unwrap();
        let source = |name: &str, fps| VideoSource {
            path: folder.path().join(name),
            fps,
        };
        fs::create_dir(folder.path().join("clip")).unwrap();
        for n in 0..3 {
            let path = folder.path().join(format!("clip/{n}.png"));
            fs::write(path, encode_png(&plain(3, n))).unwrap();
        }
        fs::write(folder.path().join("a.gif"), gif(&[0, 85], 500)).unwrap();
        fs::write(folder.path().join("still.png"), encode_png(&plain(5, 7))).unwrap();
        for (name, given, frames, fps, width) in [
            ("clip", None, 3, None, 3),
            ("clip", Some(2.0), 3, Some(2.0), 3),
            ("a.gif", None, 2, Some(2.0), 3),
            ("a.gif", Some(8.0), 2, Some(8.0), 3),
            ("still.png", None, 1, None, 5),
        ] {
            let size = measure_clip(&source(name, given)).unwrap().unwrap();
            assert_eq!((size.frames, size.fps), (frames, fps), "{name}");
            assert_eq!(size.size, [width, 2], "{name}");
            let clip = open_clip(&source(name, given)).unwrap();
            assert_eq!((clip.frames.len(), clip.fps), (frames, fps), "{name}");
        }
        fs::write(folder.path().join("a.mp4"), "no video").unwrap();
        assert_eq!(measure_clip(&source("a.mp4", None)).unwrap(), None);
        fs::create_dir(folder.path().join("empty")).unwrap();
        assert!(measure_clip(&source("empty", None)).is_err());
        assert!(open_clip(&source("nowhere.gif", None)).is_err());
    }

    /// Two frames of 1x1 pixels, red then blue, half a second each, as Pillow 13 writes them.
    const ANIMATED_PNG: &[u8] = include_bytes!("../tests/golden/two_frames.png");

    #[test]
    fn animated_pngs_have_frames_and_a_rate() {
        let clip = clip_from_animation(ANIMATED_PNG, "a.png").unwrap();
        assert_eq!((clip.frames.len(), clip.fps), (2, Some(2.0)));
        assert_eq!(clip.frames[0].rgb(), [255, 0, 0]);
        assert_eq!(clip.frames[1].rgb(), [0, 0, 255]);
    }

    #[test]
    fn frame_rates_are_fractions() {
        assert_eq!(frame_rate("30000/1001\n"), Some(30_000.0 / 1001.0));
        assert_eq!(frame_rate("0/0"), None);
        assert_eq!(frame_rate("N/A"), None);
    }

    #[test]
    fn a_missing_ffmpeg_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let nowhere = Path::new("/nowhere/ffmpeg");
        let text = clip_by(file.path(), nowhere, nowhere)
            .unwrap_err()
            .to_string();
        assert!(text.contains("needs the program /nowhere/ffmpeg"), "{text}");
        assert!(text.contains("install ffmpeg"), "{text}");
        let text = clip_from_video(Path::new("nowhere.mp4"))
            .unwrap_err()
            .to_string();
        assert!(text.contains("nowhere.mp4"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn what_ffmpeg_writes_becomes_frames() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str, script: &str| {
            let path = folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let video = folder.path().join("a.mp4");
        fs::write(&video, "not empty").unwrap();
        let probe = program("probe", "echo 25/1");
        let two = program(
            "two",
            "printf 'P6\\n1 2\\n255\\nabcdefP6\\n1 2\\n255\\nABCDEF'",
        );
        let clip = clip_by(&video, &two, &probe).unwrap();
        assert_eq!((clip.frames.len(), clip.fps), (2, Some(25.0)));
        assert_eq!(clip.frames[1].rgb(), b"ABCDEF");
        for (script, wanted) in [
            (
                "echo moov atom not found >&2; exit 1",
                "ffmpeg could not read it: moov atom",
            ),
            (
                "printf 'P6\\n1 2\\n255\\nabc'",
                "ffmpeg broke off inside a frame",
            ),
            ("echo hello; echo 1 2 3", "where a frame was expected"),
            ("exit 0", "there are no frames"),
        ] {
            let text = clip_by(&video, &program("bad", script), &probe)
                .unwrap_err()
                .to_string();
            assert!(text.contains(wanted), "{text}");
        }
    }
}
