//! A disk that is full: what is sent over HTTP is refused with words, files wait, nothing is corrupt, and once there is space
//! everything is there exactly once.

use std::fmt::Write as _;
use std::fs;

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::agent::{Agent, Home, Modelbeat};
use crate::faults::small_disk::{SmallDisk, where_disks_may_be_mounted};
use crate::faults::written::Written;
use crate::wait;

const PIPELINE: &str = r#"
pipeline: full
agent: {id: one}
inputs:
  - {type: http, listen: "127.0.0.1:0"}
  - {type: file, paths: ["logs/*.jsonl"], format: json}
mapping:
  prediction: {id: id, time: ts, model: {const: m}, predicted: predicted}
task: {kind: binary, positive: "1"}
windows: [1d]
publish_every: 1s
join: {hold: 0s, max_state: 8MiB}
quality: {max_state: 8MiB}
host: off
output: {file: {path: out}}
"#;

#[test]
fn a_full_data_folder_refuses_posts_holds_files_up_and_goes_on_once_there_is_space() {
    let story = "a_full_data_folder_refuses_posts_holds_files_up_and_goes_on_once_there_is_space";
    where_disks_may_be_mounted(&format!("faults::disk_full::{story}"), || {
        let mut story = Story::new();
        let mut disk = SmallDisk::mount(story.home.path("data"), "4m");
        let mut agent = story.start();
        story.log("before");
        story.post_until_taken(&mut agent, "before");
        story.wait_for_all(&mut agent);
        disk.fill();
        let refused = story.post_until_refused(&mut agent);
        story.log("while-full");
        agent.wait_for_complaint("checkpoint.new: No space left on device");
        story.log("queued");
        disk.free();
        agent.wait_for_log("shipping goes on");
        story.post_until_taken(&mut agent, &refused);
        story.wait_for_all(&mut agent);
        agent.stop().expect_code(0);
        story.expect_everything_once();
    });
}

#[test]
fn a_dead_letter_that_finds_no_space_holds_everything_behind_it_up_also_over_a_kill() {
    let story = "a_dead_letter_that_finds_no_space_holds_everything_behind_it_up_also_over_a_kill";
    where_disks_may_be_mounted(&format!("faults::disk_full::{story}"), || {
        let mut story = Story::new();
        let mut disk = SmallDisk::mount(story.home.path("data"), "4m");
        let mut agent = story.start();
        story.post_until_taken(&mut agent, "before");
        story.wait_for_all(&mut agent);
        disk.fill();
        story.home.append("logs/a.jsonl", "{no json\n");
        agent.wait_for_complaint("dead-letters.ndjson: No space left on device");
        story.log("behind");
        agent.kill();
        disk.free();
        let mut agent = story.start();
        story.wait_for_all(&mut agent);
        agent.stop().expect_code(0);
        story.expect_everything_once();
        let letters = fs::read_to_string(story.home.path("data/full/dead-letters.ndjson"));
        let letters = letters.expect("a log");
        // There may have been room for it just before the kill: it is then written again.
        for letter in letters.lines() {
            let letter: Value = serde_json::from_str(letter).expect("whole lines");
            assert_eq!(letter["text"], "{no json");
        }
        assert!(letters.ends_with('\n'), "{letters}");
    });
}

#[test]
fn a_full_output_folder_holds_documents_up_while_posts_are_taken() {
    let story = "a_full_output_folder_holds_documents_up_while_posts_are_taken";
    where_disks_may_be_mounted(&format!("faults::disk_full::{story}"), || {
        let mut story = Story::new();
        let mut disk = SmallDisk::mount(story.home.path("out"), "4m");
        let mut agent = story.start();
        story.log("before");
        story.wait_for_all(&mut agent);
        disk.fill();
        // More than the last page of a file has room for: so a write is cut short in the middle of a line.
        for n in 0..50 {
            story.log(&format!("while-full-{n}"));
        }
        agent.wait_for_complaint("No space left on device");
        story.post_until_taken(&mut agent, "while-full");
        disk.free();
        story.wait_for_all(&mut agent);
        agent.stop().expect_code(0);
        story.expect_everything_once();
    });
}

