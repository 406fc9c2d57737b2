//! The program under test: the real binary, with a folder of its own, its output kept and shown when a story fails.
//!
//! The agent sees only the environment that a story gives it, so that a shell's variables cannot change a result.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::Prefix;
use crate::wait;

/// A folder for one story: the agent's working directory, its data, and the files it reads.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(TempDir::with_prefix("modelbeat-").expect("a temporary folder"))
    }

    /// Keeps the folder when the story ends, for a person to look into.
    pub(crate) fn keep(&mut self) -> &Path {
        self.0.disable_cleanup(true);
        self.0.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, its folders included, and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a path in this folder")).expect("folders");
        fs::write(&path, text).expect("a file in this folder");
        path
    }

    /// Appends to a file, as a model server's logger would; makes it if missing.
    pub(crate) fn append(&self, name: &str, text: &str) {
        self.open_to_append(name)
            .write_all(text.as_bytes())
            .expect("append");
    }

    pub(crate) fn open_to_append(&self, name: &str) -> File {
        let options = OpenOptions::new().create(true).append(true).to_owned();
        options.open(self.path(name)).expect("a file to append to")
    }
}

/// A command line of `modelbeat`, not started yet.
pub(crate) struct Modelbeat(Command);

impl Modelbeat {
    /// `modelbeat --log-format json ARGUMENTS`, in `home`.
    pub(crate) fn new(home: &Home, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_modelbeat"));
        command
            .args(["--log-format", "json"])
            .args(arguments)
            .current_dir(home.path(""))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self(command)
    }

    /// `modelbeat run PIPELINE`, with its data in `home`.
    pub(crate) fn run(home: &Home, pipeline: &Path) -> Self {
        Self::new(home, &["run"])
            .argument("--data-dir")
            .argument(home.path("data"))
            .argument(pipeline)
    }

    /// `modelbeat run --once PIPELINE`, with its data in `home`.
    pub(crate) fn once(home: &Home, pipeline: &Path) -> Self {
        Self::run(home, pipeline).argument("--once")
    }

    pub(crate) fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Ships to where this prefix is: sets the variables that the stories' pipelines ask for.
    pub(crate) fn shipping_to(self, prefix: &Prefix) -> Self {
        self.env("ELASTICSEARCH_URL", &prefix.cluster().url)
            .env("INDEX_PREFIX", &prefix.name)
    }

    /// Starts it, to go on beside the story.
    pub(crate) fn start(mut self) -> Agent {
        let mut child = self.0.spawn().expect("modelbeat starts");
        let output = Output::default();
        let readers = vec![
            output.keep(child.stdout.take().expect("piped")),
            output.keep(child.stderr.take().expect("piped")),
        ];
        Agent {
            child,
            output,
            readers,
        }
    }

    /// Starts it and waits until it ends by itself.
    #[track_caller]
    pub(crate) fn finish(self) -> Ended {
        self.start().wait_for_end()
    }
}

/// A running `modelbeat`. Dropped, it is killed; if the story failed, its output is shown.
pub(crate) struct Agent {
    child: Child,
    output: Output,
    readers: Vec<JoinHandle<()>>,
}

impl Agent {
    /// Waits for a log line with this message and returns it: its fields stand beside the message.
    #[track_caller]
    pub(crate) fn wait_for_log(&mut self, message: &str) -> Value {
        self.wait_for(&format!("the log line `{message}`"), |line| {
            (line["message"] == message).then(|| line.clone())
        })
    }

    /// Waits for a log line at ERROR or WARN that holds `text`.
    #[track_caller]
    pub(crate) fn wait_for_complaint(&mut self, text: &str) {
        self.wait_for(&format!("a complaint with `{text}`"), |line| {
            let level = line["level"].as_str().unwrap_or_default();
            (matches!(level, "ERROR" | "WARN") && line.to_string().contains(text)).then_some(())
        });
    }

    /// Waits for a line of plain words that begins so, and returns what stands behind them.
    #[track_caller]
    pub(crate) fn wait_for_words(&mut self, beginning: &str) -> String {
        let output = self.output.clone();
        wait::until(&format!("the words `{beginning}`"), || {
            let ended = self.exit_status();
            let lines = output.lines();
            let found = lines.iter().find_map(|line| line.strip_prefix(beginning));
            match (found, ended) {
                (Some(found), _) => Ok(found.to_owned()),
                (None, None) => Err("no such line".to_owned()),
                (None, Some(status)) => panic!("modelbeat ended ({status}) before `{beginning}`"),
            }
        })
    }

    /// Waits for a line of output that holds `text`, whatever its form.
    #[track_caller]
    pub(crate) fn wait_for_line(&mut self, text: &str) {
        let output = self.output.clone();
        let what = format!("a line with `{text}`");
        self.wait_until_equal(&what, &true, || output.text().contains(text));
    }

