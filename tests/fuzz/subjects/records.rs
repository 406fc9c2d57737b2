//! Bytes of a log: however they are cut into reads and batches, the same documents come out, and all of them are JSON.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use modelbeat::config::Config;
use modelbeat::flow::document::Documents;
use modelbeat::flow::engine::{Engine, Settings};
use modelbeat::flow::event::{Batch, Head, InputId, SourceKey, Timestamp};
use modelbeat::flow::lines::{Framing, Run, Splitter};
use serde_json::Value;

/// Short, so that a fuzzer meets it.
const RECORD_BYTES_MAX: usize = 2_048;

/// 2026-11-24T09:00:00Z.
const NOW: Timestamp = Timestamp(1_795_510_800_000);

const MAPPING: &str = r"
pipeline: fuzz
agent: {id: a, name: a}
inputs:
  - {type: file, paths: [x], format: FORMAT}
mapping:
  prediction:
    when: {e: p}
    id: i
    time: t
    model: m
    version: v
    predicted: p
    score: SCORE
    latency_ms: l
    slices: {s: s.t, u: u}
  label: {when: {e: l}, id: i, time: t, actual: a}
task: TASK
windows: [1m, 1d, 1mo, {length: 1h, every: 30m}, cumulative]
slices: {max_values: 2, cross: [[s, u]]}
join: {hold: 5s, mark_expired: true}
host: off
output: {file: {path: out}}
";

/// Read once: a fuzzer comes by often.
static SETTINGS: OnceLock<[Settings; 8]> = OnceLock::new();

/// First byte: format and task. Second: bytes a read. The rest is the log.
pub(crate) fn records(input: &[u8]) {
    let Some((&[choice, read], log)) = input.split_first_chunk() else {
        return;
    };
    let framing = match choice & 1 {
        0 => Framing::Lines,
        _ => Framing::Csv,
    };
    let choice = usize::from(choice & 7);
    let settings = SETTINGS.get_or_init(|| std::array::from_fn(settings))[choice].clone();
    let mut whole = Engine::new(settings.clone()).expect("settings");
    let mut pieces = Engine::new(settings).expect("settings");
    let whole_documents = run(&mut whole, framing, log, log.len().max(1));
    let piece_documents = run(&mut pieces, framing, log, usize::from(read).max(1));
    assert_eq!(
        whole.totals(),
        pieces.totals(),
        "any cut gives the same events"
    );
    assert_eq!(whole_documents, piece_documents, "and the same documents");
}

/// Bit 0: format; bits 1 and 2: task.
fn settings(choice: usize) -> Settings {
    let format = ["json", "csv"][choice & 1];
    let (task, score) = match choice >> 1 {
        0 => ("{kind: binary, positive: '1'}", "    score: x\n"),
        1 => ("{kind: multiclass}", "    score: x\n"),
        2 => (
            "{kind: multiclass, classes: [a, b]}",
            "    score: {a: x, b: y}\n",
        ),
        _ => ("{kind: regression}", ""),
    };
    let text = MAPPING
        .replace("FORMAT", format)
        .replace("TASK", task)
        .replace("    score: SCORE\n", score);
    let config = Config::parse("fuzz.yml", &text, &|_| None);
    config.unwrap_or_else(|faults| panic!("{faults}")).engine
}

/// All documents of a log read by `read` bytes, by index and id; the last written counts.
fn run(engine: &mut Engine, framing: Framing, log: &[u8], read: usize) -> BTreeMap<String, Value> {
    let mut out = Documents::default();
    let mut splitter = Splitter::new(framing, RECORD_BYTES_MAX, 0);
    let mut restart = true;
    let mut push = |run: Run, out: &mut Documents| {
        engine.push(&batch(run, std::mem::take(&mut restart)), NOW, out);
    };
    for bytes in log.chunks(read) {
        splitter.space(bytes.len()).extend_from_slice(bytes);
        while let Some(run) = splitter.take() {
            push(run, &mut out);
        }
    }
    if let Some(run) = splitter.finish() {
        push(run, &mut out);
    }
    engine.finish(NOW, &mut out);
    stored(&out)
}

fn batch(run: Run, restart: bool) -> Batch {
    Batch {
        input: InputId(0),
        source: SourceKey("file".into()),
        origin: "fuzz.log".into(),
        kind: None,
        head: Head {
            input: 0,
            offset: run.base + run.bytes.len() as u64,
            evidence: String::new(),
        },
        bytes: run.bytes,
        base: run.base,
        faults: run.faults,
        restart,
    }
}

fn stored(out: &Documents) -> BTreeMap<String, Value> {
    let mut stored = BTreeMap::new();
    for item in &out.items {
        let lines = &out.bytes[item.lines.clone()];
        let (action, source) = lines.split_at(item.action_length);
        let action: Value = serde_json::from_slice(action).expect("an action line is JSON");
        let source: Value = serde_json::from_slice(source).expect("a source line is JSON");
        let operation = action.as_object().and_then(|action| action.values().next());
        let id = operation.and_then(|operation| operation["_id"].as_str());
        let index = out.index_of(item);
        let key = format!("{index}/{}", id.expect("every document has an id"));
        stored.insert(key, source);
    }
    stored
}
