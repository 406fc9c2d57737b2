//! A cluster that misbehaves on demand: HTTP on a real loopback socket, an index in memory, and a script of answers.
//!
//! It keeps what it stored by `_index/_id`, as Elasticsearch does ([`index`]), and remembers every `_bulk` request it was
//! sent. Each request takes the next [`Answer`] of the script; when that is used up, the standing one. The HTTP is written
//! by hand, because most faults lie below what a server library would let us do. Dropped, it closes every connection.

pub(crate) mod index;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use serde_json::{Value, json};

use crate::wait;
use index::{Index, Operation, Stored};
use wire::{Connection, Incoming};

/// How one `_bulk` request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// As a healthy cluster.
    Fine,
    /// This status to all of it, nothing stored; with `Retry-After` in seconds where there is one.
    Whole(u16, Option<u32>),
    /// This status to every second document; the others are stored.
    EverySecond(u16),
    /// To every document that its index is read-only: 403, as a block set by hand (429 by the flood-stage watermark).
    ReadOnly(u16),
    /// Nothing stored, and no answer until the client gives up.
    Hang,
    /// Stored, and no answer until the client gives up.
    StoreAndHang,
    /// Stored, half of the answer, and no more: closed for writing, still open for reading.
    StoreAndCut,
    /// The connection is closed without a word; nothing stored.
    Close,
    /// Stored, and a web page for an answer.
    Page,
    /// Stored, and an answer that is not HTTP.
    Noise,
    /// Stored, and an answer of one byte a packet.
    Slow,
    /// As a healthy cluster, but not before [`Stub::release`].
    Held,
}

/// A `_bulk` request that came in.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// `_index/_id` of its documents, in order.
    pub(crate) documents: Vec<String>,
    /// Length of its body, decompressed.
    pub(crate) bytes: usize,
    /// What it was answered: one status a document, where there was one.
    pub(crate) statuses: Vec<u16>,
    /// `_bulk` requests that were under way when it came, itself included.
    pub(crate) abreast: usize,
}

/// The cluster. Clones are the same cluster.
#[derive(Clone)]
pub(crate) struct Stub(Arc<Owner>);

struct Owner {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    tls: Option<Arc<rustls::ServerConfig>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    script: VecDeque<Answer>,
    standing: Option<Answer>,
    bytes_max: Option<usize>,
    refused: Vec<String>,
    index: Index,
    seen: Vec<Seen>,
    abreast: usize,
    held: usize,
    released: usize,
    stopped: bool,
    /// Open ones, by number.
    connections: BTreeMap<usize, TcpStream>,
    accepted: usize,
}

impl Stub {
    /// A healthy one.
    pub(crate) fn start() -> Self {
        Self::with(None)
    }

    /// A healthy one that speaks TLS with a certificate for `name`, made out by itself; and that certificate, in PEM.
    pub(crate) fn secured(name: &str) -> (Self, String) {
        let certified =
            rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let key = rustls_pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .expect("our own certificate");
        (Self::with(Some(Arc::new(config))), certified.cert.pem())
    }

