//! Secrets and personal data are planted wherever data comes in, and everything that is written or shown is searched for them:
//! with `privacy:` none is found. The same run without it shows that the search finds each, so that nothing is clean because
//! nobody looked.

use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::DeflateDecoder;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::agent::{Agent, Home, Modelbeat};
use crate::faults::stub::{Answer, Stub};
use crate::wait;

const PIPELINE: &str = r#"
pipeline: planted
agent: {id: one}
inputs:
  - {type: file, paths: ["logs/*.jsonl"], format: json, max_record: 4KiB}
  - {type: file, paths: ["logs/*.csv"], format: csv}
  - {type: http, listen: 127.0.0.1:0, token: "${TOKEN}"}
mapping:
  prediction: {when: {event: prediction}, id: user, time: ts, model: {const: m}, predicted: predicted, slices: {customer: segment.customer, city: city}}
  label: {when: {event: label}, id: user, time: ts, actual: actual}
task: {kind: binary, positive: "1"}
windows: [1h]
publish_every: 1s
quality: {min_support: 1}
PRIVACY
host: off
output:
  elasticsearch:
    hosts: ["${ELASTICSEARCH_URL}"]
    bulk: {flush: 100ms}
    spool: 16MiB
  file: {path: out}
"#;

const PRIVACY: &str = r#"
privacy:
  drop: [features.ssn]
  hash: {fields: [user, segment.customer], key: "${HMAC_KEY}"}
  redact: {patterns: [email, card, iban, ip], regex: ['EMP-[0-9]{6}']}
"#;

const TOKEN: &str = "planted-right-token";
const WRONG_TOKEN: &str = "planted-wrong-token";
const HMAC_KEY: &str = "planted-hmac-key-of-27-characters";

/// What nobody may find, wherever it was planted.
const PERSONAL: &[&str] = &[
    "078-05-1120",
    "Mustermann",
    "secret.example",
    "4111 1111 1111 1111",
    "5555555555554444",
    "DE89370400440532013000",
    "203.0.113.77",
    "2001:db8:bad:cafe::77",
    "EMP-998877",
];

/// What nobody may find with `privacy:` or without.
const SECRETS: &[&str] = &[TOKEN, WRONG_TOKEN, HMAC_KEY];

/// A record with everything in it.
fn record(event: &str, number: usize) -> serde_json::Value {
    json!({
        "event": event, "user": format!("Mustermann-{number}@secret.example"), "ts": "2026-01-02T03:04:05Z",
        "predicted": 1, "actual": number % 2, "segment": { "customer": "Mustermann GmbH" }, "city": "Kassel 203.0.113.77",
        "features": { "ssn": "078-05-1120", "card": 5_555_555_555_554_444_u64, "a.mail@secret.example": true },
        "note": "of EMP-998877 \"b.mail@secret.example\", 4111 1111 1111 1111 DE89370400440532013000 2001:db8:bad:cafe::77",
    })
}

#[test]
fn what_was_planted_is_found_nowhere() {
    let (found, _) = Story::tell(PRIVACY, |seen| {
        seen.iter().any(|text| text.contains("\"hmac:"))
    });
    assert_eq!(found, [] as [&str; 0], "with `privacy:`");
}

#[test]
fn without_privacy_the_same_search_finds_what_was_planted() {
    let (found, secrets) = Story::tell("", |_| true);
    assert_eq!(found, PERSONAL, "the search looks where it must");
    assert_eq!(
        secrets,
        [] as [&str; 0],
        "tokens and keys are nobody's data"
    );
}

struct Story {
    home: Home,
    cluster: Stub,
}

