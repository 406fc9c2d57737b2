//! The body of an HTTP request to records: one JSON object, an array of objects, or objects one after another (NDJSON).
//!
//! All or nothing: a body gives every record it holds, each on one line and ended by a line feed, or the [`Fault`] that
//! stands first in it. No number, string or key order is changed: a record that is one line already is taken as it
//! stands, any other loses the white space between its tokens. A body that is such lines already is not even copied.
//! Driven by `edge::receive`; the journal keeps what comes out.

use std::borrow::Cow;

use memchr::{memchr_iter, memchr2, memrchr};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Deepest nesting of a record: what recursive readers further on (`serde_json` itself stops at 128) can take.
pub const DEPTH_MAX: usize = 128;

/// The records of one body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records<'a> {
    /// One record a line, each ended by a line feed; empty where the body is an empty array.
    pub bytes: Cow<'a, [u8]>,
    /// How many.
    pub count: usize,
}

/// The first place where a body is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, byte {byte}: {reason}")]
pub struct Fault {
    /// Line of the body, from 1.
    pub line: usize,
    /// Byte of that line, from 1.
    pub byte: usize,
    /// What is wrong: lower case, no full stop.
    pub reason: String,
}

/// Takes a body apart.
///
/// # Errors
/// The first fault, and nothing of the body: not UTF-8, not JSON, a value that is no object, nested too deep, or empty.
pub fn records(body: &[u8]) -> Result<Records<'_>, Fault> {
    let text = match simdutf8::compat::from_utf8(body) {
        Ok(text) => text,
        Err(error) => return Err(fault(body, error.valid_up_to(), "not valid UTF-8")),
    };
    let from = if text.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len()
    } else {
        0
    };
    let mut output = Output {
        body,
        from,
        same_to: from,
        copy: None,
        count: 0,
    };
    let mut at = skip_space(body, from);
    if at == body.len() {
        return Err(fault(body, at, "the body is empty: expected JSON objects"));
    }
    while at < body.len() {
        at = if body.get(at) == Some(&b'[') {
            array(text, at, &mut output)?
        } else {
            record(text, at, &mut output)?
        };
        at = skip_space(body, at);
    }
    Ok(output.finish())
}

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The objects of the array that opens at `start`. Returns the offset after its bracket.
fn array(text: &str, start: usize, output: &mut Output<'_>) -> Result<usize, Fault> {
    let body = text.as_bytes();
    let mut at = skip_space(body, start + 1);
    if body.get(at) == Some(&b']') {
        return Ok(at + 1);
    }
    loop {
        at = record(text, at, output)?;
        at = skip_space(body, at);
        match body.get(at) {
            Some(b',') => at = skip_space(body, at + 1),
            Some(b']') => return Ok(at + 1),
            Some(_) => {
                return Err(fault(
                    body,
                    at,
                    "expected `,` or `]` after an element of the array",
                ));
            }
            None => return Err(fault(body, at, "the body ends inside an array")),
        }
    }
}

/// The object that must stand at `start`. Returns the offset after it.
fn record(text: &str, start: usize, output: &mut Output<'_>) -> Result<usize, Fault> {
    let body = text.as_bytes();
    match body.get(start) {
        Some(b'{') => {}
        Some(_) => return Err(fault(body, start, "expected a JSON object")),
        None => {
            return Err(fault(
                body,
                start,
                "the body ends where a JSON object was expected",
            ));
        }
    }
    let rest = text.get(start..).unwrap_or_default();
    let mut reader = serde_json::Deserializer::from_str(rest);
    let raw = match <&RawValue>::deserialize(&mut reader) {
        Ok(raw) => raw.get().as_bytes(),
        Err(error) => return Err(syntax_fault(body, start, &error)),
    };
    if let Some(deep) = too_deep(raw) {
        let reason = format!("nested deeper than {DEPTH_MAX} levels");
        return Err(fault(body, start + deep, &reason));
    }
    let end = start + raw.len();
    output.push(raw, start, end);
    Ok(end)
}

