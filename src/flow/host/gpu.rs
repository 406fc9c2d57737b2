//! What several GPUs say, in the few figures of a snapshot: of the busiest and the hottest, and the memory and power of all
//! together. What none of them says is absent.

use crate::flow::host::{HostSnapshot, Metric};

/// One GPU, in the units that its driver has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpu {
    /// What it is called.
    pub name: Option<String>,
    /// Share of the last moments in which it computed, in percent.
    pub utilization_percent: Option<u32>,
    /// Memory in use, and all there is, in bytes.
    pub memory: Option<(u64, u64)>,
    /// Its temperature, in °C.
    pub temperature_celsius: Option<u32>,
    /// What it draws, in milliwatts.
    pub power_milliwatts: Option<u32>,
    /// Its memory that the model server's process uses, in bytes.
    pub process_bytes: Option<u64>,
}

impl HostSnapshot {
    /// Sets what GPUs read; nothing where there is none.
    pub fn set_gpus(&mut self, gpus: &[Gpu]) {
        let Some(first) = gpus.first() else {
            return;
        };
        self.set(Metric::GpuCount, gpus.len() as u64);
        self.set_some(Metric::GpuName, first.name.as_deref());
        let busiest = gpus.iter().filter_map(|gpu| gpu.utilization_percent).max();
        let share = busiest.map(|percent| f64::from(percent.min(100)) / 100.0);
        self.set_some(Metric::GpuUtilization, share);
        let memories = gpus.iter().filter_map(|gpu| gpu.memory);
        let memory = memories.reduce(|(used, total), (more, of)| (used + more, total + of));
        if let Some((used, total)) = memory.filter(|(_, total)| *total > 0) {
            self.set(Metric::GpuMemoryTotal, total);
            self.set(Metric::GpuMemoryUsedBytes, used);
            let share = used as f64 / total as f64;
            // Four digits, as of all shares.
            let share = (share * 1e4).round() / 1e4;
            self.set(Metric::GpuMemoryUsed, share.min(1.0));
        }
        let hottest = gpus.iter().filter_map(|gpu| gpu.temperature_celsius).max();
        self.set_some(Metric::GpuTemperature, hottest.map(u64::from));
        let powers = gpus.iter().filter_map(|gpu| gpu.power_milliwatts);
        let power = powers.map(u64::from).reduce(|one, other| one + other);
        self.set_some(Metric::GpuPower, power.map(|power| power as f64 / 1e3));
        let of_process = gpus.iter().filter_map(|gpu| gpu.process_bytes);
        self.set_some(
            Metric::GpuProcessMemory,
            of_process.reduce(|one, other| one + other),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::event::Timestamp;

    #[track_caller]
    fn check(gpus: &[Gpu], expected: &str) {
        let mut snapshot = HostSnapshot::new(Timestamp(1));
        snapshot.set_gpus(gpus);
        let mut members = Vec::new();
        snapshot.write_members(&mut members);
        assert_eq!(String::from_utf8(members).unwrap(), expected);
    }

    fn busy() -> Gpu {
        Gpu {
            name: Some("NVIDIA H200".to_owned()),
            utilization_percent: Some(87),
            memory: Some((1_000, 3_000)),
            temperature_celsius: Some(61),
            power_milliwatts: Some(350_500),
            process_bytes: Some(900),
        }
    }

    #[test]
    fn one_gpu_is_as_it_says() {
        check(
            &[busy()],
            r#""gpu":{"count":1,"memory":{"total":3000,"used":{"bytes":1000,"pct":0.3333}},"name":"NVIDIA H200","power":{"watts":350.5},"process":{"memory":{"bytes":900}},"temperature":{"celsius":61},"utilization":{"pct":0.87}}"#,
        );
    }

    #[test]
    fn of_several_it_is_the_busiest_the_hottest_and_the_sum() {
        let idle = Gpu {
            name: Some("another".to_owned()),
            utilization_percent: Some(3),
            memory: Some((500, 1_000)),
            temperature_celsius: Some(70),
            power_milliwatts: Some(9_500),
            process_bytes: Some(100),
        };
        check(
            &[busy(), idle],
            r#""gpu":{"count":2,"memory":{"total":4000,"used":{"bytes":1500,"pct":0.375}},"name":"NVIDIA H200","power":{"watts":360.0},"process":{"memory":{"bytes":1000}},"temperature":{"celsius":70},"utilization":{"pct":0.87}}"#,
        );
    }

    #[test]
    fn what_none_says_is_absent_and_what_one_says_is_of_that_one() {
        check(&[], "");
        check(&[Gpu::default()], r#""gpu":{"count":1}"#);
        let cool = Gpu {
            temperature_celsius: Some(0),
            ..Gpu::default()
        };
        check(
            &[Gpu::default(), cool],
            r#""gpu":{"count":2,"temperature":{"celsius":0}}"#,
        );
    }
}