    /// Where the HTTP input listens: pipelines say `listen: 127.0.0.1:0`, the log says which port it became.
    #[track_caller]
    pub(crate) fn http_address(&mut self) -> String {
        let line = self.wait_for_log("http input is listening");
        line["address"].as_str().expect("an address").to_owned()
    }

    /// The first log line with this message, if there is one by now.
    pub(crate) fn logged(&self, message: &str) -> Option<Value> {
        self.output
            .lines()
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line["message"] == message)
    }

    #[track_caller]
    fn wait_for<T>(&mut self, what: &str, find: impl Fn(&Value) -> Option<T>) -> T {
        let output = self.output.clone();
        wait::until(what, || {
            // The exit is looked at first: what was said just before it is then in the output.
            let ended = self.exit_status();
            let found = output.lines().iter().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                find(&line)
            });
            match (found, ended) {
                (Some(found), _) => Ok(found),
                (None, None) => Err("no such line".to_owned()),
                (None, Some(status)) => panic!("modelbeat ended ({status}) before {what}"),
            }
        })
    }

    /// Waits until two values are equal; an agent that has ended will not make them so.
    #[track_caller]
    pub(crate) fn wait_until_equal<T: PartialEq + Debug>(
        &mut self,
        what: &str,
        expected: &T,
        mut see: impl FnMut() -> T,
    ) {
        wait::until(&format!("{what} to be {expected:?}"), || {
            let ended = self.exit_status();
            let seen = see();
            match ended {
                _ if seen == *expected => Ok(()),
                None => Err(format!("{seen:?}")),
                Some(status) => panic!("modelbeat ended ({status}) when {what} was {seen:?}"),
            }
        });
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// `VmRSS` or `VmHWM`, in bytes.
    #[track_caller]
    pub(crate) fn memory(&self, what: &str) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.id())).expect("a running agent");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
        let kilobytes = line
            .and_then(|line| line.trim().strip_suffix(" kB"))
            .expect("its memory");
        kilobytes.parse::<u64>().expect("a number") << 10
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.exit_status().is_none()
    }

    /// SIGKILL, as the kernel does when memory runs out: it can finish nothing.
    pub(crate) fn kill(&mut self) {
        assert!(self.is_running());
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("our child");
    }

    /// SIGKILL, unless it has ended by itself, and what it had said until then.
    #[track_caller]
    pub(crate) fn killed(mut self) -> Ended {
        if self.is_running() {
            self.kill();
        }
        self.wait_for_end()
    }

    /// SIGTERM, as an init system stops it, and its end.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Ended {
        // One that was only just started would die of it.
        let has_ended = wait::until("modelbeat to listen for SIGTERM", || {
            let has_ended = self.child.try_wait().expect("our child").is_some();
            (has_ended || self.catches(Signal::TERM))
                .then_some(has_ended)
                .ok_or_else(|| self.output.text())
        });
        if !has_ended {
            let id = i32::try_from(self.child.id()).expect("a process id");
            kill_process(Pid::from_raw(id).expect("not zero"), Signal::TERM).expect("SIGTERM");
        }
        self.wait_for_end()
    }

    /// Whether a signal would be heard (`proc_pid_status(5)`: `SigCgt`).
    fn catches(&self, signal: Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.unwrap_or_default() >> (signal.as_raw() - 1) & 1 == 1
    }

    #[track_caller]
    fn wait_for_end(mut self) -> Ended {
        let status = wait::until("modelbeat to end", || {
            self.exit_status()
                .ok_or_else(|| format!("still running:\n{}", self.output.text()))
        });
        Ended {
            code: status.code(),
            output: self.output.text(),
        }
    }

    /// `None` while it runs; once it has ended, all of its output has been read.
    fn exit_status(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().expect("our child")?;
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader of output");
        }
        Some(status)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.is_running() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
        if thread::panicking() {
            eprintln!("modelbeat said:\n{}", self.output.text());
        }
    }
}

/// A `modelbeat` that has ended.
pub(crate) struct Ended {
    /// `None`: ended by a signal.
    pub(crate) code: Option<i32>,
    /// All it wrote, standard output and standard error.
    pub(crate) output: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "exit code; modelbeat said:\n{}",
            self.output
        );
        self
    }

    /// That a person who reads the output finds these words.
    #[track_caller]
    pub(crate) fn expect_words(self, words: &[&str]) -> Self {
        for word in words {
            assert!(
                self.output.contains(word),
                "expected `{word}`; modelbeat said:\n{}",
                self.output
            );
        }
        self
    }
}

/// Lines of both streams, in order of arrival.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<String>>>);

impl Output {
    fn keep(&self, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = Arc::clone(&self.0);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                lines.lock().expect("no panic while held").push(line);
            }
        })
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no panic while held").clone()
    }

    fn text(&self) -> String {
        self.lines().join("\n")
    }
}
