//! One sampler: the host, its GPUs, the model server's process and the cgroup, read into one snapshot.
//!
//! Figures over time (CPU, disk, network) are since the snapshot before; the first is taken and thrown away when the
//! sampler is made, so that every snapshot has one before it. Lives on the thread that `sample` starts.

use std::time::Instant;

use crate::edge::now::now;
use crate::edge::sample::ProcessSelector;
use crate::edge::sample::cgroup::CgroupReader;
use crate::edge::sample::gpu::GpuReader;
use crate::edge::sample::host::HostReader;
use crate::edge::sample::process::ProcessReader;
use crate::flow::host::HostSnapshot;

pub(super) struct Sampler {
    host: HostReader,
    process: Option<ProcessReader>,
    cgroup: CgroupReader,
    gpus: Option<GpuReader>,
}

impl Sampler {
    /// Takes the baseline.
    pub(super) fn new(selector: Option<ProcessSelector>, gpus: Option<GpuReader>) -> Self {
        let mut sampler = Self {
            host: HostReader::new(),
            process: selector.map(ProcessReader::new),
            cgroup: CgroupReader::default(),
            gpus,
        };
        sampler.take();
        sampler
    }

    pub(super) fn take(&mut self) -> HostSnapshot {
        let mut snapshot = HostSnapshot::new(now());
        let clock = Instant::now();
        let cores = self.host.read(&mut snapshot);
        // The cgroup is that of the process the figures beside it are about; of the agent where none was asked for.
        let member = match &mut self.process {
            Some(process) => process.read(&mut snapshot, cores, clock),
            None => Some(std::process::id()),
        };
        if let Some(pid) = member {
            self.cgroup.read(&mut snapshot, pid, cores, clock);
        }
        if let Some(gpus) = &self.gpus {
            let server = member.filter(|_| self.process.is_some());
            gpus.read(&mut snapshot, server, clock);
        }
        snapshot
    }
}

/// A share as it is published: in 0..=1, to four digits, like Metricbeat. `None` of nothing.
pub(super) fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| four_digits(part / whole).clamp(0.0, 1.0))
}

/// Digits beyond the fourth are noise of the measurement that costs bytes in every document.
pub(super) fn four_digits(number: f64) -> f64 {
    (number * 10_000.0).round() / 10_000.0
}
