//! Dates of the Gregorian calendar.

/// Year, month and day of a count of days since 1970-01-01, in the Gregorian calendar. Years are taken to begin in
/// March, so that the leap day is a year's last and months have lengths that a linear formula gives.
pub fn civil_date(days: i64) -> (i64, i64, i64) {
    /// Days from 0000-03-01 to 1970-01-01.
    const EPOCH: i64 = 719_468;
    const DAYS_IN_400_YEARS: i64 = 146_097;
    let days = days + EPOCH;
    let (cycle, day_of_cycle) = (
        days.div_euclid(DAYS_IN_400_YEARS),
        days.rem_euclid(DAYS_IN_400_YEARS),
    );
    // Without their leap days, of which every 4th year has one, every 100th none, and the 400th one, years are equal.
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = 400 * cycle + year_of_cycle + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_hold_through_leap_years() {
        assert_eq!(civil_date(0), (1970, 1, 1));
        assert_eq!(civil_date(-1), (1969, 12, 31));
        assert_eq!(civil_date(11_016), (2000, 2, 29));
        assert_eq!(civil_date(11_017), (2000, 3, 1));
        let days_2026: i64 = (1970..2026)
            .map(|y| if y % 4 == 0 { 366 } else { 365 })
            .sum();
        assert_eq!(civil_date(days_2026 + 31 + 27), (2026, 2, 28));
        assert_eq!(civil_date(days_2026 + 31 + 28), (2026, 3, 1));
    }
}
