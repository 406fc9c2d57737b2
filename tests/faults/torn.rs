//! Files that a crash, a power cut or a bad disk left torn: found, said, and gone on from without a loss, or not started at all.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use reqwest::Client;
use tokio::runtime::Runtime;

use crate::agent::{Agent, Home, Modelbeat};
use crate::faults::written::Written;

const PIPELINE: &str = r#"
pipeline: torn
agent: {id: one}
inputs:
  - {type: http, listen: "127.0.0.1:0"}
  - {type: file, paths: ["logs/*.jsonl"], format: json}
mapping:
  prediction: {when: {event: prediction}, id: id, time: ts, model: {const: m}, predicted: predicted}
  label: {when: {event: label}, id: id, time: ts, actual: actual}
task: {kind: binary, positive: "1"}
windows: [1d]
publish_every: 1s
join: {hold: 0s}
host: off
operations: {ship: false}
output: {file: {path: out}}
"#;

const SEGMENT: &str = "data/torn/journal-0/00000000000000000000.journal";

#[test]
fn a_torn_checkpoint_gives_way_to_the_one_before_and_nothing_counts_twice() {
    let story = Story::new();
    for (name, ids) in [("a", 0..10), ("b", 10..20), ("c", 20..30)] {
        story.log(name, ids);
        story.once();
    }
    story.tear("data/torn/checkpoint", 60);
    story.label(0..30);
    let ended = Modelbeat::once(&story.home, &story.pipeline()).finish();
    ended.expect_code(0).expect_words(&[
        "checkpoint is not whole, using another one",
        "checkpoint.previous",
    ]);
    story.expect(30, 30);
}

#[test]
fn with_both_checkpoints_torn_nothing_is_begun() {
    let story = Story::new();
    story.log("a", 0..10);
    story.once();
    story.once();
    let written = fs::read(story.home.path("data/torn/checkpoint")).expect("a checkpoint");
    fs::write(story.home.path("data/torn/checkpoint.previous"), written).expect("another");
    story.tear("data/torn/checkpoint", 60);
    story.tear("data/torn/checkpoint.previous", 10);
    story.log("b", 10..20);
    let ended = Modelbeat::once(&story.home, &story.pipeline()).finish();
    ended.expect_code(1).expect_words(&[
        "no whole checkpoint",
        "restore the whole data folder from one backup",
        "begin afresh",
    ]);
    story.expect(10, 0);
}

/// A kill while the next checkpoint is being written, or just before it gets its name.
#[test]
fn an_unfinished_checkpoint_is_written_anew() {
    let story = Story::new();
    story.log("a", 0..10);
    story.once();
    let whole = fs::read(story.home.path("data/torn/checkpoint")).expect("a checkpoint");
    for unfinished in [&whole[..0], &whole[..whole.len() / 2], &whole] {
        fs::write(story.home.path("data/torn/checkpoint.new"), unfinished).expect("a file");
        story.once();
        assert!(
            !story
                .home
                .path("data/torn/checkpoint.new")
                .try_exists()
                .expect("a folder")
        );
    }
    story.label(0..10);
    story.once();
    story.expect(10, 10);
}

/// Posts that were answered, and a kill before the first checkpoint, which comes after ten seconds: it hardly covers them.
#[test]
fn what_was_answered_is_counted_once_though_no_checkpoint_covers_it() {
    let story = Story::new();
    let mut agent = story.start();
    story.post(&mut agent, 0..20);
    agent.kill();
    story.once();
    story.expect(20, 0);
}

/// The end of a write that was never answered for: as long as the disk had come to write it.
#[test]
fn a_torn_end_of_the_journal_is_cut_and_said() {
    let story = Story::new();
    let mut agent = story.start();
    story.post(&mut agent, 0..20);
    agent.kill();
    let whole = fs::read(story.home.path(SEGMENT)).expect("a segment");
    let first = 22 + 25 + u32::from_le_bytes(whole[22..26].try_into().expect("four")) as usize;
    let mut file = OpenOptions::new()
        .append(true)
        .open(story.home.path(SEGMENT))
        .expect("a segment");
    file.write_all(&whole[22..first - 3])
        .expect("a torn record");
    drop(file);
    let ended = Modelbeat::once(&story.home, &story.pipeline()).finish();
    let place = format!("00000000000000000000.journal:{}: cut", whole.len());
    ended
        .expect_code(0)
        .expect_words(&["the journal is not whole", &place]);
    story.expect(20, 0);
}

