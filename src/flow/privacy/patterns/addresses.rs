//! Mail addresses and IP addresses.

use core::net::Ipv6Addr;

use crate::flow::privacy::patterns::{Builtin, Span};

/// RFC 5321, 4.5.3.1.1, in bytes.
const LOCAL_PART_MAX: usize = 64;

/// RFC 5321, 4.5.3.1.2.
const DOMAIN_MAX: usize = 255;

/// `::ffff:255.255.255.255`, written out.
const IP_MAX: usize = 45;

/// Finds mail addresses: a name, `@` or `%40`, and a domain of at least two labels.
pub(super) fn find_mail(text: &str, found: &mut Vec<Span>) {
    let signs = text.match_indices('@').chain(text.match_indices("%40"));
    for (at, sign) in signs {
        let (before, behind) = (
            text.get(..at).unwrap_or_default(),
            text.get(at + sign.len()..).unwrap_or_default(),
        );
        let name = before
            .char_indices()
            .rev()
            .take_while(|(start, c)| {
                at - start <= LOCAL_PART_MAX && (c.is_alphanumeric() || "._%+'-!$*^~".contains(*c))
            })
            .last();
        let Some((start, _)) = name else { continue };
        let end = behind
            .char_indices()
            .find(|(end, c)| *end >= DOMAIN_MAX || !(c.is_alphanumeric() || "-.".contains(*c)));
        let end = end.map_or(behind.len(), |(end, _)| end);
        let domain = behind
            .get(..end)
            .unwrap_or_default()
            .trim_end_matches(['.', '-']);
        let is_domain = domain
            .split_once('.')
            .is_some_and(|(first, rest)| !first.is_empty() && rest.len() >= 2);
        if is_domain {
            found.push(Span {
                start,
                end: at + sign.len() + domain.len(),
                token: Builtin::Email.token(),
            });
        }
    }
}

/// Finds IPv4 and IPv6 addresses, with or without a port behind.
pub(super) fn find_ip(text: &str, found: &mut Vec<Span>) {
    let bytes = text.as_bytes();
    let is_of_address = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let mut at = 0;
    while let Some(skipped) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(is_of_address))
    {
        let start = at + skipped;
        let rest = bytes.get(start..).unwrap_or_default();
        let length = rest.iter().position(|byte| !is_of_address(byte));
        at = start + length.unwrap_or(rest.len());
        let is_word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        if is_word(start.checked_sub(1).and_then(|before| bytes.get(before)))
            || is_word(bytes.get(at))
        {
            continue;
        }
        let run = text.get(start..at).unwrap_or_default();
        if let Some((skipped, length)) = address(run) {
            found.push(Span {
                start: start + skipped,
                end: start + skipped + length,
                token: Builtin::Ip.token(),
            });
        }
    }
}

/// Where in a run of such characters the address is, and its length: punctuation stands around it, a port behind it.
fn address(run: &str) -> Option<(usize, usize)> {
    let is_six = |text: &str| {
        text.len() <= IP_MAX
            && text.contains(|c: char| c != ':')
            && text.parse::<Ipv6Addr>().is_ok()
    };
    let trimmed = run.trim_start_matches('.');
    let skipped = run.len() - trimmed.len();
    for text in [
        trimmed,
        trimmed.strip_suffix([':', '.']).unwrap_or(trimmed),
        trimmed.trim_end_matches([':', '.']),
        trimmed.trim_matches([':', '.']),
    ] {
        if is_six(text) {
            let before = trimmed.find(text).unwrap_or(0);
            return Some((skipped + before, text.len()));
        }
    }
    let mut from = 0;
    for part in run.split(':') {
        let four = part.trim_matches('.');
        if is_four(four) {
            return Some((from + part.find(four).unwrap_or(0), four.len()));
        }
        from += part.len() + 1;
    }
    None
}

/// Four numbers to 255, also with zeros before them.
fn is_four(text: &str) -> bool {
    let mut numbers = 0;
    text.split('.').all(|number| {
        numbers += 1;
        number.len() <= 3 && number.parse::<u8>().is_ok()
    }) && numbers == 4
}
