//! The operation log: each happening is one entry of the file and one document, over kills, changed pipeline files and commands
//! beside the agent; no secret is in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use reqwest::{Client, RequestBuilder};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::agent::{Agent, Home, Modelbeat};
use crate::cluster::{Cluster, Prefix};

const PIPELINE: &str = r#"
pipeline: audited
inputs:
  - {type: file, paths: ["logs/*.jsonl"], format: json}
  - {type: http, listen: "127.0.0.1:0", token: "${TOKEN}"}
mapping:
  prediction: {id: id, time: ts, model: {const: m}, predicted: y}
task: {kind: regression}
windows: [WINDOW]
host: off
output:
  elasticsearch:
    hosts: ["${ELASTICSEARCH_URL}"]
    index_prefix: ${INDEX_PREFIX}
    username: nobody
    password: literal-password
"#;

const TOKEN: &str = "t0ken-of-the-input";

#[test]
fn every_happening_is_one_entry_and_one_document() {
    let story = Story::new();
    story.write_pipeline("1h");
    let mut agent = story.start();
    for _ in 0..5 {
        assert_eq!(post(&agent.http_address(), "wrong"), 401);
    }
    assert_eq!(ask(&Story::status(&mut agent), "wrong"), 401);
    // A record that cannot be read: a dead letter.
    story.home.append("logs/a.jsonl", "not JSON\n");
    agent.wait_until_equal("dead letters entered", &1, || {
        story.entered("dead-letter").len()
    });
    agent.wait_until_equal("entries without a document", &0, || story.unshipped());
    agent.killed();

    // Another window, and a command beside the agent.
    story.write_pipeline("2h");
    let mut agent = story.start();
    story
        .command(&["dead-letters", "drop", "--yes", "--data-dir", "data"])
        .finish()
        .expect_code(0);
    agent.wait_until_equal("drops entered", &1, || {
        story.entered("dead-letter-drop").len()
    });
    agent.wait_until_equal("drops shipped", &1, || story.shipped("dead-letter-drop"));
    // A file with a mistake changes nothing, and that it was tried is entered.
    story.write_pipeline("2h, 3x");
    hang_up(&agent);
    agent.wait_until_equal("refusals shipped", &1, || {
        story.shipped("configuration-refused")
    });
    story.write_pipeline("2h");
    agent.stop().expect_code(0);
    // What was entered after the sources had stopped is shipped by the next start.
    story
        .command(&["setup", "pipeline.yml", "--data-dir", "data"])
        .finish()
        .expect_code(0);
    let mut agent = story.start();
    agent.wait_until_equal("ends shipped", &1, || story.shipped("stop"));
    agent.wait_until_equal("set-ups shipped", &1, || story.shipped("setup"));
    agent.wait_until_equal("entries without a document", &0, || story.unshipped());
    agent.killed();

    let entries = story.entries();
    let numbers: Vec<u64> = entries
        .iter()
        .map(|entry| entry["number"].as_u64().expect("a number"))
        .collect();
    let expected: Vec<u64> = (1..=entries.len() as u64).collect();
    assert_eq!(numbers, expected);
    let documents = story.documents();
    for entry in &entries {
        let document = &documents[&entry["number"].as_u64().expect("a number")];
        assert_eq!(document["operation"]["action"], entry["action"]);
        assert_eq!(document["operation"]["count"], entry["count"]);
        assert_eq!(document["message"], entry["message"]);
        assert_eq!(document["pipeline"], "audited");
    }
    assert_eq!(story.entered("start").len(), 3);
    assert_eq!(story.entered("recovery").len(), 2);
    let changed: Vec<Value> = story
        .entered("configuration")
        .iter()
        .map(|entry| entry["details"]["changed"].clone())
        .collect();
    assert_eq!(
        changed,
        [
            Value::Null,
            serde_json::json!(["windows.0: 1h → 2h"]),
            Value::Null
        ]
    );
    // The first at the port of the status, where no other was.
    let mut turned_away = story.entered("authentication-failure");
    let at_status = turned_away.extract_if(.., |entry| entry["details"]["input"] == "status");
    let peers: Vec<Value> = at_status
        .map(|entry| entry["details"]["peer"].clone())
        .collect();
    assert_eq!(peers, ["127.0.0.1"]);
    // The first is told at once, the other four are one entry, told within the minute or lost with the kill.
    assert_eq!(turned_away[0]["details"]["peer"], "127.0.0.1");
    assert!(turned_away.len() <= 2, "{turned_away:?}");
    let setup = &story.entered("setup")[0];
    assert!(
        setup["details"]["installed"]
            .to_string()
            .contains("-operations"),
        "{setup}"
    );
    for text in [
        serde_json::to_string(&entries).expect("JSON"),
        format!("{documents:?}"),
    ] {
        for secret in [TOKEN, "literal-password"] {
            assert!(!text.contains(secret), "{secret} is in it");
        }
    }
    let kept =
        fs::read_to_string(story.home.path("data/audited/configuration.json")).expect("a file");
    assert!(
        !kept.contains("literal-password") && !kept.contains(TOKEN),
        "{kept}"
    );
}

