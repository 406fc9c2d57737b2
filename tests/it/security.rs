//! Against a node with security on: the least privileges that suffice, and what a person is told when something is wrong.

use serde_json::{Value, json};

use crate::agent::{Agent, Home, Modelbeat};
use crate::cluster::{Cluster, Prefix};

const PIPELINE: &str = r#"
pipeline: secured
inputs:
  - {type: file, paths: [events.jsonl], format: json}
mapping:
  prediction: {when: {event: prediction}, id: id, time: ts, model: {const: m}, predicted: predicted}
  label: {when: {event: label}, id: id, actual: actual}
task: {kind: binary, positive: "1"}
windows: [1d]
host: off
output:
  elasticsearch:
    hosts: ["${HOST}"]
    ca: ${CA}
    api_key: ${KEY}
    index_prefix: ${PREFIX}
"#;

const EVENTS: &str = r#"{"event":"prediction","id":"a","ts":"2026-01-02T03:04:05Z","predicted":1}
{"event":"prediction","id":"b","ts":"2026-01-02T03:04:06Z","predicted":0}
{"event":"label","id":"a","actual":1}
{"event":"label","id":"b","actual":1}
"#;

/// Id and secret of a key that was never given out, encoded as Kibana shows keys.
const UNKNOWN_KEY: &str = "bm90LWEta2V5OmFuZC1ub3QtYS1zZWNyZXQ=";

#[test]
fn a_key_that_may_only_write_our_indices_suffices() {
    let story = Story::new("least");
    story.once(story.least_key()).expect_code(0);
    let cluster = story.prefix.cluster();
    let joined = json!({ "term": { "label.state.keyword": "joined" } });
    assert_eq!(
        cluster.count(&story.prefix.indices("predictions"), &joined),
        2
    );
    let window = json!({ "term": { "event.dataset.keyword": "modelbeat.quality" } });
    assert_eq!(cluster.count(&story.prefix.indices("quality"), &window), 1);
}

#[test]
fn a_wrong_key_says_which_setting_is_wrong() {
    let story = Story::new("wrong-key");
    story
        .once(UNKNOWN_KEY.to_owned())
        .expect_code(1)
        .expect_words(&["check api_key"]);
}

#[test]
fn a_running_agent_with_a_wrong_key_says_so_and_goes_on() {
    let story = Story::new("waiting");
    let mut agent: Agent = story
        .command(Modelbeat::run, UNKNOWN_KEY.to_owned())
        .start();
    agent.wait_for_complaint("api_key");
    assert!(agent.is_running(), "it waits for the key to be mended");
}

#[test]
fn a_wrong_authority_says_which_setting_is_wrong() {
    let story = Story::new("wrong-ca");
    let stranger = rcgen::generate_simple_self_signed(vec!["stranger".to_owned()]);
    let stranger = stranger.expect("a certificate").cert.pem();
    let ca = story.home.write("stranger.pem", &stranger);
    story
        .command(Modelbeat::once, story.least_key())
        .env("CA", ca)
        .finish()
        .expect_code(1)
        .expect_words(&[
            "certificate",
            "output.elasticsearch.ca",
            &story.prefix.cluster().url,
        ]);
}

#[test]
fn a_missing_authority_says_which_setting_is_missing() {
    let story = Story::new("no-ca");
    let without = PIPELINE.replace("    ca: ${CA}\n", "");
    story.home.write("pipeline.yml", &without);
    story
        .once(story.least_key())
        .expect_code(1)
        .expect_words(&["certificate", "output.elasticsearch.ca"]);
}

#[test]
fn a_wrong_host_is_named_and_what_to_check() {
    let story = Story::new("wrong-host");
    // Nothing listens on port 1; the name is reserved never to resolve.
    for (host, check) in [
        ("https://127.0.0.1:1", "the port"),
        (
            "https://elasticsearch.invalid:9200",
            "output.elasticsearch.hosts",
        ),
    ] {
        story
            .command(Modelbeat::once, story.least_key())
            .env("HOST", host)
            .finish()
            .expect_code(1)
            .expect_words(&[host, check]);
    }
}

#[test]
fn a_secret_is_never_in_the_output() {
    let story = Story::new("secret");
    let ended = story.once(UNKNOWN_KEY.to_owned()).expect_code(1);
    for secret in [UNKNOWN_KEY, "and-not-a-secret"] {
        assert!(!ended.output.contains(secret), "{}", ended.output);
    }
}

/// One pipeline, its events, and a prefix on the secured node.
struct Story {
    home: Home,
    prefix: Prefix,
}

impl Story {
    fn new(name: &str) -> Self {
        let home = Home::new();
        home.write("pipeline.yml", PIPELINE);
        home.write("events.jsonl", EVENTS);
        let prefix = Prefix::new(Cluster::secured(), name);
        Self { home, prefix }
    }

    /// No cluster privilege at all, and on our indices only to write them and to let them be made on the first write.
    fn least_key(&self) -> String {
        let pattern = format!("{}-*", self.prefix.name);
        let role: Value = json!({
            "cluster": [],
            "indices": [{ "names": [pattern], "privileges": ["auto_configure", "write"] }],
        });
        self.prefix
            .cluster()
            .create_api_key(&self.prefix.name, &role)
    }

    /// The command on our pipeline, with everything right but what the story changes afterwards.
    fn command(&self, command: fn(&Home, &std::path::Path) -> Modelbeat, key: String) -> Modelbeat {
        command(&self.home, &self.home.path("pipeline.yml"))
            .env("HOST", &self.prefix.cluster().url)
            .env("CA", Cluster::secured_ca())
            .env("KEY", key)
            .env("PREFIX", &self.prefix.name)
    }

    #[track_caller]
    fn once(&self, key: String) -> crate::agent::Ended {
        self.command(Modelbeat::once, key).finish()
    }
}
