//! The whole host, by sysinfo: CPU, load, memory, file systems, network; disks by `disk`.

use std::path::Path;

use rustix::fs::StatVfsMountFlags;
use sysinfo::{DiskRefreshKind, Disks, MemoryRefreshKind, Networks, System};

use crate::edge::sample::disk::DiskReader;
use crate::edge::sample::sampler::share;
use crate::flow::host::{HostSnapshot, Metric};

/// Each part is `None` where this system does not offer it.
pub(super) struct HostReader {
    system: Option<System>,
    networks: Option<Networks>,
    file_systems: Option<Disks>,
    disks: DiskReader,
}

impl HostReader {
    pub(super) fn new() -> Self {
        Self {
            system: supported("cpu and memory", System::new()),
            networks: supported("network", Networks::new()),
            file_systems: supported("file systems", Disks::new()),
            disks: DiskReader::default(),
        }
    }

    /// Returns the number of cores.
    pub(super) fn read(&mut self, snapshot: &mut HostSnapshot) -> usize {
        let cores = self.read_system(snapshot);
        self.read_networks(snapshot);
        self.read_file_systems(snapshot);
        self.disks.read(snapshot);
        cores
    }

    fn read_system(&mut self, snapshot: &mut HostSnapshot) -> usize {
        if let Ok(load) = System::load_average() {
            snapshot.set(Metric::Load1, load.one);
            snapshot.set(Metric::Load5, load.five);
            snapshot.set(Metric::Load15, load.fifteen);
        }
        let Some(system) = &mut self.system else {
            return 0;
        };
        system.refresh_cpu_usage();
        let cores = system.cpus().len();
        if cores > 0 {
            let percent = f64::from(system.global_cpu_usage());
            snapshot.set_some(Metric::CpuTotal, share(percent, 100.0));
            snapshot.set(Metric::CpuCores, cores as u64);
        }
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let total = system.total_memory();
        if total > 0 {
            let used = total.saturating_sub(system.available_memory());
            snapshot.set(Metric::MemoryTotal, total);
            snapshot.set(Metric::MemoryUsedBytes, used);
            snapshot.set_some(Metric::MemoryUsed, share(used as f64, total as f64));
        }
        cores
    }

    /// Where there are network cards, what went over them: bridges and tunnels would count it again. In a
    /// container there is none, and then all but loopback count.
    fn read_networks(&mut self, snapshot: &mut HostSnapshot) {
        let Some(networks) = &mut self.networks else {
            return;
        };
        networks.refresh(true);
        let mut cards = None;
        let mut all = None;
        for (name, data) in &*networks {
            let bytes = (data.received(), data.transmitted());
            if is_card(Path::new(name)) {
                cards = Some(add(cards, bytes));
            } else if name != "lo" {
                all = Some(add(all, bytes));
            }
        }
        if let Some((received, sent)) = cards.or(all) {
            snapshot.set(Metric::NetworkIngress, received);
            snapshot.set(Metric::NetworkEgress, sent);
        }
    }

    /// The fullest of those that can fill up. Network file systems are not asked (sysinfo leaves them out): a server
    /// that does not answer would hold us up.
    fn read_file_systems(&mut self, snapshot: &mut HostSnapshot) {
        let Some(file_systems) = &mut self.file_systems else {
            return;
        };
        file_systems.refresh_specifics(true, DiskRefreshKind::nothing());
        let fullest = file_systems
            .iter()
            .filter(|file_system| !file_system.is_removable())
            .filter_map(|file_system| used(file_system.mount_point()))
            .max_by(f64::total_cmp);
        snapshot.set_some(Metric::FilesystemUsed, fullest);
    }
}

/// As `df` has it and Metricbeat: of what users may fill, which is less than all by what is kept for root (sysinfo
/// does not tell the two apart). `None` of one that nobody can write to.
fn used(mount_point: &Path) -> Option<f64> {
    let blocks = rustix::fs::statvfs(mount_point).ok()?;
    if blocks.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return None;
    }
    let used = blocks.f_blocks.saturating_sub(blocks.f_bfree);
    share(used as f64, (used + blocks.f_bavail) as f64)
}

fn supported<T>(what: &'static str, made: Result<T, sysinfo::Error>) -> Option<T> {
    made.inspect_err(
        |error| tracing::warn!(what, %error, "this system does not say what it is doing"),
    )
    .ok()
}

fn is_card(name: &Path) -> bool {
    let device = Path::new("/sys/class/net").join(name).join("device");
    device.try_exists().unwrap_or(false)
}

fn add(sum: Option<(u64, u64)>, (received, sent): (u64, u64)) -> (u64, u64) {
    let (all_received, all_sent) = sum.unwrap_or_default();
    (all_received + received, all_sent + sent)
}
