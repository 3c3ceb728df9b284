//! Rows of JSON files: one object a line, or one list of objects. Read as a stream; memory holds one row.

use std::fmt;
use std::io::BufRead;
use std::ops::{ControlFlow, Range};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

use crate::cell::{Cell, Columns};

/// What is wrong, and in which row if it is a row's fault.
#[derive(Debug, PartialEq)]
pub(crate) struct Fault {
    /// The line, from 1, or the position in the list, from 0.
    pub(crate) row: Option<usize>,
    pub(crate) problem: String,
}

impl Fault {
    fn of_file(problem: impl fmt::Display) -> Self {
        Self {
            row: None,
            problem: format!("cannot be read: {problem}"),
        }
    }
}

/// How many lines are not blank.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn count_lines(file: impl BufRead) -> Result<usize, Fault> {
    let mut count = 0;
    visit_texts(file, &mut |_, _| {
        count += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(count)
}

/// Shows the rows of `range`, blank lines not counted, with their lines, from 1, to `each` until it breaks.
///
/// # Errors
/// If the file cannot be read, or a line of the range is no JSON object.
pub(crate) fn visit_lines(
    file: impl BufRead,
    range: Range<usize>,
    each: &mut dyn FnMut(usize, Columns) -> ControlFlow<()>,
) -> Result<(), Fault> {
    let mut index = 0;
    visit_texts(file, &mut |line, text| {
        if index >= range.end {
            return Ok(ControlFlow::Break(()));
        }
        index += 1;
        if index <= range.start {
            return Ok(ControlFlow::Continue(()));
        }
        match parse(text) {
            Ok(columns) => Ok(each(line, columns)),
            Err(problem) => Err(Fault {
                row: Some(line),
                problem,
            }),
        }
    })
}

/// Whether reading goes on.
type Flow = Result<ControlFlow<()>, Fault>;

/// Shows every line that is not blank, with its number, from 1.
fn visit_texts(
    mut file: impl BufRead,
    each: &mut dyn FnMut(usize, &[u8]) -> Flow,
) -> Result<(), Fault> {
    skip_byte_order_mark(&mut file)?;
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        if file.read_until(b'\n', &mut text).map_err(Fault::of_file)? == 0 {
            break;
        }
        if !text.trim_ascii().is_empty() && each(line, &text)?.is_break() {
            break;
        }
    }
    Ok(())
}

fn skip_byte_order_mark(file: &mut impl BufRead) -> Result<(), Fault> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    if file
        .fill_buf()
        .map_err(Fault::of_file)?
        .starts_with(BYTE_ORDER_MARK)
    {
        file.consume(BYTE_ORDER_MARK.len());
    }
    Ok(())
}

fn parse(text: &[u8]) -> Result<Columns, String> {
    match serde_json::from_slice(text) {
        Ok(Cell::Struct(columns)) => Ok(columns),
        Ok(other) => Err(format!(
            "{} where an object is wanted: write one object a line, or one list of objects",
            other.kind()
        )),
        Err(error) => {
            let problem = error.to_string();
            let problem = problem.split(" at line ").next().unwrap_or_default();
            Err(format!(
                "not JSON at column {}: {problem}. Write one whole object a line, or one list of objects",
                error.column()
            ))
        }
    }
}

/// How many items the list has.
///
/// # Errors
/// If the file cannot be read or is no JSON list.
pub(crate) fn count_items(file: impl BufRead) -> Result<usize, Fault> {
    let mut items = Items {
        range: usize::MAX..usize::MAX,
        each: &mut |_, _| ControlFlow::Continue(()),
        index: 0,
        stop: None,
    };
    items.read(file)?;
    Ok(items.index)
}

/// Shows the items of `range` with their positions, from 0, to `each` until it breaks.
///
/// # Errors
/// If the file cannot be read or is no JSON list, or an item of the range is no object.
pub(crate) fn visit_items(
    file: impl BufRead,
    range: Range<usize>,
    each: &mut dyn FnMut(usize, Columns) -> ControlFlow<()>,
) -> Result<(), Fault> {
    Items {
        range,
        each,
        index: 0,
        stop: None,
    }
    .read(file)
}

/// Reads a list item by item.
struct Items<'a> {
    range: Range<usize>,
    each: &'a mut dyn FnMut(usize, Columns) -> ControlFlow<()>,
    index: usize,
    /// Set when reading ends before the list does: by `each`, or by an item that is no object.
    stop: Option<Result<(), Fault>>,
}

