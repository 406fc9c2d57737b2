//! Which process is meant: by pid file, by name; and the little that sysinfo does not tell of it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::UNIX_EPOCH;

use sysinfo::{Process, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System};

/// A pid file holds one number; more than this is no pid file.
const PID_FILE_BYTES_MAX: u64 = 64;

/// A process writes its pid file after it has started. One that started later than the file was written, by more than
/// this, is another that got its number. Start times are good to about a second; the rest is for clocks set meanwhile.
const START_AFTER_FILE_SECONDS_MAX: u64 = 60;

/// Linux keeps this much of a process's name.
const NAME_BYTES_MAX: usize = 15;

/// The process that is probably meant.
pub(super) struct Candidate {
    pub(super) pid: u32,
    /// When its number was written down, in seconds since the epoch.
    written_seconds: Option<u64>,
}

impl Candidate {
    pub(super) const fn plain(pid: u32) -> Self {
        Self {
            pid,
            written_seconds: None,
        }
    }

    /// Refuses a process that cannot be the one meant.
    pub(super) fn check(&self, start_seconds: u64) -> Result<(), String> {
        match self.written_seconds {
            Some(written) if start_seconds > written + START_AFTER_FILE_SECONDS_MAX => {
                Err(format!(
                    "process {} started after its pid file was written: the file is stale and the number another's",
                    self.pid
                ))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn by_file(path: &Path) -> Result<Candidate, String> {
    let (text, written_seconds) =
        read_pid_file(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let pid = parse_pid(&text)
        .ok_or_else(|| format!("{} holds no process number: {text:?}", path.display()))?;
    Ok(Candidate {
        pid,
        written_seconds,
    })
}

/// `known` is the process found last time: if it lives and has the name, it is still the one.
pub(super) fn by_name(name: &str, known: Option<u32>) -> Result<Candidate, String> {
    let mut system = System::new().map_err(|error| format!("cannot read processes: {error}"))?;
    let kind = ProcessRefreshKind::nothing().without_tasks();
    let matches = |process: &&Process| {
        process.status() != ProcessStatus::Zombie
            && is_named(process.name().as_encoded_bytes(), name)
    };
    if let Some(pid) = known.map(sysinfo::Pid::from_u32) {
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, kind);
        if let Some(process) = system.process(pid).filter(matches) {
            return Ok(Candidate::plain(process.pid().as_u32()));
        }
    }
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    #[expect(
        clippy::disallowed_methods,
        reason = "the order does not show: the oldest is the oldest"
    )]
    let oldest = system
        .processes()
        .values()
        .filter(matches)
        .min_by_key(|process| (process.start_time(), process.pid()));
    oldest.map_or_else(
        || Err(format!("there is no process named {name:?}")),
        |process| Ok(Candidate::plain(process.pid().as_u32())),
    )
}

/// The number of its threads.
pub(super) fn threads(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    parse_threads(&status)
}

fn read_pid_file(path: &Path) -> io::Result<(String, Option<u64>)> {
    // Asked before opening: opening a named pipe waits for a writer.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(PID_FILE_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    let written = metadata.modified().ok();
    let since_epoch = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok((
        String::from_utf8_lossy(&bytes).into_owned(),
        since_epoch.map(|duration| duration.as_secs()),
    ))
}

/// The first line is the number; some write more lines behind it (postmaster.pid does).
fn parse_pid(text: &str) -> Option<u32> {
    let pid = text.lines().next()?.trim().parse().ok()?;
    (pid > 0).then_some(pid)
}

fn parse_threads(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"))?;
    line.trim().parse().ok()
}

fn is_named(found: &[u8], wanted: &str) -> bool {
    let wanted = wanted.as_bytes();
    found == wanted || (found.len() == NAME_BYTES_MAX && wanted.starts_with(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_a_number_with_white_space_about_it() {
        for (text, pid) in [
            ("123", Some(123)),
            (" 123 \r\n", Some(123)),
            ("4711\n/var/lib/server\n1600000000\n", Some(4711)),
            ("", None),
            ("\n", None),
            ("0\n", None),
            ("-1\n", None),
            ("12a\n", None),
            ("99999999999999\n", None),
        ] {
            assert_eq!(parse_pid(text), pid, "{text:?}");
        }
    }

    #[test]
    fn a_process_younger_than_its_pid_file_is_another() {
        let candidate = Candidate {
            pid: 7,
            written_seconds: Some(1_000),
        };
        assert_eq!(candidate.check(900), Ok(()));
        assert_eq!(candidate.check(1_060), Ok(()));
        assert!(candidate.check(1_061).unwrap_err().contains("stale"));
        assert_eq!(Candidate::plain(7).check(u64::MAX), Ok(()));
    }

    #[test]
    fn only_as_much_of_a_name_counts_as_linux_keeps() {
        assert!(is_named(b"tritonserver", "tritonserver"));
        assert!(is_named(b"text-generation", "text-generation-launcher"));
        assert!(!is_named(b"triton", "tritonserver"));
        assert!(!is_named(b"tritonserver", "triton"));
        assert!(!is_named(b"text-generation", "text-generatio"));
    }

    #[test]
    fn threads_are_a_line_of_the_status() {
        let status =
            "Name:\tpython3\nUmask:\t0022\nState:\tS (sleeping)\nThreads:\t17\nSigQ:\t0/1\n";
        assert_eq!(parse_threads(status), Some(17));
        assert_eq!(parse_threads("Name:\tpython3\n"), None);
    }

    #[test]
    fn what_is_no_pid_file_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let reason = |path: &Path| by_file(path).map(|found| found.pid).unwrap_err();
        assert!(reason(folder.path()).ends_with("not a regular file"));
        assert!(reason(&folder.path().join("none")).contains("No such file"));
        let path = folder.path().join("words");
        std::fs::write(&path, "no number").unwrap();
        assert!(reason(&path).ends_with("holds no process number: \"no number\""));
    }
}
