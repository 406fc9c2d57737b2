//! Words to values: durations, sizes, numbers, window lengths; and the nearest word to a mistyped one.
//!
//! Every complaint goes on behind the value it is about: "`5x` is not a duration".

use std::ops::RangeInclusive;
use std::time::Duration;

use reqwest::Url;

use crate::flow::windows::Length;

const SECOND: u64 = 1_000;
const DAY: u64 = 86_400 * SECOND;

/// What is wrong with a value, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// "is not a duration"
    pub(super) what: String,
    pub(super) help: String,
}

impl Complaint {
    pub(super) fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            help: help.into(),
        }
    }
}

/// An address of HTTP. `help` says how to write one, `sign_in` where a user and a password belong.
pub(super) fn url(text: &str, help: &str, sign_in: &str) -> Result<Url, Complaint> {
    let url = Url::parse(text).map_err(|_| Complaint::new("is not a URL", help))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Complaint::new("is neither http nor https", help));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Complaint::new("holds a user or password", sign_in));
    }
    Ok(url)
}

pub(super) fn duration(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, Complaint> {
    let help = "write a whole number and ms, s, m, h or d, such as 5s or 30d";
    let value = milliseconds(text).ok_or_else(|| Complaint::new("is not a duration", help))?;
    within(Duration::from_millis(value), range, |bound| {
        show_duration(*bound)
    })
}

pub(super) fn size(text: &str, range: RangeInclusive<u64>) -> Result<u64, Complaint> {
    const UNITS: [(&str, u64); 8] = [
        ("B", 1),
        ("kB", 1_000),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ];
    let value = quantity(text, &UNITS).ok_or_else(|| {
        Complaint::new(
            "is not a size",
            "write a whole number and KiB, MiB or GiB, such as 16MiB",
        )
    })?;
    within(value, range, |bound| show_size(*bound))
}

pub(super) fn integer(text: &str, range: RangeInclusive<u64>) -> Result<u64, Complaint> {
    let help = format!("write one from {} to {}", range.start(), range.end());
    let value = text
        .parse()
        .map_err(|_| Complaint::new("is not a whole number", help))?;
    within(value, range, u64::to_string)
}

pub(super) fn number(text: &str, range: RangeInclusive<f64>) -> Result<f64, Complaint> {
    let help = format!("write one from {} to {}", range.start(), range.end());
    let value: f64 = text
        .parse()
        .map_err(|_| Complaint::new("is not a number", help))?;
    within(value, range, f64::to_string)
}

/// `1m`, `1h`, `1d`, `1mo`, `cumulative`: windows start where a day starts, so a day must be a whole number of them.
pub(super) fn window(text: &str) -> Result<Length, Complaint> {
    let help = "write 10s to 1d, a day's even part, such as 1m, 15m, 1h or 1d; 1mo for calendar months; or cumulative";
    if text == "1mo" {
        return Ok(Length::Month);
    }
    if text == "cumulative" {
        return Ok(Length::Cumulative);
    }
    let length =
        milliseconds(text).ok_or_else(|| Complaint::new("is not a window length", help))?;
    if !(10 * SECOND..=DAY).contains(&length) {
        return Err(Complaint::new("is no possible window length", help));
    }
    if !DAY.is_multiple_of(length) {
        return Err(Complaint::new("does not divide a day", help));
    }
    i64::try_from(length)
        .map(Length::Fixed)
        .map_err(|_| Complaint::new("is too long", help))
}

/// A glob that every dialect would refuse: caught here, with its place, and not when the agent starts.
pub(super) fn check_glob(text: &str) -> Result<(), Complaint> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('[') {
        // `[]]` and `[!]]` hold a bracket.
        let inside = after.strip_prefix(['!', '^']).unwrap_or(after);
        let inside = inside.strip_prefix(']').unwrap_or(inside);
        rest = match inside.split_once(']') {
            Some((_, behind)) => behind,
            None => {
                return Err(Complaint::new(
                    "is not a glob: `[` is not closed",
                    "close it, or write `[[]` for a bracket itself",
                ));
            }
        };
    }
    if text.contains('\0') {
        return Err(Complaint::new("is not a path", "paths hold no NUL"));
    }
    Ok(())
}

/// "did you mean `x`?", if one of the words is near enough to be meant.
pub(super) fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    let distance = |other: &str| strsim::osa_distance(&word.to_lowercase(), &other.to_lowercase());
    let nearest = known.iter().min_by_key(|other| distance(other))?;
    // A third of the letters, and never all of a short word.
    let enough = (word.chars().count().max(nearest.chars().count()) / 3).clamp(1, 3);
    (distance(nearest) <= enough).then(|| format!("did you mean `{nearest}`?"))
}

