//! The form: whether the whole text is the sections in order.
//!
//! Inside a section anything may stand, so what can follow a section that starts early includes all that can follow
//! one that starts late. The earliest start of each section is therefore all that has to be known, and the pattern is
//! matched without backtracking.

use std::borrow::Cow;
use std::ops::Range;

use super::extract::{HeaderLine, header_lines};
use super::{Fault, Gap, Holds, Marks, Once, Section, is_space, occurs_once};

/// Checks the form of `text`; a failure names the section by index.
///
/// Sections that have no place in the order (a line, what stands after a mark, the whole text) must only be there and
/// hold what they should.
pub(super) fn check(
    sections: &[Section],
    after: Gap,
    text: &str,
    spans: &[Result<Range<usize>, Fault>],
) -> Result<(), (usize, Fault)> {
    let mut ordered = Vec::new();
    for (at, section) in sections.iter().enumerate() {
        let marks = match (section.literals(), &section.marks) {
            (Some((open, close)), _) => PlaceMarks::Literal(open, close),
            (None, Marks::Header(_)) => PlaceMarks::Header,
            (None, _) => match &spans[at] {
                Ok(span) if contents_end(section.holds, &text[span.clone()], 0).is_none() => {
                    return Err((at, Fault::NoBox));
                }
                Err(fault) if section.required => return Err((at, *fault)),
                _ => continue,
            },
        };
        ordered.push(Place { at, section, marks });
    }
    let form = Form {
        text,
        after,
        ordered,
        headers: header_lines(sections, text),
    };
    form.check_marks(spans)?;
    form.check_order()
}

struct Form<'a> {
    text: &'a str,
    after: Gap,
    ordered: Vec<Place<'a>>,
    headers: Vec<HeaderLine>,
}

/// A section that has a place in the order.
struct Place<'a> {
    at: usize,
    section: &'a Section,
    marks: PlaceMarks<'a>,
}

enum PlaceMarks<'a> {
    Literal(Cow<'a, str>, Cow<'a, str>),
    Header,
}

