//! What is looked for in texts, and what stands in its place. Invariant: a text that was cleaned is not changed again, since
//! what stands in a place is never looked into.
//!
//! Each search passes over a text once; what it looks at from one place is bounded.

mod addresses;
mod numbers;

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};

/// Regular expressions of one pipeline: each is run over every text of every record.
pub const REGEXES_MAX: usize = 32;

/// Memory that one compiled expression may take: 1 MiB is far above what a pattern for names or numbers needs.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A cleaned text may match anew, since `^` and `\b` look at its neighbours. One that still does is not told at all.
const PASSES_MAX: usize = 8;

/// What stands in the place of what an expression of the user's has found.
const REDACTED: &str = "[redacted]";

/// Patterns that are known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// Mail addresses, also with `%40`, as URLs have them.
    Email,
    /// Numbers of payment cards: 13 to 19 digits that begin with 2 to 6 and hold to Luhn's formula, in one piece, in groups
    /// with spaces, or in the usual groups with `-` or `.`.
    Card,
    /// IBANs of the countries in SWIFT's registry whose check digits are right (mod 97), in one piece or in groups.
    Iban,
    /// IPv4 and IPv6 addresses.
    Ip,
}

impl Builtin {
    /// All, in the order of their names.
    pub const ALL: [Self; 4] = [Self::Card, Self::Email, Self::Iban, Self::Ip];

    /// What stands in its place.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::Email => "[email]",
            Self::Card => "[card]",
            Self::Iban => "[iban]",
            Self::Ip => "[ip]",
        }
    }
}

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    builtins: Vec<Builtin>,
    regexes: Vec<Regex>,
}

/// A stretch of a text, and what is to stand in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) token: &'static str,
}

/// Reads an expression.
///
/// # Errors
/// What is wrong with it, without quoting it.
pub fn regex(text: &str) -> Result<Regex, String> {
    let regex = RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
    let regex = regex.map_err(|error| match error {
        // The lines before draw the expression.
        regex::Error::Syntax(drawing) => {
            let reason = drawing.lines().last().unwrap_or_default();
            let reason = reason.strip_prefix("error: ").unwrap_or("malformed");
            format!("is no regular expression: {reason}")
        }
        regex::Error::CompiledTooBig(_) => "is too large once compiled".to_owned(),
        _ => "is no regular expression".to_owned(),
    })?;
    if regex.is_match("") {
        return Err("matches nothing at all, and so everywhere".to_owned());
    }
    Ok(regex)
}

impl Patterns {
    /// What is looked for; expressions come from [`regex()`].
    pub fn new(builtins: &[Builtin], regexes: Vec<Regex>) -> Self {
        Self {
            builtins: builtins.to_vec(),
            regexes,
        }
    }

    /// True if nothing is looked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.builtins.is_empty() && self.regexes.is_empty()
    }

    /// The text without what is found in it.
    pub(super) fn clean<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut cleaned = Cow::Borrowed(text);
        for _ in 0..PASSES_MAX {
            match self.pass(&cleaned) {
                Some(next) => cleaned = Cow::Owned(next),
                None => return cleaned,
            }
        }
        Cow::Borrowed(REDACTED)
    }

    /// True if the text holds what stands in the place of something.
    pub(super) fn has_found(&self, text: &str) -> bool {
        !self.is_empty() && next_token(text).is_some()
    }

    /// True if a word outside of texts is the number of a card.
    pub(super) fn is_card(&self, word: &str) -> bool {
        self.builtins.contains(&Builtin::Card) && numbers::is_card(word.as_bytes())
    }

    /// One look at everything that stands between what was taken out; `None`: nothing found.
    fn pass(&self, text: &str) -> Option<String> {
        let mut cleaned: Option<String> = None;
        let (mut rest, mut behind) = (text, 0);
        while !rest.is_empty() {
            let (segment, token) = match next_token(rest) {
                Some((at, token)) => (rest.get(..at).unwrap_or_default(), token),
                None => (rest, ""),
            };
            let mut from = 0;
            for span in self.find(segment) {
                let cleaned = cleaned.get_or_insert_with(|| {
                    let mut cleaned = String::with_capacity(text.len());
                    cleaned.push_str(text.get(..behind).unwrap_or_default());
                    cleaned
                });
                cleaned.push_str(segment.get(from..span.start).unwrap_or_default());
                cleaned.push_str(span.token);
                from = span.end;
            }
            if let Some(cleaned) = &mut cleaned {
                cleaned.push_str(segment.get(from..).unwrap_or_default());
                cleaned.push_str(token);
            }
            let passed = segment.len() + token.len();
            behind += passed;
            rest = rest.get(passed..).unwrap_or_default();
        }
        cleaned
    }

    /// What is found in a text, in order; of overlapping finds the first, as long as all of them.
    fn find(&self, text: &str) -> Vec<Span> {
        let mut found = Vec::new();
        for builtin in &self.builtins {
            match builtin {
                Builtin::Email => addresses::find_mail(text, &mut found),
                Builtin::Card => numbers::find_cards(text, &mut found),
                Builtin::Iban => numbers::find_ibans(text, &mut found),
                Builtin::Ip => addresses::find_ip(text, &mut found),
            }
        }
        for regex in &self.regexes {
            // `\B` may match nothing at all within a text.
            let matches = regex.find_iter(text).filter(|found| !found.is_empty());
            found.extend(matches.map(|found| Span {
                start: found.start(),
                end: found.end(),
                token: REDACTED,
            }));
        }
        found.sort_by_key(|span| span.start);
        found.dedup_by(|next, first| {
            let overlaps = next.start < first.end;
            if overlaps {
                first.end = first.end.max(next.end);
            }
            overlaps
        });
        found
    }
}

/// Where the first of the tokens stands, and which.
fn next_token(text: &str) -> Option<(usize, &'static str)> {
    let tokens = Builtin::ALL.map(Builtin::token);
    text.match_indices('[').find_map(|(at, _)| {
        let here = text.get(at..).unwrap_or_default();
        let mut tokens = tokens.into_iter().chain([REDACTED]);
        Some((at, tokens.find(|token| here.starts_with(token))?))
    })
}
