//! One text for one value: JSON `1`, `1.0` and `"1"`, and CSV `1` and `1.00` are all `1`.
//!
//! Classes, ids and the values of `when` are compared in this form, so it is the same on every way in: decoders and
//! the pipeline file call it. Invariants, kept by properties below: it is idempotent, a number and its own text
//! agree, and what is no plain whole number is left alone (`01`, `1.50`, `+1` and `1e3` are names, not numbers).

use std::borrow::Cow;

/// Whole numbers below this are exact in an `f64`; from here on `.0` no longer says which one was meant.
const EXACT_BELOW: u64 = 1 << 53;

/// Classes are mostly `0` and `1`: these need no memory.
const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// Text: without ASCII whitespace around it, whole numbers without `.0`, `-0` as `0`.
#[must_use]
pub fn text(raw: &str) -> Cow<'_, str> {
    let trimmed = raw.trim_ascii();
    // Names are the common case, and cost one look at one byte.
    if !trimmed.ends_with('0') {
        return Cow::Borrowed(trimmed);
    }
    let whole = match trimmed.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => whole,
        Some(_) => return Cow::Borrowed(trimmed),
        None => trimmed,
    };
    if whole == "-0" {
        return Cow::Borrowed("0");
    }
    if is_exact_integer(whole) {
        Cow::Borrowed(whole)
    } else {
        Cow::Borrowed(trimmed)
    }
}

/// A number. Whole ones print as integers as long as they are exact, others with the fewest digits that read back
/// as the same number.
#[must_use]
pub fn number(value: f64) -> Cow<'static, str> {
    if value.fract() == 0.0 && value.abs() < EXACT_BELOW as f64 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole and below 2^53 by the line above"
        )]
        return integer(value as i64);
    }
    Cow::Owned(zmij::Buffer::new().format(value).to_owned())
}

/// A whole number.
#[must_use]
pub fn integer(value: i64) -> Cow<'static, str> {
    match u64::try_from(value) {
        Ok(value) => unsigned(value),
        Err(_) => Cow::Owned(itoa::Buffer::new().format(value).to_owned()),
    }
}

/// A whole number that may be too large for [`integer`].
#[must_use]
pub fn unsigned(value: u64) -> Cow<'static, str> {
    let digit = usize::try_from(value).ok().and_then(|at| DIGITS.get(at));
    match digit {
        Some(digit) => Cow::Borrowed(digit),
        None => Cow::Owned(itoa::Buffer::new().format(value).to_owned()),
    }
}

/// `true` or `false`.
#[must_use]
pub const fn boolean(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// `-?(0|[1-9][0-9]*)`, and exact in an `f64`.
fn is_exact_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let leading_zero = digits.len() > 1 && digits.starts_with('0');
    // `parse` alone would take a plus sign, too.
    let only_digits = digits.bytes().all(|b| b.is_ascii_digit());
    only_digits && !leading_zero && digits.parse().is_ok_and(|n: u64| n < EXACT_BELOW)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{boolean, integer, number, text, unsigned};

    #[test]
    fn every_way_to_write_one_is_one() {
        for raw in ["1", "1.0", "1.00", " 1 ", "\t1.0\r\n"] {
            assert_eq!(text(raw), "1", "{raw:?}");
        }
        assert_eq!(number(1.0), "1");
        assert_eq!(integer(1), "1");
        assert_eq!(unsigned(1), "1");
    }

    #[test]
    fn zero_has_no_sign() {
        for raw in ["0", "-0", "0.0", "-0.0", "-0.000"] {
            assert_eq!(text(raw), "0", "{raw:?}");
        }
        assert_eq!(number(-0.0), "0");
    }

    #[test]
    fn what_is_no_plain_whole_number_is_left_alone() {
        for raw in [
            "", "01", "01.0", "00", "1.50", "1.5", "+1", "+1.0", "1e3", "1.", ".0", "-", "-.0",
            "1.0.0", "1 0", "a.0", "fraud", "v2.0", "true", "True", "NaN", "½0", "９.0",
        ] {
            assert_eq!(text(raw), raw);
        }
    }

    #[test]
    fn digits_beyond_two_to_the_53_are_kept() {
        assert_eq!(text("9007199254740991.0"), "9007199254740991");
        assert_eq!(text("9007199254740992.0"), "9007199254740992.0");
        assert_eq!(text("18446744073709551615"), "18446744073709551615");
        assert_eq!(text("99999999999999999999990"), "99999999999999999999990");
        assert_eq!(unsigned(u64::MAX), "18446744073709551615");
        assert_eq!(integer(i64::MIN), "-9223372036854775808");
        assert_eq!(number(9_007_199_254_740_991.0), "9007199254740991");
    }

    #[test]
    fn other_numbers_print_shortest() {
        assert_eq!(number(0.1), "0.1");
        assert_eq!(number(-2.5), "-2.5");
        assert_eq!(boolean(true), text(" true"));
        assert_eq!(boolean(false), "false");
    }

    proptest! {
        #[test]
        fn text_is_idempotent(raw in any::<String>()) {
            let once = text(&raw).into_owned();
            prop_assert_eq!(text(&once), once.as_str());
        }

        #[test]
        fn number_like_text_is_idempotent(raw in " ?[-+]?[0-9]{0,20}\\.?[0-9]{0,4} ?") {
            let once = text(&raw).into_owned();
            prop_assert_eq!(text(&once), once.as_str());
        }

        #[test]
        fn a_number_is_its_own_text(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            let once = number(value);
            prop_assert_eq!(text(&once), once.as_ref());
            prop_assert_eq!(once.parse::<f64>().ok(), Some(value));
        }

        #[test]
        fn whole_numbers_agree_on_every_way_in(value in -(1_i64 << 53) + 1..1_i64 << 53) {
            let expected = value.to_string();
            #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
            let float = number(value as f64);
            prop_assert_eq!(float, expected.as_str());
            prop_assert_eq!(integer(value), expected.as_str());
            prop_assert_eq!(text(&expected), expected.as_str());
            let with_point = format!("{expected}.0");
            prop_assert_eq!(text(&with_point), expected.as_str());
        }
    }
}
