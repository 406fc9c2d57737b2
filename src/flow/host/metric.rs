//! The metrics: one line each in the enum and in the table, and nowhere else.
//!
//! Names are those of ECS and Metricbeat where they have one. The invariants, checked when this compiles or by a
//! test: the table is in the enum's order, paths are distinct, and none is an object in another.

use serde::{Deserialize, Serialize};

use Kind::{Float, Integer, Text};
use Reach::{Attached, Averaged, Snapshot};

/// What can be read of a host. Its number is its name in checkpoints: append at the end, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the table below says what each is, in the names users know"
)]
pub enum Metric {
    CpuTotal,
    CpuCores,
    Load1,
    Load5,
    Load15,
    MemoryTotal,
    MemoryUsedBytes,
    MemoryUsed,
    FilesystemUsed,
    DiskRead,
    DiskWrite,
    NetworkIngress,
    NetworkEgress,
    ProcessPid,
    ProcessName,
    ProcessCpu,
    ProcessRss,
    ProcessThreads,
    ProcessOpenFiles,
    ProcessOpenFilesLimit,
    CgroupCpuQuota,
    CgroupCpuPeriod,
    CgroupCpuUsageTotal,
    CgroupCpuUsage,
    CgroupCpuUsageNorm,
    CgroupCpuPeriods,
    CgroupCpuThrottledPeriods,
    CgroupCpuThrottledTime,
    CgroupMemoryUsage,
    CgroupMemoryMax,
    HostName,
    GpuCount,
    GpuName,
    GpuUtilization,
    GpuMemoryTotal,
    GpuMemoryUsedBytes,
    GpuMemoryUsed,
    GpuTemperature,
    GpuPower,
    GpuProcessMemory,
}

/// What a metric's readings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A count, or bytes: `long`.
    Integer,
    /// A ratio in 0..=1 (a `pct`, as Metricbeat has it) or a load: `double`.
    Float,
    /// A name: `keyword`.
    Text,
}

/// How far a metric travels; each reach includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// Only into the host's own documents: counters, limits, names.
    Snapshot,
    /// Also into windows, as average and maximum.
    Averaged,
    /// Also into each prediction.
    Attached,
}

struct Description {
    metric: Metric,
    path: &'static str,
    kind: Kind,
    reach: Reach,
}