#[test]
fn a_journal_damaged_in_the_middle_is_refused_and_the_place_named() {
    let story = Story::new();
    let mut agent = story.start();
    for id in 0..20 {
        story.post(&mut agent, id..id + 1);
    }
    agent.kill();
    let path = story.home.path(SEGMENT);
    let whole = fs::read(&path).expect("a segment");
    let mut damaged = whole.clone();
    damaged[22 + 30] ^= 1;
    fs::write(&path, damaged).expect("a segment");
    let ended = Modelbeat::once(&story.home, &story.pipeline()).finish();
    ended.expect_code(1).expect_words(&[
        "00000000000000000000.journal:22: the journal is damaged: checksum mismatch",
        "restore the file",
    ]);
    fs::write(&path, whole).expect("a segment");
    story.once();
    story.expect(20, 0);
}

#[test]
fn what_a_kill_left_half_written_spoils_no_line_behind_it() {
    let story = Story::new();
    story.log("a", 0..10);
    story.home.append("logs/a.jsonl", "{no json\n");
    story.once();
    let letters = story.home.path("data/torn/dead-letters.ndjson");
    let mut torn = vec![letters.clone()];
    torn.extend(story.output_files());
    for path in torn {
        let mut text = fs::read(&path).expect("a file");
        text.extend_from_within(..30);
        fs::write(&path, text).expect("a file");
    }
    story.log("b", 10..20);
    story.home.append("logs/b.jsonl", "{nor this\n");
    story.once();
    story.expect(20, 0);
    let letters = fs::read_to_string(letters).expect("a log");
    let whole = letters.lines().filter(|line| line.ends_with('}')).count();
    assert_eq!(whole, 2, "{letters}");
}

struct Story {
    home: Home,
    runtime: Runtime,
}

impl Story {
    fn new() -> Self {
        let home = Home::new();
        home.write("pipeline.yml", PIPELINE);
        home.write("logs/empty.jsonl", "");
        Self {
            home,
            runtime: Runtime::new().expect("a runtime"),
        }
    }

    fn pipeline(&self) -> PathBuf {
        self.home.path("pipeline.yml")
    }

    fn start(&self) -> Agent {
        Modelbeat::run(&self.home, &self.pipeline()).start()
    }

    #[track_caller]
    fn once(&self) {
        Modelbeat::once(&self.home, &self.pipeline())
            .finish()
            .expect_code(0);
    }

    fn log(&self, name: &str, ids: std::ops::Range<u32>) {
        self.home
            .append(&format!("logs/{name}.jsonl"), &predictions(ids));
    }

    fn label(&self, ids: std::ops::Range<u32>) {
        let label = |id| {
            format!("{{\"event\":\"label\",\"id\":\"{id}\",\"ts\":1700000100,\"actual\":\"1\"}}\n")
        };
        self.home
            .append("logs/labels.jsonl", &ids.map(label).collect::<String>());
    }

    #[track_caller]
    fn post(&self, agent: &mut Agent, ids: std::ops::Range<u32>) {
        let url = format!("http://{}/v1/events", agent.http_address());
        let request = Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .post(url)
            .body(predictions(ids));
        let request = request.header("content-type", "application/x-ndjson");
        let answer = self.runtime.block_on(request.send()).expect("an answer");
        assert_eq!(answer.status(), 202);
    }

    /// Cuts a file to so many bytes.
    fn tear(&self, name: &str, length: u64) {
        let file = OpenOptions::new().write(true).open(self.home.path(name));
        file.and_then(|file| file.set_len(length)).expect("a file");
    }

    fn output_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.home.path("out")).expect("an output folder");
        entries
            .map(|entry| entry.expect("an entry").path())
            .collect()
    }

    #[track_caller]
    fn expect(&self, predictions: u64, labelled: u64) {
        let out: &Path = &self.home.path("out");
        let written = Written::read(out);
        assert_eq!(written.predictions().len() as u64, predictions);
        let count = |name| written.windows("1d", name);
        assert_eq!(
            (count("predictions"), count("labelled"), count("duplicates")),
            (predictions, labelled, 0)
        );
    }
}

fn predictions(ids: std::ops::Range<u32>) -> String {
    ids.map(|id| {
        format!(
            "{{\"event\":\"prediction\",\"id\":\"{id}\",\"ts\":1700000000,\"predicted\":\"1\"}}\n"
        )
    })
    .collect()
}
