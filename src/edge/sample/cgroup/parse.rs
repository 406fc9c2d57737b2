//! The kernel's texts about control groups (Documentation/admin-guide/cgroup-v2.rst). Pure.

use std::path::{Component, Path, PathBuf};

use super::Group;

/// CPU time a group may use in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    pub(super) quota_us: u64,
    pub(super) period_us: u64,
}

/// `cpu.stat`; counters since the group was made. Without the CPU controller only the usage is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CpuStat {
    pub(super) usage_us: Option<u64>,
    pub(super) periods: Option<u64>,
    pub(super) throttled_periods: Option<u64>,
    pub(super) throttled_us: Option<u64>,
}

/// Where the group is: its path from `/proc/{pid}/cgroup` (line `0::/path`), seen through the mounts of
/// `/proc/self/mountinfo`. `None` without a hierarchy of version 2, or where the group lies outside what is mounted
/// (another container's: the path then begins with `/..`).
pub(super) fn locate(membership: &str, mountinfo: &str) -> Option<Group> {
    let path = membership
        .lines()
        .find_map(|line| line.strip_prefix("0::"))?;
    mountinfo.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        if !file_system.starts_with("cgroup2 ") {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, mount) = (fields.next()?, fields.next()?);
        let below = Path::new(path).strip_prefix(root).ok()?;
        let is_below = below
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        let mount = PathBuf::from(mount);
        is_below.then(|| Group {
            // Not `join`, which ends an empty path in a slash.
            folder: mount.components().chain(below.components()).collect(),
            mount,
        })
    })
}

/// `cpu.max`: `quota period`, or `max period` where there is no limit.
pub(super) fn cpu_max(text: &str) -> Option<Quota> {
    let (quota, period) = text.trim_end().split_once(' ')?;
    let quota = Quota {
        quota_us: quota.parse().ok()?,
        period_us: period.parse().ok()?,
    };
    (quota.period_us > 0).then_some(quota)
}

/// The one that allows fewer cores.
pub(super) fn tighter(left: Option<Quota>, right: Option<Quota>) -> Option<Quota> {
    left.into_iter().chain(right).min_by(|left, right| {
        let cores = |quota: &Quota| quota.quota_us as f64 / quota.period_us as f64;
        cores(left).total_cmp(&cores(right))
    })
}

/// `cpu.stat`: a name and a number a line.
pub(super) fn cpu_stat(text: &str) -> CpuStat {
    let mut stat = CpuStat::default();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(' ') else {
            continue;
        };
        let value = number(value);
        match name {
            "usage_usec" => stat.usage_us = value,
            "nr_periods" => stat.periods = value,
            "nr_throttled" => stat.throttled_periods = value,
            "throttled_usec" => stat.throttled_us = value,
            _ => {}
        }
    }
    stat
}

/// `memory.current`, or `memory.max` where it is not `max`.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNT: &str = "25 30 0:23 / /sys rw,nosuid - sysfs sysfs rw\n\
        30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn a_group_is_below_the_mount() {
        let path = "/system.slice/model.service";
        check(&format!("0::{path}\n"), MOUNT, Some(path));
        check("0::/\n", MOUNT, Some(""));
    }

    #[test]
    fn a_container_without_a_name_space_sees_its_part_of_the_tree() {
        let mount = MOUNT.replace("0:26 / ", "0:26 /docker/c1 ");
        check("0::/docker/c1\n", &mount, Some(""));
        check("0::/docker/c1/inner\n", &mount, Some("/inner"));
        check("0::/docker/c2\n", &mount, None);
    }

    #[test]
    fn the_group_of_another_container_is_out_of_sight() {
        check("0::/../c2\n", MOUNT, None);
    }

    #[test]
    fn version_1_has_no_group() {
        let membership = "8:memory:/model\n1:cpu:/model\n";
        let mount = "40 31 0:37 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        check(membership, mount, None);
        check("8:memory:/model\n0::/\n", mount, None);
    }

    #[test]
    fn a_quota_is_microseconds_a_period_and_max_is_none() {
        let quota = |quota_us, period_us| {
            Some(Quota {
                quota_us,
                period_us,
            })
        };
        assert_eq!(cpu_max("150000 100000\n"), quota(150_000, 100_000));
        assert_eq!(cpu_max("max 100000\n"), None);
        assert_eq!(cpu_max("1 0\n"), None);
        assert_eq!(cpu_max(""), None);
        // 1.5 cores against 1 core.
        let (one, other) = (quota(150_000, 100_000), quota(200_000, 200_000));
        assert_eq!(tighter(one, other), other);
        assert_eq!(tighter(one, None), one);
        assert_eq!(tighter(None, None), None);
    }

    #[test]
    fn cpu_figures_are_there_as_far_as_the_controller_is() {
        let text = "usage_usec 5012\nuser_usec 4000\nsystem_usec 1012\n";
        let usage = CpuStat {
            usage_us: Some(5_012),
            ..CpuStat::default()
        };
        assert_eq!(cpu_stat(text), usage);
        let all = CpuStat {
            periods: Some(7),
            throttled_periods: Some(3),
            throttled_us: Some(99),
            ..usage
        };
        let text = format!("{text}nr_periods 7\nnr_throttled 3\nthrottled_usec 99\n");
        assert_eq!(cpu_stat(&text), all);
    }

    #[test]
    fn a_limit_of_max_is_none() {
        assert_eq!(number("536870912\n"), Some(536_870_912));
        assert_eq!(number("max\n"), None);
    }

    #[track_caller]
    fn check(membership: &str, mountinfo: &str, below_mount: Option<&str>) {
        let folder = locate(membership, mountinfo).map(|group| group.folder);
        let expect = below_mount.map(|below| PathBuf::from(format!("/sys/fs/cgroup{below}")));
        assert_eq!(folder, expect);
    }
}
