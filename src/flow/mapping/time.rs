//! Times as records write them: ISO 8601 in its common shapes, epoch numbers, or a pattern of the pipeline file.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::flow::event::{Field, Timestamp};

/// The zone of times that name none.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    /// A zone by its IANA name; UTC for `None`.
    ///
    /// # Errors
    /// The zone is not in the time zone database.
    pub fn named(name: Option<&str>) -> Result<Self, String> {
        match name {
            None | Some("UTC") => Ok(Self(TimeZone::UTC)),
            Some(name) => TimeZone::get(name)
                .map(Self)
                .map_err(|error| format!("time zone `{name}`: {error}")),
        }
    }
}

/// How one time field is read.
#[derive(Clone, Debug)]
pub struct TimeFormat {
    pattern: Option<String>,
    zone: TimeZone,
}

impl TimeFormat {
    /// Times by a `strptime` pattern, or, without one, ISO 8601 and epoch numbers.
    pub fn new(pattern: Option<&str>, zone: &Zone) -> Self {
        Self {
            pattern: pattern.map(Into::into),
            zone: zone.0.clone(),
        }
    }

    /// Reads a field; `None` where the record has none.
    ///
    /// # Errors
    /// What was found, and that it is no time.
    pub fn read(&self, field: &Field<'_>) -> Result<Option<Timestamp>, String> {
        match field {
            Field::Absent | Field::Null => Ok(None),
            Field::Int(number) => epoch_integer(i128::from(*number)).map(Some),
            Field::UInt(number) => epoch_integer(i128::from(*number)).map(Some),
            Field::Float(number) => epoch_float(*number).map(Some),
            Field::Text(text) => match text.trim_ascii() {
                "" => Ok(None),
                text => self.read_text(text).map(Some),
            },
            Field::Bool(_) | Field::Object(_) | Field::Array(_) => {
                Err("neither a text nor a number: no time".into())
            }
        }
    }

    fn read_text(&self, text: &str) -> Result<Timestamp, String> {
        if let Some(pattern) = &self.pattern {
            return self.read_pattern(pattern, text).map_err(|error| {
                format!("`{text}` does not fit time_format `{pattern}`: {error}")
            });
        }
        if let Some(time) = utc_fast(text) {
            return Ok(time);
        }
        if let Ok(number) = text.parse::<i64>() {
            return epoch_integer(i128::from(number));
        }
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Ok(Timestamp(time.as_millisecond()));
        }
        if let Ok(time) = text.parse::<DateTime>() {
            return self
                .in_zone(time)
                .map_err(|error| format!("`{text}`: {error}"));
        }
        match text.parse::<f64>() {
            Ok(number) => epoch_float(number),
            Err(_) => Err(format!(
                "`{text}` is no time: expected ISO 8601 (2026-11-24T09:00:00Z), an epoch number, or give time_format"
            )),
        }
    }

    fn read_pattern(&self, pattern: &str, text: &str) -> Result<Timestamp, jiff::Error> {
        let broken = jiff::fmt::strtime::parse(pattern, text)?;
        match broken.to_timestamp() {
            Ok(time) => Ok(Timestamp(time.as_millisecond())),
            Err(_) => self.in_zone(broken.to_datetime()?),
        }
    }

    /// A wall-clock time in the zone; in a gap or fold the earlier offset counts (RFC 5545), as jiff's "compatible".
    fn in_zone(&self, time: DateTime) -> Result<Timestamp, jiff::Error> {
        self.zone
            .to_timestamp(time)
            .map(|time| Timestamp(time.as_millisecond()))
    }
}

/// Reads exactly `YYYY-MM-DDTHH:MM:SS[.fraction]Z`, what most records have, without a general parser.
fn utc_fast(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| {
        bytes.get(range)?.iter().try_fold(0_i64, |number, byte| {
            byte.is_ascii_digit()
                .then(|| number * 10 + i64::from(byte - b'0'))
        })
    };
    let shape = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if shape.iter().any(|(at, mark)| bytes.get(*at) != Some(mark)) {
        return None;
    }
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let (hour, minute, second) = (digits(11..13)?, digits(14..16)?, digits(17..19)?);
    let fraction = bytes.get(19..)?.strip_suffix(b"Z")?;
    let milliseconds = match fraction.strip_prefix(b".") {
        None if fraction.is_empty() => 0,
        Some(fraction)
            if !fraction.is_empty()
                && fraction.len() <= 9
                && fraction.iter().all(u8::is_ascii_digit) =>
        {
            (0..3).fold(0, |number, at| {
                number * 10 + fraction.get(at).map_or(0, |byte| i64::from(byte - b'0'))
            })
        }
        _ => return None,
    };
    // Days past the 28th, and leap seconds, are the general parser's to judge.
    let plain = (1..=12).contains(&month)
        && (1..=28).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && year > 0;
    let date = crate::flow::json::Date { year, month, day };
    plain.then(|| {
        date.start()
            .plus(((hour * 60 + minute) * 60 + second) * 1_000 + milliseconds)
    })
}