    fn with(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            tls,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || serving.accept(&listener));
        Self(Arc::new(Owner { address, shared }))
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.0.shared.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.0.address)
    }

    /// The answers to the next `_bulk` requests, one each.
    pub(crate) fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state().script.extend(answers);
    }

    /// The answer to every `_bulk` request from now on that the script does not answer.
    pub(crate) fn be(&self, answer: Answer) {
        self.state().standing = Some(answer);
    }

    /// Bodies of more than so many bytes, decompressed, are answered 413, whatever the script says.
    pub(crate) fn take_at_most(&self, bytes: usize) {
        self.state().bytes_max = Some(bytes);
    }

    /// Documents whose source holds this text are answered 400, `document_parsing_exception`, whenever they would be stored.
    pub(crate) fn refuse(&self, text: &str) {
        self.state().refused.push(text.to_owned());
    }

    /// Takes back every [`Stub::refuse`].
    pub(crate) fn refuse_nothing(&self) {
        self.state().refused.clear();
    }

    /// Lets one [`Answer::Held`] request go on, now or when it comes.
    pub(crate) fn release(&self) {
        self.state().released += 1;
        self.0.shared.changed.notify_all();
    }

    /// All `_bulk` requests so far, in order of arrival; those that hang have no statuses.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// Requests that wait for [`Stub::release`].
    pub(crate) fn held(&self) -> usize {
        self.state().held
    }

    /// `_index/_id` → what is stored there.
    pub(crate) fn stored(&self) -> BTreeMap<String, Stored> {
        self.state().index.documents.clone()
    }

    /// How many documents of an `event.dataset` are stored: `modelbeat.prediction`, `modelbeat.quality` …
    pub(crate) fn count(&self, dataset: &str) -> usize {
        let of_dataset = |stored: &&Stored| stored.source["event"]["dataset"] == dataset;
        self.state()
            .index
            .documents
            .values()
            .filter(of_dataset)
            .count()
    }

    /// Waits until so many `_bulk` requests have come in.
    #[track_caller]
    pub(crate) fn wait_for_requests(&self, count: usize) {
        wait::until(&format!("{count} requests"), || {
            let seen = self.state().seen.len();
            (seen >= count)
                .then_some(())
                .ok_or_else(|| seen.to_string())
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.shared.state()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.stopped = true;
        for connection in state.connections.values() {
            connection.shutdown(Shutdown::Both).ok();
        }
        drop(state);
        self.shared.changed.notify_all();
        // Wakes the thread that accepts.
        TcpStream::connect(self.address).ok();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        while let Ok((stream, _)) = listener.accept() {
            let mut state = self.state();
            if state.stopped {
                return;
            }
            state.accepted += 1;
            let number = state.accepted;
            let handle = stream.try_clone().expect("a second handle");
            state.connections.insert(number, handle);
            drop(state);
            let shared = Arc::clone(self);
            thread::spawn(move || {
                if let Some(connection) = Connection::new(stream, shared.tls.clone()) {
                    shared.serve(connection);
                }
                if let Some(closed) = shared.state().connections.remove(&number) {
                    closed.shutdown(Shutdown::Both).ok();
                }
            });
        }
    }

    /// Answers one request after the other, until the connection is closed.
    fn serve(&self, mut connection: Connection) {
        while let Some(incoming) = connection.read() {
            let goes_on = if incoming.path.starts_with("/_bulk") {
                self.bulk(&incoming, &mut connection)
            } else {
                connection.reply(200, None, &other(&incoming.path))
            };
            if !goes_on {
                return;
            }
        }
    }

    /// False: the connection is not to be used again.
    fn bulk(&self, incoming: &Incoming, connection: &mut Connection) -> bool {
        let operations = index::operations(&incoming.body);
        let (number, answer) = self.state().arrives(&operations, incoming.body.len());
        let (status, retry_after, body) = self.act(number, answer, &operations);
        // Counted before the answer is out: who has the answer finds the request done.
        self.state().abreast -= usize::from(!answer.is_silent());
        let goes_on = match answer {
            Answer::Hang | Answer::StoreAndHang => connection.hang(),
            Answer::StoreAndCut => connection.cut(status, &body),
            Answer::Close => false,
            Answer::Page => connection.reply(200, None, "<html>It works!</html>"),
            Answer::Noise => connection.write(b"\x15\x03\x01\x00\x02\x02\x16 nonsense"),
            Answer::Slow => connection.dribble(status, &body),
            _ => connection.reply(status, retry_after, &body),
        };
        self.state().abreast -= usize::from(answer.is_silent());
        goes_on && !matches!(answer, Answer::Noise)
    }

    /// What the answer does to the index, and the reply it makes.
    fn act(
        &self,
        number: usize,
        answer: Answer,
        operations: &[Operation],
    ) -> (u16, Option<u32>, String) {
        let mut state = self.state();
        if answer == Answer::Held {
            state.held += 1;
            state = self
                .changed
                .wait_while(state, |state| state.released == 0 && !state.stopped)
                .expect("no panic while held");
            state.released = state.released.saturating_sub(1);
            state.held -= 1;
        }
        if let Answer::Whole(status, retry_after) = answer {
            state.seen[number].statuses = vec![status; operations.len()];
            return (status, retry_after, error(status).to_string());
        }
        if matches!(answer, Answer::Hang | Answer::Close) {
            return (0, None, String::new());
        }
        let items: Vec<Value> = (0..)
            .zip(operations)
            .map(|(place, operation)| state.item(answer, place, operation))
            .collect();
        let status_of = |item: &Value| item["status"].as_u64().expect("a status");
        let errors = items.iter().any(|item| status_of(item) >= 300);
        state.seen[number].statuses = items
            .iter()
            .map(|item| u16::try_from(status_of(item)).expect("a status"))
            .collect();
        let items: Vec<Value> = items
            .into_iter()
            .zip(operations)
            .map(|(item, operation)| json!({ operation.action.as_str(): item }))
            .collect();
        (
            200,
            None,
            format!(
                r#"{{"errors":{errors},"took":1,"items":{}}}"#,
                Value::from(items)
            ),
        )
    }
}

impl Answer {
    /// True if it keeps the connection and says nothing.
    fn is_silent(self) -> bool {
        matches!(self, Self::Hang | Self::StoreAndHang)
    }
}

impl State {
    /// Writes the request down, and says how it is to be answered.
    fn arrives(&mut self, operations: &[Operation], bytes: usize) -> (usize, Answer) {
        self.abreast += 1;
        self.seen.push(Seen {
            documents: operations
                .iter()
                .map(|operation| operation.place.clone())
                .collect(),
            bytes,
            statuses: Vec::new(),
            abreast: self.abreast,
        });
        let answer = if self.bytes_max.is_some_and(|most| bytes > most) {
            Answer::Whole(413, None)
        } else {
            let scripted = self.script.pop_front();
            scripted.or(self.standing).unwrap_or(Answer::Fine)
        };
        (self.seen.len() - 1, answer)
    }

    fn item(&mut self, answer: Answer, place: usize, operation: &Operation) -> Value {
        let failed = |status: u16, kind: &str| json!({ "status": status, "error": { "type": kind, "reason": "as scripted" } });
        match answer {
            Answer::EverySecond(status) if place % 2 == 1 => failed(status, kind_of(status)),
            Answer::ReadOnly(status) => failed(status, "cluster_block_exception"),
            _ if self
                .refused
                .iter()
                .any(|text| operation.source.contains(text)) =>
            {
                failed(400, "document_parsing_exception")
            }
            _ => self.index.apply(operation),
        }
    }
}

/// An error as Elasticsearch words it: to a whole request.
fn error(status: u16) -> Value {
    json!({ "error": { "type": kind_of(status), "reason": "as scripted" }, "status": status })
}

fn kind_of(status: u16) -> &'static str {
    match status {
        401 | 403 => "security_exception",
        413 => "content_too_long_exception",
        429 => "es_rejected_execution_exception",
        503 => "unavailable_shards_exception",
        _ => "exception",
    }
}

/// Who is there, to a probe; enough of everything else to be content with.
fn other(path: &str) -> String {
    let about = json!({
        "cluster_name": "stub", "version": { "number": "8.19.8", "build_flavor": "default" },
        "tagline": "You Know, for Search",
    });
    if path == "/" {
        about.to_string()
    } else {
        "{}".to_owned()
    }
}
