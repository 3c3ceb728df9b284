//! The date for chat templates that write it into the prompt: C's `strftime` for Coordinated Universal Time.
//!
//! transformers uses the machine's own time zone; here the prompt must not depend on where it is made.

use ocelli_core::calendar::civil_date;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// `format` filled in for a moment given in seconds since the start of 1970. Knows
/// `%Y %y %m %d %e %j %B %b %A %a %H %I %M %S %p %%`, and `%-` before a number to leave out its padding.
///
/// # Errors
/// The first code that is not known.
pub(super) fn strftime(format: &str, seconds: u64) -> Result<String, String> {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day, day_of_year) = date(days);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let weekday = DAYS[((days + 4) % 7) as usize];
    let month_name = MONTHS[month as usize - 1];
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut code = letters.next();
        let padded = code != Some('-');
        if !padded {
            code = letters.next();
        }
        let number = |value: u64, width: usize| {
            let width = if padded { width } else { 1 };
            format!("{value:0width$}")
        };
        out.push_str(&match code {
            Some('Y') => number(year, 4),
            Some('y') => number(year % 100, 2),
            Some('m') => number(month, 2),
            Some('d') => number(day, 2),
            Some('e') if padded => format!("{day:2}"),
            Some('e') => day.to_string(),
            Some('j') => number(day_of_year, 3),
            Some('H') => number(hour, 2),
            Some('I') => number((hour + 11) % 12 + 1, 2),
            Some('M') => number(minute, 2),
            Some('S') => number(second, 2),
            Some('B') => month_name.to_owned(),
            Some('b') => month_name[..3].to_owned(),
            Some('A') => weekday.to_owned(),
            Some('a') => weekday[..3].to_owned(),
            Some('p') => (if hour < 12 { "AM" } else { "PM" }).to_owned(),
            Some('%') => "%".to_owned(),
            Some(other) => return Err(format!("%{other}")),
            None => return Err("% at the end".to_owned()),
        });
    }
    Ok(out)
}

/// Year, month, day of the month and day of the year (all but the year from 1) of a day counted from 1970-01-01.
fn date(days: u64) -> (u64, u64, u64, u64) {
    let (year, month, day) = civil_date(days as i64);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let before_month = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month as usize - 1];
    let day_of_year = before_month + day + i64::from(leap && month > 2);
    (year as u64, month as u64, day as u64, day_of_year as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_as_the_program_date_prints_them() {
        let all = "%Y-%m-%d %H:%M:%S %A %a %B %b %y %j %I %p %e %-d %%";
        for (seconds, text) in [
            (
                0,
                "1970-01-01 00:00:00 Thursday Thu January Jan 70 001 12 AM  1 1 %",
            ),
            (
                951_782_399,
                "2000-02-28 23:59:59 Monday Mon February Feb 00 059 11 PM 28 28 %",
            ),
            (
                951_782_400,
                "2000-02-29 00:00:00 Tuesday Tue February Feb 00 060 12 AM 29 29 %",
            ),
            (
                1_735_689_599,
                "2024-12-31 23:59:59 Tuesday Tue December Dec 24 366 11 PM 31 31 %",
            ),
            (
                4_107_542_400,
                "2100-03-01 00:00:00 Monday Mon March Mar 00 060 12 AM  1 1 %",
            ),
        ] {
            assert_eq!(strftime(all, seconds).unwrap(), text);
        }
    }

    #[test]
    fn unknown_codes_are_named() {
        assert_eq!(strftime("%Q", 0).unwrap_err(), "%Q");
        assert_eq!(strftime("%", 0).unwrap_err(), "% at the end");
    }

    proptest! {
        #[test]
        fn any_format_and_moment(format in ".{0,20}", seconds in any::<u64>()) {
            let _ = strftime(&format, seconds);
        }
    }
}
