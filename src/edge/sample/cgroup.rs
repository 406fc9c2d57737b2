//! The control group (version 2) of a process: what it uses, what it may use, how often it was held back.
//!
//! Limits are the tightest from the group up to the root of what we can see: a pod's limit holds for its containers.
//! The invariant: nothing is normalised by these limits; the host's figures and the group's stand side by side. On a
//! host with version 1 only, and in the root group (whose figures are the host's), everything is absent.

mod parse;

use std::path::PathBuf;
use std::time::Instant;

use crate::edge::sample::sampler::{four_digits, share};
use crate::flow::host::{HostSnapshot, Metric};
use parse::Quota;

/// Remembers where the group is, and its CPU time at the snapshot before.
#[derive(Default)]
pub(super) struct CgroupReader {
    /// The process and what its `/proc/{pid}/cgroup` said, and where that is.
    known: Option<(u32, String, Option<Group>)>,
    cpu_before: Option<(PathBuf, u64, Instant)>,
}

/// A group's folder, and the folder of the outermost one we can see above it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    folder: PathBuf,
    mount: PathBuf,
}

impl CgroupReader {
    pub(super) fn read(
        &mut self,
        snapshot: &mut HostSnapshot,
        pid: u32,
        cores: usize,
        clock: Instant,
    ) {
        let Some(group) = self.locate(pid) else {
            return;
        };
        let file = |name: &str| std::fs::read_to_string(group.folder.join(name)).ok();
        if let Some(stat) = file("cpu.stat").map(|text| parse::cpu_stat(&text)) {
            let nanoseconds = stat.usage_us.map(|us| us.saturating_mul(1_000));
            snapshot.set_some(Metric::CgroupCpuUsageTotal, nanoseconds);
            snapshot.set_some(Metric::CgroupCpuPeriods, stat.periods);
            snapshot.set_some(Metric::CgroupCpuThrottledPeriods, stat.throttled_periods);
            snapshot.set_some(Metric::CgroupCpuThrottledTime, stat.throttled_us);
            if let Some(usage_us) = stat.usage_us {
                self.set_cpu(snapshot, &group, usage_us, cores, clock);
            }
        }
        let memory = file("memory.current").and_then(|text| parse::number(&text));
        snapshot.set_some(Metric::CgroupMemoryUsage, memory);
        let limits = limits(&group);
        snapshot.set_some(Metric::CgroupMemoryMax, limits.memory_bytes);
        if let Some(quota) = limits.cpu {
            snapshot.set(Metric::CgroupCpuQuota, quota.quota_us);
            snapshot.set(Metric::CgroupCpuPeriod, quota.period_us);
        }
    }

    fn set_cpu(
        &mut self,
        snapshot: &mut HostSnapshot,
        group: &Group,
        usage_us: u64,
        cores: usize,
        clock: Instant,
    ) {
        let before = self
            .cpu_before
            .replace((group.folder.clone(), usage_us, clock));
        if let Some((folder, before_us, then)) = before
            && folder == group.folder
        {
            let used = usage_us.saturating_sub(before_us) as f64;
            let elapsed_us = clock.duration_since(then).as_secs_f64() * 1e6;
            snapshot.set(Metric::CgroupCpuUsage, four_digits(used / elapsed_us));
            let of_host = share(used, elapsed_us * cores as f64);
            snapshot.set_some(Metric::CgroupCpuUsageNorm, of_host);
        }
    }

    /// The mount table is long on a busy host: read only when the process or its group changed.
    fn locate(&mut self, pid: u32) -> Option<Group> {
        let membership = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        if let Some((known_pid, known, group)) = &self.known
            && *known_pid == pid
            && *known == membership
        {
            return group.clone();
        }
        let group = std::fs::read_to_string("/proc/self/mountinfo")
            .ok()
            .and_then(|mounts| parse::locate(&membership, &mounts))
            .filter(is_no_root);
        if let Some(group) = &group {
            tracing::debug!(pid, folder = %group.folder.display(), "cgroup found");
        } else {
            tracing::debug!(
                pid,
                "no cgroup of version 2 below the root: its figures are absent"
            );
        }
        self.known = Some((pid, membership, group.clone()));
        group
    }
}

/// Only the true root of the hierarchy lacks this file; a container's root has it.
fn is_no_root(group: &Group) -> bool {
    group
        .folder
        .join("cgroup.type")
        .try_exists()
        .unwrap_or(false)
}

/// What holds for the group, from itself and all above it. `None`: unlimited.
#[derive(Debug, Default, PartialEq, Eq)]
struct Limits {
    cpu: Option<Quota>,
    memory_bytes: Option<u64>,
}

fn limits(group: &Group) -> Limits {
    let mut limits = Limits::default();
    for folder in group
        .folder
        .ancestors()
        .take_while(|folder| folder.starts_with(&group.mount))
    {
        let file = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        let cpu = file("cpu.max").and_then(|text| parse::cpu_max(&text));
        limits.cpu = parse::tighter(limits.cpu, cpu);
        let memory = file("memory.max").and_then(|text| parse::number(&text));
        limits.memory_bytes = limits.memory_bytes.into_iter().chain(memory).min();
    }
    limits
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_tightest_limit_up_to_the_mount_holds() {
        let root = tempfile::tempdir().unwrap();
        let mount = root.path().join("cgroup");
        let folder = mount.join("pod/container");
        std::fs::create_dir_all(&folder).unwrap();
        let write = |folder: &Path, name, text| std::fs::write(folder.join(name), text).unwrap();
        write(root.path(), "memory.max", "1\n"); // above the mount: not a group
        write(&mount.join("pod"), "memory.max", "1000\n");
        write(&mount.join("pod"), "cpu.max", "150000 100000\n");
        write(&folder, "memory.max", "max\n");
        write(&folder, "cpu.max", "200000 100000\n");
        let expect = Limits {
            cpu: Some(Quota {
                quota_us: 150_000,
                period_us: 100_000,
            }),
            memory_bytes: Some(1_000),
        };
        assert_eq!(limits(&Group { folder, mount }), expect);
    }

    #[test]
    fn usage_is_between_two_sights_of_the_same_group() {
        let start = Instant::now();
        let group = |folder: &str| Group {
            folder: PathBuf::from(folder),
            mount: PathBuf::from("/"),
        };
        let mut reader = CgroupReader::default();
        let mut usage = |folder, usage_us, seconds| {
            let mut snapshot = HostSnapshot::default();
            let clock = start + Duration::from_secs(seconds);
            reader.set_cpu(&mut snapshot, &group(folder), usage_us, 4, clock);
            let number = |metric| snapshot.get(metric)?.number();
            (
                number(Metric::CgroupCpuUsage),
                number(Metric::CgroupCpuUsageNorm),
            )
        };
        assert_eq!(usage("/a", 1_000_000, 0), (None, None));
        // 3 s of CPU in 2 s: one and a half cores of four.
        assert_eq!(usage("/a", 4_000_000, 2), (Some(1.5), Some(0.375)));
        assert_eq!(usage("/b", 9_000_000, 4), (None, None));
    }
}
