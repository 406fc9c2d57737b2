//! The model server's process: found anew at each snapshot, so that a restart is noticed and a number that the
//! system gave to somebody else is not mistaken for it.
//!
//! The invariant: readings are of one live process, or absent; CPU is measured between two sights of the same
//! process. Each change (found, restarted, lost, lost for another reason) is one line in the log.

mod find;

use std::time::Instant;

use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System};

use crate::edge::sample::ProcessSelector;
use crate::edge::sample::sampler::share;
use crate::flow::host::{HostSnapshot, Metric};

pub(super) struct ProcessReader {
    selector: ProcessSelector,
    state: State,
    /// CPU time of the process in milliseconds, and when we looked.
    cpu_before: Option<(Identity, u64, Instant)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Not looked yet.
    Unknown,
    Found(Identity),
    /// Why: lower case, no full stop.
    Lost(String),
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Found(u32),
    Restarted { old: u32, new: u32 },
    Lost(String),
}

/// A process, told from a later one of the same number by the second of its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    pid: u32,
    start_seconds: u64,
}

impl ProcessReader {
    pub(super) const fn new(selector: ProcessSelector) -> Self {
        Self {
            selector,
            state: State::Unknown,
            cpu_before: None,
        }
    }

    /// Returns the number of the process, if it is there.
    pub(super) fn read(
        &mut self,
        snapshot: &mut HostSnapshot,
        cores: usize,
        clock: Instant,
    ) -> Option<u32> {
        let looked = self.find().and_then(|candidate| {
            let system = look_at(candidate.pid)?;
            let process = system
                .process(Pid::from_u32(candidate.pid))
                .filter(|process| process.status() != ProcessStatus::Zombie)
                .ok_or_else(|| format!("there is no process {}", candidate.pid))?;
            candidate.check(process.start_time())?;
            let identity = Identity {
                pid: candidate.pid,
                start_seconds: process.start_time(),
            };
            self.set_readings(snapshot, process, identity, cores, clock);
            Ok(identity)
        });
        let pid = looked.as_ref().ok().map(|identity| identity.pid);
        if let Some(change) = self.enter(looked.map_or_else(State::Lost, State::Found)) {
            change.log();
        }
        pid
    }

    fn find(&self) -> Result<find::Candidate, String> {
        match &self.selector {
            ProcessSelector::Pid(pid) => Ok(find::Candidate::plain(*pid)),
            ProcessSelector::PidFile(path) => find::by_file(path),
            ProcessSelector::Name(name) => {
                // The oldest of a name stays the oldest while it lives: no need to look at all processes again.
                let known = match self.state {
                    State::Found(identity) => Some(identity.pid),
                    State::Unknown | State::Lost(_) => None,
                };
                find::by_name(name, known)
            }
        }
    }

    fn set_readings(
        &mut self,
        snapshot: &mut HostSnapshot,
        process: &Process,
        identity: Identity,
        cores: usize,
        clock: Instant,
    ) {
        snapshot.set(Metric::ProcessPid, u64::from(identity.pid));
        snapshot.set(Metric::ProcessName, &*process.name().to_string_lossy());
        snapshot.set(Metric::ProcessRss, process.memory());
        snapshot.set_some(Metric::ProcessThreads, find::threads(identity.pid));
        let files = process.open_files().map(|count| count as u64);
        snapshot.set_some(Metric::ProcessOpenFiles, files);
        let limit = process.open_files_limit().map(|count| count as u64);
        snapshot.set_some(Metric::ProcessOpenFilesLimit, limit);

        let cpu_ms = process.accumulated_cpu_time();
        let before = self.cpu_before.replace((identity, cpu_ms, clock));
        if let Some((same, before_ms, then)) = before
            && same == identity
        {
            let available_ms = clock.duration_since(then).as_secs_f64() * 1e3 * cores as f64;
            let used = share(cpu_ms.saturating_sub(before_ms) as f64, available_ms);
            snapshot.set_some(Metric::ProcessCpu, used);
        }
    }

    /// What there is to say of it; nothing where nothing changed.
    fn enter(&mut self, next: State) -> Option<Change> {
        if next == self.state {
            return None;
        }
        let old = std::mem::replace(&mut self.state, next.clone());
        match (old, next) {
            (State::Found(old), State::Found(new)) => Some(Change::Restarted {
                old: old.pid,
                new: new.pid,
            }),
            (_, State::Found(new)) => Some(Change::Found(new.pid)),
            (_, State::Lost(reason)) => Some(Change::Lost(reason)),
            (_, State::Unknown) => None,
        }
    }
}

impl Change {
    fn log(&self) {
        match self {
            Self::Found(pid) => tracing::info!(pid, "model server process found"),
            Self::Restarted { old, new } => {
                tracing::info!(old, pid = new, "model server process restarted");
            }
            Self::Lost(reason) => tracing::warn!(
                %reason,
                "model server process not found: its figures are absent until it is"
            ),
        }
    }
}

/// Reads one process and nothing else.
fn look_at(pid: u32) -> Result<System, String> {
    let mut system = System::new().map_err(|error| format!("cannot read processes: {error}"))?;
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[Pid::from_u32(pid)]),
        true,
        ProcessRefreshKind::nothing()
            .without_tasks()
            .with_cpu()
            .with_memory(),
    );
    Ok(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_said_once() {
        let found = |pid, start_seconds| State::Found(Identity { pid, start_seconds });
        let lost = |reason: &str| State::Lost(reason.to_owned());
        let said = |reason: &str| Some(Change::Lost(reason.to_owned()));
        let mut reader = ProcessReader::new(ProcessSelector::Pid(7));
        for (next, change) in [
            (lost("no file"), said("no file")),
            (lost("no file"), None),
            (lost("no process 7"), said("no process 7")),
            (found(7, 100), Some(Change::Found(7))),
            (found(7, 100), None),
            (found(8, 200), Some(Change::Restarted { old: 7, new: 8 })),
            // The number came round again.
            (found(8, 300), Some(Change::Restarted { old: 8, new: 8 })),
            (lost("no process 8"), said("no process 8")),
        ] {
            assert_eq!(reader.enter(next), change);
        }
    }
}
