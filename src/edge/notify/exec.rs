//! A program: started with its arguments, never by a shell, the notice as JSON on its standard input. Exit code 0: told;
//! anything else, or no end in time, is tried again. At least once: `MODELBEAT_NOTICE_KEY` is the same each time.
//!
//! It runs in a process group of its own, all of which is killed when the time is over, or when the agent gives up waiting.
//! It sees `PATH`, `HOME`, `LANG` and the key, none of the agent's own secrets.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::Instant;

use super::Failure;
use crate::flow::alert::Notice;
use crate::flow::notify::{item_id, json};

/// How often to look whether it has ended: the standard library has no other way to wait for so long at most.
const POLL: Duration = Duration::from_millis(20);

/// What is kept of what it prints, for a person.
const OUTPUT_BYTES_MAX: u64 = 4 << 10;

/// … and shown.
const OUTPUT_SHOWN: usize = 200;

/// `type: exec`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecSettings {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// It must have ended by then.
    pub timeout: Duration,
}

#[derive(Debug)]
pub(super) struct Exec {
    settings: ExecSettings,
}

/// Killed when dropped, unless it has ended.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(None)) {
            return;
        }
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // The group may have ended this moment.
            kill_process_group(pid, Signal::KILL).ok();
        }
        self.0.wait().ok();
    }
}

impl Exec {
    pub(super) fn new(settings: &ExecSettings) -> Self {
        Self {
            settings: settings.clone(),
        }
    }

    pub(super) async fn tell(&self, notice: &Notice, name: &str) -> Result<String, Failure> {
        let Some((program, arguments)) = self.settings.command.split_first() else {
            return Err(Failure::again("there is no command"));
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(["PATH", "HOME", "LANG"].iter().filter_map(|name| {
                let value = std::env::var_os(name)?;
                Some((*name, value))
            }))
            .env("MODELBEAT_NOTICE_KEY", item_id(notice, name))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let cannot =
            |error: std::io::Error| Failure::again(format!("cannot start {program}: {error}"));
        let mut child = command.spawn().map_err(cannot)?;
        let (input, printed, complained) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut running = Running(child);
        let body = json(notice).to_string();
        // Pipes block: each has a thread of the pool, which ends when the program does, or is killed.
        let written = tokio::task::spawn_blocking(move || {
            // A program that does not read what it is told may be content all the same.
            input.map(|mut input| {
                input
                    .write_all(body.as_bytes())
                    .and_then(|()| input.write_all(b"\n"))
            })
        });
        let printed = tokio::task::spawn_blocking(move || kept(printed));
        let complained = tokio::task::spawn_blocking(move || kept(complained));
        let end = Instant::now() + self.settings.timeout;
        let status = loop {
            match running.0.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() >= end => {
                    drop(running);
                    let seconds = self.settings.timeout.as_secs();
                    return Err(Failure::again(format!(
                        "{program} had not ended after {seconds} s, and was killed"
                    )));
                }
                Ok(None) => tokio::time::sleep(POLL).await,
                Err(error) => return Err(cannot(error)),
            }
        };
        written.await.ok();
        let heard = async {
            (
                printed.await.unwrap_or_default(),
                complained.await.unwrap_or_default(),
            )
        };
        // A child of its own may hold the pipes open for ever.
        let heard = tokio::time::timeout(POLL * 10, heard).await;
        let (printed, complained) = heard.unwrap_or_default();
        if status.success() {
            return Ok(format!("{} {printed}", ending(status))
                .trim_end()
                .to_owned());
        }
        Err(Failure::again(
            format!("{program} ended with {} {complained}", ending(status))
                .trim_end()
                .to_owned(),
        ))
    }
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}

/// The first line or so of what comes out of a pipe; the rest is read, so that its writer does not wait, and forgotten.
fn kept(pipe: Option<impl Read>) -> String {
    let Some(mut pipe) = pipe else {
        return String::new();
    };
    let mut bytes = Vec::new();
    pipe.by_ref()
        .take(OUTPUT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .ok();
    std::io::copy(&mut pipe, &mut std::io::sink()).ok();
    let text = String::from_utf8_lossy(&bytes);
    let shown = text.trim().chars().take(OUTPUT_SHOWN);
    shown
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::outbox::sample;
    use super::*;

    async fn run(command: &[&str], timeout: Duration) -> Result<String, Failure> {
        let exec = Exec::new(&ExecSettings {
            command: command.iter().map(|part| (*part).to_owned()).collect(),
            timeout,
        });
        exec.tell(&sample("abc", 1), "page").await
    }

    #[tokio::test]
    async fn it_reads_the_notice_and_knows_its_key() {
        let script = "cat >/dev/null; env | grep CARGO";
        let said = run(&["sh", "-c", script], Duration::from_mins(1)).await;
        assert_eq!(
            said,
            Err(Failure::again("sh ended with exit code 1")),
            "nothing of ours is in its environment"
        );
        let script =
            "read -r line; echo \"$MODELBEAT_NOTICE_KEY $1 ${line#*\\\"id\\\":}\" | cut -c1-23";
        let said = run(&["sh", "-c", script, "sh", "$(x)"], Duration::from_mins(1)).await;
        assert_eq!(said, Ok("exit code 0 abc.1.page $(x) \"abc.1\"".to_owned()));
    }

    #[tokio::test]
    async fn what_does_not_end_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; cat; wait", file.display());
        let said = run(&["sh", "-c", &script], Duration::from_secs(1)).await;
        assert_eq!(
            said,
            Err(Failure::again("sh had not ended after 1 s, and was killed"))
        );
        let child: u32 = std::fs::read_to_string(&file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        // Nobody may have waited for it yet: then it is a zombie.
        while state().contains(") S ") {
            tokio::time::sleep(POLL).await;
        }
    }

    #[tokio::test]
    async fn a_program_that_fails_or_is_not_there_is_tried_again() {
        let said = run(
            &["sh", "-c", "echo no money >&2; exit 3"],
            Duration::from_mins(1),
        )
        .await;
        assert_eq!(
            said,
            Err(Failure::again("sh ended with exit code 3 no money"))
        );
        let said = run(&["/no/such/program"], Duration::from_mins(1))
            .await
            .unwrap_err();
        assert!(
            said.why().starts_with("cannot start /no/such/program: "),
            "{}",
            said.why()
        );
    }
}
