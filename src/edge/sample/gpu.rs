//! GPUs, by NVIDIA's management library: it comes with the driver and is loaded while the agent runs. Where there is none, that
//! is said once, and nothing else happens.
//!
//! A call into the driver can block, for ever on a card that has fallen off its bus. So GPUs are read on a thread of their
//! own, once in each of the sampler's periods, and a snapshot takes along the newest reading: it never waits. One that is
//! older than two periods is of another time, and is left out and counted. A driver that is updated or loaded later is found
//! at the agent's next start.

use std::ffi::OsStr;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use tracing::{info, warn};

use crate::edge::sample::Counters;
use crate::flow::host::{Gpu, HostSnapshot};

/// As a driver installs it, and as its development files do.
const LIBRARIES: [&str; 2] = ["libnvidia-ml.so.1", "libnvidia-ml.so"];

/// A machine has 16 at most; beyond, they are not asked.
const GPUS_MAX: u32 = 64;

/// The sampler's side: the newest reading. Dropped, it lets the thread end.
pub(super) struct GpuReader {
    shared: Arc<Shared>,
    every: Duration,
    counters: Arc<Counters>,
    _stop: SyncSender<()>,
}

#[derive(Default)]
struct Shared {
    newest: Mutex<Option<(Instant, Vec<Gpu>)>>,
    /// Number of the model server's process; 0: not known.
    process: AtomicU32,
}

impl GpuReader {
    /// Starts the thread.
    pub(super) fn start(every: Duration, counters: Arc<Counters>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = sync_channel(0);
        let (ours, counted) = (Arc::clone(&shared), Arc::clone(&counters));
        std::thread::Builder::new()
            .name("gpu".to_owned())
            .spawn(move || {
                if let Some(nvml) = open() {
                    // What is not read in time from here on is late.
                    ours.put(Vec::new());
                    watch(&nvml, every, &ours, &counted, &stopped);
                }
            })?;
        Ok(Self {
            shared,
            every,
            counters,
            _stop: stop,
        })
    }

    /// Takes the newest reading along; `process` is the model server's.
    pub(super) fn read(&self, snapshot: &mut HostSnapshot, process: Option<u32>, now: Instant) {
        let process = process.unwrap_or(0);
        self.shared.process.store(process, Ordering::Relaxed);
        let newest = self.shared.newest.lock();
        let Some((at, gpus)) = &*newest.unwrap_or_else(PoisonError::into_inner) else {
            return;
        };
        if now.saturating_duration_since(*at) <= self.every * 2 {
            snapshot.set_gpus(gpus);
        } else {
            self.counters.gpus_late();
        }
    }
}

impl Shared {
    fn put(&self, gpus: Vec<Gpu>) {
        let newest = Some((Instant::now(), gpus));
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = newest;
    }
}

/// `None`: there is nothing to read.
fn open() -> Option<Nvml> {
    let mut reason = None;
    for library in LIBRARIES {
        match Nvml::builder().lib_path(OsStr::new(library)).init() {
            Ok(nvml) => {
                let gpus = nvml.device_count().unwrap_or(0);
                info!(gpus, library, "gpus are read");
                return Some(nvml);
            }
            Err(NvmlError::LibloadingError(error)) => {
                reason.get_or_insert(error.to_string());
            }
            Err(error) => {
                warn!(%error, library, "the nvidia driver does not answer: documents carry no gpu figures");
                return None;
            }
        }
    }
    let reason = reason.unwrap_or_default();
    info!(
        reason,
        "no nvidia driver is found: documents carry no gpu figures (`host: {{gpu: off}}` does not look for one)"
    );
    None
}

/// Reads until nobody wants it any more.
fn watch(
    nvml: &Nvml,
    every: Duration,
    shared: &Shared,
    counters: &Counters,
    stopped: &Receiver<()>,
) {
    let mut fails = false;
    loop {
        let process = shared.process.load(Ordering::Relaxed);
        let mut reading = Reading::default();
        let gpus = reading.all(nvml, process);
        shared.put(gpus);
        match (reading.failure, fails) {
            (Some(error), had_failed) => {
                counters.gpus_failed();
                if !had_failed {
                    warn!(%error, "a gpu cannot be read, documents carry what the others say");
                }
                fails = true;
            }
            (None, true) => {
                info!("all gpus can be read again");
                fails = false;
            }
            (None, false) => {}
        }
        match stopped.recv_timeout(every) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// One reading of all GPUs, and the first of its failures.
#[derive(Default)]
struct Reading {
    failure: Option<NvmlError>,
}

impl Reading {
    fn all(&mut self, nvml: &Nvml, process: u32) -> Vec<Gpu> {
        let count = self.of(nvml.device_count()).unwrap_or(0).min(GPUS_MAX);
        (0..count)
            .filter_map(|index| {
                let device = self.of(nvml.device_by_index(index))?;
                Some(self.one(&device, process))
            })
            .collect()
    }

    fn one(&mut self, device: &Device<'_>, process: u32) -> Gpu {
        let utilization = self.of(device.utilization_rates());
        let memory = self.of(device.memory_info());
        Gpu {
            name: self.of(device.name()),
            utilization_percent: utilization.map(|rates| rates.gpu),
            memory: memory.map(|memory| (memory.used, memory.total)),
            temperature_celsius: self.of(device.temperature(TemperatureSensor::Gpu)),
            power_milliwatts: self.of(device.power_usage()),
            process_bytes: (process != 0)
                .then(|| self.of_process(device, process))
                .flatten(),
        }
    }

    /// Memory of a GPU that a process uses; `None` where its driver does not say, or it uses none of it.
    fn of_process(&mut self, device: &Device<'_>, process: u32) -> Option<u64> {
        let processes = self.of(device.running_compute_processes())?;
        let found = processes.iter().find(|each| each.pid == process)?;
        match found.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        }
    }

    /// A figure that a GPU does not have is no failure.
    fn of<T>(&mut self, answer: Result<T, NvmlError>) -> Option<T> {
        match answer {
            Ok(figure) => Some(figure),
            Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_)) => None,
            Err(error) => {
                self.failure.get_or_insert(error);
                None
            }
        }
    }
}
