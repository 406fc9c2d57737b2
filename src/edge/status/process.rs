//! This process, under the names that Prometheus' client libraries agreed on (`process_…`). What cannot be read is absent.

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::page::{Labels, Page};

/// Adds what the kernel says of this process.
pub(super) fn add(page: &mut Page) {
    let none = Labels::new();
    page.gauge(
        "modelbeat_build_info",
        "Always 1; the label says which version runs",
        &vec![("version", env!("CARGO_PKG_VERSION").to_owned())],
        1.0,
    );
    let Ok(mut system) = System::new() else {
        return;
    };
    let id = Pid::from_u32(std::process::id());
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[id]),
        false,
        ProcessRefreshKind::nothing()
            .without_tasks()
            .with_cpu()
            .with_memory(),
    );
    let Some(process) = system.process(id) else {
        return;
    };
    page.seconds(
        "process_cpu_seconds",
        "User and system CPU time, in seconds",
        &none,
        process.accumulated_cpu_time() as f64 / 1e3,
    );
    page.gauge(
        "process_resident_memory_bytes",
        "Resident memory, in bytes",
        &none,
        process.memory() as f64,
    );
    page.gauge(
        "process_virtual_memory_bytes",
        "Virtual memory, in bytes",
        &none,
        process.virtual_memory() as f64,
    );
    page.gauge(
        "process_start_time_seconds",
        "Start of the process, in seconds since the epoch",
        &none,
        process.start_time() as f64,
    );
    if let Some(files) = process.open_files() {
        page.gauge("process_open_fds", "Open files", &none, files as f64);
    }
    if let Some(files) = process.open_files_limit() {
        page.gauge(
            "process_max_fds",
            "Files that may be open at once",
            &none,
            files as f64,
        );
    }
}
