//! Labels sent over HTTP (TLS, bearer token, gzip, NDJSON) to a running agent give the same documents, byte for byte apart
//! from the times of writing, as the same labels in a file.
//!
//! Half of them come before their predictions can have been read, half after all predictions are stored pending; the agent
//! is stopped, and a last run closes the windows, as `--once` did for the file.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::{Certificate, Client, StatusCode};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::agent::{Agent, Home, Modelbeat};
use crate::cluster::{Cluster, Prefix};
use crate::documents::Documents;
use crate::nannyml;

const TOKEN: &str = "a-token-for-this-test";

const LABELS_A_REQUEST: usize = 5_000;

/// The block of `pipelines/nannyml-multiclass.yml` that reads labels from a file …
const BY_FILE: &str = r#"  - type: file
    paths: ["${NANNYML_DATA}/mc_analysis_gt.csv"]
    format: csv
    kind: label
"#;

/// … and what stands in its place here.
const BY_HTTP: &str = r"  - type: http
    listen: 127.0.0.1:0
    token: ${TOKEN}
    tls: {certificate: server.pem, key: server.key}
";

#[test]
fn labels_over_http_give_the_documents_that_labels_in_a_file_give() {
    let prefix = Prefix::new(Cluster::plain(), "http");
    let home = Home::new();
    let pipeline = nannyml::write_pipeline(&home, &pipeline_with_http());
    let certificate = write_certificate(&home);
    let configured = |command| nannyml::with_variables(command, &prefix).env("TOKEN", TOKEN);
    configured(Modelbeat::new(&home, &["setup"]).argument(&pipeline))
        .finish()
        .expect_code(0);

    let mut agent = configured(Modelbeat::run(&home, &pipeline)).start();
    let sender = Sender::to(&mut agent, &certificate);
    let labels = labels();
    let (early, late) = labels.split_at(labels.len() / 2);
    sender.send_all(early);
    let predictions = prefix.indices("predictions");
    agent.wait_until_equal("all predictions stored", &(labels.len() as u64), || {
        prefix
            .cluster()
            .count(&predictions, &json!({ "match_all": {} }))
    });
    sender.send_all(late);
    agent.stop().expect_code(0);
    configured(Modelbeat::once(&home, &pipeline))
        .finish()
        .expect_code(0);

    Documents::of(&prefix).assert_same(&nannyml::multiclass_backfill().documents);
}

#[test]
fn a_sender_without_the_token_or_with_a_broken_body_is_told_so_and_nothing_is_taken() {
    let prefix = Prefix::new(Cluster::plain(), "refused");
    let home = Home::new();
    let pipeline = nannyml::write_pipeline(&home, &pipeline_with_http());
    let certificate = write_certificate(&home);
    let mut agent = nannyml::with_variables(Modelbeat::run(&home, &pipeline), &prefix)
        .env("TOKEN", TOKEN)
        .start();
    let sender = Sender::to(&mut agent, &certificate);
    let good = json!({ "id": 60_000, "y_true": "upmarket_card" }).to_string();
    let (status, _) = sender.send("not the token", &good);
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, answer) = sender.send(TOKEN, &format!("{good}\n{{\"id\": \n"));
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert!(
        answer.to_string().contains("line 2"),
        "the answer names the line: {answer}"
    );
}

fn pipeline_with_http() -> String {
    let text = nannyml::pipeline_text("multiclass");
    assert!(
        text.contains(BY_FILE),
        "the pipeline's label input has changed"
    );
    text.replace(BY_FILE, BY_HTTP)
}

/// The labels of the file as JSON objects; the id as a number, which is the same id.
fn labels() -> Vec<Value> {
    let text = fs::read_to_string(nannyml::data().join("mc_analysis_gt.csv")).expect("fetched");
    let rows = text.lines().skip(1).filter_map(|line| line.split_once(','));
    rows.map(|(id, actual)| json!({ "id": id.parse::<u64>().expect("a number"), "y_true": actual }))
        .collect()
}

/// A certificate for 127.0.0.1 that nobody signed but itself: `server.pem`, `server.key`. Returns the PEM to trust.
fn write_certificate(home: &Home) -> String {
    let names = vec!["127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    home.write("server.pem", &made.cert.pem());
    home.write("server.key", &made.signing_key.serialize_pem());
    made.cert.pem()
}

/// A program that sends labels to the agent.
struct Sender {
    url: String,
    client: Client,
    runtime: Runtime,
}

impl Sender {
    fn to(agent: &mut Agent, certificate: &str) -> Self {
        let trusted = Certificate::from_pem(certificate.as_bytes()).expect("PEM");
        let client = Client::builder().no_proxy().add_root_certificate(trusted);
        Self {
            url: format!("https://{}/v1/labels", agent.http_address()),
            client: client.build().expect("an HTTP client"),
            runtime: Runtime::new().expect("a runtime"),
        }
    }

    #[track_caller]
    fn send_all(&self, labels: &[Value]) {
        for some in labels.chunks(LABELS_A_REQUEST) {
            let lines: String = some.iter().map(|label| format!("{label}\n")).collect();
            let (status, answer) = self.send(TOKEN, &lines);
            assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
            assert_eq!(answer["accepted"], some.len(), "{answer}");
        }
    }

    fn send(&self, token: &str, lines: &str) -> (StatusCode, Value) {
        let mut body = GzEncoder::new(Vec::new(), Compression::fast());
        body.write_all(lines.as_bytes()).expect("memory");
        let request = self
            .client
            .post(&self.url)
            .bearer_auth(token)
            .header("content-type", "application/x-ndjson")
            .header("content-encoding", "gzip")
            .body(body.finish().expect("memory"));
        self.runtime.block_on(async {
            let response = request.send().await.expect("the agent answers");
            let status = response.status();
            let answer = response.bytes().await.expect("a whole answer");
            (status, serde_json::from_slice(&answer).unwrap_or_default())
        })
    }
}
