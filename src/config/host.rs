//! `host:`: what the machine was doing.

use std::time::Duration;

use crate::config::item::Item;
use crate::config::section::Section;
use crate::edge::sample::{Gpu, ProcessSelector, Settings};

/// Without `host:` the machine and its GPUs are sampled, but no process.
pub(super) const DEFAULT: Settings = Settings {
    every: Duration::from_secs(10),
    lapse: None,
    process: None,
    gpu: Gpu::Auto,
};

/// `None`: `off`.
pub(super) fn read(item: Item<'_>) -> Option<Settings> {
    if let Some(word) = item.word() {
        if word != "off" {
            item.fault(
                format!("{} is neither `off` nor a map", item.shown()),
                "write `host: off`, or `host: {every: 10s}`",
            );
        }
        return None;
    }
    let mut section = item.section()?;
    let every = section
        .get("every")
        .and_then(|item| item.duration(Duration::from_secs(1)..=Duration::from_hours(1)));
    let process = section
        .get("process")
        .and_then(Item::section)
        .and_then(process);
    let gpu = section
        .get("gpu")
        .and_then(|item| item.one_of(&[("auto", Gpu::Auto), ("off", Gpu::Off)]));
    section.finish();
    Some(Settings {
        every: every.unwrap_or(DEFAULT.every),
        lapse: None,
        process,
        gpu: gpu.unwrap_or(DEFAULT.gpu),
    })
}

fn process(mut section: Section<'_>) -> Option<ProcessSelector> {
    let pid = section
        .get("pid")
        .and_then(|item| item.integer(1..=u64::from(u32::MAX)));
    let pid = pid
        .and_then(|pid| u32::try_from(pid).ok())
        .map(ProcessSelector::Pid);
    let pid_file = section
        .get("pid_file")
        .and_then(Item::text)
        .map(|path| ProcessSelector::PidFile(path.into()));
    let name = section
        .get("name")
        .and_then(Item::text)
        .map(ProcessSelector::Name);
    let mut ways: Vec<ProcessSelector> = [pid, pid_file, name].into_iter().flatten().collect();
    if ways.len() != 1 {
        section.fault(
            "a process is found by one of `pid`, `pid_file` and `name`",
            "give exactly one of them",
        );
    }
    section.finish();
    ways.pop()
}