impl Items<'_> {
    fn read(&mut self, mut file: impl BufRead) -> Result<(), Fault> {
        skip_byte_order_mark(&mut file)?;
        let mut json = serde_json::Deserializer::from_reader(&mut file);
        let read = DeserializeSeed::deserialize(&mut *self, &mut json).and_then(|()| json.end());
        match (self.stop.take(), read) {
            (Some(stopped), _) => stopped,
            (None, Ok(())) => Ok(()),
            (None, Err(error)) if error.is_io() => Err(Fault::of_file(error)),
            (None, Err(error)) => Err(Fault {
                row: Some(self.index),
                problem: format!("not JSON: {error}. The file must be one list of objects"),
            }),
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Items<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut Items<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        loop {
            if !self.range.contains(&self.index) {
                if self.index >= self.range.end {
                    self.stop = Some(Ok(()));
                    return Err(A::Error::custom("enough"));
                }
                if items.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(());
                }
                self.index += 1;
                continue;
            }
            let stop = match items.next_element()? {
                None => return Ok(()),
                Some(Cell::Struct(columns)) => match (self.each)(self.index, columns) {
                    ControlFlow::Continue(()) => None,
                    ControlFlow::Break(()) => Some(Ok(())),
                },
                Some(other) => Some(Err(Fault {
                    row: Some(self.index),
                    problem: format!(
                        "{} where an object is wanted: the file must be one list of objects",
                        other.kind()
                    ),
                })),
            };
            self.index += 1;
            if stop.is_some() {
                self.stop = stop;
                return Err(A::Error::custom("enough"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Read = fn(
        &[u8],
        Range<usize>,
        &mut dyn FnMut(usize, Columns) -> ControlFlow<()>,
    ) -> Result<(), Fault>;

    fn numbers(read: Read, text: &str, range: Range<usize>) -> Result<Vec<usize>, Fault> {
        let mut numbers = Vec::new();
        read(text.as_bytes(), range, &mut |number, _| {
            numbers.push(number);
            ControlFlow::Continue(())
        })?;
        Ok(numbers)
    }

    const LINES: Read = |text, range, each| visit_lines(text, range, each);
    const ITEMS: Read = |text, range, each| visit_items(text, range, each);

    #[test]
    fn ranges_count_rows_and_numbers_name_places() {
        let lines = "\u{feff}{\"a\": 1}\r\n\n  \n{}\nnot read\n";
        assert_eq!(count_lines(lines.as_bytes()), Ok(3));
        assert_eq!(numbers(LINES, lines, 0..2), Ok(vec![1, 4]));
        assert_eq!(numbers(LINES, lines, 1..2), Ok(vec![4]));
        let list = "\u{feff} [{\"a\": 1}, {}, 7, {}]\n";
        assert_eq!(count_items(list.as_bytes()), Ok(4));
        assert_eq!(numbers(ITEMS, list, 0..2), Ok(vec![0, 1]));
        assert_eq!(numbers(ITEMS, list, 3..9), Ok(vec![3]));
        assert_eq!(numbers(ITEMS, "[]", 0..9), Ok(vec![]));
    }

    #[test]
    fn reading_stops_when_asked_to() {
        for (read, text) in [(LINES, "{}\n{}\nnonsense"), (ITEMS, "[{}, {}, nonsense")] {
            let mut seen = 0;
            read(text.as_bytes(), 0..9, &mut |_, _| {
                seen += 1;
                match seen {
                    2 => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                }
            })
            .unwrap();
            assert_eq!(seen, 2);
        }
    }

    #[test]
    fn faults_name_the_row() {
        for (read, text, row, hint) in [
            (LINES, "{}\n\n{\"a\": ", 3, "column"),
            (LINES, "{}\n[]", 2, "a list where"),
            (LINES, "{\n}", 1, "one list of objects"),
            (ITEMS, "[{}, 7]", 1, "a number where"),
            (ITEMS, "[{}, {\"a\": }]", 1, "line 1 column"),
            (ITEMS, "[{}, {}", 2, "not JSON"),
            (ITEMS, "[{}] {}", 1, "trailing"),
        ] {
            let fault = numbers(read, text, 0..9).unwrap_err();
            assert_eq!(fault.row, Some(row), "{text}: {fault:?}");
            assert!(fault.problem.contains(hint), "{text}: {fault:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = visit_lines(&bytes[..], 0..9, &mut |_, _| ControlFlow::Continue(()));
            let _ = visit_items(&bytes[..], 0..9, &mut |_, _| ControlFlow::Continue(()));
        }

        #[test]
        fn any_json_like_text_is_read_or_refused(text in "([\\[\\]{},:\"a1.e-]|null|true){0,40}") {
            let _ = visit_lines(text.as_bytes(), 0..9, &mut |_, _| ControlFlow::Continue(()));
            let _ = visit_items(text.as_bytes(), 0..9, &mut |_, _| ControlFlow::Continue(()));
        }
    }
}
