//! A cluster of the imagination: an index in memory, and a mood for each request.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::super::{Reply, Transport, Unanswered};
use crate::flow::document::{Documents, Item};

/// How the next request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Fine,
    /// No answer, nothing stored.
    Down,
    /// Stored, but the answer is lost.
    LostAnswer,
    /// 429 to all of it.
    Busy,
    /// 429 to every second document.
    SomeBusy,
    Forbidden,
    /// Stored, and an answer that nobody understands.
    Garbage,
    /// Fine, but not before `release`.
    Hang,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Cluster(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    gate: Semaphore,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            gate: Semaphore::new(0),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    moods: VecDeque<Mood>,
    index: BTreeSet<u64>,
    poison: BTreeSet<u64>,
    flying: BTreeSet<u64>,
    bytes_max: Option<usize>,
    hanging: usize,
    abreast: usize,
    abreast_most: usize,
}

impl Cluster {
    /// The moods of the next requests; fine after that.
    pub(super) fn be(&self, moods: impl IntoIterator<Item = Mood>) {
        self.state().moods.extend(moods);
    }

    /// Fine from now on.
    pub(super) fn recover(&self) {
        self.state().moods.clear();
    }

    /// Documents that no mood will accept.
    pub(super) fn refuse(&self, ids: impl IntoIterator<Item = u64>) {
        self.state().poison.extend(ids);
    }

    pub(super) fn take_at_most(&self, bytes: usize) {
        self.state().bytes_max = Some(bytes);
    }

    /// Stored documents, in order.
    pub(super) fn ids(&self) -> Vec<u64> {
        self.state().index.iter().copied().collect()
    }

    pub(super) fn hanging(&self) -> usize {
        self.state().hanging
    }

    /// The most requests that were under way at once since this was asked last.
    pub(super) fn abreast_since_asked(&self) -> usize {
        std::mem::take(&mut self.state().abreast_most)
    }

    /// Lets one hanging request go on.
    pub(super) fn release(&self) {
        self.0.gate.add_permits(1);
    }

    /// Whoever sent what is in flight is dead.
    pub(super) fn forget_flights(&self) {
        self.state().flying.clear();
    }

    /// Waits, in paused time, until it is so.
    pub(super) async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..100_000 {
            if is_so(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("it never came to be so: {:?}", self.state());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }
}

impl Transport for Cluster {
    async fn bulk(&self, body: Bytes) -> Result<Reply, Unanswered> {
        let ids = ids(&body);
        let mood = {
            let mut state = self.state();
            for id in &ids {
                assert!(
                    state.flying.insert(*id),
                    "document {id} is in two requests in flight"
                );
            }
            state.abreast += 1;
            state.abreast_most = state.abreast_most.max(state.abreast);
            state.moods.pop_front().unwrap_or(Mood::Fine)
        };
        tokio::time::sleep(Duration::from_millis(20)).await;
        if mood == Mood::Hang {
            self.state().hanging += 1;
            self.0.gate.acquire().await.unwrap().forget();
        }
        let mut state = self.state();
        state.abreast -= 1;
        for id in &ids {
            state.flying.remove(id);
        }
        state.answer(mood, &ids, body.len())
    }
}

impl State {
    fn answer(&mut self, mood: Mood, ids: &[u64], bytes: usize) -> Result<Reply, Unanswered> {
        // Even the smallest request may be one document of more than the limit: let it pass.
        if ids.len() > 1 && bytes > self.bytes_max.unwrap_or(usize::MAX) {
            return Ok(reply(413, ""));
        }
        let security = r#"{"error":{"type":"security_exception","reason":"no"},"status":403}"#;
        match mood {
            Mood::Down => Err(Unanswered::Unreachable("the cluster is down".to_owned())),
            Mood::Busy => Ok(reply(429, "")),
            Mood::Forbidden => Ok(reply(403, security)),
            Mood::Fine | Mood::Hang => Ok(self.store(ids, 1)),
            Mood::SomeBusy => Ok(self.store(ids, 2)),
            Mood::LostAnswer => {
                self.store(ids, 1);
                Err(Unanswered::Unreachable("timed out".to_owned()))
            }
            Mood::Garbage => {
                self.store(ids, 1);
                Ok(reply(200, "<html>"))
            }
        }
    }

    /// Stores every `nth` document; the others are told to come again.
    fn store(&mut self, ids: &[u64], nth: usize) -> Reply {
        let items: Vec<String> = (0..)
            .zip(ids)
            .map(|(place, id)| {
                let status = if place % nth != 0 {
                    429
                } else if self.poison.contains(id) {
                    400
                } else if self.index.insert(*id) {
                    201
                } else {
                    409
                };
                format!(r#"{{"create":{{"status":{status}}}}}"#)
            })
            .collect();
        reply(
            200,
            &format!(
                r#"{{"errors":true,"took":1,"items":[{}]}}"#,
                items.join(",")
            ),
        )
    }
}

fn reply(status: u16, body: &str) -> Reply {
    Reply {
        status,
        retry_after: None,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

/// Documents to create, of some 50 bytes each.
pub(super) fn documents(ids: impl IntoIterator<Item = u64>) -> Documents {
    let mut documents = Documents::default();
    for id in ids {
        let start = documents.bytes.len();
        let action = format!("{{\"create\":{{\"_index\":\"i\",\"_id\":\"{id}\"}}}}\n");
        documents.bytes.extend_from_slice(action.as_bytes());
        documents
            .bytes
            .extend_from_slice(b"{\"a\":\"some text\"}\n");
        documents.items.push(Item {
            key: id,
            lines: start..documents.bytes.len(),
            action_length: action.len(),
        });
    }
    documents
}

fn ids(body: &[u8]) -> Vec<u64> {
    let text = std::str::from_utf8(body).unwrap();
    let actions = text.lines().step_by(2);
    actions
        .map(|line| {
            let action: serde_json::Value = serde_json::from_str(line).unwrap();
            action["create"]["_id"].as_str().unwrap().parse().unwrap()
        })
        .collect()
}
