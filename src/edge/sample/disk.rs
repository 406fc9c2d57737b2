//! What went to and from the disks, from `/proc/diskstats`.
//!
//! sysinfo counts by mounted file system: a disk mounted twice counts twice, one under LVM or a container's overlay
//! not at all. Here only whole physical disks count, those with a device behind them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::flow::host::{HostSnapshot, Metric};

/// In `/proc/diskstats` a sector is 512 bytes, whatever the disk has.
const SECTOR_BYTES: u64 = 512;

/// Remembers the counters of the snapshot before.
#[derive(Default)]
pub(super) struct DiskReader {
    before: BTreeMap<String, Sectors>,
}

/// Counters since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sectors {
    read: u64,
    written: u64,
}

impl DiskReader {
    /// A disk that was not there before counts from the next snapshot on.
    pub(super) fn read(&mut self, snapshot: &mut HostSnapshot) {
        let Ok(text) = std::fs::read_to_string("/proc/diskstats") else {
            return;
        };
        let now: BTreeMap<String, Sectors> = parse(&text)
            .filter(|(name, _)| is_disk(name))
            .map(|(name, sectors)| (name.to_owned(), sectors))
            .collect();
        if !now.is_empty() {
            let (read, written) = since(&self.before, &now);
            snapshot.set(Metric::DiskRead, read);
            snapshot.set(Metric::DiskWrite, written);
        }
        self.before = now;
    }
}

/// Loop devices, RAM disks, LVM and RAID have no device of their own, partitions are not in this folder.
fn is_disk(name: &str) -> bool {
    let folder = name.replace('/', "!"); // cciss/c0d0
    let device = Path::new("/sys/block").join(folder).join("device");
    device.try_exists().unwrap_or(false)
}

/// `major minor name reads merged sectors ms writes merged sectors …`; other lines are skipped.
fn parse(diskstats: &str) -> impl Iterator<Item = (&str, Sectors)> {
    diskstats.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let name = fields.nth(2)?;
        let read = fields.nth(2)?.parse().ok()?;
        let written = fields.nth(3)?.parse().ok()?;
        Some((name, Sectors { read, written }))
    })
}

/// Bytes read and written. A counter that fell (the disk was replaced under its name) counts as 0.
fn since(before: &BTreeMap<String, Sectors>, now: &BTreeMap<String, Sectors>) -> (u64, u64) {
    let mut bytes = (0_u64, 0_u64);
    for (name, sectors) in now {
        let Some(old) = before.get(name) else {
            continue;
        };
        bytes.0 += sectors.read.saturating_sub(old.read) * SECTOR_BYTES;
        bytes.1 += sectors.written.saturating_sub(old.written) * SECTOR_BYTES;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields as the kernel's Documentation/admin-guide/iostats.rst has them.
    const TEXT: &str = "   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n \
        254       0 vda 63253 8765 7383914 82695 13457 60222 7427040 21701 0 15220 105331\nnonsense\n";

    #[test]
    fn sectors_are_the_third_number_of_reads_and_of_writes() {
        let parsed: Vec<_> = parse(TEXT).collect();
        assert_eq!(
            parsed,
            [
                ("loop0", sectors(0, 0)),
                ("vda", sectors(7_383_914, 7_427_040)),
            ]
        );
    }

    #[test]
    fn a_new_disk_and_a_counter_that_fell_count_nothing() {
        let before = BTreeMap::from([
            ("a".to_owned(), sectors(10, 10)),
            ("b".to_owned(), sectors(500, 500)),
        ]);
        let now = BTreeMap::from([
            ("a".to_owned(), sectors(12, 13)),
            ("b".to_owned(), sectors(7, 7)),
            ("c".to_owned(), sectors(900, 900)),
        ]);
        assert_eq!(since(&before, &now), (2 * 512, 3 * 512));
    }

    fn sectors(read: u64, written: u64) -> Sectors {
        Sectors { read, written }
    }
}
