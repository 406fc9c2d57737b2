//! Reads what the cluster answers, and no more of it than is needed: a status for each item, and the error's text
//! where one is asked for. The request asks for this much with `filter_path=took,errors,items.*.status,items.*.error`.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A `_bulk` reply.
#[derive(Debug, Deserialize)]
pub(super) struct Reply<'a> {
    #[serde(borrow)]
    pub(super) items: Vec<Item<'a>>,
}

/// One item's outcome.
#[derive(Debug)]
pub(super) struct Item<'a> {
    pub(super) status: u16,
    pub(super) error: Option<&'a RawValue>,
}

impl<'a> Reply<'a> {
    /// `None`: not a bulk reply.
    pub(super) fn read(reply: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(reply).ok()
    }
}

/// True if the reply says outright that every item went well: no need to look at each.
pub(super) fn all_went_well(reply: &[u8]) -> bool {
    // Elasticsearch writes `errors` (and `took`) before `items`.
    let head = reply.get(..64).unwrap_or(reply);
    memchr::memmem::find(head, br#""errors":false"#).is_some()
        && reply.first() == Some(&b'{')
        && reply.trim_ascii_end().last() == Some(&b'}')
}

/// An error's type and reason in one line, with its innermost cause; the text itself where it is not Elasticsearch's
/// shape. `reply` is a whole error reply (`{"error":…}`) or an item's `error`.
#[must_use]
pub fn explain(reply: &[u8]) -> Explanation {
    let error = serde_json::from_slice::<Wrapped>(reply)
        .map(|wrapped| wrapped.error)
        .or_else(|_| serde_json::from_slice::<Error>(reply));
    match error {
        Ok(error) => error.explain(),
        Err(_) => Explanation {
            kind: String::new(),
            reason: String::from_utf8_lossy(reply.get(..EXCERPT).unwrap_or(reply))
                .trim()
                .to_owned(),
        },
    }
}

/// As much of an unknown error page as goes into a message.
const EXCERPT: usize = 500;

/// What went wrong, in the cluster's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// `document_parsing_exception`; empty where the answer is not in Elasticsearch's shape.
    pub kind: String,
    /// Its sentence, and its cause's.
    pub reason: String,
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind.as_str(), self.reason.as_str()) {
            ("", "") => formatter.write_str("no reason given"),
            ("", reason) => formatter.write_str(reason),
            (kind, reason) => write!(formatter, "{kind}: {reason}"),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Wrapped {
    error: Error,
}

/// An error, as an object or, from some endpoints, as text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Error {
    Object {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        reason: Option<String>,
        #[serde(default)]
        caused_by: Option<Box<Error>>,
    },
    Text(String),
}

impl Error {
    fn explain(self) -> Explanation {
        match self {
            Self::Text(reason) => Explanation {
                kind: String::new(),
                reason,
            },
            Self::Object {
                kind,
                reason,
                caused_by,
            } => {
                let mut reason = reason.unwrap_or_default();
                if let Some(cause) = caused_by.map(|cause| cause.explain().reason)
                    && !cause.is_empty()
                    && !reason.contains(&cause)
                {
                    reason = format!("{reason} (because {cause})");
                }
                Explanation { kind, reason }
            }
        }
    }
}

/// `{"create":{"status":201}}`: one member, whatever its name.
impl<'de: 'a, 'a> Deserialize<'de> for Item<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneMember;

        impl<'de> Visitor<'de> for OneMember {
            type Value = Item<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object with one member, the action")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                #[derive(Deserialize)]
                struct Outcome<'a> {
                    status: u16,
                    #[serde(borrow, default)]
                    error: Option<&'a RawValue>,
                }
                let Some((IgnoredAny, outcome)) = map.next_entry::<IgnoredAny, Outcome>()? else {
                    return Err(serde::de::Error::custom("an item without an action"));
                };
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Item {
                    status: outcome.status,
                    error: outcome.error,
                })
            }
        }
        deserializer.deserialize_map(OneMember)
    }
}
