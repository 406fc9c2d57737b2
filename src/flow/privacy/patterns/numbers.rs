//! Numbers with check digits: payment cards (ISO/IEC 7812-1, annex B: Luhn's formula) and IBANs (ISO 13616: mod 97-10 of
//! ISO 7064).

use crate::flow::privacy::patterns::{Builtin, Span};

/// Lengths of a card's number.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// How digits are grouped on cards: where `-` or `.` stands between groups, only these count, since ids are written with
/// `-`, too.
const CARD_GROUPS: &[&[usize]] = &[&[4, 4, 4, 4], &[4, 4, 4, 4, 3], &[4, 6, 5], &[4, 6, 4]];

/// Length of an IBAN by country: SWIFT's IBAN registry.
const IBAN_LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// True for the digits of a card's number, in one piece.
pub(super) fn is_card(digits: &[u8]) -> bool {
    // What begins with 0, 1 and 7 to 9 is issued by no bank: an epoch in micro- or nanoseconds begins with 1.
    CARD_DIGITS.contains(&digits.len())
        && matches!(digits.first(), Some(b'2'..=b'6'))
        && digits.iter().all(u8::is_ascii_digit)
        && luhn(digits.iter().map(|digit| u32::from(digit - b'0')))
}

/// From the right, every second digit doubled, its digits added up: the sum ends with 0.
fn luhn(digits: impl DoubleEndedIterator<Item = u32>) -> bool {
    let weighed = digits
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => digit,
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        });
    weighed.sum::<u32>() % 10 == 0
}

/// Finds the numbers of cards.
pub(super) fn find_cards(text: &str, found: &mut Vec<Span>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(skipped) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(u8::is_ascii_digit))
    {
        let start = at + skipped;
        let groups = groups(bytes, start);
        // In `12 4111-…` the last group begins the next run.
        at = match groups.as_slice() {
            [_, .., (last, end)] if goes_on(bytes, *end) => *last,
            [.., (_, end)] => *end,
            [] => start + 1,
        };
        cards_in(bytes, &groups, found);
    }
}

/// The groups of digits from `start` on, with the same separator between each two.
fn groups(bytes: &[u8], start: usize) -> Vec<(usize, usize)> {
    let mut groups = Vec::new();
    let mut separator = None;
    let mut from = start;
    loop {
        let rest = bytes.get(from..).unwrap_or_default();
        let digits = rest.iter().position(|byte| !byte.is_ascii_digit());
        let end = from + digits.unwrap_or(rest.len());
        groups.push((from, end));
        let next = bytes.get(end).copied();
        if !goes_on(bytes, end) || separator.is_some_and(|known| next != Some(known)) {
            return groups;
        }
        separator = next;
        from = end + 1;
    }
}

/// True if a separator and another group follow.
fn goes_on(bytes: &[u8], end: usize) -> bool {
    matches!(bytes.get(end), Some(b' ' | b'-' | b'.'))
        && bytes.get(end + 1).is_some_and(u8::is_ascii_digit)
}

fn cards_in(bytes: &[u8], groups: &[(usize, usize)], found: &mut Vec<Span>) {
    let is_letter = |at: Option<usize>| {
        at.and_then(|at| bytes.get(at))
            .is_some_and(u8::is_ascii_alphabetic)
    };
    let mut place = 0;
    while let Some(&(start, first_end)) = groups.get(place) {
        place += 1;
        if is_letter(start.checked_sub(1)) {
            continue;
        }
        let spaced = matches!(bytes.get(first_end), Some(b' '));
        let (mut digits, mut lengths, mut card) = (Vec::new(), Vec::new(), None);
        for (used, &(from, end)) in groups.iter().enumerate().skip(place - 1) {
            if digits.len() + (end - from) > *CARD_DIGITS.end() {
                break;
            }
            digits.extend_from_slice(bytes.get(from..end).unwrap_or_default());
            lengths.push(end - from);
            let usual = lengths.len() == 1 || spaced || CARD_GROUPS.contains(&lengths.as_slice());
            if usual && !is_letter(Some(end)) && is_card(&digits) {
                card = Some((used, end));
            }
        }
        if let Some((used, end)) = card {
            found.push(Span {
                start,
                end,
                token: Builtin::Card.token(),
            });
            place = used + 1;
        }
    }
}

/// Finds IBANs.
pub(super) fn find_ibans(text: &str, found: &mut Vec<Span>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(first) = bytes.get(at) {
        let is_start = first.is_ascii_alphabetic()
            && at
                .checked_sub(1)
                .and_then(|before| bytes.get(before))
                .is_none_or(|before| !before.is_ascii_alphanumeric());
        match is_start
            .then(|| iban(bytes.get(at..).unwrap_or_default()))
            .flatten()
        {
            Some(length) => {
                found.push(Span {
                    start: at,
                    end: at + length,
                    token: Builtin::Iban.token(),
                });
                at += length;
            }
            None => at += 1,
        }
    }
}

/// Bytes of the IBAN that the text starts with.
fn iban(text: &[u8]) -> Option<usize> {
    let country = [
        text.first()?.to_ascii_uppercase(),
        text.get(1)?.to_ascii_uppercase(),
    ];
    let (_, characters) = IBAN_LENGTHS.iter().find(|(known, _)| **known == country)?;
    let mut compact = Vec::with_capacity(*characters);
    let mut length = 0;
    while compact.len() < *characters {
        match text.get(length)? {
            byte if byte.is_ascii_alphanumeric() => compact.push(byte.to_ascii_uppercase()),
            b' ' | b'-' if text.get(length.checked_sub(1)?)?.is_ascii_alphanumeric() => {}
            _ => return None,
        }
        length += 1;
    }
    let ends = text
        .get(length)
        .is_none_or(|next| !next.is_ascii_alphanumeric());
    (ends && is_right(&compact)).then_some(length)
}

/// The first four characters last, letters as 10 to 35: the number is 1 modulo 97.
fn is_right(compact: &[u8]) -> bool {
    let (head, account) = compact.split_at(compact.len().min(4));
    let rest = account
        .iter()
        .chain(head)
        .fold(0_u32, |rest, byte| match byte {
            b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
            _ => (rest * 100 + u32::from(byte.saturating_sub(b'A')) + 10) % 97,
        });
    rest == 1 && head.iter().skip(2).all(u8::is_ascii_digit)
}
