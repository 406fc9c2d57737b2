//! A dead letter: a record that became no document, a document that was refused, or a notice that somebody could not be told
//! of, with all it takes to mend the cause and try again. A record's letter knows how it was read, so that it can be read anew exactly as it was; one that is
//! not the whole record says so, and is never read anew as if it were.

use serde::{Deserialize, Serialize};

use crate::flow::event::{Kind, Position};

/// A record, document or notice that could not be processed, stored or told, with all a person needs to mend it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Why: a sentence without full stop, naming field or path.
    pub reason: String,
    /// Where it came from: `path:offset` for a record, `index/_id` for a document, the notice's id for a notice.
    pub origin: String,
    /// Source position of the record, where there is one.
    pub position: Option<Position>,
    /// The record's or document's text; of a record, [`Reading::kept`] says whether all of it.
    pub text: String,
    /// The action line, for a document: what `dead-letters retry` sends again.
    pub action: Option<String>,
    /// For a record: how it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Reading>,
    /// For a notice: the notifier that was to tell it. The text is the notice as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifier: Option<String>,
}

/// What a letter is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A record that became no document.
    Record,
    /// A document that was refused.
    Document,
    /// A notice that somebody could not be told of.
    Notice,
}

impl Subject {
    /// As people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Document => "document",
            Self::Notice => "notice",
        }
    }
}

/// How a record was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The input it came in by: its index in the pipeline's `inputs:`.
    pub input: u16,
    /// What it is, where its source forced that (an HTTP path).
    pub kind: Option<Kind>,
    /// CSV: the header row it was read under.
    pub header: Option<String>,
    /// Length of the record in bytes; the letter's text may be shorter.
    pub bytes: u64,
    /// How much of it the text is.
    pub kept: Kept,
}

/// How much of a record a letter's text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kept {
    /// All of it, byte for byte.
    Whole,
    /// Its beginning: it was too long to keep.
    Cut,
    /// All, but what is not UTF-8 is replaced by U+FFFD.
    Lossy,
    /// All, but the rows before its fault have been taken: read anew, they would count twice.
    Begun,
    /// Nothing, or only what `privacy` finds nothing in.
    Withheld,
}

impl Kept {
    /// Why a letter cannot be read anew, and what to do instead; `None` if it can.
    #[must_use]
    pub const fn objection(self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::Cut => {
                Some("only the record's beginning was kept: send it again from its source")
            }
            Self::Lossy => Some("it is not UTF-8: mend it at its source and send it again"),
            Self::Begun => Some("the rows before its fault were taken: send the others again"),
            Self::Withheld => Some(
                "it cannot be read, so `privacy` kept its text back: mend it at its source and send it again",
            ),
        }
    }
}

impl DeadLetter {
    /// What it is about.
    #[must_use]
    pub const fn subject(&self) -> Subject {
        match (&self.action, &self.notifier) {
            (Some(_), _) => Subject::Document,
            (None, Some(_)) => Subject::Notice,
            (None, None) => Subject::Record,
        }
    }

    /// Why the record cannot be read anew, in words; `None` if it can. (Documents are sent again, not read.)
    #[must_use]
    pub fn objection(&self) -> Option<&'static str> {
        match &self.record {
            Some(reading) => reading.kept.objection(),
            None => Some("it was written by an older modelbeat: send it again from its source"),
        }
    }
}
