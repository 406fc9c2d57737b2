//! Numbers with check digits: payment cards (ISO/IEC 7812-1, annex B: Luhn's formula) and IBANs (ISO 13616: mod 97-10 of
//! ISO 7064).

use crate::flow::privacy::patterns::{Builtin, Span};

/// Lengths of a card's number.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// How digits are grouped on cards: where `-` or `.` stands between groups, only these count, since ids are written with
/// `-`, too.
const CARD_GROUPS: &[&[usize]] = &[&[4, 4, 4, 4], &[4, 4, 4, 4, 3], &[4, 6, 5], &[4, 6, 4]];

/// Countries and lengths of their IBANs: SWIFT's IBAN registry.
const IBAN_LENGTHS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 \
    EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 \
    KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 \
    PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 \
    UA29 VA22 VG24 XK20 YE30";

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
    let length_of = |entry: &str| entry.get(2..)?.parse::<usize>().ok();
    let mut known = IBAN_LENGTHS.split_ascii_whitespace();
    let characters = known
        .find(|entry| entry.as_bytes().starts_with(&country))
        .and_then(length_of)?;
    let mut compact = Vec::with_capacity(characters);
    let mut length = 0;
    while compact.len() < characters {
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
