//! What an open prediction costs, in time and memory, with few of them and with many: `cargo bench --bench open`.
//!
//! For each number of open predictions a process of its own (so that memory is that of this number alone) runs the whole
//! engine over a real store, as an agent does: as many predictions, then a label for every one in another order, with
//! checkpoints saved as often as the memory bound asks for. Every label must join, and the resident memory stay below
//! 256 MiB. Beside it, what the same keys cost in a plain hash map. `MODELBEAT_BENCH_OPEN=1000000` runs that number only.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::unchecked_time_subtraction,
    missing_docs,
    reason = "a bench ends at what it did not expect"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use modelbeat::edge::checkpoint::Store;
use modelbeat::flow::document::Documents;
use modelbeat::flow::engine::{Agent, Engine, Input, Settings};
use modelbeat::flow::event::{Batch, Head, InputId, SourceKey, Timestamp};
use modelbeat::flow::join::{self, Key};
use modelbeat::flow::mapping::{self, ScoreSource, Source};
use modelbeat::flow::quality::Task;
use modelbeat::flow::{decode, windows};

const ONE: &str = "MODELBEAT_BENCH_OPEN";
const COUNTS: [u64; 3] = [100_000, 1_000_000, 5_000_000];
const STATE_BYTES_MAX: usize = 128 << 20;
const RESIDENT_KIB_MAX: u64 = 256 << 10;
const BATCH: u64 = 1_000;
const START: i64 = 1_795_510_800_000; // 2026-11-24T09:00:00Z

/// One prediction every so many milliseconds of event time: five million are an hour and 23 minutes.
const EVERY_MS: u64 = 1;

/// Labels come scattered over so many predictions: a day's labels come in a day's order, but not in the order of its hours.
const SCATTER: u64 = 100_000;

fn main() {
    // Cargo hands benches arguments of its own; the number comes by the environment.
    if let Some(count) = std::env::var(ONE).ok().and_then(|count| count.parse().ok()) {
        return measure(count);
    }
    // `cargo test --all-targets` runs benches too, unoptimised: nothing to learn from that.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!(
        "state bound {} MiB, batches of {BATCH} records, checkpoints saved inline",
        STATE_BYTES_MAX >> 20
    );
    println!(
        "     open | µs/prediction | µs/label (wall, CPU of all threads) | map µs/pair | saves | saving s | RSS MiB | peak MiB | disk MiB | joined"
    );
    for count in COUNTS {
        let status = Command::new(std::env::current_exe().unwrap())
            .env(ONE, count.to_string())
            .status()
            .unwrap();
        assert!(status.success(), "{count} open predictions: {status}");
    }
}

fn measure(count: u64) {
    let map = plain_map(count);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert!(store.load().unwrap().is_none());
    let mut engine = Engine::new(settings()).unwrap();
    engine.spill_to(Box::new(store.state().clone()));
    let mut run = Run {
        engine,
        store,
        now: START + 3_600_000 * 24,
        offset: 0,
        saves: 0,
        saving: Duration::ZERO,
        labelled: BTreeMap::new(),
    };

    let (start, cpu) = (Instant::now(), cpu_ticks());
    for from in (0..count).step_by(BATCH as usize) {
        run.push(&lines(from..count.min(from + BATCH), prediction));
    }
    run.save();
    let (predicting, predicting_cpu) = (start.elapsed(), cpu_ticks() - cpu);
    assert_eq!(run.engine.waiting().0, count as usize);
    let open_kib = memory("VmRSS");

    let (start, cpu) = (Instant::now(), cpu_ticks());
    for from in (0..count).step_by(BATCH as usize) {
        run.push(&lines(
            (from..count.min(from + BATCH)).map(|number| scattered(number, count)),
            label,
        ));
    }
    run.save();
    let (labelling, labelling_cpu) = (start.elapsed(), cpu_ticks() - cpu);

    let (open, early, _) = run.engine.waiting();
    let totals = run.engine.totals();
    assert_eq!((open as u64, early, totals.orphans), (count, 0, 0));
    let joined = run.joined();
    assert_eq!(joined, count, "every label joins");
    let peak_kib = memory("VmHWM");
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!(
        "{count:>9} | {:>6.2} {:>6.2} | {:>6.2} {:>6.2} | {:>11.3} | {:>5} | {:>8.1} | {:>7} | {:>8} | {:>8} | {joined}",
        micros(predicting),
        micros(predicting_cpu),
        micros(labelling),
        micros(labelling_cpu),
        micros(map),
        run.saves,
        run.saving.as_secs_f64(),
        open_kib >> 10,
        peak_kib >> 10,
        disk(folder.path()) >> 20,
    );
    assert!(peak_kib < RESIDENT_KIB_MAX, "{peak_kib} KiB resident");
}

/// An engine, driven as the agent drives it, but in one thread and without Elasticsearch.
struct Run {
    engine: Engine,
    store: Store,
    now: i64,
    offset: u64,
    saves: u32,
    saving: Duration,
    /// By window start.
    labelled: BTreeMap<String, u64>,
}

impl Run {
    fn push(&mut self, bytes: &str) {
        self.offset += bytes.len() as u64;
        self.now += 10;
        let batch = Batch {
            input: InputId(0),
            source: SourceKey("bench".into()),
            origin: "bench".into(),
            kind: None,
            bytes: bytes::Bytes::copy_from_slice(bytes.as_bytes()),
            base: self.offset,
            faults: Vec::new(),
            restart: false,
            head: Head {
                input: 0,
                offset: self.offset,
                evidence: String::new(),
            },
        };
        let mut out = Documents::default();
        self.engine.push(&batch, Timestamp(self.now), &mut out);
        self.engine.advance(Timestamp(self.now), &mut out);
        assert_eq!(self.engine.fault(), None);
        assert!(
            out.dead_letters.is_empty(),
            "{:?}",
            out.dead_letters.first()
        );
        self.note_windows(&out);
        if self.engine.is_crowded() {
            self.save();
        }
    }

