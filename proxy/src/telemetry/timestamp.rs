//! Points in time as logs and the admin API print them: RFC 3339, in UTC, with milliseconds.
//!
//! Written by hand because it happens once per access-log line, and a calendar in UTC is twenty lines.

use std::time::{Duration, SystemTime};

/// `time` as text. A time before 1970 is shown as 1970.
pub(crate) fn text(time: SystemTime) -> String {
    let mut out = Vec::with_capacity(24);
    push(&mut out, time);
    String::from_utf8(out).unwrap_or_default()
}

/// Appends `time`. A time before 1970 is shown as 1970.
pub(crate) fn push(out: &mut Vec<u8>, time: SystemTime) {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let second_of_day = seconds % 86_400;
    push_padded(out, year, 4);
    for (mark, number) in [
        (b'-', month),
        (b'-', day),
        (b'T', second_of_day / 3600),
        (b':', second_of_day / 60 % 60),
        (b':', second_of_day % 60),
    ] {
        out.push(mark);
        push_padded(out, number, 2);
    }
    out.push(b'.');
    push_padded(out, u64::from(since_epoch.subsec_millis()), 3);
    out.push(b'Z');
}

/// Appends `width` digits of `number`, which has no more.
pub(crate) fn push_padded(out: &mut Vec<u8>, number: u64, width: u32) {
    for place in (0..width).rev() {
        out.push(b'0' + (number / 10_u64.pow(place) % 10) as u8);
    }
}

/// Year, month and day of a day that is counted from 1970-01-01. The calendar repeats every 400 years (146,097 days);
/// a year is taken to begin in March, so that the leap day is its last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days_and_centuries() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(text(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), date);
        }
    }
}