impl Form<'_> {
    /// Whether the required opening marks are there, and those wanted once are there once.
    fn check_marks(&self, spans: &[Result<Range<usize>, Fault>]) -> Result<(), (usize, Fault)> {
        for place in &self.ordered {
            let there = match &place.marks {
                PlaceMarks::Literal(open, _) => self.text.contains(open.as_ref()),
                PlaceMarks::Header => spans[place.at].is_ok(),
            };
            if !there && place.section.required {
                return Err((place.at, Fault::Missing));
            }
            if let (true, PlaceMarks::Literal(open, close)) = (there, &place.marks) {
                let once = match place.section.once {
                    Once::No => true,
                    Once::Opening => occurs_once(self.text, open),
                    Once::Both => {
                        if !self.text.contains(close.as_ref()) {
                            return Err((place.at, Fault::NotClosed));
                        }
                        occurs_once(self.text, open) && occurs_once(self.text, close)
                    }
                };
                if !once {
                    return Err((place.at, Fault::Repeated));
                }
            }
        }
        Ok(())
    }

    fn check_order(&self) -> Result<(), (usize, Fault)> {
        // The earliest point inside each section from which its close may be looked for.
        let mut starts: Vec<Option<usize>> = Vec::with_capacity(self.ordered.len());
        for (at, place) in self.ordered.iter().enumerate() {
            let mut earliest = if self.all_optional(0..at) {
                self.open_at_start(place)
            } else {
                None
            };
            for (before, start) in starts.iter().enumerate() {
                if let (&Some(start), true) = (start, self.all_optional(before + 1..at)) {
                    let joint = self.joint(&self.ordered[before], start, place);
                    earliest = match (earliest, joint) {
                        (Some(a), Some(b)) => Some(a.min(b)),
                        (a, b) => a.or(b),
                    };
                }
            }
            let start = earliest.map(|start| contents_end(place.section.holds, self.text, start));
            if let (true, Some(None)) = (place.section.required, start) {
                return Err((place.at, Fault::NoBox));
            }
            if earliest.is_none() && place.section.required {
                return Err((place.at, self.why_not_reached(at, &starts)));
            }
            starts.push(start.flatten());
        }
        let count = self.ordered.len();
        let ends_well = |(at, start): (usize, &Option<usize>)| {
            start.is_some_and(|start| {
                self.all_optional(at + 1..count) && self.closes_at_end(&self.ordered[at], start)
            })
        };
        if count == 0 || starts.iter().enumerate().any(ends_well) {
            return Ok(());
        }
        let nothing_at_all = self.all_optional(0..count)
            && starts.iter().all(Option::is_none)
            && self.gap_is(self.text, self.after);
        if nothing_at_all {
            return Ok(());
        }
        // The last section that was reached is the one that does not end well.
        let last = starts.iter().rposition(Option::is_some).unwrap_or(0);
        let place = &self.ordered[last];
        let closed = match (&place.marks, starts[last]) {
            (PlaceMarks::Literal(_, close), Some(start)) => {
                self.text[start..].contains(close.as_ref())
            }
            _ => true,
        };
        let fault = if closed {
            Fault::TextAfter
        } else {
            Fault::NotClosed
        };
        Err((place.at, fault))
    }

    fn all_optional(&self, places: Range<usize>) -> bool {
        self.ordered[places].iter().all(|p| !p.section.required)
    }

    /// Where the contents start when `place` opens the text.
    fn open_at_start(&self, place: &Place<'_>) -> Option<usize> {
        match &place.marks {
            PlaceMarks::Literal(open, _) => self.open_after(0, place.section.gap, open),
            PlaceMarks::Header => {
                let line = self.header_from(place, 0)?;
                let before = &self.text[..line.start];
                let fits = self.gap_is(before, place.section.gap);
                fits.then_some(line.content.start)
            }
        }
    }

    /// Where the contents of `next` start, at the earliest, when those of `before` start at `start`.
    fn joint(&self, before: &Place<'_>, start: usize, next: &Place<'_>) -> Option<usize> {
        let close = match &before.marks {
            PlaceMarks::Literal(_, close) => close.as_ref(),
            PlaceMarks::Header => "",
        };
        match &next.marks {
            PlaceMarks::Header => {
                let closed = start + self.text[start..].find(close)? + close.len();
                Some(self.header_from(next, closed)?.content.start)
            }
            PlaceMarks::Literal(open, _) => {
                if close.is_empty() || next.section.gap == Gap::Anything {
                    let closed = start + self.text[start..].find(close)? + close.len();
                    return self.open_after(closed, Gap::Anything, open);
                }
                let mut from = start;
                loop {
                    let closed = from + self.text[from..].find(close)?;
                    let end = closed + close.len();
                    if let Some(found) = self.open_after(end, next.section.gap, open) {
                        return Some(found);
                    }
                    from = closed + self.text[closed..].chars().next()?.len_utf8();
                }
            }
        }
    }

    /// The end of `open` when it stands at `from`, after `gap`; for any gap, the first one.
    fn open_after(&self, from: usize, gap: Gap, open: &str) -> Option<usize> {
        let rest = &self.text[from..];
        match gap {
            Gap::Anything => Some(from + rest.find(open)? + open.len()),
            Gap::Nothing => rest.starts_with(open).then(|| from + open.len()),
            Gap::OneSpace => {
                let space = rest.chars().next().filter(|c| is_space(*c))?.len_utf8();
                let fits = rest[space..].starts_with(open);
                fits.then(|| from + space + open.len())
            }
            Gap::Space => {
                // A mark may itself start with white space: all of it but that is the gap.
                let bare = open.trim_start_matches(is_space);
                let own = &open[..open.len() - bare.len()];
                let after = rest.trim_start_matches(is_space);
                let run = &rest[..rest.len() - after.len()];
                let fits = run.ends_with(own) && after.starts_with(bare);
                fits.then(|| self.text.len() - after.len() + bare.len())
            }
        }
    }

    fn header_from(&self, place: &Place<'_>, from: usize) -> Option<&HeaderLine> {
        let mut lines = self.headers.iter();
        lines.find(|line| {
            line.section == place.at && line.content.start >= from && line.start >= from
        })
    }

    fn closes_at_end(&self, place: &Place<'_>, start: usize) -> bool {
        let PlaceMarks::Literal(_, close) = &place.marks else {
            return true;
        };
        let rest = &self.text[start..];
        match self.after {
            Gap::Anything => rest.contains(close.as_ref()),
            Gap::Nothing => rest.ends_with(close.as_ref()),
            Gap::OneSpace => {
                let end = rest
                    .char_indices()
                    .next_back()
                    .filter(|(_, c)| is_space(*c));
                end.is_some_and(|(at, _)| rest[..at].ends_with(close.as_ref()))
            }
            Gap::Space => {
                let bare = close.trim_end_matches(is_space);
                let own = &close[bare.len()..];
                let before = rest.trim_end_matches(is_space);
                before.ends_with(bare) && rest[before.len()..].starts_with(own)
            }
        }
    }

    fn gap_is(&self, text: &str, gap: Gap) -> bool {
        match gap {
            Gap::Anything => true,
            Gap::Nothing => text.is_empty(),
            Gap::OneSpace => {
                let mut characters = text.chars();
                characters.next().is_some_and(is_space) && characters.next().is_none()
            }
            Gap::Space => text.chars().all(is_space),
        }
    }

    fn why_not_reached(&self, at: usize, starts: &[Option<usize>]) -> Fault {
        let place = &self.ordered[at];
        let Some((before, start)) = starts
            .iter()
            .enumerate()
            .rev()
            .find_map(|(before, start)| start.map(|start| (before, start)))
        else {
            return Fault::TextBefore;
        };
        let closed = match &self.ordered[before].marks {
            PlaceMarks::Literal(_, close) => self.text[start..]
                .find(close.as_ref())
                .map(|p| start + p + close.len()),
            PlaceMarks::Header => Some(start),
        };
        let opens_later = match (&place.marks, closed) {
            (_, None) => false,
            (PlaceMarks::Literal(open, _), Some(from)) => self.text[from..].contains(open.as_ref()),
            (PlaceMarks::Header, Some(from)) => self.header_from(place, from).is_some(),
        };
        if opens_later {
            Fault::TextBefore
        } else {
            Fault::OutOfOrder
        }
    }
}

/// The end of what a section must hold, looked for from the start of its contents; `None` when it is not there.
fn contents_end(holds: Holds, text: &str, start: usize) -> Option<usize> {
    let skip = |from: usize, c: char| Some(from + text[from..].find(c)? + 1);
    match holds {
        Holds::Anything => Some(start),
        Holds::WholeBox => whole_box_end(text, start),
        Holds::WholeBoxInBraces => skip(whole_box_end(text, skip(start, '{')?)?, '}'),
    }
}

/// The end of the first `\[\d+,\s*\d+,\s*\d+,\s*\d+\]` from `start` on.
fn whole_box_end(text: &str, start: usize) -> Option<usize> {
    text[start..].match_indices('[').find_map(|(at, _)| {
        // An attempt ends at the next bracket at the latest, so no character is read more than twice.
        let mut rest = &text[start + at + 1..];
        for corner in 0..4 {
            if corner > 0 {
                rest = rest.strip_prefix(',')?.trim_start_matches(is_space);
            }
            let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            if after.len() == rest.len() {
                return None;
            }
            rest = after;
        }
        Some(text.len() - rest.strip_prefix(']')?.len())
    })
}