    fn save(&mut self) {
        let start = Instant::now();
        let checkpoint = self.engine.checkpoint().unwrap();
        self.store.save(&checkpoint).unwrap();
        self.engine.committed(checkpoint.cold.edges.number);
        self.saves += 1;
        self.saving += start.elapsed();
    }

    /// Labelled predictions, as the windows over all slices were last published.
    fn joined(&mut self) -> u64 {
        let mut out = Documents::default();
        self.engine.finish(Timestamp(self.now + 1), &mut out);
        self.note_windows(&out);
        self.labelled.values().sum()
    }

    fn note_windows(&mut self, out: &Documents) {
        for item in &out.items {
            let (action, source) = out.bytes[item.lines.clone()].split_at(item.action_length);
            if !action.starts_with(b"{\"index\"") {
                continue;
            }
            let source: serde_json::Value = serde_json::from_slice(source).unwrap();
            if source["event"]["dataset"] == "modelbeat.quality"
                && source["slice"]["value"].is_null()
            {
                let labelled = source["counts"]["labelled"].as_u64().unwrap_or(0);
                self.labelled
                    .insert(source["window"]["start"].to_string(), labelled);
            }
        }
    }
}

fn lines(numbers: impl Iterator<Item = u64>, line: fn(u64, &mut String)) -> String {
    let mut text = String::new();
    for number in numbers {
        line(number, &mut text);
    }
    text
}

fn prediction(number: u64, text: &mut String) {
    let (time, class, score) = (
        START as u64 + number * EVERY_MS,
        number % 10 < 3,
        number % 97,
    );
    writeln!(
        text,
        r#"{{"event":"prediction","id":"tx-{number:09}","ts":{time},"version":"7","predicted":"{}","score":0.{score:02},"country":"C{}"}}"#,
        u8::from(class),
        number % 7
    )
    .unwrap();
}

fn label(number: u64, text: &mut String) {
    let time = START as u64 + number * EVERY_MS + 60_000;
    writeln!(
        text,
        r#"{{"event":"label","id":"tx-{number:09}","ts":{time},"label":"{}"}}"#,
        u8::from(number % 11 < 3)
    )
    .unwrap();
}

/// The same numbers in another order: each run of [`SCATTER`] is walked in steps.
fn scattered(number: u64, count: u64) -> u64 {
    let (run, place) = (number / SCATTER * SCATTER, number % SCATTER);
    let length = SCATTER.min(count - run);
    // A step without a common divisor visits every place once.
    run + place * 7_919 % length
}

/// Insert, then find and remove, of the same keys in a hash map: what joining costs at least.
fn plain_map(count: u64) -> Duration {
    let most = count.min(1_000_000);
    let mut map: hashbrown::HashMap<Key, [u64; 4]> = hashbrown::HashMap::new();
    let start = Instant::now();
    let key = |number: u64| Key::of(&format!("tx-{number:09}"), None);
    map.extend((0..most).map(|number| (key(number), [number; 4])));
    let found = (0..most)
        .filter(|number| map.remove(&key(*number)).is_some())
        .count();
    assert_eq!(found as u64, most);
    start.elapsed() * u32::try_from(count / most).unwrap()
}

/// Time all threads of this process have run, in the kernel's ticks of 10 ms: a busy machine does not lengthen it.
fn cpu_ticks() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(10 * ticks)
}

fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn disk(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap());
    let size = |entry: std::fs::DirEntry| {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            disk(&entry.path())
        } else {
            metadata.len()
        }
    };
    entries.map(size).sum()
}

fn settings() -> Settings {
    let when = |event: &str| BTreeMap::from([("event".to_owned(), event.to_owned())]);
    let prediction = mapping::PredictionPaths {
        when: when("prediction"),
        id: "id".into(),
        time: "ts".into(),
        time_format: None,
        model: Source::Const("fraud".into()),
        version: Some(Source::Path("version".into())),
        predicted: Some("predicted".into()),
        score: Some(ScoreSource::Path("score".into())),
        latency_ms: None,
        slices: vec![("country".into(), "country".into())],
    };
    let label = mapping::LabelPaths {
        when: when("label"),
        id: "id".into(),
        time: Some("ts".into()),
        time_format: None,
        model: None,
        actual: "label".into(),
    };
    Settings {
        pipeline: "bench".into(),
        agent: Agent {
            id: "agent-1".into(),
            name: "host-1".into(),
        },
        index_prefix: "modelbeat".into(),
        inputs: vec![Input {
            format: decode::Format::Json,
            kind: None,
        }],
        mapping: mapping::Settings {
            prediction: Some(prediction),
            label: Some(label),
            timezone: None,
        },
        task: Task::Binary {
            positive: "1".into(),
            negative: "0".into(),
            threshold: 0.5,
        },
        windows: vec![windows::Length::Fixed(3_600_000)],
        join: join::Settings {
            state_bytes_max: STATE_BYTES_MAX,
            ..join::Settings::default()
        },
        slice_values_max: 200,
        slice_crosses: Vec::new(),
        keep_record: true,
        privacy: modelbeat::flow::privacy::Settings::default(),
        publish_every_ms: 10_000,
        min_support: 1,
        window_bytes_max: 64 << 20,
        host_tolerance_ms: 60_000,
        alerts: modelbeat::flow::alert::Settings::default(),
        expires: true,
    }
}
