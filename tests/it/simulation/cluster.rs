//! The cluster: an index that knows create, update with upsert and external versions as Elasticsearch does, and a mood for
//! each request. What a mood says of storing and what it says of answering are two things.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use modelbeat::flow::document::DeadLetter;

use super::chance::Chance;
use crate::documents::relabel;

/// A cluster with a limit takes bodies up to this.
const BODY_BYTES_MAX: usize = 7_000;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Fine,
    /// No answer, nothing stored.
    Down,
    /// Stored, and the answer is lost.
    LostAnswer,
    /// Some of it is stored, and no answer comes.
    Halved,
    /// No answer, and stored so many requests later: it waited in the cluster.
    Late(usize),
    /// 429 to all of it; perhaps with a wish.
    Busy(Option<u64>),
    Status(u16),
    /// Stored, and an answer that nobody understands.
    Garbage(usize),
    /// Each document has its own fate.
    Moody,
}

/// What the sender gets.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Nothing,
    Reply {
        status: u16,
        body: Vec<u8>,
        retry_after_s: Option<u64>,
    },
}

/// What a cluster never takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Temper {
    /// Documents whose id is among them are refused, each for itself.
    pub(super) refuses: Option<u64>,
    /// The same, but the whole request that one is in is refused.
    pub(super) chokes: Option<u64>,
    /// Bodies have a limit.
    pub(super) has_limit: bool,
}

/// What is stored.
#[derive(Clone, Debug, Default)]
pub(super) struct Index(BTreeMap<String, Stored>);

#[derive(Clone, Debug)]
struct Stored {
    version: i64,
    source: String,
    updates: Vec<String>,
}

/// A document on its way in.
pub(super) struct Document<'b> {
    pub(super) verb: &'b str,
    /// `index/_id`
    pub(super) id: String,
    pub(super) version: Option<i64>,
    pub(super) source: &'b str,
}

/// Index and temper.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) index: Index,
    pub(super) temper: Temper,
    /// Bodies that wait, and for how many requests.
    pub(super) waiting: Vec<(usize, String)>,
}

impl Mood {
    /// A bad one.
    pub(super) fn bad(chance: &mut Chance) -> Self {
        match chance.below(14) {
            0 => Self::Down,
            12 | 13 => Self::Late(1 + chance.below(6)),
            1 | 2 => Self::LostAnswer,
            3 => Self::Halved,
            4 => Self::Busy(chance.percent(50).then(|| chance.below(100) as u64)),
            5 => Self::Status(*chance.pick(&[500, 502, 503, 504])),
            6 => Self::Status(*chance.pick(&[401, 403, 404])),
            7 | 8 => Self::Garbage(chance.below(5)),
            _ => Self::Moody,
        }
    }
}

impl Cluster {
    /// Takes a `_bulk` body.
    pub(super) fn bulk(&mut self, body: &[u8], mood: Mood, chance: &mut Chance) -> Answer {
        let body = std::str::from_utf8(body).expect("UTF-8");
        let answer = self.answer(body, mood, chance);
        self.take_what_waits(1);
        if let Mood::Late(requests) = mood {
            self.waiting.push((requests, body.to_owned()));
        }
        answer
    }

    /// Takes what has waited for long enough, once that many more requests have come.
    pub(super) fn take_what_waits(&mut self, requests: usize) {
        for (left, body) in std::mem::take(&mut self.waiting) {
            if left > requests {
                self.waiting.push((left - requests, body));
                continue;
            }
            for document in &documents(&body) {
                self.take(document);
            }
        }
    }

    fn answer(&mut self, body: &str, mood: Mood, chance: &mut Chance) -> Answer {
        let documents = documents(body);
        match mood {
            Mood::Down | Mood::Late(_) => return Answer::Nothing,
            Mood::Busy(retry_after_s) => {
                return Answer::Reply {
                    status: 429,
                    body:
                        br#"{"error":{"type":"es_rejected_execution_exception","reason":"full"}}"#
                            .to_vec(),
                    retry_after_s,
                };
            }
            Mood::Status(status) => return Answer::of(status, b"<html>an error page</html>"),
            Mood::Fine | Mood::LostAnswer | Mood::Halved | Mood::Garbage(_) | Mood::Moody => {}
        }
        if self.temper.has_limit && body.len() > BODY_BYTES_MAX {
            return Answer::of(413, b"");
        }
        if documents
            .iter()
            .any(|document| is_among(&document.id, self.temper.chokes))
        {
            let error =
                br#"{"error":{"type":"illegal_argument_exception","reason":"chokes on it"}}"#;
            return Answer::of(400, error);
        }
        let mut items = Vec::new();
        for document in &documents {
            let fate = chance.below(6);
            let status = match (mood, fate) {
                (Mood::Halved, 0..3) => continue,
                (Mood::Moody, 0) => 429,
                (Mood::Moody, 1) => 503,
                (Mood::Moody, 2) if document.verb == "update" => 409,
                _ => self.take(document),
            };
            items.push((document.verb, status));
        }
        match mood {
            Mood::LostAnswer | Mood::Halved => Answer::Nothing,
            Mood::Garbage(kind) => garbage(&reply(&items), kind),
            _ => Answer::of(200, reply(&items).as_bytes()),
        }
    }

