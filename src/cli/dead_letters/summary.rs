//! Letters by reason: what differs from one to the next (numbers, what is quoted) is left out of the reason, so that a
//! thousand letters with one cause are one line.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::flow::document::{DeadLetter, Subject};

/// Reasons told apart; beyond, they are counted together.
const REASONS_MAX: usize = 1_000;

/// Reasons shown, the most frequent first.
const SHOWN: usize = 20;

#[derive(Debug, Default)]
pub(super) struct Summary {
    reasons: BTreeMap<String, u64>,
    others: u64,
    documents: u64,
    records: u64,
    notices: u64,
    /// Lines that a crash cut short.
    pub(super) torn: u64,
    /// Letters that were written twice.
    pub(super) twins: u64,
}

impl Summary {
    pub(super) fn add(&mut self, letter: &DeadLetter) {
        let count = match letter.subject() {
            Subject::Document => &mut self.documents,
            Subject::Record => &mut self.records,
            Subject::Notice => &mut self.notices,
        };
        *count += 1;
        let reason = cause(&letter.reason);
        if self.reasons.len() < REASONS_MAX || self.reasons.contains_key(&reason) {
            *self.reasons.entry(reason).or_default() += 1;
        } else {
            self.others += 1;
        }
    }

    pub(super) fn letters(&self) -> u64 {
        self.documents + self.records + self.notices
    }

    /// `12 dead letters (10 documents, 2 records)`, and notices where there are any.
    pub(super) fn count(&self) -> String {
        let of = |count: u64, noun: &str| {
            let ending = if count == 1 { "" } else { "s" };
            format!("{count} {noun}{ending}")
        };
        let notices = match self.notices {
            0 => String::new(),
            count => format!(", {}", of(count, "notice")),
        };
        format!(
            "{} ({}, {}{notices})",
            of(self.letters(), "dead letter"),
            of(self.documents, "document"),
            of(self.records, "record")
        )
    }

    /// A line for each reason.
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), *reason));
        let hidden: u64 = reasons.iter().skip(SHOWN).map(|(_, count)| **count).sum();
        for (reason, count) in reasons.iter().take(SHOWN) {
            writeln!(out, "{count:>8}  {reason}")?;
        }
        if hidden + self.others > 0 {
            writeln!(out, "{:>8}  for other reasons", hidden + self.others)?;
        }
        Ok(())
    }
}

/// The reason without what differs: what stands in quotes, and numbers.
fn cause(reason: &str) -> String {
    let mut cause = String::with_capacity(reason.len());
    let mut rest = reason;
    while let Some(first) = rest.chars().next() {
        let mut length = first.len_utf8();
        if let quote @ ('\'' | '"') = first
            && let Some(end) = rest.get(1..).and_then(|inside| inside.find(quote))
        {
            cause.push(quote);
            cause.push('…');
            cause.push(quote);
            length = end + 2;
        } else if first.is_ascii_digit() {
            cause.push('#');
            length = rest
                .find(|character: char| !character.is_ascii_digit())
                .unwrap_or(rest.len());
        } else {
            cause.push(if first.is_control() { ' ' } else { first });
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    cause
}

#[cfg(test)]
mod tests {
    use super::cause;

    #[test]
    fn what_differs_between_two_letters_of_one_cause_is_left_out() {
        let one =
            "[1:6] failed to parse field [a] of type [double] in document with id '7' (status 400)";
        let two = "[1:618] failed to parse field [a] of type [double] in document with id 'x9' (status 400)";
        assert_eq!(cause(one), cause(two));
        assert!(cause(one).contains("field [a] of type [double]"));
        assert_eq!(cause("no field `id`"), "no field `id`");
        assert_eq!(cause("it's 12€"), "it's #€");
    }
}
