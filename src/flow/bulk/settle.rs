//! A reply's verdict on every document of a request.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::reply::{self, Explanation, Reply};
use super::{Document, Request};
use crate::flow::document::DeadLetter;

/// What became of a request. `stored + superseded + documents of again + refused` is what was sent.
#[must_use = "what is sent again or refused must not be dropped"]
#[derive(Debug, Default)]
pub struct Settled {
    /// Documents that are in the index, by this sending or an earlier one.
    pub stored: usize,
    /// Documents of which the index holds a newer version.
    pub superseded: usize,
    /// To be sent again, in this order; two only after a split.
    pub again: Vec<Request>,
    /// Documents that will never be taken, with the reason: for the dead-letter log.
    pub refused: Vec<DeadLetter>,
    /// Why something is sent again.
    pub pause: Option<Pause>,
    /// The request was split because of its size: smaller ones from now on, and no need to wait.
    pub split: bool,
}

/// Why the cluster did not take documents that it may take later. The text is the cluster's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pause {
    /// 429, 5xx, an unreadable answer: it passes by itself.
    Busy(String),
    /// The credentials are wrong.
    Unauthorized(String),
    /// The credentials lack a privilege.
    Forbidden(String),
    /// An index or the cluster is read-only.
    ReadOnly(String),
    /// Scripts are forbidden.
    Scriptless(String),
    /// Whoever answers does not answer as Elasticsearch does.
    Strange(String),
}

impl Pause {
    /// True if it takes a person to mend it.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        !matches!(self, Self::Busy(_))
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(why) => write!(formatter, "elasticsearch is busy: {why}"),
            Self::Unauthorized(why) => write!(
                formatter,
                "elasticsearch does not know us (401): {why}; check `api_key` or `username` and `password` under \
                 output.elasticsearch, and that the key is neither expired nor invalidated"
            ),
            Self::Forbidden(why) => write!(
                formatter,
                "elasticsearch forbids it (403): {why}; grant the role or API key `index` and `auto_configure` \
                 on the output's indices"
            ),
            Self::ReadOnly(why) => write!(
                formatter,
                "the index is read-only: {why}; free disk space on the cluster, or lift the block \
                 (index.blocks.read_only_allow_delete: null)"
            ),
            Self::Scriptless(why) => write!(
                formatter,
                "elasticsearch forbids the script with which a label's update makes sure that it undoes no later one: {why}; \
                 allow inline scripts (script.allowed_types) in updates (script.allowed_contexts)"
            ),
            Self::Strange(why) => write!(
                formatter,
                "what answers is not a healthy elasticsearch: {why}; check output.elasticsearch.hosts, and any proxy between"
            ),
        }
    }
}

/// By what the caller does next with one document.
enum Verdict {
    Stored,
    Superseded,
    Again(Option<Pause>),
    Refused(Explanation),
}

impl Request {
    /// Reads the reply to this request. Total: any status and any bytes give a verdict for every document.
    pub fn settle(self, status: u16, reply: &[u8]) -> Settled {
        match status {
            200..=299 => self.settle_items(reply),
            413 => self.split("larger than the cluster's http.max_content_length (413)"),
            400 => {
                let why = reply::explain(reply);
                if why.kind.is_empty() {
                    self.all_again(Pause::Strange(format!("status 400: {why}")))
                } else {
                    self.split(&format!("{why} (400)"))
                }
            }
            401 => self.all_again(Pause::Unauthorized(reply::explain(reply).to_string())),
            403 => {
                let pause = forbidden(&reply::explain(reply));
                self.all_again(pause)
            }
            429 | 500..=599 => {
                let why = format!("status {status}: {}", reply::explain(reply));
                self.all_again(Pause::Busy(why))
            }
            _ => {
                let why = format!("status {status}: {}", reply::explain(reply));
                self.all_again(Pause::Strange(why))
            }
        }
    }

    fn settle_items(self, reply: &[u8]) -> Settled {
        if reply::all_went_well(reply) {
            return Settled {
                stored: self.documents(),
                ..Settled::default()
            };
        }
        let items = match Reply::read(reply) {
            Some(reply) if reply.items.len() == self.documents() => reply.items,
            Some(_) | None => return self.all_again(unreadable(reply)),
        };
        let mut settled = Settled::default();
        let mut again = Vec::new();
        for (document, item) in self.iter().zip(&items) {
            match verdict(document, item) {
                Verdict::Stored => settled.stored += 1,
                Verdict::Superseded => settled.superseded += 1,
                Verdict::Again(pause) => {
                    again.push(document);
                    keep_worst(&mut settled.pause, pause);
                }
                Verdict::Refused(why) => settled.refused.push(document.refuse(&why.to_string())),
            }
        }
        if again.len() == self.documents() {
            settled.again = vec![self];
        } else if !again.is_empty() {
            settled.again = vec![Self::of(again.into_iter(), self.first)];
        }
        settled
    }