/// More predictions than memory may hold, and for their store a disk with less room than it asks for.
#[test]
fn a_store_without_room_waits_and_goes_on_once_there_is_some() {
    let story = "a_store_without_room_waits_and_goes_on_once_there_is_some";
    where_disks_may_be_mounted(&format!("faults::disk_full::{story}"), || {
        let mut story = Story::new();
        let disk = SmallDisk::mount(story.home.path("data"), "50m");
        let mut agent = story.start();
        story.log_many(80_000);
        agent.wait_for_complaint("waits for room on its disk");
        story.post_until_taken(&mut agent, "while-waiting");
        disk.grow("300m");
        agent.wait_for_log("shipping goes on");
        agent.stop().expect_code(0);
        story.expect_everything_once();
    });
}

/// One pipeline, and every prediction it was given.
struct Story {
    home: Home,
    sent: Vec<String>,
    runtime: Runtime,
    client: Client,
}

impl Story {
    fn new() -> Self {
        let home = Home::new();
        home.write("pipeline.yml", PIPELINE);
        home.write("logs/a.jsonl", "");
        Self {
            home,
            sent: Vec::new(),
            runtime: Runtime::new().expect("a runtime"),
            client: Client::builder().no_proxy().build().unwrap(),
        }
    }

    fn start(&self) -> Agent {
        Modelbeat::run(&self.home, &self.home.path("pipeline.yml")).start()
    }

    /// Adds a prediction to the file.
    fn log(&mut self, id: &str) {
        self.home.append("logs/a.jsonl", &line(id, 0));
        self.sent.push(id.to_owned());
    }

    /// Adds predictions ten seconds apart.
    fn log_many(&mut self, count: u32) {
        let mut lines = String::new();
        for n in 0..count {
            let id = format!("many-{n}");
            lines.write_str(&line(&id, n * 10)).expect("a string");
            self.sent.push(id);
        }
        self.home.append("logs/a.jsonl", &lines);
    }

    /// Sends predictions until one finds no space, and says which. The last page of a file may have room for some.
    #[track_caller]
    fn post_until_refused(&mut self, agent: &mut Agent) -> String {
        for n in 0.. {
            let id = format!("post-{n}-{}", "x".repeat(500));
            let (status, retry_after, words) = self.post(agent, &id);
            if status == StatusCode::INSUFFICIENT_STORAGE {
                assert_eq!(retry_after.as_deref(), Some("30"));
                assert!(words.contains("no space left on the disk"), "{words}");
                return id;
            }
            assert_eq!(status, StatusCode::ACCEPTED, "{words}");
            self.sent.push(id);
        }
        unreachable!("a full disk refuses")
    }

    /// Sends a prediction as a sender does that wants it to arrive.
    #[track_caller]
    fn post_until_taken(&mut self, agent: &mut Agent, id: &str) {
        let id = format!("posted-{id}");
        wait::until("the post to be taken", || {
            let (status, _, words) = self.post(agent, &id);
            (status == StatusCode::ACCEPTED).then_some(()).ok_or(words)
        });
        self.sent.push(id);
    }

    fn post(&self, agent: &mut Agent, id: &str) -> (StatusCode, Option<String>, String) {
        let url = format!("http://{}/v1/events", agent.http_address());
        let request = self.client.post(url).body(line(id, 0));
        let request = request.header("content-type", "application/x-ndjson");
        self.runtime.block_on(async {
            let answer = request.send().await.expect("an answer");
            let retry_after = answer.headers().get(RETRY_AFTER);
            let retry_after = retry_after.map(|value| value.to_str().expect("text").to_owned());
            (
                answer.status(),
                retry_after,
                answer.text().await.expect("a body"),
            )
        })
    }

    #[track_caller]
    fn wait_for_all(&self, agent: &mut Agent) {
        agent.wait_until_equal("predictions written", &self.sent.len(), || {
            self.written().predictions().len()
        });
    }

    /// Once the windows are closed: each prediction has one document, and counts once in its window.
    #[track_caller]
    fn expect_everything_once(&mut self) {
        let pipeline = self.home.path("pipeline.yml");
        Modelbeat::once(&self.home, &pipeline)
            .finish()
            .expect_code(0);
        let written = self.written();
        self.sent.sort();
        assert!(written.predictions() == self.sent, "each id once");
        let count = self.sent.len() as u64;
        assert_eq!(written.windows("1d", "predictions"), count);
        assert_eq!(written.windows("1d", "duplicates"), 0);
    }

    fn written(&self) -> Written {
        Written::read(&self.home.path("out"))
    }
}

fn line(id: &str, seconds: u32) -> String {
    let ts = 1_700_000_000 + u64::from(seconds);
    format!("{{\"id\":\"{id}\",\"ts\":{ts},\"predicted\":\"1\"}}\n")
}
