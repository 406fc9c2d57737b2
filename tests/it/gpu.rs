//! GPUs, with a driver's library that a C compiler makes on the spot (there is one where Rust links): what it says is in
//! the documents and in the metrics, and while it does not answer, all else goes on. No real GPU was ever seen by this test.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::{Agent, Home, Modelbeat};
use crate::faults::written::whole_lines;
use crate::status::scrape;

const PIPELINE: &str = "
pipeline: gpus
inputs: [{type: file, paths: [logs/*.jsonl], format: json}]
mapping:
  prediction: {id: id, time: ts, model: {const: m}, predicted: predicted}
task: {kind: regression}
windows: [1d]
publish_every: 1s
join: {hold: 0s}
host: {every: 1s, process: {pid: PID}}
output: {file: {path: out}}
";

#[test]
fn what_gpus_say_is_in_the_documents_and_the_metrics() {
    let home = Home::new();
    let driver = Driver::compiled();
    let (mut agent, address) = start(&home, &driver, None);
    // By hand, from nvml.c: the busiest, the sums, the hottest; the second has no power to tell.
    let expected = [
        ("gpus", 2.0),
        ("gpu_utilization_ratio", 0.75),
        ("gpu_memory_used_bytes", 3_000.0),
        ("gpu_memory_total_bytes", 8_000.0),
        ("gpu_temperature_celsius", 66.0),
        ("gpu_power_watts", 300.25),
        ("process_gpu_memory_bytes", 1_500.0),
    ]
    .map(|(name, value)| (format!("modelbeat_host_{name}"), Some(value)));
    let gauges = || {
        let seen = scrape(&address);
        expected.clone().map(|(name, _)| {
            let value = seen.value(&name, &[]);
            (name, value)
        })
    };
    agent.wait_until_equal("the gauges", &expected, gauges);
    let failed = scrape(&address).sum("modelbeat_host_gpu_readings_failed_total", &[]);
    assert_eq!(failed, 0);

    // A prediction of this moment carries what the GPUs said, and so does its window: unless the machine paused just then, and what
    // was read of the GPUs was too old to take along.
    let mut told = 0;
    agent.wait_until_equal("a prediction with gpus", &true, || {
        let written = documents(&home, "modelbeat.prediction");
        let is_there = written.iter().any(has_gpus);
        if !is_there && written.len() == told {
            told += 1;
            let now = jiff::Timestamp::now().to_string();
            let line = json!({ "id": told, "ts": now, "predicted": 1 });
            home.append("logs/events.jsonl", &format!("{line}\n"));
        }
        is_there
    });
    agent.stop().expect_code(0);
    let with_gpus = |dataset| documents(&home, dataset).into_iter().rfind(has_gpus);
    let host = with_gpus("modelbeat.host").unwrap();
    assert_eq!(
        host["gpu"],
        json!({
            "count": 2, "name": "Fake H200", "utilization": { "pct": 0.75 }, "temperature": { "celsius": 66 },
            "memory": { "total": 8_000, "used": { "bytes": 3_000, "pct": 0.375 } }, "power": { "watts": 300.25 },
            "process": { "memory": { "bytes": 1_500 } },
        })
    );
    let prediction = with_gpus("modelbeat.prediction").unwrap();
    assert_eq!(
        prediction["gpu"],
        json!({
            "utilization": { "pct": 0.75 }, "temperature": { "celsius": 66 },
            "memory": { "used": { "bytes": 3_000, "pct": 0.375 } },
        })
    );
    let window = with_gpus("modelbeat.quality").unwrap();
    assert_eq!(
        window["gpu"]["power"]["watts"],
        json!({ "avg": 300.25, "max": 300.25 })
    );
}

#[test]
fn a_driver_that_does_not_answer_holds_nothing_up() {
    let home = Home::new();
    let driver = Driver::compiled();
    let (mut agent, address) = start(&home, &driver, Some("FAKE_NVML_HANGS"));
    let goes_on = || {
        let seen = scrape(&address);
        let late = seen.sum("modelbeat_host_samples_without_gpus_total", &[]);
        let gpus = seen.value("modelbeat_host_gpus", &[]);
        let cpu = seen.value("modelbeat_host_cpu_utilization_ratio", &[]);
        (late > 1, gpus, cpu.is_some())
    };
    agent.wait_until_equal("samples without gpus", &(true, None, true), goes_on);
    agent.stop().expect_code(0);
}

/// The library, in a folder where a loader can be told to look.
pub(crate) struct Driver(TempDir);

impl Driver {
    pub(crate) fn compiled() -> Self {
        let folder = TempDir::with_prefix("nvml-").expect("a temporary folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/gpu/nvml.c");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("libnvidia-ml.so.1"))
            .arg(source)
            .status()
            .expect("a C compiler");
        assert!(status.success(), "{status}");
        Self(folder)
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

/// The agent, and where it shows its status. The process that uses the GPU is this test.
fn start(home: &Home, driver: &Driver, more: Option<&str>) -> (Agent, String) {
    home.write("logs/events.jsonl", "");
    let pid = std::process::id().to_string();
    let pipeline = home.write("pipeline.yml", &PIPELINE.replace("PID", &pid));
    let mut command = Modelbeat::run(home, &pipeline)
        .argument("--status-listen")
        .argument("0")
        .env("LD_LIBRARY_PATH", driver.folder())
        .env("FAKE_NVML_PID", &pid);
    if let Some(name) = more {
        command = command.env(name, "1");
    }
    let mut agent = command.start();
    let line = agent.wait_for_log("status is listening");
    let address = line["address"].as_str().expect("an address").to_owned();
    (agent, address)
}

fn has_gpus(document: &Value) -> bool {
    !document["gpu"].is_null()
}

/// The documents of a dataset, in the order they were written; a last line that is being written is none.
fn documents(home: &Home, dataset: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(home.path("out")).expect("the output") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("text");
        let documents = whole_lines(&text)
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        found.extend(documents.filter(|each: &Value| each["event"]["dataset"] == dataset));
    }
    found
}
