//! Finds the answer in a text: the patterns of `math_verify.parse` and their order.
//!
//! In order: "final answer is … I hope"; "final answer … is …" and boxes; "answer: …"; "answer …"; any mathematics or
//! number. Of several matches of one rank the one that ends last wins, of those the longest. The patterns are scanned
//! by hand, since they look ahead and behind and must take time in proportion to the text.

use std::cell::Cell;

use super::arithmetic::{arithmetic_at, number_at, percent_length};

/// How far behind its announcement an answer may stand, in characters.
const NEAR: usize = 50;
const FAR: usize = 100;

/// Bytes that all scans of one text together may read: a text of open brackets would otherwise take a square.
const MAX_READ: usize = 256 << 10;

/// One place where an answer may stand.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found<'a> {
    start: usize,
    end: usize,
    pub(super) pieces: Vec<Piece<'a>>,
}

/// A piece of mathematics; several of them make a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Piece<'a> {
    pub(super) form: Form,
    pub(super) body: &'a str,
    pub(super) percent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// LaTeX between its delimiters.
    Latex,
    /// From the first `\boxed` to the last closing brace.
    Boxed,
    /// A plain number, perhaps with separators.
    Number,
    /// Plain arithmetic, such as `3*(4+1)`.
    Arithmetic,
}

/// What kinds of answers are looked for at one place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Latex,
    Plain,
}

/// The ranks of the patterns, best first.
pub(super) const RANKS: std::ops::Range<usize> = 0..5;

/// All matches of one rank, best first.
///
/// Boxes have the rank of "final answer … is …", or the first when `boxed_first`.
pub(super) fn found<'a>(text: &'a str, rank: usize, boxed_first: bool) -> Vec<Found<'a>> {
    let scan = Scan {
        text,
        read: Cell::new(MAX_READ),
    };
    let mut found = Vec::new();
    match rank {
        0 => {
            if boxed_first {
                scan.boxes(&mut found);
            }
            scan.announced(Announcement::Hope, Kind::Latex, &mut found);
            scan.announced(Announcement::Hope, Kind::Plain, &mut found);
        }
        1 => {
            scan.announced(Announcement::FinalIs, Kind::Latex, &mut found);
            if !boxed_first {
                scan.boxes(&mut found);
            }
            scan.announced(Announcement::FinalIs, Kind::Plain, &mut found);
        }
        2 => {
            scan.announced(Announcement::AnswerColon, Kind::Latex, &mut found);
            scan.announced(Announcement::AnswerColon, Kind::Plain, &mut found);
        }
        3 => {
            scan.announced(Announcement::Answer, Kind::Latex, &mut found);
            scan.announced(Announcement::Answer, Kind::Plain, &mut found);
        }
        _ => scan.anywhere(&mut found),
    }
    found.sort_by(|a, b| b.end.cmp(&a.end).then(a.start.cmp(&b.start)));
    found
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Announcement {
    /// "final answer is X. I hope"
    Hope,
    /// "final answer to it is X"
    FinalIs,
    /// "answer: X"
    AnswerColon,
    /// "answer X"
    Answer,
}

struct Scan<'a> {
    text: &'a str,
    /// Bytes that may still be read.
    read: Cell<usize>,
}