/// What comes out: as long as the body's own lines are the records, only how far that holds.
struct Output<'a> {
    body: &'a [u8],
    /// First byte after a byte order mark.
    from: usize,
    /// `body[from..same_to]` is the output so far, while there is no copy.
    same_to: usize,
    copy: Option<Vec<u8>>,
    count: usize,
}

impl<'a> Output<'a> {
    fn push(&mut self, raw: &[u8], start: usize, end: usize) {
        self.count += 1;
        let one_line = memchr2(b'\n', b'\r', raw).is_none();
        let in_place = one_line && start == self.same_to && self.body.get(end) == Some(&b'\n');
        if in_place && self.copy.is_none() {
            self.same_to = end + 1;
            return;
        }
        let same = self.body.get(self.from..self.same_to).unwrap_or_default();
        let capacity = self.body.len() + 1;
        let copy = self.copy.get_or_insert_with(|| {
            let mut copy = Vec::with_capacity(capacity);
            copy.extend_from_slice(same);
            copy
        });
        if one_line {
            copy.extend_from_slice(raw);
        } else {
            copy_without_space(raw, copy);
        }
        copy.push(b'\n');
    }

    fn finish(self) -> Records<'a> {
        let same = self.body.get(self.from..self.same_to).unwrap_or_default();
        let bytes = self.copy.map_or(Cow::Borrowed(same), Cow::Owned);
        Records {
            bytes,
            count: self.count,
        }
    }
}

fn copy_without_space(raw: &[u8], out: &mut Vec<u8>) {
    let mut in_string = false;
    let mut escaped = false;
    for &byte in raw {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if !is_space(byte) {
            out.push(byte);
            in_string = byte == b'"';
        }
    }
}

/// Where a text first goes deeper than [`DEPTH_MAX`]; what it holds need not be valid. Whatever reads JSON calls itself for
/// each level, here and in Elasticsearch, so a line of a million brackets would end the process.
pub(in crate::flow) fn too_deep(raw: &[u8]) -> Option<usize> {
    // Nearly every record has fewer brackets than levels allowed, in strings or not: counting them is much faster than
    // following them, and in bytes, as many at a time as a byte can count, the faster still.
    let opening = |chunk: &[u8]| -> usize {
        // `[` and `{` differ in this bit alone.
        let count: u8 = chunk.iter().map(|byte| u8::from(byte | 0x20 == b'{')).sum();
        usize::from(count)
    };
    if raw.chunks(usize::from(u8::MAX)).map(opening).sum::<usize>() <= DEPTH_MAX {
        return None;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, &byte) in raw.iter().enumerate() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' if depth == DEPTH_MAX => return Some(at),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn skip_space(body: &[u8], from: usize) -> usize {
    let rest = body.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|&&byte| is_space(byte)).count()
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn fault(body: &[u8], offset: usize, reason: &str) -> Fault {
    let before = body.get(..offset).unwrap_or(body);
    let line_start = memrchr(b'\n', before).map_or(0, |at| at + 1);
    Fault {
        line: memchr_iter(b'\n', before).count() + 1,
        byte: before.len() - line_start + 1,
        reason: reason.to_owned(),
    }
}

/// A fault found by `serde_json`, which counts from the start of the record.
fn syntax_fault(body: &[u8], start: usize, error: &serde_json::Error) -> Fault {
    if error.is_eof() {
        // The end of the body is no place to look at; where the record begins is.
        return fault(body, start, "the record that begins here does not end");
    }
    let text = error.to_string();
    let reason = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(reason, _)| reason);
    let record = fault(body, start, reason);
    if error.line() <= 1 {
        Fault {
            byte: record.byte + error.column().saturating_sub(1),
            ..record
        }
    } else {
        Fault {
            line: record.line + error.line() - 1,
            byte: error.column().max(1),
            ..record
        }
    }
}

#[cfg(test)]
mod tests;
