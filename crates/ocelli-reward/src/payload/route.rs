//! A route through a transit map (RewardMap).

use super::{MAX_ITEMS, ParseFailure};
use crate::measure::routes::Segment;

const KEYS: [&str; 3] = ["route name:", "departure stop:", "arrival stop:"];

/// The segments of `text`: parts between `--`, each with lines `Route Name: …`, `Departure Stop: …` and
/// `Arrival Stop: …`, letter case of the keys ignored; names as written, without white space and asterisks around. Parts without any of the three are prose and passed over.
///
/// RewardMap's code also passes over parts that have only some of the keys, which lets a policy leave a ride out; here
/// that is a failure. It takes all text after the last `Arrival Stop:` as the name, we take its line.
///
/// # Errors
/// [`ParseFailure::NoRoute`], [`ParseFailure::IncompleteSegment`], [`ParseFailure::TooMany`] beyond 10,000.
pub fn parse_route(text: &str) -> Result<Vec<Segment>, ParseFailure> {
    let mut segments = Vec::new();
    for part in text.split("--") {
        let mut values: [Option<&str>; 3] = [None; 3];
        for line in part.lines() {
            for (key, value) in KEYS.iter().zip(&mut values) {
                let at = find_ignoring_case(line, key);
                let Some(at) = at.filter(|_| value.is_none()) else {
                    continue;
                };
                *value = Some(line[at + key.len()..].trim_matches([' ', '\t', '\r', '*']));
            }
        }
        match values.map(|value| value.filter(|v| !v.is_empty()).map(str::to_owned)) {
            [Some(line), Some(from), Some(to)] => segments.push(Segment { line, from, to }),
            _ if values == [None; 3] => {}
            _ => return Err(ParseFailure::IncompleteSegment),
        }
        if segments.len() > MAX_ITEMS {
            return Err(ParseFailure::TooMany);
        }
    }
    if segments.is_empty() {
        return Err(ParseFailure::NoRoute);
    }
    Ok(segments)
}

fn find_ignoring_case(line: &str, key: &str) -> Option<usize> {
    let mut windows = line.as_bytes().windows(key.len());
    windows.position(|window| window.eq_ignore_ascii_case(key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_rides_of_a_route() {
        let text = "Take:\nRoute Name: Line 1\nDeparture Stop: A-B\nArrival Stop: **C**\nNumber of Via Stops: 3\n--\n\
                    route name: Line 2\nDeparture Stop: C\nArrival Stop: D";
        let ride = |line: &str, from: &str, to: &str| Segment {
            line: line.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
        };
        let wanted = vec![ride("Line 1", "A-B", "C"), ride("Line 2", "C", "D")];
        assert_eq!(parse_route(text), Ok(wanted));
    }

    #[test]
    fn refuses_what_is_no_route() {
        for (text, failure) in [
            ("", ParseFailure::NoRoute),
            ("-- --", ParseFailure::NoRoute),
            ("Line 1 from A to B", ParseFailure::NoRoute),
            (
                "Route Name: Line 1\nDeparture Stop: A",
                ParseFailure::IncompleteSegment,
            ),
            (
                "Route Name:\nDeparture Stop: A\nArrival Stop: B",
                ParseFailure::IncompleteSegment,
            ),
        ] {
            assert_eq!(parse_route(text), Err(failure), "{text}");
        }
    }
}
