//! The content of `\boxed{…}`.

/// How many boxes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boxes {
    /// All, as a list.
    All,
    /// The last, with those before it that belong to it: near, or another value behind `and`, `or`, `,` or `;`.
    Last,
}

/// Most boxes that are looked at, from the last one on.
const MAX_BOXES: usize = 50;

/// Boxes this near to the next one, in bytes, belong to it.
const NEAR: usize = 10;

/// Boxes of another value belong to the next one up to this distance when a word or sign connects them.
const CONNECTED: usize = 70;

/// What stands in the boxes of `text`, joined by commas; all of `text` when there is none.
///
/// `\fbox` counts as well. A last box that is not closed goes to the end of the text.
pub(super) fn unboxed(text: &str, boxes: Boxes) -> String {
    let mut found: Vec<&str> = Vec::new();
    let mut before = text;
    let mut next_start = None;
    for _ in 0..MAX_BOXES {
        let Some((start, command)) = last_box(before) else {
            break;
        };
        let inside = before[start + command..].trim_start();
        let Some(content) = inside.strip_prefix('{') else {
            if found.is_empty() && !inside.is_empty() {
                found.push(inside);
            }
            break;
        };
        let Some(length) = closing_brace(content) else {
            if found.is_empty() {
                found.push(content);
            }
            break;
        };
        let end = before.len() - content.len() + length + 1;
        let content = content[..length].trim();
        if let (Boxes::Last, Some(next_start)) = (boxes, next_start) {
            let between = text.get(end..next_start).unwrap_or("");
            let next = found.last().copied().unwrap_or("");
            let connected = content != next && between.len() < CONNECTED && has_separator(between);
            if between.len() >= NEAR && !connected {
                break;
            }
        }
        if found.last() != Some(&content) {
            found.push(content);
        }
        next_start = Some(start);
        before = &text[..start];
    }
    if found.is_empty() {
        return text.to_owned();
    }
    found.reverse();
    found.join(",")
}

/// Where the last box begins, and the length of its command.
fn last_box(text: &str) -> Option<(usize, usize)> {
    let at = |command: &'static str| text.rfind(command).map(|start| (start, command.len()));
    at(r"\boxed").max(at(r"\fbox"))
}

/// The offset of the brace that closes what was opened just before `content`.
fn closing_brace(content: &str) -> Option<usize> {
    let mut open = 1;
    for (place, byte) in content.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(place);
                }
            }
            _ => {}
        }
    }
    None
}

fn has_separator(between: &str) -> bool {
    between.contains([',', ';'])
        || between
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == "and" || word == "or")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_last_box_with_its_neighbours() {
        for (text, last) in [
            (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
            (
                r"first \boxed{1}, but then the whole thing changes: \boxed{2}",
                "1,2",
            ),
            (
                r"first \boxed{1} but then the whole thing changes \boxed{2}",
                "2",
            ),
            (r"\boxed{1} or \boxed{2}", "1,2"),
            (r"\boxed{5} so \boxed{5}", "5"),
            (r"\boxed 7", "7"),
            (r"\boxed{7", "7"),
            ("none", "none"),
        ] {
            assert_eq!(unboxed(text, Boxes::Last), last, "{text}");
        }
        assert_eq!(
            unboxed(
                r"\boxed{1} and much later, after a while, \fbox{2}",
                Boxes::All
            ),
            "1,2"
        );
    }
}
