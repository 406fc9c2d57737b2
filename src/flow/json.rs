//! The few JSON tokens that documents are written with, straight into a byte buffer, and the calendar of their dates.

use crate::flow::event::Timestamp;

/// Writes `text` as a JSON string.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    // Nearly every text is written as it is. All of it is looked at, whatever is found: several bytes at a time.
    if !bytes
        .iter()
        .fold(false, |found, byte| found | is_escaped(*byte))
    {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    let mut written = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if !is_escaped(byte) {
            continue;
        }
        out.extend_from_slice(&bytes[written..index]);
        written = index + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

const fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes a number; null where it is not finite (JSON has no such numbers).
pub fn write_number(number: f64, out: &mut Vec<u8>) {
    if number.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Writes a whole number.
pub fn write_integer(number: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes a time as a JSON string, RFC 3339 with milliseconds, UTC: `"2026-11-24T09:00:00.123Z"`.
pub fn write_time(time: Timestamp, out: &mut Vec<u8>) {
    let date = Date::of(time);
    // Two times a document: one write, not fifteen, in numbers of half the width.
    let of_day = u32::try_from(time.0.rem_euclid(86_400_000)).unwrap_or(0);
    let [hour, minute, second] = [3_600_000, 60_000, 1_000].map(|unit| of_day / unit % 60);
    out.push(b'"');
    date.write(b'-', out);
    out.extend_from_slice(&[
        b'T',
        digit(hour / 10),
        digit(hour),
        b':',
        digit(minute / 10),
        digit(minute),
        b':',
        digit(second / 10),
        digit(second),
        b'.',
        digit(of_day / 100),
        digit(of_day / 10),
        digit(of_day),
        b'Z',
        b'"',
    ]);
}

/// The last digit of a number.
const fn digit(number: u32) -> u8 {
    b'0' + (number % 10) as u8
}

/// A calendar date, UTC, in the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Year, 1 = AD 1.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
}

impl Date {
    /// The day that `time` falls on. (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.)
    #[must_use]
    pub const fn of(time: Timestamp) -> Self {
        let days = time.0.div_euclid(86_400_000) + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let month = if shifted < 10 {
            shifted + 3
        } else {
            shifted - 9
        };
        Self {
            year: year_of_era + era * 400 + (month <= 2) as i64,
            month,
            day: of_year - (153 * shifted + 2) / 5 + 1,
        }
    }

    /// Its first millisecond. (Same source, `days_from_civil`.)
    #[must_use]
    pub const fn start(self) -> Timestamp {
        let year = if self.month <= 2 {
            self.year - 1
        } else {
            self.year
        };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let shifted = if self.month > 2 {
            self.month - 3
        } else {
            self.month + 9
        };
        let of_year = (153 * shifted + 2) / 5 + self.day - 1;
        let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
        Timestamp((era * 146_097 + of_era - 719_468) * 86_400_000)
    }

    /// Writes year, month and day with a separator.
    pub fn write(self, separator: u8, out: &mut Vec<u8>) {
        write_year(self.year, out);
        let [month, day] = [self.month, self.day].map(|part| u32::try_from(part).unwrap_or(0));
        out.extend_from_slice(&[
            separator,
            digit(month / 10),
            digit(month),
            separator,
            digit(day / 10),
            digit(day),
        ]);
    }
}

/// Writes a year in four digits, or more.
fn write_year(year: i64, out: &mut Vec<u8>) {
    if let Ok(year @ 0..10_000) = u32::try_from(year) {
        out.extend_from_slice(&[year / 1_000, year / 100, year / 10, year].map(digit));
        return;
    }
    let sign = if year < 0 { "-" } else { "" };
    out.extend_from_slice(format!("{sign}{:04}", year.unsigned_abs()).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read_back_by_serde_json(text in any::<String>()) {
            let mut out = Vec::new();
            write_text(&text, &mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn any_finite_number_is_read_back_by_serde_json(number in any::<f64>().prop_filter("finite", |x| x.is_finite())) {
            let mut out = Vec::new();
            write_number(number, &mut out);
            // serde_json without `float_roundtrip` may be one unit in the last place off; the standard library is not.
            let read: f64 = std::str::from_utf8(&out).unwrap().parse().unwrap();
            prop_assert_eq!(read.to_bits(), number.to_bits());
            prop_assert!(serde_json::from_slice::<f64>(&out).is_ok());
        }

        /// The calendar of the jiff crate is the oracle.
        #[test]
        fn times_and_dates_agree_with_jiff(milliseconds in -62_000_000_000_000_i64..250_000_000_000_000) {
            let mut out = Vec::new();
            write_time(Timestamp(milliseconds), &mut out);
            let expected = jiff::Timestamp::from_millisecond(milliseconds).unwrap().strftime("\"%Y-%m-%dT%H:%M:%S.%3fZ\"").to_string();
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
            let date = Date::of(Timestamp(milliseconds));
            prop_assert_eq!(date.start().0, milliseconds.div_euclid(86_400_000) * 86_400_000);
        }
    }
}