fn milliseconds(text: &str) -> Option<u64> {
    quantity(
        text,
        &[
            ("ms", 1),
            ("s", SECOND),
            ("m", 60 * SECOND),
            ("h", 3_600 * SECOND),
            ("d", DAY),
        ],
    )
}

/// A whole number and a unit; a space may be between.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at_checked(end)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

fn within<T: PartialOrd>(
    value: T,
    range: RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> Result<T, Complaint> {
    let help = || {
        format!(
            "write one from {} to {}",
            show(range.start()),
            show(range.end())
        )
    };
    if value < *range.start() {
        Err(Complaint::new("is too small", help()))
    } else if value > *range.end() {
        Err(Complaint::new("is too large", help()))
    } else if range.contains(&value) {
        Ok(value)
    } else {
        Err(Complaint::new("is not a number", help()))
    }
}

fn show_duration(duration: Duration) -> String {
    let value = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    show(
        value,
        &[
            ("d", DAY),
            ("h", 3_600 * SECOND),
            ("m", 60 * SECOND),
            ("s", SECOND),
            ("ms", 1),
        ],
    )
}

fn show_size(bytes: u64) -> String {
    show(
        bytes,
        &[
            ("GiB", 1 << 30),
            ("MiB", 1 << 20),
            ("KiB", 1 << 10),
            ("B", 1),
        ],
    )
}

/// In the largest unit that leaves a whole number.
fn show(value: u64, units: &[(&str, u64)]) -> String {
    let fits = units
        .iter()
        .find(|(_, factor)| value > 0 && value.is_multiple_of(*factor));
    fits.or(units.last())
        .map_or_else(String::new, |(unit, factor)| {
            format!("{}{unit}", value / factor)
        })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{did_you_mean, duration, number, size, window};
    use crate::flow::windows::Length;

    const ANY: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::MAX;

    #[test]
    fn durations_are_whole_numbers_with_units() {
        let read = |text| duration(text, ANY).ok();
        assert_eq!(read("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(read("5s"), Some(Duration::from_secs(5)));
        assert_eq!(read("10 m"), Some(Duration::from_mins(10)));
        assert_eq!(read("30d"), Some(Duration::from_hours(720)));
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "1.5h",
            "5x",
            "1mo",
            "99999999999999999999d",
            "213503982335d",
            "５s",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn bounds_are_told_in_the_same_units() {
        let range = Duration::from_secs(1)..=Duration::from_hours(24);
        let complaint = duration("5ms", range).unwrap_err();
        assert_eq!(
            (complaint.what.as_str(), complaint.help.as_str()),
            ("is too small", "write one from 1s to 1d")
        );
        let complaint = size("2GiB", 1 << 10..=16 << 20).unwrap_err();
        assert_eq!(
            (complaint.what.as_str(), complaint.help.as_str()),
            ("is too large", "write one from 1KiB to 16MiB")
        );
        assert_eq!(
            number("NaN", 0.0..=1.0).unwrap_err().what,
            "is not a number"
        );
        assert_eq!(number("1.5", 0.0..=1.0).unwrap_err().what, "is too large");
    }

    #[test]
    fn sizes_are_binary_or_decimal() {
        let read = |text| size(text, 0..=u64::MAX).ok();
        assert_eq!(read("16MiB"), Some(16_777_216));
        assert_eq!(read("16MB"), Some(16_000_000));
        assert_eq!(read("1GiB"), Some(1_073_741_824));
        assert_eq!(read("10B"), Some(10));
        assert_eq!(
            (read("16"), read("16M"), read("99999999999GiB")),
            (None, None, None)
        );
    }

    #[test]
    fn windows_divide_a_day() {
        assert_eq!(window("1m"), Ok(Length::Fixed(60_000)));
        assert_eq!(window("1d"), Ok(Length::Fixed(86_400_000)));
        assert_eq!(window("24h"), Ok(Length::Fixed(86_400_000)));
        assert_eq!(window("1mo"), Ok(Length::Month));
        assert_eq!(window("cumulative"), Ok(Length::Cumulative));
        for (text, what) in [
            ("7m", "does not divide a day"),
            ("9s", "is no possible window length"),
            ("2d", "is no possible window length"),
            ("2mo", "is not a window length"),
        ] {
            assert_eq!(window(text).unwrap_err().what, what, "{text}");
        }
    }

    #[test]
    fn the_nearest_word_is_suggested_if_it_is_near() {
        let known = ["windows", "inputs", "mapping", "id"];
        assert_eq!(
            did_you_mean("wndows", &known).as_deref(),
            Some("did you mean `windows`?")
        );
        assert_eq!(
            did_you_mean("Input", &known).as_deref(),
            Some("did you mean `inputs`?")
        );
        assert_eq!(did_you_mean("alerts", &known), None);
        assert_eq!(did_you_mean("", &[]), None);
    }
}
