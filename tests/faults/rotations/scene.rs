//! A model server that writes its log without pause, the agent that tails it, and what must be stored in the end: every
//! line that was written, by its id, once.
//!
//! Documents go to files, which a story can read as often as it likes. That no line was read twice is told by the window: a
//! second prediction with a known id counts as a duplicate there.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::{Agent, Home, Modelbeat};
use crate::wait;

/// Between two lines: a writer that leaves others some of the processor.
const LINE_GAP: Duration = Duration::from_millis(1);

/// Lines that a story writes before and after what it does.
const SOME: usize = 60;

/// The log's usual name.
pub(crate) const LOG: &str = "logs/events.jsonl";

pub(crate) struct Scene {
    pub(crate) home: Home,
    agent: Option<Agent>,
    server: Server,
    /// Ids whose lines were cut away before anybody could read them.
    cut: BTreeSet<String>,
    /// Lines that a story made the agent read again, in its words.
    duplicates: u64,
}

/// The model server's logger: one thread, which writes whole lines to whatever file it was told to open last.
struct Server {
    log: Arc<Mutex<Log>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

pub(crate) struct Log {
    file: File,
    written: usize,
}

impl Scene {
    /// The agent tails `glob`, the server writes to [`LOG`], and some lines are stored already. `links/current` leads there,
    /// too.
    pub(crate) fn new(glob: &str) -> Self {
        let home = Home::new();
        home.write("pipeline.yml", &pipeline(glob));
        home.write(LOG, "");
        home.write("links/none", "");
        std::os::unix::fs::symlink("../logs/events.jsonl", home.path("links/current"))
            .expect("a link");
        let server = Server::start(open(&home.path(LOG)));
        let mut scene = Self {
            home,
            agent: None,
            server,
            cut: BTreeSet::new(),
            duplicates: 0,
        };
        scene.start_agent();
        scene.write_some();
        scene.wait_until_stored();
        scene
    }

    pub(crate) fn start_agent(&mut self) {
        let pipeline = self.home.path("pipeline.yml");
        self.agent = Some(Modelbeat::run(&self.home, &pipeline).start());
    }

    /// SIGTERM, what the story says, and another start: for what destroys what a kill would have to replay.
    pub(crate) fn while_stopped(&mut self, act: impl FnOnce(&mut Self)) {
        self.agent.take().expect("it runs").stop().expect_code(0);
        act(self);
        self.start_agent();
    }

    /// SIGKILL, what the story says, and another start. Before that a checkpoint knows the log: of a file that came and left
    /// the globs between two checkpoints, an agent that is killed can know nothing.
    pub(crate) fn while_killed(&mut self, act: impl FnOnce(&mut Self)) {
        let metadata = fs::metadata(self.home.path(LOG)).expect("a log");
        let evidence = format!("\"inode\":{},", metadata.ino());
        let checkpoint = self.home.path("data/rotations/checkpoint");
        wait::until("a checkpoint that knows the log", || {
            let bytes = fs::read(&checkpoint).unwrap_or_default();
            let found = memchr::memmem::find(&bytes, evidence.as_bytes());
            found.map(|_| ()).ok_or_else(|| evidence.clone())
        });
        self.agent.take().expect("it runs").kill();
        act(self);
        self.start_agent();
    }

    /// The server goes on in the file of this name, as after `postrotate`. Returns how many lines it had written by then.
    pub(crate) fn reopen(&self, name: &str) -> usize {
        let mut log = self.pause();
        log.file = open(&self.home.path(name));
        log.written
    }

    /// Waits until a line behind these is stored. It stands in the file that was opened last, so the agent knows that: of a file
    /// that came and left the globs before it looked it can know nothing.
    pub(crate) fn wait_until_known(&mut self, before: usize) {
        let out = self.home.path("out");
        let agent = self.agent.as_mut().expect("it runs");
        let is_behind = |number: &str| number.parse().is_ok_and(|number: usize| number >= before);
        agent.wait_until_equal("a line of the new file to be stored", &true, || {
            let stored = stored(&out);
            let mut numbers = stored.iter().filter_map(|id| id.strip_prefix("line-"));
            numbers.any(is_behind)
        });
    }

    /// Nothing is written as long as this is held.
    pub(crate) fn pause(&self) -> MutexGuard<'_, Log> {
        self.server.log.lock().expect("no panic while held")
    }

    /// The log, to be locked while the scene goes on.
    pub(crate) fn server_log(&self) -> Arc<Mutex<Log>> {
        Arc::clone(&self.server.log)
    }