impl<'a> Scan<'a> {
    fn rest(&self, at: usize) -> &'a str {
        self.text.get(at..).unwrap_or("")
    }

    /// Counts `bytes` as read; false when too much has been.
    fn may_read(&self, bytes: usize) -> bool {
        let left = self.read.get().checked_sub(bytes);
        self.read.set(left.unwrap_or(0));
        left.is_some()
    }

    fn boxes(&self, found: &mut Vec<Found<'a>>) {
        let mut at = 0;
        while at < self.text.len() {
            let Some(start) = self.next_delimiter(at) else {
                break;
            };
            match self.environments(start, true) {
                Some(environment) => {
                    at = environment.end.max(start + 1);
                    found.push(environment);
                }
                None => at = start + self.text[start..].chars().next().map_or(1, char::len_utf8),
            }
        }
        if let Some(start) = self.text.find(r"\boxed{")
            && let Some(close) = self.text.rfind('}')
            && close > start + 7
        {
            found.push(Found {
                start,
                end: close + 1,
                pieces: vec![Piece {
                    form: Form::Boxed,
                    body: &self.text[start..=close],
                    percent: false,
                }],
            });
        }
    }

    fn anywhere(&self, found: &mut Vec<Found<'a>>) {
        let mut at = 0;
        while let Some(start) = self.next_delimiter(at) {
            match self.environments(start, false) {
                Some(environment) => {
                    at = environment.end.max(start + 1);
                    found.push(environment);
                }
                None => at = start + self.text[start..].chars().next().map_or(1, char::len_utf8),
            }
        }
        for arithmetic in [true, false] {
            let mut at = 0;
            while at < self.text.len() && self.may_read(1) {
                let plain = if arithmetic {
                    self.arithmetic(at)
                } else {
                    self.number(at)
                };
                match plain {
                    Some(plain) => {
                        at = plain.end.max(at + 1);
                        found.push(plain);
                    }
                    None => at += self.text[at..].chars().next().map_or(1, char::len_utf8),
                }
            }
        }
    }

    /// Where mathematics may begin next.
    fn next_delimiter(&self, at: usize) -> Option<usize> {
        let offset = self.rest(at).find(['$', '\\', '[', '-'])?;
        let place = at + offset;
        // ` [x] ` begins with its blank.
        if self.text.as_bytes()[place] == b'[' {
            let blank = self.text[..place]
                .chars()
                .next_back()
                .filter(|c| c.is_whitespace());
            if let Some(blank) = blank
                && place - blank.len_utf8() >= at
            {
                return Some(place - blank.len_utf8());
            }
        }
        Some(place)
    }

    fn announced(&self, announcement: Announcement, kind: Kind, found: &mut Vec<Found<'a>>) {
        let words = match announcement {
            Announcement::Hope => "final answer is",
            Announcement::FinalIs => "final answer",
            Announcement::AnswerColon => "answer:",
            Announcement::Answer => "answer",
        };
        let mut at = 0;
        while let Some(start) = find_ignoring_case(self.text, words, at) {
            let after = start + words.len();
            let answer = match announcement {
                Announcement::Hope => self.before_hope(after, kind),
                Announcement::FinalIs => self.after_is(after, kind),
                Announcement::AnswerColon | Announcement::Answer => self.nearby(after, kind),
            };
            match answer {
                Some(answer) => {
                    at = answer.end.max(after);
                    found.push(Found { start, ..answer });
                }
                None => at = start + 1,
            }
        }
    }

    fn before_hope(&self, after: usize, kind: Kind) -> Option<Found<'a>> {
        let colon = usize::from(self.rest(after).starts_with(':'));
        let blank = blank_length(self.rest(after + colon));
        let place = after + colon + blank;
        let answer = match kind {
            Kind::Latex => self.environments(place, false)?,
            // A plain number begins with a blank of its own.
            Kind::Plain => self
                .plain(place)
                .or_else(|| self.plain(self.before_blank(place, after)?))?,
        };
        let rest = self.rest(answer.end).trim_start();
        let rest = rest.strip_prefix('.').unwrap_or(rest).trim_start();
        rest.starts_with("I hope").then_some(answer)
    }

    fn before_blank(&self, place: usize, not_before: usize) -> Option<usize> {
        let blank = self.text[..place]
            .chars()
            .next_back()
            .filter(|c| c.is_whitespace())?;
        (place - blank.len_utf8() >= not_before).then(|| place - blank.len_utf8())
    }

    fn after_is(&self, after: usize, kind: Kind) -> Option<Found<'a>> {
        for (offset, c) in self.rest(after).char_indices().take(FAR + 1) {
            if kind == Kind::Plain && c == '\n' {
                return None;
            }
            if !c.is_whitespace() {
                continue;
            }
            let place = after + offset + blank_length(self.rest(after + offset));
            let Some(rest) = self.rest(place).strip_prefix("is") else {
                continue;
            };
            let colon = usize::from(rest.starts_with(':'));
            let place = place + 2 + colon;
            let answer = match kind {
                Kind::Latex => self.environments(place + blank_length(self.rest(place)), false),
                Kind::Plain => self.plain(place),
            };
            if answer.is_some() {
                return answer;
            }
        }
        None
    }

    /// The first answer near `after`; a plain one rather behind an equals sign.
    fn nearby(&self, after: usize, kind: Kind) -> Option<Found<'a>> {
        let rest = self.rest(after);
        let places = rest
            .char_indices()
            .map(|(offset, _)| offset)
            .chain([rest.len()]);
        if kind == Kind::Latex {
            return places
                .take(NEAR + 1)
                .find_map(|offset| self.environments(after + offset, false));
        }
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let reach = line
            .char_indices()
            .nth(FAR + 1)
            .map_or(line.len(), |(offset, _)| offset);
        let is_answer = |found: &Found<'_>| !self.rest(found.end).trim_start().starts_with('=');
        for (equals, _) in line[..reach].rmatch_indices('=') {
            let blanks = blank_length(&rest[equals + 1..]);
            for place in (0..=blanks)
                .rev()
                .filter(|offset| rest.is_char_boundary(equals + 1 + offset))
            {
                if let Some(found) = self.plain(after + equals + 1 + place).filter(is_answer) {
                    return Some(found);
                }
            }
        }
        places
            .take_while(|offset| *offset <= line.len())
            .take(NEAR + 1)
            .find_map(|offset| self.plain(after + offset).filter(is_answer))
    }

    fn plain(&self, at: usize) -> Option<Found<'a>> {
        if !self.may_read(4) {
            return None;
        }
        self.arithmetic(at).or_else(|| self.number(at))
    }

    fn arithmetic(&self, at: usize) -> Option<Found<'a>> {
        let start = self.plain_start(at)?;
        let (length, suffix) = arithmetic_at(self.rest(start), &|bytes| self.may_read(bytes))?;
        Some(Found {
            start: at,
            end: start + length + suffix,
            pieces: vec![Piece {
                form: Form::Arithmetic,
                body: &self.text[start..start + length],
                percent: false,
            }],
        })
    }

    fn number(&self, at: usize) -> Option<Found<'a>> {
        let mut start = self.plain_start(at)?;
        if let Some(currency) = self.rest(start).chars().next().filter(|c| is_currency(*c)) {
            start += currency.len_utf8();
        }
        if self.text[..start].ends_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let length = number_at(self.rest(start))?;
        let percent = percent_length(self.rest(start + length), false);
        Some(Found {
            start: at,
            end: start + length + percent.unwrap_or(0),
            pieces: vec![Piece {
                form: Form::Number,
                body: &self.text[start..start + length],
                percent: percent.is_some(),
            }],
        })
    }

    /// Where a plain answer begins whose blank, `=` or start of the text is at `at`.
    fn plain_start(&self, at: usize) -> Option<usize> {
        let rest = self.rest(at);
        let first = rest.chars().next()?;
        let prefix = if first.is_whitespace() || first == '=' {
            first.len_utf8()
        } else if at == 0 {
            0
        } else {
            return None;
        };
        let bold = if rest[prefix..].starts_with("**") {
            2
        } else {
            0
        };
        Some(at + prefix + bold)
    }

    /// LaTeX that begins at `at`, with what `and`, `or` or a comma connects to it: up to six pieces.
    fn environments(&self, at: usize, boxed: bool) -> Option<Found<'a>> {
        if !self.may_read(4) {
            return None;
        }
        let (first, mut end) = self.environment(at, boxed)?;
        let mut pieces = vec![first];
        while pieces.len() < 6 {
            let Some(place) = behind_connection(self.text, end) else {
                break;
            };
            let Some((next, next_end)) = self.environment(place, boxed) else {
                break;
            };
            pieces.push(next);
            end = next_end;
        }
        Some(Found {
            start: at,
            end,
            pieces,
        })
    }

    fn environment(&self, at: usize, boxed: bool) -> Option<(Piece<'a>, usize)> {
        let rest = self.rest(at);
        let escaped = self.text[..at.min(self.text.len())].ends_with('\\');
        let after_digit =
            self.text[..at.min(self.text.len())].ends_with(|c: char| c.is_ascii_digit());
        let (body, length) = (!escaped)
            .then(|| {
                self.delimited(rest, "$$", "$$", true)
                    .or_else(|| self.delimited(rest, r"\[", r"\]", true))
                    .or_else(|| {
                        (!after_digit)
                            .then(|| self.delimited(rest, "$", "$", false))
                            .flatten()
                    })
                    .or_else(|| self.delimited(rest, r"\(", r"\)", false))
            })
            .flatten()
            .or_else(|| self.bracketed(rest))
            .or_else(|| if boxed { None } else { fraction(rest) })?;
        if boxed {
            let start = body.find(r"\boxed{")?;
            body[start + 7..].get(1..)?.find('}')?;
        }
        let end = at + length;
        let blank = blank_length(self.rest(end));
        let percent = percent_length(self.rest(end + blank), true);
        let piece = Piece {
            form: Form::Latex,
            body,
            percent: percent.is_some(),
        };
        Some((piece, end + blank + percent.unwrap_or(0)))
    }

    /// What stands between `open` and the next `close`, and the length with both.
    fn delimited(
        &self,
        rest: &'a str,
        open: &str,
        close: &str,
        lines: bool,
    ) -> Option<(&'a str, usize)> {
        let inside = rest.strip_prefix(open)?;
        let mut from = inside.chars().next()?.len_utf8();
        loop {
            let unread = inside.get(from..)?;
            let offset = unread.find(close);
            if !self.may_read(offset.unwrap_or(unread.len()) + 1) {
                return None;
            }
            let length = from + offset?;
            if inside[..length].ends_with('\\') {
                from = length + 1;
                continue;
            }
            let body = &inside[..length];
            if !lines && body.contains('\n') || open == "$" && body.starts_with('$') {
                return None;
            }
            return Some((body, open.len() + length + close.len()));
        }
    }

    /// ` [x] ` with blanks around it, as some models write `\[x\]`.
    fn bracketed(&self, rest: &'a str) -> Option<(&'a str, usize)> {
        let blank = rest.chars().next().filter(|c| c.is_whitespace())?;
        let inside = rest[blank.len_utf8()..].strip_prefix('[')?;
        let length = inside.find(['\n', '[', ']'])?;
        if !self.may_read(length) || length == 0 || !inside[length..].starts_with(']') {
            return None;
        }
        let after = inside[length + 1..]
            .chars()
            .next()
            .filter(|c| c.is_whitespace())?;
        Some((
            &inside[..length],
            blank.len_utf8() + 1 + length + 1 + after.len_utf8(),
        ))
    }
}

