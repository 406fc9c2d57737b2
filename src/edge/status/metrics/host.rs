//! What sampling has done, and the newest sample: a gauge for each of its figures that Grafana's dashboard shows, and no more.
//! What could not be read has no sample.

use crate::edge::status::board::Wiring;
use crate::edge::status::page::{Labels, Page};
use crate::flow::host::{Metric, Reading};

/// Figures that are gauges, and what these are called.
const SHOWN: [(Metric, &str, &str); 15] = [
    (
        Metric::CpuTotal,
        "modelbeat_host_cpu_utilization_ratio",
        "Share of the time in which the host's cores worked, since the sample before",
    ),
    (
        Metric::Load1,
        "modelbeat_host_load1",
        "Load of the host, averaged over a minute",
    ),
    (
        Metric::MemoryUsedBytes,
        "modelbeat_host_memory_used_bytes",
        "Memory of the host that is in use and cannot be had",
    ),
    (
        Metric::MemoryTotal,
        "modelbeat_host_memory_total_bytes",
        "Memory of the host",
    ),
    (
        Metric::FilesystemUsed,
        "modelbeat_host_filesystem_used_ratio",
        "Share of the host's fullest file system that is in use",
    ),
    (
        Metric::ProcessCpu,
        "modelbeat_host_process_cpu_utilization_ratio",
        "Share of all the host's cores that the model server's process used, since the sample before",
    ),
    (
        Metric::ProcessRss,
        "modelbeat_host_process_resident_memory_bytes",
        "Resident memory of the model server's process",
    ),
    (
        Metric::CgroupMemoryUsage,
        "modelbeat_host_cgroup_memory_used_bytes",
        "Memory that the cgroup uses, of the model server's process where one is given, or else of modelbeat",
    ),
    (Metric::GpuCount, "modelbeat_host_gpus", "GPUs of the host"),
    (
        Metric::GpuUtilization,
        "modelbeat_host_gpu_utilization_ratio",
        "Share of the last moments in which the busiest GPU computed",
    ),
    (
        Metric::GpuMemoryUsedBytes,
        "modelbeat_host_gpu_memory_used_bytes",
        "Memory of all GPUs that is in use",
    ),
    (
        Metric::GpuMemoryTotal,
        "modelbeat_host_gpu_memory_total_bytes",
        "Memory of all GPUs",
    ),
    (
        Metric::GpuTemperature,
        "modelbeat_host_gpu_temperature_celsius",
        "Temperature of the hottest GPU",
    ),
    (
        Metric::GpuPower,
        "modelbeat_host_gpu_power_watts",
        "Power that all GPUs draw",
    ),
    (
        Metric::GpuProcessMemory,
        "modelbeat_host_process_gpu_memory_bytes",
        "Memory of GPUs that the model server's process uses",
    ),
];

pub(super) fn add(page: &mut Page, pipeline: &Labels, wiring: &Wiring) {
    let Some(counters) = &wiring.host else {
        return;
    };
    for (name, help, count) in [
        (
            "modelbeat_host_samples",
            "Host samples taken",
            counters.samples_total(),
        ),
        (
            "modelbeat_host_samples_without_process",
            "Host samples in which the model server's process was not found",
            counters.without_process_total(),
        ),
        (
            "modelbeat_host_samples_slow",
            "Host samples that took longer than 10 seconds",
            counters.slow_total(),
        ),
        (
            "modelbeat_host_gpu_readings_failed",
            "Readings of GPUs of which a part failed",
            counters.gpus_failed_total(),
        ),
        (
            "modelbeat_host_samples_without_gpus",
            "Host samples without GPUs because their driver had not answered yet",
            counters.gpus_late_total(),
        ),
    ] {
        page.counter(name, help, pipeline, count);
    }
    let Some(sample) = counters.newest() else {
        return;
    };
    page.gauge(
        "modelbeat_host_sample_timestamp_seconds",
        "When the host's figures were read, in seconds since the epoch",
        pipeline,
        sample.time.0 as f64 / 1e3,
    );
    for (metric, name, help) in SHOWN {
        if let Some(value) = sample.get(metric).and_then(Reading::number) {
            page.gauge(name, help, pipeline, value);
        }
    }
}