impl Story {
    /// What of [`PERSONAL`] and of [`SECRETS`] was found, in a run that must have been as `is_whole` says.
    fn tell(
        privacy: &str,
        is_whole: impl Fn(&[String]) -> bool,
    ) -> (Vec<&'static str>, Vec<&'static str>) {
        let story = Self {
            home: Home::new(),
            cluster: Stub::start(),
        };
        let mut seen = story.run(privacy);
        assert!(is_whole(&seen), "the run was not as it must be");
        seen.extend(everything_under(&story.home.path("data")));
        seen.extend(everything_under(&story.home.path("out")));
        let find = |words: &[&'static str]| -> Vec<&'static str> {
            let is_there = |word: &&&str| seen.iter().any(|text| text.contains(**word));
            words.iter().filter(is_there).copied().collect()
        };
        let found = (find(PERSONAL), find(SECRETS));
        let is_at_fault = |text: &&String| PERSONAL.iter().any(|word| text.contains(word));
        for text in seen
            .iter()
            .filter(is_at_fault)
            .filter(|_| !privacy.is_empty())
        {
            let text: String = text.chars().take(2_000).collect();
            eprintln!("holds what was planted: {text}");
        }
        found
    }

    /// What was answered and logged, and what lay on disk on the way.
    fn run(&self, privacy: &str) -> Vec<String> {
        let pipeline = self
            .home
            .write("pipeline.yml", &PIPELINE.replace("PRIVACY", privacy.trim()));
        self.write_logs();
        self.cluster.be(Answer::Close);
        let run = || {
            Modelbeat::run(&self.home, &pipeline)
                .env("ELASTICSEARCH_URL", self.cluster.url())
                .env("TOKEN", TOKEN)
                .env("HMAC_KEY", HMAC_KEY)
        };
        let mut agent = run()
            .argument("--status-listen")
            .argument("127.0.0.1:0")
            .start();
        let mut seen = Self::post(&mut agent);
        agent.wait_for_complaint("documents go to the spool on disk");
        let status = agent.wait_for_log("status is listening");
        let status = format!("http://{}", status["address"].as_str().expect("an address"));
        let asking = Asking::new();
        let get = |path: &str| asking.send(asking.client.get(format!("{status}{path}"))).1;
        agent.wait_until_equal("joined predictions", &6, || {
            let out = everything_under(&self.home.path("out")).concat();
            out.matches("\"state\":\"joined\"").count().min(6)
        });
        // Raw records lie in the journal until a checkpoint covers them, and no longer, if there is something to hide.
        if !privacy.is_empty() {
            wait::until("the journal to forget", || {
                let journal = everything_under(&self.home.path("data/planted/journal-2"));
                let found = journal
                    .iter()
                    .any(|text| PERSONAL.iter().any(|word| text.contains(word)));
                (!found)
                    .then_some(())
                    .ok_or_else(|| "it does not".to_owned())
            });
        }
        wait::until("documents in the spool", || {
            let spool = everything_under(&self.home.path("data/planted/spool"));
            let any = spool
                .iter()
                .any(|text| text.contains("modelbeat.prediction"));
            any.then_some(()).ok_or_else(|| "none".to_owned())
        });
        seen.extend(["/metrics", "/", "/healthz", "/readyz", "/api/v1/status"].map(get));
        seen.extend(everything_under(&self.home.path("data")));
        seen.push(agent.stop().expect_code(0).output);
        // The cluster is back, but refuses what is about one of them: documents become letters, too.
        self.cluster.refuse("Kassel");
        self.cluster.be(Answer::Fine);
        seen.push(run().argument("--once").finish().expect_code(0).output);
        seen.extend(
            self.cluster
                .stored()
                .into_iter()
                .map(|(id, stored)| format!("{id} {}", stored.source)),
        );
        let letters = Modelbeat::new(
            &self.home,
            &[
                "dead-letters",
                "list",
                "--format",
                "json",
                "--data-dir",
                "data",
            ],
        );
        let letters = letters.finish().expect_code(0).output;
        for expected in [
            "logs/predictions.jsonl",
            "logs/predictions.csv",
            "modelbeat-predictions",
        ] {
            assert!(
                letters.contains(expected),
                "no letter of {expected}:\n{letters}"
            );
        }
        seen.push(letters);
        seen
    }

    fn write_logs(&self) {
        let mut lines = String::new();
        for number in 0..6 {
            lines += &format!("{}\n", record("prediction", number));
        }
        // No time; cut off; no JSON; too long; an array with one at fault.
        let mut timeless = record("prediction", 10);
        timeless["ts"] = "b.mail@secret.example, at noon".into();
        let whole = record("prediction", 11).to_string();
        let (cut, _) = whole.split_at(whole.len() - 9);
        let long = format!("{}{}", "EMP-998877 ".repeat(500), "x");
        lines += &format!(
            "{timeless}\n{cut}\nMustermann b.mail@secret.example 078-05-1120\n{long}\n[{}, {timeless}, 7]\n",
            record("prediction", 6)
        );
        self.home.write("logs/predictions.jsonl", &lines);
        let mut bytes = self.home.open_to_append("logs/predictions.jsonl");
        std::io::Write::write_all(
            &mut bytes,
            b"{\"user\":\"Mustermann@secret.example\xff\"}\n",
        )
        .expect("written");
        let csv = "event,user,ts,predicted,segment.customer,city,features.ssn,note\n\
             prediction,Mustermann-7@secret.example,2026-01-02T03:04:06Z,1,Mustermann GmbH,EMP-998877,078-05-1120,\"a, 4111 1111 1111 1111\"\n\
             prediction,Mustermann-8@secret.example,b.mail@secret.example,1,,,078-05-1120,\n\
             Mustermann,078-05-1120,5555555555554444\n";
        self.home.write("logs/predictions.csv", csv);
    }

    /// Posts, good and bad, and what was answered.
    fn post(agent: &mut Agent) -> Vec<String> {
        let url = format!("http://{}/v1/events", agent.http_address());
        let asking = Asking::new();
        let mut answers = Vec::new();
        let mut post = |token: &str, body: String, expected: StatusCode| {
            let (status, answer) =
                asking.send(asking.client.post(&url).bearer_auth(token).body(body));
            assert_eq!(status, expected, "{answer}");
            answers.push(answer);
        };
        let labels: String = (0..6)
            .map(|number| format!("{}\n", record("label", number)))
            .collect();
        post(TOKEN, labels, StatusCode::ACCEPTED);
        let mut faulty = record("label", 9);
        faulty["ts"] = "c.mail@secret.example".into();
        post(TOKEN, faulty.to_string(), StatusCode::ACCEPTED);
        post(
            TOKEN,
            "{\"user\": \"d.mail@secret.example\", EMP-998877}".to_owned(),
            StatusCode::BAD_REQUEST,
        );
        post(
            WRONG_TOKEN,
            record("label", 1).to_string(),
            StatusCode::UNAUTHORIZED,
        );
        answers
    }
}

/// Somebody who asks over HTTP.
struct Asking {
    client: Client,
    runtime: Runtime,
}

impl Asking {
    fn new() -> Self {
        Self {
            client: Client::builder().no_proxy().build().expect("a client"),
            runtime: Runtime::new().expect("a runtime"),
        }
    }

    fn send(&self, request: RequestBuilder) -> (StatusCode, String) {
        self.runtime.block_on(async {
            let response = request.send().await.expect("it answers");
            (response.status(), response.text().await.expect("text"))
        })
    }
}

/// All files of a folder, as text; of a spool, what its frames hold.
fn everything_under(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(everything_under(&path));
        } else if let Ok(bytes) = fs::read(&path) {
            // A frame's header has 40 bytes: see ARCHITECTURE.md.
            let frames = bytes
                .windows(4)
                .enumerate()
                .filter(|(_, magic)| magic == b"MBSF");
            for (at, _) in frames {
                let mut raw = Vec::new();
                DeflateDecoder::new(bytes.get(at + 40..).unwrap_or_default())
                    .read_to_end(&mut raw)
                    .ok();
                found.push(String::from_utf8_lossy(&raw).into_owned());
            }
            found.push(format!(
                "{}: {}",
                path.display(),
                String::from_utf8_lossy(&bytes)
            ));
        }
    }
    found
}