/// `-\frac{1}{2}` without delimiters.
fn fraction(rest: &str) -> Option<(&str, usize)> {
    let number = |text: &str| -> Option<usize> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        let mut length = text.len() - unsigned.len() + digits;
        if let Some(places) = text[length..].strip_prefix(['.', ',']) {
            let places = places.bytes().take_while(u8::is_ascii_digit).count();
            length += if places > 0 { places + 1 } else { 0 };
        }
        Some(length)
    };
    let part = |text: &str| -> Option<usize> {
        let inside = text.strip_prefix('{')?;
        let length = number(inside)?;
        inside[length..].starts_with('}').then_some(length + 2)
    };
    let unsigned = rest.strip_prefix('-').unwrap_or(rest);
    let parts = unsigned.strip_prefix(r"\frac")?;
    let above = part(parts)?;
    let below = part(&parts[above..])?;
    let length = rest.len() - parts.len() + above + below;
    Some((&rest[..length], length))
}

/// The place behind `,`, `and` or `or`, with blanks around it.
fn behind_connection(text: &str, at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    let start = at + blank_length(rest);
    let rest = &text[start..];
    let word = [",and", ",or", "and", "or", ","]
        .into_iter()
        .find(|word| rest.starts_with(word))?;
    let after = start + word.len();
    Some(after + blank_length(&text[after..]))
}

fn blank_length(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

fn is_currency(c: char) -> bool {
    "$€£¥₹₽₪₩₫฿₡₢₣₤₥₦₧₨₭₮₯₰₱₲₳₴₵₶₷₸₺₻₼₾₿".contains(c)
}

/// Where ASCII `words` stand at or behind `from`, in any case of letters.
fn find_ignoring_case(text: &str, words: &str, from: usize) -> Option<usize> {
    let (text, words) = (text.as_bytes(), words.as_bytes());
    let first = words.first()?;
    let last_start = text.len().checked_sub(words.len())?;
    (from..=last_start).find(|&at| {
        text[at].eq_ignore_ascii_case(first)
            && text[at..at + words.len()].eq_ignore_ascii_case(words)
    })
}
