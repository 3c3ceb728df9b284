//! A driving plan of two actions (AlphaDrive): what to do with the speed, and which way to go.

use super::ParseFailure;
use crate::measure::consistency::{MetaAction, PathAction, SpeedAction};

/// The two actions of `text`, in either order and any letter case, their words joined by a blank, a line or a hyphen:
/// `KEEP, LEFT_TURN`. Other words are passed over.
///
/// # Errors
/// [`ParseFailure::NoAction`] or [`ParseFailure::SeveralActions`] with the axis, `speed` or `path`; the same action
/// twice is one.
pub fn parse_meta_action(text: &str) -> Result<MetaAction, ParseFailure> {
    let (mut speed, mut path) = (None, None);
    let mut side: Option<&str> = None;
    let words = text.split(|c: char| !c.is_alphanumeric());
    for word in words.filter(|word| !word.is_empty()) {
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        let before = side.take();
        let left = before.map(|side| side.eq_ignore_ascii_case("left"));
        if is("left") || is("right") {
            side = Some(word);
        } else if is("keep") {
            set(&mut speed, SpeedAction::Keep, "speed")?;
        } else if is("accelerate") {
            set(&mut speed, SpeedAction::Accelerate, "speed")?;
        } else if is("decelerate") {
            set(&mut speed, SpeedAction::Decelerate, "speed")?;
        } else if is("stop") {
            set(&mut speed, SpeedAction::Stop, "speed")?;
        } else if is("straight") {
            set(&mut path, PathAction::Straight, "path")?;
        } else if let (true, Some(left)) = (is("turn"), left) {
            let action = if left {
                PathAction::LeftTurn
            } else {
                PathAction::RightTurn
            };
            set(&mut path, action, "path")?;
        } else if let (true, Some(left)) = (is("change"), left) {
            let action = if left {
                PathAction::LeftChange
            } else {
                PathAction::RightChange
            };
            set(&mut path, action, "path")?;
        }
    }
    Ok(MetaAction {
        speed: speed.ok_or(ParseFailure::NoAction("speed"))?,
        path: path.ok_or(ParseFailure::NoAction("path"))?,
    })
}

fn set<T: PartialEq>(
    slot: &mut Option<T>,
    action: T,
    axis: &'static str,
) -> Result<(), ParseFailure> {
    match slot {
        Some(before) if *before != action => Err(ParseFailure::SeveralActions(axis)),
        _ => {
            *slot = Some(action);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_one_action_of_each_kind() {
        for (text, speed, path) in [
            ("KEEP, LEFT_TURN", SpeedAction::Keep, PathAction::LeftTurn),
            (
                "straight; decelerate",
                SpeedAction::Decelerate,
                PathAction::Straight,
            ),
            (
                "speed: STOP\npath: RIGHT CHANGE",
                SpeedAction::Stop,
                PathAction::RightChange,
            ),
            (
                "accelerate, accelerate, right-turn",
                SpeedAction::Accelerate,
                PathAction::RightTurn,
            ),
        ] {
            assert_eq!(
                parse_meta_action(text),
                Ok(MetaAction { speed, path }),
                "{text}"
            );
        }
        for (text, failure) in [
            ("", ParseFailure::NoAction("speed")),
            ("KEEP", ParseFailure::NoAction("path")),
            ("KEEP, LEFT", ParseFailure::NoAction("path")),
            ("KEEP STOP STRAIGHT", ParseFailure::SeveralActions("speed")),
            (
                "KEEP LEFT_TURN STRAIGHT",
                ParseFailure::SeveralActions("path"),
            ),
        ] {
            assert_eq!(parse_meta_action(text), Err(failure), "{text}");
        }
        let written = serde_json::to_string(&PathAction::LeftTurn).unwrap();
        assert_eq!(written, "\"LEFT_TURN\"");
    }
}
