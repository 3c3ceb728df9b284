//! Extraction: where one section stands, whatever the rest of the text looks like.

use std::ops::Range;

use super::{Fault, Marks, Pick, Section, is_space};

/// The span of each of `sections` in `text`, without its marks.
pub(super) fn find_all(sections: &[Section], text: &str) -> Vec<Result<Range<usize>, Fault>> {
    let headers = header_lines(sections, text);
    let find = |(at, section)| match find(section, at, &headers, text) {
        Err(Fault::Missing | Fault::NotClosed | Fault::TooFew) if section.or_whole => {
            Ok(0..text.len())
        }
        found => found,
    };
    sections.iter().enumerate().map(find).collect()
}

fn find(
    section: &Section,
    at: usize,
    headers: &[HeaderLine],
    text: &str,
) -> Result<Range<usize>, Fault> {
    let start = section.tail.map_or(0, |count| tail_start(text, count));
    match &section.marks {
        Marks::Tag | Marks::Between(..) => marked(section, text, start),
        Marks::Boxed => boxed(text, start, section.pick),
        Marks::Header(_) => {
            let own = headers
                .iter()
                .filter(|line| line.section == at && line.start >= start);
            pick(own.map(|line| line.content.clone()), section.pick)
        }
        Marks::After(mark) => {
            let ends = text[start..].match_indices(mark.as_str());
            pick(
                ends.map(|(p, _)| start + p + mark.len()..text.len()),
                section.pick,
            )
        }
        Marks::Line(label) => pick(Lines::new(text, start, label), section.pick),
        Marks::Whole => Ok(start..text.len()),
    }
}

/// Where the last `count` characters start.
fn tail_start(text: &str, count: usize) -> usize {
    match count.checked_sub(1) {
        None => text.len(),
        Some(skipped) => text
            .char_indices()
            .rev()
            .nth(skipped)
            .map_or(0, |(at, _)| at),
    }
}

fn pick(mut found: impl Iterator<Item = Range<usize>>, pick: Pick) -> Result<Range<usize>, Fault> {
    let first = found.next().ok_or(Fault::Missing)?;
    match pick {
        Pick::First => Ok(first),
        Pick::Last => Ok(found.last().unwrap_or(first)),
        Pick::Nth(count) if count <= 1 => Ok(first),
        Pick::Nth(count) => found.nth(count - 2).ok_or(Fault::TooFew),
        Pick::Only => match found.next() {
            None => Ok(first),
            Some(_) => Err(Fault::Repeated),
        },
    }
}

fn marked(section: &Section, text: &str, start: usize) -> Result<Range<usize>, Fault> {
    let Some((open, close)) = section.literals() else {
        return Err(Fault::Missing);
    };
    let found = if section.single_line {
        let lines = text[start..].split_inclusive('\n').scan(start, |at, line| {
            let begin = *at;
            *at += line.len();
            Some((begin, line))
        });
        pick(
            lines.flat_map(|(begin, line)| {
                Pairs::new(line, &open, &close).map(move |r| begin + r.start..begin + r.end)
            }),
            section.pick,
        )
    } else {
        pick(
            Pairs::new(&text[start..], &open, &close).map(|r| start + r.start..start + r.end),
            section.pick,
        )
    };
    match found {
        Err(Fault::Missing) if text[start..].contains(open.as_ref()) => Err(Fault::NotClosed),
        found => found,
    }
}

/// The matches of `open(.*?)close` from the left, none inside another.
struct Pairs<'a> {
    text: &'a str,
    open: &'a str,
    close: &'a str,
    at: usize,
}

impl<'a> Pairs<'a> {
    fn new(text: &'a str, open: &'a str, close: &'a str) -> Self {
        Self {
            text,
            open,
            close,
            at: 0,
        }
    }
}

impl Iterator for Pairs<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.at + self.text[self.at..].find(self.open)? + self.open.len();
        let Some(length) = self.text[start..].find(self.close) else {
            // Nothing later can be closed either.
            self.at = self.text.len();
            return None;
        };
        self.at = start + length + self.close.len();
        Some(start..start + length)
    }
}

/// The start decides before the braces are looked at: a last `\boxed{` that is not closed is not replaced by an earlier
/// one, as in mathruler, which EasyR1 uses.
fn boxed(text: &str, from: usize, which: Pick) -> Result<Range<usize>, Fault> {
    const OPEN: &str = r"\boxed{";
    let starts = text[from..]
        .match_indices(OPEN)
        .map(|(p, _)| from + p + OPEN.len());
    let start = pick(starts.map(|start| start..start), which)?.start;
    let mut depth = 0usize;
    let mut escaped = false;
    for (at, byte) in text[start..].bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => depth += 1,
            b'}' if depth == 0 => return Ok(start..start + at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    Err(Fault::NotClosed)
}

/// A line that starts with a header.
pub(super) struct HeaderLine {
    pub(super) section: usize,
    pub(super) start: usize,
    /// From the end of the header to the next header's line or the end of the text.
    pub(super) content: Range<usize>,
}

/// The header lines of `text` in order. White space before a header is allowed.
pub(super) fn header_lines(sections: &[Section], text: &str) -> Vec<HeaderLine> {
    let mut found: Vec<HeaderLine> = Vec::new();
    if !sections.iter().any(|s| matches!(s.marks, Marks::Header(_))) {
        return found;
    }
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start_matches(is_space).len();
        let header = sections.iter().enumerate().find_map(|(at, section)| {
            let Marks::Header(header) = &section.marks else {
                return None;
            };
            Some((at, header_length(&line[indent..], header)?))
        });
        if let Some((section, length)) = header {
            if let Some(before) = found.last_mut() {
                before.content.end = start;
            }
            found.push(HeaderLine {
                section,
                start,
                content: start + indent + length..text.len(),
            });
        }
        start += line.len();
    }
    found
}

/// The length of `header` at the start of `line`, with digits for each `{n}`.
fn header_length(line: &str, header: &str) -> Option<usize> {
    let mut rest = line;
    for (part, text) in header.split("{n}").enumerate() {
        if part > 0 {
            let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            if after.len() == rest.len() {
                return None;
            }
            rest = after;
        }
        rest = rest.strip_prefix(text)?;
    }
    Some(line.len() - rest.len())
}

/// The matches of `(?i)label\s*:\s*([^\n]+)`, for a label of ASCII letters.
struct Lines<'a> {
    text: &'a str,
    label: &'a str,
    at: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str, at: usize, label: &'a str) -> Self {
        Self { text, label, at }
    }
}

impl Iterator for Lines<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let label = self.label.as_bytes();
        while let Some(window) = self.text.as_bytes().get(self.at..self.at + label.len()) {
            if !window.eq_ignore_ascii_case(label) {
                self.at += 1;
                continue;
            }
            self.at += label.len();
            let after = self.text[self.at..].trim_start_matches(is_space);
            let Some(after) = after.strip_prefix(':') else {
                continue;
            };
            let space = self.text.len() - after.len();
            let line = after.trim_start_matches(is_space);
            let mut start = self.text.len() - line.len();
            if line.is_empty() {
                // All white space: the pattern gives back the last of it that is no line break.
                let Some((at, _)) = after.char_indices().rfind(|(_, c)| *c != '\n') else {
                    continue;
                };
                start = space + at;
            }
            let length = self.text[start..].find('\n');
            self.at = length.map_or(self.text.len(), |length| start + length);
            return Some(start..self.at);
        }
        None
    }
}