struct Story {
    home: Home,
    prefix: Prefix,
}

impl Story {
    fn new() -> Self {
        let home = Home::new();
        fs::create_dir(home.path("logs")).expect("a folder");
        let prefix = Prefix::new(Cluster::plain(), "operations");
        Self { home, prefix }
    }

    fn write_pipeline(&self, window: &str) {
        self.home
            .write("pipeline.yml", &PIPELINE.replace("WINDOW", window));
    }

    fn pipeline(&self) -> PathBuf {
        self.home.path("pipeline.yml")
    }

    fn configured(&self, command: Modelbeat) -> Modelbeat {
        command.shipping_to(&self.prefix).env("TOKEN", TOKEN)
    }

    fn command(&self, arguments: &[&str]) -> Modelbeat {
        self.configured(Modelbeat::new(&self.home, arguments))
    }

    fn start(&self) -> Agent {
        self.configured(Modelbeat::run(&self.home, &self.pipeline()))
            .argument("--status-listen")
            .argument("0")
            .env("MODELBEAT_STATUS_TOKEN", TOKEN)
            .start()
    }

    /// Where the status of the agent is.
    fn status(agent: &mut Agent) -> String {
        let line = agent.wait_for_log("status is listening");
        line["address"].as_str().expect("an address").to_owned()
    }

    fn entries(&self) -> Vec<Value> {
        let file = self.home.path("data/audited/operations.ndjson");
        let text = fs::read_to_string(file).unwrap_or_default();
        // The last line may be on its way.
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    fn entered(&self, action: &str) -> Vec<Value> {
        let mut entries = self.entries();
        entries.retain(|entry| entry["action"] == action);
        entries
    }

    /// By number; no number is there twice.
    fn documents(&self) -> BTreeMap<u64, Value> {
        let mut documents = BTreeMap::new();
        let query = serde_json::json!({ "match_all": {} });
        self.prefix
            .cluster()
            .search(&self.prefix.indices("operations"), &query, |hit| {
                let document = hit["_source"].clone();
                let number = document["operation"]["number"].as_u64().expect("a number");
                let before = documents.insert(number, document);
                assert!(before.is_none(), "{number} is there twice");
            });
        documents
    }

    /// Entries that have no document yet; there may be more of both at any time.
    fn unshipped(&self) -> usize {
        let entries = self.entries();
        let documents = self.documents();
        let has_none = |entry: &&Value| {
            let number = entry["number"].as_u64().expect("a number");
            !documents.contains_key(&number)
        };
        entries.iter().filter(has_none).count()
    }

    fn shipped(&self, action: &str) -> usize {
        let documents = self.documents();
        documents
            .values()
            .filter(|document| document["operation"]["action"] == action)
            .count()
    }
}

fn hang_up(agent: &Agent) {
    let id = i32::try_from(agent.id()).expect("a process id");
    kill_process(Pid::from_raw(id).expect("not zero"), Signal::HUP).expect("SIGHUP");
}

/// Asks for the metrics.
fn ask(address: &str, token: &str) -> u16 {
    status_of(
        client()
            .get(format!("http://{address}/metrics"))
            .bearer_auth(token),
    )
}

fn post(address: &str, token: &str) -> u16 {
    let request = client()
        .post(format!("http://{address}/v1/labels"))
        .bearer_auth(token);
    status_of(request.body("{}"))
}

fn client() -> Client {
    Client::builder().no_proxy().build().expect("a client")
}

fn status_of(request: RequestBuilder) -> u16 {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async { request.send().await.expect("an answer").status().as_u16() })
}
