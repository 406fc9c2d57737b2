//! Pipeline files change under load. Fifty reloads, half of which must change nothing (mistakes, half a file, another
//! pipeline's name, an output that cannot be opened), while a log grows and others post: in the end every event is counted
//! once, and nobody who connected was turned away.

mod killed;

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::runtime::Builder;

use super::written::Written;
use crate::agent::{Agent, Ended, Home, Modelbeat};

const PIPELINE: &str = r#"
pipeline: reloaded
agent: {id: one, name: NAME}
inputs:
  - {type: file, paths: ["logs/*.jsonl"], format: json}
  - {type: http, listen: 127.0.0.1:0}
mapping:
  prediction: {when: {event: prediction}, id: id, time: ts, model: {const: m}, predicted: predicted, slices: {half: half}}
  label: {when: {event: label}, id: id, time: ts, actual: actual}
task: {kind: binary, positive: "1"}
windows: [10m, 1d]
publish_every: 1s
join: {hold: 100ms}
quality: {min_support: SUPPORT}
host: off
output: {file: {path: out}}
"#;

const RELOADS: usize = 50;

/// More than is written between two looks.
const END_BYTES: u64 = 256 << 10;

/// 2026-01-02T03:00:00Z.
const START: u64 = 1_767_322_800;

#[test]
fn a_storm_of_reloads_loses_nothing_and_counts_nothing_twice() {
    let story = Story::new();
    let mut agent = story.run().start();
    let load = Load::start(&story.home, &agent.http_address());
    for reload in 0..RELOADS {
        story.reload(reload, &mut agent);
    }
    let told = load.stop();
    assert!(told.predictions > 0 && told.labels > 0);
    agent.stop().expect_code(0);
    story.write(&pipeline("gen-last", 1));
    let last = story.run().argument("--once").finish().expect_code(0);

    let written = Written::read(&story.home.path("out"));
    assert_eq!(written.predictions().len() as u64, told.predictions);
    for length in ["10m", "1d"] {
        for (count, expected) in [
            // The whole and its two halves.
            ("predictions", 2 * told.predictions),
            ("labelled", 2 * told.labels),
            ("correct", 2 * told.correct),
        ] {
            assert_eq!(
                written.windows(length, count),
                expected,
                "{count} of {length}"
            );
        }
    }
    let open = closing(&last)["orphans"].as_u64();
    assert_eq!(open, Some(0), "every label found its prediction");
}

#[test]
fn a_file_that_is_watched_is_read_when_it_has_changed() {
    let story = Story::new();
    let mut agent = story.run().argument("--watch").start();
    agent.http_address();
    story
        .home
        .append("logs/a.jsonl", &format!("{}\n", prediction("f-0", 0)));
    story.write(&pipeline("gen-watched", 7).replace("host: off", "hosts: off\nhost: off"));
    agent.wait_for_complaint("pipeline file has mistakes, nothing is changed");
    story.write(&pipeline("gen-watched", 7));
    agent.wait_for_log("pipeline was reloaded");
    story
        .home
        .append("logs/a.jsonl", &format!("{}\n", prediction("f-1", 1)));
    // Its own document: that of a window, or of `f-0`, may have the name before this line is read.
    agent.wait_until_equal("names of f-1", &vec!["gen-watched".to_owned()], || {
        story.names_of("f-1")
    });
    let ended = agent.stop().expect_code(0);
    // Where, what and what to do, as `check` has it.
    ended.expect_words(&[
        "pipeline.yml:15:1: error: unknown key `hosts`",
        "did you mean `host`?",
    ]);
    assert_eq!(
        Written::read(&story.home.path("out")).predictions(),
        ["f-0", "f-1"]
    );
}

struct Story {
    home: Home,
    pipeline: PathBuf,
}

impl Story {
    fn new() -> Self {
        let home = Home::new();
        home.write("logs/a.jsonl", "");
        home.write("no-folder", "");
        let pipeline = home.write("pipeline.yml", &pipeline("gen-first", 1));
        Self { home, pipeline }
    }

