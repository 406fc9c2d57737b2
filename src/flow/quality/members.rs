//! Writes JSON members into a buffer: commas, quotes, escapes. No object is written without a member in it, and no
//! number that JSON does not have.

use crate::flow::json::{write_integer, write_number, write_text};

/// Members of one object being written, without its braces.
pub(crate) struct Members<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Members<'a> {
    /// Members to be appended to `out`.
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, empty: true }
    }

    /// A whole number.
    pub(crate) fn count(&mut self, name: &str, count: u64) {
        self.name(name);
        write_integer(count, self.out);
    }

    /// A number; nothing at all if it is not finite.
    pub(crate) fn number(&mut self, name: &str, number: f64) {
        if number.is_finite() {
            self.name(name);
            write_number(number, self.out);
        }
    }

    /// A truth value.
    pub(crate) fn flag(&mut self, name: &str, flag: bool) {
        self.name(name);
        let text: &[u8] = if flag { b"true" } else { b"false" };
        self.out.extend_from_slice(text);
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        write_text(text, self.out);
    }

    /// An array of finite numbers.
    pub(crate) fn numbers(&mut self, name: &str, numbers: impl Iterator<Item = f64>) {
        self.name(name);
        self.out.push(b'[');
        for (index, number) in numbers.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write_number(number, self.out);
        }
        self.out.push(b']');
    }

    /// An array of whole numbers.
    pub(crate) fn counts(&mut self, name: &str, counts: impl Iterator<Item = u64>) {
        self.name(name);
        self.out.push(b'[');
        for (index, count) in counts.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write_integer(count, self.out);
        }
        self.out.push(b']');
    }

    /// An object with the members `write` gives it; left out if it gives none.
    pub(crate) fn object(&mut self, name: &str, write: impl FnOnce(&mut Members<'_>)) {
        let (before, was_empty) = (self.out.len(), self.empty);
        self.name(name);
        self.out.push(b'{');
        let mut inner = Members::new(self.out);
        write(&mut inner);
        if inner.empty {
            self.out.truncate(before);
            self.empty = was_empty;
        } else {
            self.out.push(b'}');
        }
    }

    fn name(&mut self, name: &str) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        write_text(name, self.out);
        self.out.push(b':');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_json_whatever_the_names_and_numbers() {
        let mut out = b"{".to_vec();
        let mut members = Members::new(&mut out);
        members.object("nothing", |_| ());
        members.number("nan", f64::NAN);
        members.text("odd \"name\"\n", "back\\slash\u{1}é");
        members.object("inner", |inner| {
            inner.count("count", u64::MAX);
            inner.number("tiny", 5e-324);
            inner.flag("flag", true);
            inner.object("empty", |_| ());
            inner.numbers("numbers", [0.5, -1e300].into_iter());
            inner.counts("counts", [1, 2].into_iter());
        });
        out.push(b'}');
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let expected = serde_json::json!({
            "odd \"name\"\n": "back\\slash\u{1}é",
            "inner": {"count": u64::MAX, "tiny": 5e-324, "flag": true, "numbers": [0.5, -1e300], "counts": [1, 2]},
        });
        assert_eq!(read, expected);
    }
}