/// An epoch number in s, ms, µs or ns, told by its size: seconds reach the year 5138 before milliseconds begin.
fn epoch_integer(number: i128) -> Result<Timestamp, String> {
    let milliseconds = match number.unsigned_abs() {
        0..100_000_000_000 => number * 1_000,
        100_000_000_000..100_000_000_000_000 => number,
        100_000_000_000_000..100_000_000_000_000_000 => number.div_euclid(1_000),
        _ => number.div_euclid(1_000_000),
    };
    i64::try_from(milliseconds)
        .map(Timestamp)
        .map_err(|_| format!("`{number}` is no epoch number"))
}

fn epoch_float(number: f64) -> Result<Timestamp, String> {
    let milliseconds = match number.abs() {
        size if size < 1e11 => number * 1e3,
        size if size < 1e14 => number,
        size if size < 1e17 => number / 1e3,
        size if size < 1e20 => number / 1e6,
        _ => return Err(format!("`{number}` is no epoch number")),
    };
    #[expect(clippy::cast_possible_truncation, reason = "below 1e14 by the match")]
    Ok(Timestamp(milliseconds.round() as i64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, pattern: Option<&str>, zone: Option<&str>) -> Result<i64, String> {
        let format = TimeFormat::new(pattern, &Zone::named(zone)?);
        format
            .read(&Field::Text(text.into()))
            .map(|time| time.map_or(i64::MIN, |time| time.0))
    }

    /// Expected: GNU date, e.g. `date -ud '2026-11-24 09:00:00.123' +%s%3N`.
    #[test]
    fn every_documented_shape_is_read() {
        let nine = 1_795_510_800_123;
        for text in [
            "2026-11-24T09:00:00.123Z",
            "2026-11-24 09:00:00.123",
            "2026-11-24T10:00:00.123+01:00",
            "2026-11-24T09:00:00.123456789Z",
            "1795510800.123",
            "1795510800123",
            "1795510800123000",
            "1795510800123000000",
            "2026-11-24 09:00:00.123Z",
        ] {
            assert_eq!(read(text, None, None), Ok(nine), "{text}");
        }
        assert_eq!(read("1795510800", None, None), Ok(nine - 123));
        assert_eq!(
            read("2026-11-24", None, None),
            Ok(nine - 123 - 9 * 3_600_000)
        );
        assert_eq!(
            read("2026-11-24 10:00:00.123", None, Some("Europe/Berlin")),
            Ok(nine)
        );
        assert_eq!(
            read(
                "24/Nov/2026:09:00:00 +0000",
                Some("%d/%b/%Y:%H:%M:%S %z"),
                None
            ),
            Ok(nine - 123)
        );
        assert_eq!(
            read(
                "24.11.2026 10:00",
                Some("%d.%m.%Y %H:%M"),
                Some("Europe/Berlin")
            ),
            Ok(nine - 123)
        );
    }

    #[test]
    fn what_is_no_time_is_named() {
        assert!(
            read("yesterday", None, None)
                .expect_err("no time")
                .starts_with("`yesterday` is no time")
        );
        assert!(read("2026-13-24T09:00:00Z", None, None).is_err());
        assert!(Zone::named(Some("Mars/Olympus")).is_err());
    }

    proptest! {
        /// The general parser is the oracle of the fast one.
        #[test]
        fn the_fast_shape_equals_the_general_parser(milliseconds in -62_000_000_000_000_i64..250_000_000_000_000) {
            let text = jiff::Timestamp::from_millisecond(milliseconds).unwrap().to_string();
            if let Some(time) = utc_fast(&text) {
                prop_assert_eq!(time.0, milliseconds);
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,30}") {
            read(&text, None, None).ok();
        }
    }
}