    fn all_again(self, pause: Pause) -> Settled {
        Settled {
            again: vec![self],
            pause: Some(pause),
            ..Settled::default()
        }
    }

    /// Two halves, to be sent one after the other; a single document is refused.
    fn split(self, why: &str) -> Settled {
        let half = self.documents().div_ceil(2);
        if self.documents() < 2 {
            return Settled {
                refused: self.iter().map(|document| document.refuse(why)).collect(),
                ..Settled::default()
            };
        }
        Settled {
            again: vec![
                Self::of(self.iter().take(half), self.first),
                Self::of(self.iter().skip(half), self.first),
            ],
            split: true,
            ..Settled::default()
        }
    }
}

fn verdict(document: Document<'_>, item: &reply::Item<'_>) -> Verdict {
    let why = || {
        item.error
            .map(|error| reply::explain(error.get().as_bytes()))
            .unwrap_or_default()
    };
    match item.status {
        200..=299 => Verdict::Stored,
        409 => match document.action.get(2) {
            // `{"create"`: it is there already; `{"index"` conflicts only by external version.
            Some(b'c') => Verdict::Stored,
            Some(b'i') => Verdict::Superseded,
            // An update met another write between its read and its write.
            _ => Verdict::Again(None),
        },
        401 => Verdict::Again(Some(Pause::Unauthorized(why().to_string()))),
        403 => Verdict::Again(Some(forbidden(&why()))),
        429 | 500 | 502..=504 => {
            let why = why();
            Verdict::Again(Some(if why.kind == BLOCKED {
                Pause::ReadOnly(why.to_string())
            } else {
                Pause::Busy(format!("status {} of an item: {why}", item.status))
            }))
        }
        status => {
            let mut why = why();
            if status == 400
                && document.action.starts_with(UPDATE)
                && why.to_string().contains(SCRIPTLESS)
            {
                return Verdict::Again(Some(Pause::Scriptless(why.to_string())));
            }
            why.reason = format!("{} (status {status})", why.reason);
            Verdict::Refused(why)
        }
    }
}

/// An answer cut short may be whole next time; a page of something else will be the same page.
fn unreadable(reply: &[u8]) -> Pause {
    if reply.is_empty() || reply.starts_with(b"{") {
        Pause::Busy("an unreadable answer".to_owned())
    } else {
        Pause::Strange(format!("not JSON: {}", reply::explain(reply)))
    }
}

/// What Elasticsearch calls a write to a read-only index, be it by hand or because its disk is full.
const BLOCKED: &str = "cluster_block_exception";

/// How Elasticsearch says that it runs no such script, by its type or its context.
const SCRIPTLESS: &str = "cannot execute";

const UPDATE: &[u8] = b"{\"update\"";

fn forbidden(why: &Explanation) -> Pause {
    if why.kind == BLOCKED {
        Pause::ReadOnly(why.to_string())
    } else {
        Pause::Forbidden(why.to_string())
    }
}

/// One reason a request is enough; one that needs a person outranks one that passes.
fn keep_worst(kept: &mut Option<Pause>, pause: Option<Pause>) {
    let outranks = |pause: &Pause| match kept {
        None => true,
        Some(kept) => pause.needs_a_person() && !kept.needs_a_person(),
    };
    if let Some(pause) = pause.filter(outranks) {
        *kept = Some(pause);
    }
}

impl Document<'_> {
    /// Its dead letter: whole, because `dead-letters retry` sends it again.
    fn refuse(self, why: &str) -> DeadLetter {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned();
        let origin = target(self.action)
            .map_or_else(|| "a document".to_owned(), |target| target.to_string());
        DeadLetter {
            reason: why.to_owned(),
            origin,
            position: None,
            text: text(self.source),
            action: Some(text(self.action)),
            record: None,
            notifier: None,
        }
    }
}

/// Where the action line sends its document.
pub(super) fn target(action: &[u8]) -> Option<Target> {
    let action: BTreeMap<&str, Target> = serde_json::from_slice(action).ok()?;
    action.into_values().next()
}

/// Where a document was meant to go.
#[derive(Deserialize)]
pub(super) struct Target {
    #[serde(rename = "_index", default)]
    pub(super) index: String,
    #[serde(rename = "_id", default)]
    pub(super) id: String,
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.index, self.id)
    }
}