    fn run(&self) -> Modelbeat {
        Modelbeat::run(&self.home, &self.pipeline)
    }

    /// As an editor saves: nobody sees half of it.
    fn write(&self, text: &str) {
        let new = self.home.write("pipeline.yml.new", text);
        fs::rename(new, &self.pipeline).expect("renamed");
    }

    /// Changes the file, sends SIGHUP and waits for what must come of it. Names are letters: lines that differ in numbers
    /// only are left out of the log after a while.
    fn reload(&self, number: usize, agent: &mut Agent) {
        let name = format!("gen-{}", letters(number));
        let good = pipeline(&name, number + 1);
        let (text, sign) = match number % 8 {
            1 => (
                format!("{good}mistake_{}: 1\n", letters(number)),
                format!("unknown key `mistake_{}`", letters(number)),
            ),
            3 => (
                format!(
                    "{}\n{}: [",
                    good.split_at(good.len() / 2).0,
                    letters(number)
                ),
                format!("{}: [", letters(number)),
            ),
            5 => (
                good.replace(
                    "pipeline: reloaded",
                    &format!("pipeline: {}", letters(number)),
                ),
                format!("its name would be `{}`", letters(number)),
            ),
            7 => (
                good.replace("path: out", &format!("path: no-folder/{}", letters(number))),
                format!("no-folder/{}", letters(number)),
            ),
            _ => {
                self.write(&good);
                hang_up(agent);
                if number.is_multiple_of(16) {
                    // Twice in a row: the second may come while the first is at work.
                    hang_up(agent);
                }
                return self.wait_for_name(agent, &name);
            }
        };
        self.write(&text);
        hang_up(agent);
        agent.wait_for_line(&sign);
    }

    /// Under whose settings the documents of this prediction were written.
    fn names_of(&self, id: &str) -> Vec<String> {
        let written = Written::read(&self.home.path("out"));
        let own = written.of("modelbeat.prediction");
        let own = own.filter(|document| document["prediction"]["id"] == id);
        let names = own.filter_map(|document| document["agent"]["name"].as_str());
        names.map(str::to_owned).collect()
    }

    /// Documents are written under the name of the settings that run.
    fn wait_for_name(&self, agent: &mut Agent, name: &str) {
        let name = format!("\"name\":\"{name}\"");
        agent.wait_until_equal(&format!("documents with {name}"), &true, || {
            let files = fs::read_dir(self.home.path("out"));
            let mut ends = files.into_iter().flatten().flatten();
            ends.any(|file| end_of(&file.path()).contains(&name))
        });
    }
}

/// What was written last.
fn end_of(path: &Path) -> String {
    let mut end = Vec::new();
    let mut file = File::open(path).expect("it is there");
    let length = file.metadata().expect("its length").len();
    file.seek(SeekFrom::Start(length.saturating_sub(END_BYTES)))
        .and_then(|_| file.read_to_end(&mut end))
        .expect("read");
    String::from_utf8_lossy(&end).into_owned()
}

fn hang_up(agent: &Agent) {
    let id = i32::try_from(agent.id()).expect("a process id");
    kill_process(Pid::from_raw(id).expect("not zero"), Signal::HUP).expect("SIGHUP");
}

fn pipeline(name: &str, support: usize) -> String {
    PIPELINE
        .replace("NAME", name)
        .replace("SUPPORT", &support.to_string())
}

/// 0 → `aa`, 27 → `bb`.
fn letters(number: usize) -> String {
    let letter = |number: usize| char::from(b'a' + u8::try_from(number % 26).expect("below 26"));
    [letter(number / 26), letter(number)].iter().collect()
}

