//! An Elasticsearch node of the storm's own, to be stopped and started again: on ports that stay its own, with its data
//! kept from one life to the next, and gone with the story however that ends.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{ports, wait};

/// Small, so that it fits beside the nodes of `tests/run`.
const HEAP: &str = "256m";

/// Somebody may be quicker to take the ports found free.
const ATTEMPTS: usize = 5;

#[derive(Clone, Copy, Debug)]
pub(super) enum Stop {
    /// SIGTERM: it closes its indices.
    Orderly,
    /// SIGKILL: what it acknowledged is in its translog.
    Killed,
}

pub(super) struct Node {
    data: PathBuf,
    /// The folder around its data, where `tests/run` did not give one.
    _room: Option<TempDir>,
    ports: [u16; 2],
}

impl Node {
    pub(super) fn start() -> Self {
        // A room that `tests/run` clears away if this process cannot; or one that the next `tests/run` finds abandoned.
        let owner = std::process::id();
        let (room, own) = if let Some(room) = std::env::var_os("MODELBEAT_TEST_ROOM") {
            (PathBuf::from(room), None)
        } else {
            let room = TempDir::with_prefix(format!("modelbeat-tests.{owner}."));
            let room = room.expect("a temporary folder");
            // Root runs the node as another user.
            let reachable = Permissions::from_mode(0o755);
            fs::set_permissions(room.path(), reachable).expect("our folder");
            (room.path().to_owned(), Some(room))
        };
        let mut node = Self {
            data: room.join(format!("storm-{owner}")),
            _room: own,
            ports: [0; 2],
        };
        for attempt in 1.. {
            node.ports = [ports::free(), ports::free()];
            match node.try_bring_up() {
                Ok(()) => break,
                Err(problem) => assert!(attempt < ATTEMPTS, "{problem}"),
            }
        }
        node
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    /// Starts it again and waits until it answers.
    pub(super) fn bring_up(&self) {
        wait::until("the node to start again", || self.try_bring_up());
    }

    fn try_bring_up(&self) -> Result<(), String> {
        let [port, transport] = self.ports.map(|port| port.to_string());
        // Given up earlier, it would go on starting all the same.
        let patience = wait::DEADLINE.as_secs().to_string();
        let rest = [
            "--transport-port",
            &transport,
            "--heap",
            HEAP,
            "--timeout",
            &patience,
        ];
        es_node(
            "start",
            &self.data,
            &[&["--port", &port], &rest[..]].concat(),
        )
    }

    pub(super) fn stop(&self, how: Stop) {
        match how {
            Stop::Orderly => es_node("stop", &self.data, &[]).expect("the node stops"),
            Stop::Killed => {
                let text = fs::read_to_string(self.data.join("pid")).expect("the node's pid");
                let pid: i32 = text.trim().parse().expect("a number");
                kill_process(Pid::from_raw(pid).expect("not zero"), Signal::KILL).expect("SIGKILL");
                wait::until("the node to be gone", || {
                    // A process that nobody has waited for yet has no command line any more.
                    match fs::read(format!("/proc/{pid}/cmdline")) {
                        Ok(line) if !line.is_empty() => Err(format!("{pid} is there")),
                        _ => Ok(()),
                    }
                });
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(problem) = es_node("destroy", &self.data, &[]) {
            eprintln!(
                "the storm's node in {} is left: {problem}",
                self.data.display()
            );
        }
    }
}

/// One command of `tests/es-node`; what it said, if it failed.
fn es_node(command: &str, data: &Path, arguments: &[&str]) -> Result<(), String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/es-node");
    let output = Command::new(script)
        .arg(command)
        .arg("--data")
        .arg(data)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("es-node cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("es-node {command}: {said}"))
    }
}