#[rustfmt::skip]
const TABLE: [Description; 40] = [
    line(Metric::CpuTotal, "system.cpu.total.norm.pct", Float, Attached), // of all cores, since the last snapshot
    line(Metric::CpuCores, "system.cpu.cores", Integer, Snapshot),
    line(Metric::Load1, "system.load.1", Float, Averaged),
    line(Metric::Load5, "system.load.5", Float, Snapshot),
    line(Metric::Load15, "system.load.15", Float, Snapshot),
    line(Metric::MemoryTotal, "system.memory.total", Integer, Snapshot), // bytes
    line(Metric::MemoryUsedBytes, "system.memory.actual.used.bytes", Integer, Attached), // total − available
    line(Metric::MemoryUsed, "system.memory.actual.used.pct", Float, Attached),
    line(Metric::FilesystemUsed, "system.filesystem.used.pct", Float, Averaged), // of the fullest
    line(Metric::DiskRead, "host.disk.read.bytes", Integer, Averaged), // all disks, since the last snapshot
    line(Metric::DiskWrite, "host.disk.write.bytes", Integer, Averaged),
    line(Metric::NetworkIngress, "host.network.ingress.bytes", Integer, Averaged), // without loopback, as above
    line(Metric::NetworkEgress, "host.network.egress.bytes", Integer, Averaged),
    line(Metric::ProcessPid, "process.pid", Integer, Snapshot),
    line(Metric::ProcessName, "process.name", Text, Snapshot),
    line(Metric::ProcessCpu, "system.process.cpu.total.norm.pct", Float, Averaged), // of all the host's cores
    line(Metric::ProcessRss, "system.process.memory.rss.bytes", Integer, Averaged),
    line(Metric::ProcessThreads, "system.process.num_threads", Integer, Averaged),
    line(Metric::ProcessOpenFiles, "system.process.fd.open", Integer, Averaged),
    line(Metric::ProcessOpenFilesLimit, "system.process.fd.limit.soft", Integer, Snapshot), // absent: unlimited
    line(Metric::CgroupCpuQuota, "system.process.cgroup.cpu.cfs.quota.us", Integer, Snapshot), // absent: unlimited
    line(Metric::CgroupCpuPeriod, "system.process.cgroup.cpu.cfs.period.us", Integer, Snapshot),
    line(Metric::CgroupCpuUsageTotal, "system.process.cgroup.cpu.stats.usage.ns", Integer, Snapshot), // counter
    line(Metric::CgroupCpuUsage, "system.process.cgroup.cpu.stats.usage.pct", Float, Averaged), // 1.0 is one core
    line(Metric::CgroupCpuUsageNorm, "system.process.cgroup.cpu.stats.usage.norm.pct", Float, Averaged), // of all cores
    line(Metric::CgroupCpuPeriods, "system.process.cgroup.cpu.stats.periods", Integer, Snapshot), // counter
    line(Metric::CgroupCpuThrottledPeriods, "system.process.cgroup.cpu.stats.throttled.periods", Integer, Snapshot), // counter
    line(Metric::CgroupCpuThrottledTime, "system.process.cgroup.cpu.stats.throttled.us", Integer, Snapshot), // counter
    line(Metric::CgroupMemoryUsage, "system.process.cgroup.memory.mem.usage.bytes", Integer, Averaged),
    line(Metric::CgroupMemoryMax, "system.process.cgroup.memory.mem.max.bytes", Integer, Snapshot), // absent: unlimited
    line(Metric::HostName, "host.name", Text, Snapshot), // set by the engine: every document says it
    line(Metric::GpuCount, "gpu.count", Integer, Snapshot),
    line(Metric::GpuName, "gpu.name", Text, Snapshot), // of the first
    line(Metric::GpuUtilization, "gpu.utilization.pct", Float, Attached), // of the busiest
    line(Metric::GpuMemoryTotal, "gpu.memory.total", Integer, Snapshot), // bytes, of all together
    line(Metric::GpuMemoryUsedBytes, "gpu.memory.used.bytes", Integer, Attached),
    line(Metric::GpuMemoryUsed, "gpu.memory.used.pct", Float, Attached),
    line(Metric::GpuTemperature, "gpu.temperature.celsius", Integer, Attached), // of the hottest
    line(Metric::GpuPower, "gpu.power.watts", Float, Averaged), // of all together
    line(Metric::GpuProcessMemory, "gpu.process.memory.bytes", Integer, Averaged), // of the model server's process
];

// `describe` indexes the table by the metric's number.
const _: () = {
    let mut at = 0;
    while at < TABLE.len() {
        assert!(TABLE[at].metric as usize == at, "not in the enum's order");
        at += 1;
    }
    assert!(
        Metric::GpuProcessMemory as usize + 1 == TABLE.len(),
        "a metric of the enum is not in the table (or this is not its last)"
    );
};

impl Metric {
    /// All of them, in the enum's order: what an index template is made from.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|description| description.metric)
    }

    /// Dotted path in the document.
    pub const fn path(self) -> &'static str {
        self.describe().path
    }

    /// What its readings are.
    pub const fn kind(self) -> Kind {
        self.describe().kind
    }

    /// True if windows carry its average and maximum.
    pub fn is_averaged(self) -> bool {
        self.describe().reach >= Averaged
    }

    /// True if each prediction carries it.
    pub fn is_attached(self) -> bool {
        self.describe().reach >= Attached
    }

    const fn describe(self) -> &'static Description {
        &TABLE[self as usize]
    }
}

const fn line(metric: Metric, path: &'static str, kind: Kind, reach: Reach) -> Description {
    Description {
        metric,
        path,
        kind,
        reach,
    }
}