fn prediction(id: &str, number: u64) -> String {
    let (time, half) = (START + number % 3_600, number % 2);
    format!(r#"{{"event":"prediction","id":"{id}","ts":{time},"predicted":1,"half":"h{half}"}}"#)
}

fn label(id: &str, number: u64) -> String {
    let (time, actual) = (START + number % 3_600, u8::from(number.is_multiple_of(3)));
    format!(r#"{{"event":"label","id":"{id}","ts":{time},"actual":{actual}}}"#)
}

fn closing(ended: &Ended) -> Value {
    let lines = ended
        .output
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut lines = lines.filter(|line| line["message"] == "pipeline ended");
    lines.next_back().expect("a closing line")
}

/// What was told, and must be counted.
#[derive(Clone, Copy, Default)]
struct Told {
    predictions: u64,
    labels: u64,
    correct: u64,
}

/// One who logs and one who posts, each tells predictions, and the labels of the other's.
struct Load {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    told: Arc<Mutex<Told>>,
}

/// Events of each in one go.
const STRIDE: u64 = 5;

impl Load {
    fn start(home: &Home, address: &str) -> Self {
        let load = Self {
            over: Arc::default(),
            threads: Vec::new(),
            told: Arc::default(),
        };
        let (logged, posted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut log = home.open_to_append("logs/a.jsonl");
        let url = format!("http://{address}/v1/events");
        let logging = load.tell('f', &logged, 'h', &posted, move |lines| {
            log.write_all(lines.as_bytes()).expect("append");
        });
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let client = Client::builder()
            .no_proxy()
            .build()
            .expect("an HTTP client");
        let posting = load.tell('h', &posted, 'f', &logged, move |lines| {
            while !runtime.block_on(post(&client, &url, &lines)) {
                thread::sleep(Duration::from_millis(20));
            }
        });
        Self {
            threads: vec![logging, posting],
            ..load
        }
    }

    /// Tells `mine` and the labels of what the other has told by then.
    fn tell(
        &self,
        mine: char,
        my_count: &Arc<AtomicU64>,
        theirs: char,
        their_count: &Arc<AtomicU64>,
        mut say: impl FnMut(String) + Send + 'static,
    ) -> JoinHandle<()> {
        let (over, told) = (Arc::clone(&self.over), Arc::clone(&self.told));
        let (my_count, their_count) = (Arc::clone(my_count), Arc::clone(their_count));
        thread::spawn(move || {
            let (mut next, mut labelled) = (0, 0);
            while !over.load(Ordering::Acquire) {
                let mut now = Told::default();
                let mut lines = String::new();
                for number in next..next + STRIDE {
                    lines += &format!("{}\n", prediction(&format!("{mine}-{number}"), number));
                    now.predictions += 1;
                }
                next += STRIDE;
                let known = their_count.load(Ordering::Acquire);
                for number in labelled..known {
                    lines += &format!("{}\n", label(&format!("{theirs}-{number}"), number));
                    now.labels += 1;
                    now.correct += u64::from(number.is_multiple_of(3));
                }
                labelled = known;
                say(lines);
                my_count.store(next, Ordering::Release);
                let mut told = told.lock().expect("no panic while held");
                told.predictions += now.predictions;
                told.labels += now.labels;
                told.correct += now.correct;
                drop(told);
                thread::sleep(Duration::from_millis(30));
            }
        })
    }

    fn stop(self) -> Told {
        self.over.store(true, Ordering::Release);
        for thread in self.threads {
            thread.join().expect("nobody was turned away");
        }
        *self.told.lock().expect("no panic while held")
    }
}

/// True if it was taken; else it must be told again, which changes nothing if it was taken all the same.
async fn post(client: &Client, url: &str, lines: &str) -> bool {
    match client.post(url).body(lines.to_owned()).send().await {
        Ok(response) if response.status() == StatusCode::ACCEPTED => true,
        Ok(response) => {
            let status = response.status();
            assert!(matches!(status.as_u16(), 429 | 503), "{status}");
            false
        }
        Err(error) => {
            assert!(!error.is_connect(), "the address stays taken: {error}");
            false
        }
    }
}