    /// Waits until some more lines have been written.
    pub(crate) fn write_some(&self) {
        let enough = self.pause().written + SOME;
        wait::until("the server to write", || {
            let written = self.pause().written;
            (written >= enough)
                .then_some(())
                .ok_or(format!("{written} lines"))
        });
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.home.path(from), self.home.path(to)).expect("rename");
    }

    /// As `gzip` and `zstd --rm` do: the compressed file first, then the original goes.
    pub(crate) fn compress(&self, name: &str, to: &str) {
        let bytes = fs::read(self.home.path(name)).expect("a log");
        let packed = if Path::new(to)
            .extension()
            .is_some_and(|extension| extension == "gz")
        {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&bytes).expect("memory");
            encoder.finish().expect("memory")
        } else {
            let level = ruzstd::encoding::CompressionLevel::Fastest;
            ruzstd::encoding::compress_to_vec(bytes.as_slice(), level)
        };
        // In parts, so that the agent may meet it half done.
        let mut file = File::create(self.home.path(to)).expect("a file");
        for part in packed.chunks(packed.len() / 3 + 1) {
            file.write_all(part).expect("write");
            self.write_some();
        }
        fs::remove_file(self.home.path(name)).expect("delete");
    }

    /// These lines, which the server has written, are in no file any more and cannot have been read.
    pub(crate) fn expect_cut(&mut self, lines: std::ops::Range<usize>) {
        self.cut.extend(lines.map(id));
    }

    /// So many lines are in a file a second time, or read from it again.
    pub(crate) fn expect_duplicates(&mut self, lines: u64) {
        self.duplicates += lines;
    }

    /// Waits until all that is written by now, and was not cut, is stored.
    pub(crate) fn wait_until_stored(&mut self) {
        let written = self.pause().written;
        self.wait_for(written);
    }

    /// Waits until so many lines, but those that were cut, are stored.
    pub(crate) fn wait_for(&mut self, written: usize) {
        let expected: BTreeSet<_> = (0..written)
            .map(id)
            .filter(|id| !self.cut.contains(id))
            .collect();
        let out = self.home.path("out");
        let missing = || {
            let stored = stored(&out);
            expected.difference(&stored).cloned().collect::<Vec<_>>()
        };
        let agent = self.agent.as_mut().expect("it runs");
        agent.wait_until_equal("lines not stored", &Vec::<String>::new(), missing);
    }

    /// The server stops, all is read, the agent stops; a last run closes the window. Every line is stored, no other, and
    /// none was read twice.
    pub(crate) fn finish(mut self) {
        self.server.stop();
        let written = self.pause().written;
        self.wait_for(written);
        self.agent.take().expect("it runs").stop().expect_code(0);
        let pipeline = self.home.path("pipeline.yml");
        Modelbeat::once(&self.home, &pipeline)
            .finish()
            .expect_code(0);
        let out = self.home.path("out");
        let expected: BTreeSet<_> = (0..written)
            .map(id)
            .filter(|id| !self.cut.contains(id))
            .collect();
        assert_eq!(stored(&out), expected);
        let counts = window_counts(&out);
        let duplicates = counts["duplicates"].as_u64().unwrap_or(0);
        assert_eq!(
            (counts["predictions"].as_u64(), duplicates),
            (Some(expected.len() as u64), self.duplicates),
            "predictions and duplicates in {counts}"
        );
        let dead_letters = self.home.path("data/rotations/dead-letters.ndjson");
        assert!(
            !dead_letters.try_exists().expect("a folder"),
            "{:?}",
            fs::read_to_string(dead_letters)
        );
    }
}

impl Log {
    /// Lines written so far.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    /// It is another file from here on.
    pub(crate) fn reopen(&mut self, path: &Path) {
        self.file = open(path);
    }

    fn write_line(&mut self) {
        let line = line(self.written);
        self.file.write_all(line.as_bytes()).expect("append");
        self.written += 1;
    }

    /// A story has written the next line by its own means.
    pub(crate) fn count_line(&mut self) -> String {
        self.written += 1;
        line(self.written - 1)
    }
}

impl Server {
    fn start(file: File) -> Self {
        let log = Arc::new(Mutex::new(Log { file, written: 0 }));
        let stopped = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (log, stopped) = (Arc::clone(&log), Arc::clone(&stopped));
            move || {
                while !stopped.load(Ordering::Relaxed) {
                    log.lock().expect("no panic while held").write_line();
                    thread::sleep(LINE_GAP);
                }
            }
        });
        Self {
            log,
            stopped,
            thread: Some(thread),
        }
    }

    fn stop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server's thread");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

fn pipeline(glob: &str) -> String {
    format!(
        r#"
pipeline: rotations
inputs:
  - {{type: file, paths: ["{glob}"], format: json, poll: 100ms}}
mapping:
  prediction: {{id: id, time: ts, model: {{const: m}}, predicted: predicted}}
task: {{kind: binary, positive: "1"}}
windows: [1d]
join: {{hold: 0s}}
host: off
operations: {{ship: false}}
output: {{file: {{path: out}}}}
"#
    )
}

fn open(path: &Path) -> File {
    let options = OpenOptions::new().create(true).append(true).to_owned();
    options.open(path).expect("a log")
}

fn id(number: usize) -> String {
    format!("line-{number}")
}

pub(crate) fn line(number: usize) -> String {
    // Lengths differ, so that a wrong offset cannot happen to be right.
    let padding = "x".repeat(number * 37 % 300);
    let record = json!({ "id": id(number), "ts": "2026-01-02T03:04:05Z", "predicted": 1, "padding": padding });
    format!("{record}\n")
}

/// Ids of all predictions that the output holds.
pub(crate) fn stored(out: &Path) -> BTreeSet<String> {
    let ids = documents(out, "predictions").into_iter();
    ids.filter_map(|document| Some(document["prediction"]["id"].as_str()?.to_owned()))
        .collect()
}

/// Counts of the one window, as it was published last.
#[track_caller]
pub(crate) fn window_counts(out: &Path) -> Value {
    let windows = documents(out, "quality").into_iter();
    let windows = windows.filter(|document| document["event"]["dataset"] == "modelbeat.quality");
    let last = windows.max_by_key(|document| document["window"]["revision"].as_u64());
    last.expect("a window")["counts"].clone()
}

/// Documents of one kind of index; a last line that is being written is none.
fn documents(out: &Path, kind: &str) -> Vec<Value> {
    let files = fs::read_dir(out).into_iter().flatten().flatten();
    let files = files.filter(|file| file.file_name().to_string_lossy().contains(kind));
    let texts = files.map(|file| fs::read_to_string(file.path()).expect("UTF-8"));
    let values = texts.flat_map(|text| {
        let parsed = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).ok());
        parsed.collect::<Vec<_>>()
    });
    values
        .flatten()
        .filter(|value| value.get("@timestamp").is_some())
        .collect()
}