    fn take(&mut self, document: &Document<'_>) -> u16 {
        if is_among(&document.id, self.temper.refuses) {
            // Elasticsearch looks for the document before it looks at what is to be changed.
            let is_lone_update = document.verb == "update" && upsert_of(document.source).is_none();
            return if is_lone_update { 404 } else { 400 };
        }
        self.index.store(document)
    }

    /// True if this document is never taken, for its id or its size.
    pub(super) fn never_takes(&self, id: &str, bytes: usize) -> bool {
        is_among(id, self.temper.refuses)
            || is_among(id, self.temper.chokes)
            || (self.temper.has_limit && bytes > BODY_BYTES_MAX)
    }
}

impl Answer {
    fn of(status: u16, body: &[u8]) -> Self {
        Self::Reply {
            status,
            body: body.to_vec(),
            retry_after_s: None,
        }
    }
}

impl Index {
    /// Stores a document; the status of its item.
    pub(super) fn store(&mut self, document: &Document<'_>) -> u16 {
        let Document {
            verb,
            id,
            version,
            source,
        } = document;
        let stored = |source: &str| Stored {
            version: version.unwrap_or(0),
            source: source.to_owned(),
            updates: Vec::new(),
        };
        match (*verb, self.0.get_mut(id)) {
            ("create", Some(_)) => 409,
            ("index", Some(old)) if *version <= Some(old.version) => 409,
            ("update", Some(old)) => {
                old.updates.push((*source).to_owned());
                200
            }
            ("update", None) => match upsert_of(source) {
                Some(upsert) => {
                    self.0.insert(id.clone(), stored(upsert));
                    201
                }
                None => 404,
            },
            _ => {
                self.0.insert(id.clone(), stored(source));
                201
            }
        }
    }

    /// Sends dead letters after all, as `dead-letters retry` does once the cause is mended.
    pub(super) fn retry(&mut self, letters: &[DeadLetter]) {
        for letter in letters {
            if let Some(action) = &letter.action {
                let lines = format!("{action}\n{}\n", letter.text);
                for document in documents(&lines) {
                    self.store(&document);
                }
            }
        }
    }

    /// `index/_id` → document, as `read` reads it.
    pub(super) fn documents(&self, read: fn(&str) -> Json) -> BTreeMap<&str, Json> {
        let stored = self.0.iter();
        stored
            .map(|(id, stored)| (id.as_str(), stored.whole(read)))
            .collect()
    }
}

impl Stored {
    fn whole(&self, read: fn(&str) -> Json) -> Json {
        let mut whole = read(&self.source);
        for update in &self.updates {
            let update: Json = serde_json::from_str(update).expect("an update is JSON");
            relabel(&mut whole, &update);
        }
        whole
    }
}

/// The documents of a `_bulk` body.
pub(super) fn documents(body: &str) -> Vec<Document<'_>> {
    let mut lines = body.lines();
    let mut documents = Vec::new();
    while let (Some(action), Some(source)) = (lines.next(), lines.next()) {
        let verb = action.get(2..).and_then(|text| text.split('"').next());
        let id = format!(
            "{}/{}",
            member(action, "\"_index\":\"").expect("an index"),
            member(action, "\"_id\":\"").expect("an id")
        );
        documents.push(Document {
            verb: verb.expect("an action"),
            id,
            version: member(action, "\"version\":").map(|version| version.parse().unwrap()),
            source,
        });
    }
    documents
}

/// Ids, index names and versions have nothing to escape.
fn member<'b>(action: &'b str, name: &str) -> Option<&'b str> {
    let (_, behind) = action.split_once(name)?;
    behind.split(['"', ',', '}']).next()
}

/// The whole document that an update brings along, cut out of its line.
fn upsert_of(source: &str) -> Option<&str> {
    let (_, behind) = source.split_once(",\"upsert\":")?;
    behind.strip_suffix('}')
}

/// One in six ids, which ones the salt says.
fn is_among(id: &str, salt: Option<u64>) -> bool {
    salt.is_some_and(|salt| {
        let hash = id.bytes().fold(salt, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        (hash >> 20) % 6 == 0
    })
}

fn reply(items: &[(&str, u16)]) -> String {
    let errors = items.iter().any(|(_, status)| *status >= 300);
    let items: Vec<String> = items
        .iter()
        .map(|(verb, status)| {
            let error = if *status < 300 {
                ""
            } else {
                r#","error":{"type":"a_fate","reason":"so it is"}"#
            };
            format!(r#"{{"{verb}":{{"status":{status}{error}}}}}"#)
        })
        .collect();
    format!(
        r#"{{"took":3,"errors":{errors},"items":[{}]}}"#,
        items.join(",")
    )
}

/// What proxies and dying nodes make of a reply.
fn garbage(reply: &str, kind: usize) -> Answer {
    match kind {
        0 => Answer::of(200, b"<html>welcome</html>"),
        1 => Answer::of(200, b""),
        2 => Answer::of(200, br#"{"took":3,"errors":true,"items":[]}"#),
        3 => Answer::of(200, br#"{"acknowledged":true}"#),
        _ => Answer::of(200, &reply.as_bytes()[..reply.len() - 2]),
    }
}
