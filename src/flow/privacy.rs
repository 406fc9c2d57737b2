//! What must not be told: a record is cleaned before anything else looks at it, so that ids, slices, documents, letters, state
//! and whatever is made of it later have never seen more than the cleaned text.
//!
//! Three ways, in this order: a path that is **dropped** is gone; the values at a **hashed** path become
//! `hmac:` and the HMAC-SHA256 of their canonical text, so that a prediction and its label still meet; in all other texts,
//! names of members included, what a **pattern** finds becomes `[email]`, `[card]`, `[iban]`, `[ip]` or `[redacted]`.
//!
//! Invariants: what is valid JSON stays valid, cleaning twice is cleaning once, and each record is cleaned by itself, however
//! it arrived. A record that cannot be taken apart cannot be cleaned by path: see [`Cleaning::rest`]. Bounds: a record grows by
//! 16 MiB at most. Absent: what stands in texts in another encoding (Base64, compressed, escaped twice).

mod csv;
mod json;
mod paths;
mod patterns;

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use ring::hmac;

use crate::flow::canonical;
use crate::flow::decode::{Format, Header};

use paths::Tree;
pub use patterns::{Builtin, Patterns, REGEXES_MAX, regex};

/// Hashes are longer than what they stand for; a record that grows by more is not taken.
const GROWTH_BYTES_MAX: usize = 16 << 20;

/// What is said of it.
const TOO_LONG: &str = "its hashed values make it longer by more than 16 MiB";

/// What a hashed value starts with: it is not hashed again.
const HASHED: &str = "hmac:";

/// Hexadecimal digits of a SHA-256.
const HASH_DIGITS: usize = 64;

/// `privacy:` of the pipeline file, as meant. The default tells all.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How records are cleaned; `None`: not at all, and at no cost.
    pub cleaning: Option<Arc<Cleaning>>,
    /// Predictions that a slice of a window must have to be published; 0 and 1: any.
    pub min_group: u64,
}

/// How records are cleaned.
#[derive(Clone, Debug)]
pub struct Cleaning {
    tree: Tree,
    key: Option<hmac::Key>,
    patterns: Patterns,
}

impl Cleaning {
    /// `drop` and `hash` are dotted paths: they hold for everything below them and for every element of an array, and their
    /// dots match nested objects and literal dots alike. `key` is any text.
    pub fn new(drop: &[String], hash: &[String], key: &str, patterns: Patterns) -> Self {
        Self {
            tree: Tree::new(drop, hash),
            key: (!hash.is_empty()).then(|| hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes())),
            patterns,
        }
    }

    /// Writes the record as it may be told. `header` is that of a CSV source; without one the record is the header.
    ///
    /// # Errors
    /// Why the record cannot be taken apart; says places, and nothing of what stands there.
    pub fn clean(
        &self,
        format: Format,
        header: Option<&Header>,
        record: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        out.clear();
        let text = simdutf8::compat::from_utf8(record).map_err(|error| {
            let at = error.valid_up_to() + 1;
            format!("not UTF-8 from byte {at} of the record")
        })?;
        match format {
            Format::Json => json::clean(self, text, out),
            Format::Csv => csv::clean(self, header, text, out),
        }
    }

    /// What may be kept of a record that cannot be taken apart, or only in part. Where paths are to be dropped or hashed that
    /// is nothing, since nobody knows what stands at them; patterns are looked for in the text as it is, its escapes resolved.
    #[must_use]
    pub fn rest(&self, record: &[u8]) -> String {
        if !self.tree.is_empty() {
            return String::new();
        }
        let text = String::from_utf8_lossy(record);
        self.patterns.clean(&without_escapes(&text)).into_owned()
    }

    /// A message that may quote a record.
    #[must_use]
    pub fn message(&self, text: String) -> String {
        match self.patterns.clean(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(cleaned) => cleaned,
        }
    }

    /// True if something was taken out of an id: those that are alike now need not have been.
    #[must_use]
    pub fn is_incomplete(&self, id: &str) -> bool {
        self.patterns.has_found(id)
    }

    /// A text as it may be told.
    fn text<'t>(&self, text: &'t str, hashed: bool) -> Cow<'t, str> {
        match &self.key {
            Some(key) if hashed => hash(key, text),
            _ => self.patterns.clean(text),
        }
    }
}

/// Empty text has nothing to hide, and says that a value is missing.
fn hash<'t>(key: &hmac::Key, text: &'t str) -> Cow<'t, str> {
    let canonical = canonical::text(text);
    if canonical.is_empty() || is_hashed(&canonical) {
        return Cow::Borrowed(text);
    }
    let tag = hmac::sign(key, canonical.as_bytes());
    let mut hashed = String::with_capacity(HASHED.len() + HASH_DIGITS);
    hashed.push_str(HASHED);
    for byte in tag.as_ref() {
        // Writing to a `String` cannot fail.
        write!(hashed, "{byte:02x}").ok();
    }
    Cow::Owned(hashed)
}

fn is_hashed(text: &str) -> bool {
    text.strip_prefix(HASHED).is_some_and(|digits| {
        digits.len() == HASH_DIGITS
            && digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// `\u0040` becomes `@`, `\/` becomes `/`: a pattern must not be dodged by an escape. Halves of surrogate pairs stay.
fn without_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = behind
            .strip_prefix('u')
            .and_then(|digits| digits.get(..4))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .and_then(char::from_u32);
        if let Some(character) = code {
            plain.push(character);
            rest = behind.get(5..).unwrap_or_default();
        } else if let Some(slash) = behind.strip_prefix('/') {
            plain.push('/');
            rest = slash;
        } else {
            plain.push('\\');
            rest = behind;
        }
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests;
