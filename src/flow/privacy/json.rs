//! JSON: one walk over the text. What stays is copied as it stands, without the white space between tokens; nothing is read
//! into a tree of values.
//!
//! Only what a walk needs is checked here; that numbers and texts are well-formed is for whoever reads the result.

use std::borrow::Cow;

use memchr::memchr2;

use crate::flow::body::{DEPTH_MAX, too_deep};
use crate::flow::canonical;
use crate::flow::json::write_text;
use crate::flow::privacy::paths::{Mark, Place};
use crate::flow::privacy::{Builtin, Cleaning, GROWTH_BYTES_MAX, TOO_LONG};

/// # Errors
/// The text is no JSON object or array, or not whole.
pub(super) fn clean(cleaning: &Cleaning, text: &str, out: &mut Vec<u8>) -> Result<(), String> {
    if too_deep(text.as_bytes()).is_some() {
        return Err(format!("nested deeper than {DEPTH_MAX} levels"));
    }
    let mut walk = Walk {
        cleaning,
        text,
        at: 0,
        out,
        changed_names: 0,
    };
    if !matches!(walk.peek(), Some(b'{' | b'[')) {
        return Err("neither a JSON object nor an array of objects".to_owned());
    }
    walk.value(&cleaning.tree.root())?;
    match walk.peek() {
        None => Ok(()),
        Some(_) => Err(walk.fault()),
    }
}

struct Walk<'w> {
    cleaning: &'w Cleaning,
    text: &'w str,
    at: usize,
    out: &'w mut Vec<u8>,
    /// Names of members that were changed: each gets its number, since no two members of an object may share one.
    changed_names: usize,
}

impl<'w> Walk<'w> {
    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let space = rest
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        self.at += space.unwrap_or(rest.len());
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes `byte`, if it is the next one.
    fn pass(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.pass(byte) {
            Ok(())
        } else {
            Err(self.fault())
        }
    }

    fn fault(&self) -> String {
        format!("not valid JSON at byte {} of the record", self.at + 1)
    }

    fn value(&mut self, place: &Place<'_>) -> Result<(), String> {
        if self.out.len() > self.text.len() + GROWTH_BYTES_MAX {
            return Err(TOO_LONG.to_owned());
        }
        match self.peek() {
            Some(b'{') => self.object(place),
            Some(b'[') => self.array(place),
            Some(b'"') => {
                let raw = self.string()?;
                let text = self.unescape(raw)?;
                match self.cleaning.text(&text, place.mark == Mark::Hash) {
                    cleaned if cleaned == text => self.out.extend_from_slice(raw.as_bytes()),
                    cleaned => write_text(&cleaned, self.out),
                }
                Ok(())
            }
            Some(_) => self.word(place),
            None => Err(self.fault()),
        }
    }

    fn object(&mut self, place: &Place<'_>) -> Result<(), String> {
        self.expect(b'{')?;
        self.out.push(b'{');
        let start = self.out.len();
        if self.pass(b'}') {
            self.out.push(b'}');
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.fault());
            }
            let raw = self.string()?;
            let name = self.unescape(raw)?;
            self.expect(b':')?;
            let member = place.member(&name);
            if member.mark == Mark::Drop {
                self.skip()?;
            } else {
                if self.out.len() > start {
                    self.out.push(b',');
                }
                self.name(raw, &name);
                self.out.push(b':');
                self.value(&member)?;
            }
            if !self.pass(b',') {
                break;
            }
        }
        self.expect(b'}')?;
        self.out.push(b'}');
        Ok(())
    }

    fn array(&mut self, place: &Place<'_>) -> Result<(), String> {
        self.expect(b'[')?;
        self.out.push(b'[');
        if self.pass(b']') {
            self.out.push(b']');
            return Ok(());
        }
        for index in 0_usize.. {
            if index > 0 {
                self.out.push(b',');
            }
            let element = place.element(index);
            if element.mark == Mark::Drop {
                // The others keep their numbers.
                self.skip()?;
                self.out.extend_from_slice(b"null");
            } else {
                self.value(&element)?;
            }
            if !self.pass(b',') {
                break;
            }
        }
        self.expect(b']')?;
        self.out.push(b']');
        Ok(())
    }

    fn name(&mut self, raw: &str, name: &str) {
        match self.cleaning.patterns.clean(name) {
            cleaned if cleaned == name => self.out.extend_from_slice(raw.as_bytes()),
            cleaned => {
                self.changed_names += 1;
                write_text(&format!("{cleaned}-{}", self.changed_names), self.out);
            }
        }
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self, place: &Place<'_>) -> Result<(), String> {
        let word = self.pass_word()?;
        let hashed = match (place.mark, word) {
            (Mark::Hash, "null") => None,
            (Mark::Hash, "true" | "false") => Some(Cow::Borrowed(word)),
            (Mark::Hash, _) => Some(number(word).ok_or_else(|| self.fault())?),
            _ => None,
        };
        match hashed {
            Some(text) => write_text(&self.cleaning.text(&text, true), self.out),
            None if self.cleaning.patterns.is_card(word) => {
                write_text(Builtin::Card.token(), self.out);
            }
            None => self.out.extend_from_slice(word.as_bytes()),
        }
        Ok(())
    }

    fn pass_word(&mut self) -> Result<&'w str, String> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
        let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        let is_number = word.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        if !is_number && !matches!(word, "true" | "false" | "null") {
            return Err(self.fault());
        }
        self.at += end;
        Ok(word)
    }

    /// Passes a text, and returns it with its quotes.
    fn string(&mut self) -> Result<&'w str, String> {
        let start = self.at;
        let mut at = start + 1;
        while let Some(found) = self
            .text
            .as_bytes()
            .get(at..)
            .and_then(|rest| memchr2(b'"', b'\\', rest))
        {
            at += found;
            if self.text.as_bytes().get(at) == Some(&b'"') {
                self.at = at + 1;
                return self.text.get(start..self.at).ok_or_else(|| self.fault());
            }
            at += 2;
        }
        Err(self.fault())
    }

    /// The text between quotes.
    fn unescape(&self, raw: &'w str) -> Result<Cow<'w, str>, String> {
        if raw.contains('\\') {
            let text: Result<String, _> = serde_json::from_str(raw);
            return text.map(Cow::Owned).map_err(|_| self.fault());
        }
        Ok(Cow::Borrowed(raw.get(1..raw.len() - 1).unwrap_or_default()))
    }

    /// Passes a value that is left out.
    fn skip(&mut self) -> Result<(), String> {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'{' | b'[') => {
                    self.at += 1;
                    depth += 1;
                }
                Some(b'}' | b']') if depth > 0 => {
                    self.at += 1;
                    depth -= 1;
                }
                Some(b',' | b':') if depth > 0 => self.at += 1,
                Some(_) => {
                    self.pass_word()?;
                }
                None => return Err(self.fault()),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// As `canonical` has it, so that `17`, `17.0` and `"17"` are one value here, too.
fn number(word: &str) -> Option<Cow<'static, str>> {
    if let Ok(integer) = word.parse::<i64>() {
        return Some(canonical::integer(integer));
    }
    if let Ok(integer) = word.parse::<u64>() {
        return Some(canonical::unsigned(integer));
    }
    let number: f64 = word.parse().ok()?;
    number.is_finite().then(|| canonical::number(number))
}
