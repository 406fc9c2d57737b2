//! A receiver over real sockets with its journal, and an authority that signs certificates: what the stories share.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::*;
use crate::edge::journal::{self, Opened, Until};
use crate::flow::engine::Intake;
use crate::flow::event::Kind;

pub(super) const BODY_BYTES_MAX: usize = 200_000;

/// A receiver on a free port, with its journal.
pub(super) struct Station {
    pub(super) data: tempfile::TempDir,
    pub(super) address: SocketAddr,
    pub(super) journal: Journal,
    pub(super) counters: Arc<Counters>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) running: JoinHandle<Result<(), Error>>,
    pub(super) client: Client,
}

impl Station {
    pub(super) async fn start(change: impl FnOnce(&mut Settings, &Path)) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), change).await
    }

    pub(super) async fn start_in(
        data: tempfile::TempDir,
        change: impl FnOnce(&mut Settings, &Path),
    ) -> Self {
        let mut settings = settings();
        change(&mut settings, data.path());
        let Opened { journal, .. } = open_journal(data.path(), settings.journal_bytes_max);
        let bound = bind(settings).await.expect("binds");
        let (address, counters) = (bound.address(), bound.counters());
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(run(bound, journal.clone(), stopped));
        Self {
            data,
            address,
            journal,
            counters,
            stop,
            running,
            client: client(),
        }
    }

    pub(super) fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.client
            .post(format!("http://{}{path}", self.address))
            .body(body)
    }

    pub(super) async fn stop(self) -> tempfile::TempDir {
        self.stop.send(true).expect("it runs");
        self.running.await.expect("ends").expect("well");
        self.journal.close().await;
        self.data
    }

    /// Stops, and reads the journal as the next start would.
    pub(super) async fn stop_and_read(self) -> Vec<(Option<Kind>, String)> {
        let data = self.stop().await;
        read(data.path()).await
    }
}

pub(super) fn settings() -> Settings {
    Settings {
        input: InputId(0),
        listen: "127.0.0.1:0".parse().expect("an address"),
        token: None,
        tls: None,
        body_bytes_max: BODY_BYTES_MAX,
        journal_bytes_max: 1 << 30,
    }
}

pub(super) fn open_journal(data: &Path, bytes_max: u64) -> Opened {
    let settings = journal::Settings {
        data: data.to_owned(),
        input: InputId(0),
        bytes_max,
        short_lived: false,
    };
    journal::open(&settings, 0).expect("opens")
}

pub(super) async fn read(data: &Path) -> Vec<(Option<Kind>, String)> {
    let Opened { reader, losses, .. } = open_journal(data, 1 << 30);
    assert_eq!(losses, []);
    let (out, mut batches) = mpsc::channel(1);
    let (_stop, stopped) = watch::channel(false);
    let reading = tokio::spawn(reader.run(0, Until::Drained, out, stopped));
    let mut lines = Vec::new();
    while let Some(Intake::Batch(batch)) = batches.recv().await {
        let text = String::from_utf8_lossy(&batch.bytes).into_owned();
        lines.extend(text.lines().map(|line| (batch.kind, line.to_owned())));
    }
    reading.await.expect("ends").expect("well");
    lines
}

pub(super) fn client() -> Client {
    Client::builder().no_proxy().build().expect("a client")
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).expect("memory");
    packer.finish().expect("memory")
}

pub(super) async fn status(request: RequestBuilder) -> StatusCode {
    request.send().await.expect("an answer").status()
}

pub(super) async fn body(response: Response) -> Value {
    let bytes = response.bytes().await.expect("a body");
    serde_json::from_slice(&bytes).expect("JSON")
}

#[track_caller]
pub(super) fn check_answer(found: &(StatusCode, Value), status: u16, expect: &Value) {
    assert_eq!((found.0.as_u16(), &found.1), (status, expect));
}

pub(super) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.expect("an answer");
    (response.status(), body(response).await)
}

/// Somebody who signs certificates.
pub(super) struct Authority {
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// Certificate and key, PEM.
    pub(super) fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}
