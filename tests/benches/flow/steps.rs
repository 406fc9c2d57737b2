//! The steps, in the order of an event's way.

use std::hash::BuildHasher;
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashMap};
use modelbeat::flow::bulk::Lane;
use modelbeat::flow::decode::{Decoder, Format, Record, Wanted};
use modelbeat::flow::document::{
    Action, Dataset, Documents, Indices, LabelPart, Letterhead, PredictionDocument, PredictionId,
    Tag, key_of_id,
};
use modelbeat::flow::engine::Engine;
use modelbeat::flow::event::{Batch, Event, Prediction, Timestamp};
use modelbeat::flow::join::{Join, Key, Met, Open, Settings};
use modelbeat::flow::lines::{self, Framing, Splitter};
use modelbeat::flow::mapping::Mapping;
use modelbeat::flow::names::Names;
use modelbeat::flow::quality::{Outcome, Scored};
use modelbeat::flow::slices::Slices;
use modelbeat::flow::windows::{Place, Windows};

use crate::{Table, line, log, pipeline, timed};

const EVENTS: u64 = 100_000;
const RECORD_BYTES_MAX: usize = 16 << 20;
const READ_BYTES: usize = 256 << 10;
const BULK_BYTES: usize = 4 << 20;
/// Events of a batch that the tail hands over, about.
const BATCH: usize = 700;
/// 2026-11-04T00:00:00Z: all of the log is past.
const NOW: Timestamp = Timestamp(1_793_750_400_000);

/// What all steps read.
pub(crate) struct Log {
    predictions: Vec<u8>,
    labels: Vec<u8>,
    mapping: Mapping,
    wanted: Wanted,
}

impl Log {
    pub(crate) fn new() -> Self {
        let (mut predictions, mut labels) = (Vec::new(), Vec::new());
        for number in 0..EVENTS {
            log::prediction(number, log::time(number), "", &mut predictions);
            log::label(number, EVENTS, &mut labels);
        }
        let (mapping, wanted) =
            Mapping::compile(&pipeline::mapping(true), &pipeline::task()).unwrap();
        Self {
            predictions,
            labels,
            mapping,
            wanted,
        }
    }

    /// Every prediction's line, and what it says.
    fn read(&self) -> Vec<(&str, Prediction<'_>)> {
        let mut read = Vec::new();
        self.each(|text, event| {
            if let Event::Prediction(prediction) = event {
                read.push((text, prediction));
            }
        });
        read
    }

    fn each<'a>(&'a self, mut each: impl FnMut(&'a str, Event<'a>)) {
        let mut decoder = Decoder::new(Format::Json, &self.wanted);
        for (_, record) in lines::records(&self.predictions, Framing::Lines) {
            let decoded = decoder.rows(&mut None, record, |row| {
                let Record::Json(text) = row.record else {
                    return;
                };
                self.mapping
                    .events(row, None, |event| each(text, event))
                    .unwrap();
            });
            decoded.unwrap();
        }
    }
}

/// Bytes to records, on both sides of the channel; least: to look for line feeds.
pub(crate) fn lines(log: &Log, table: &Table) {
    let step = || {
        let mut splitter = Splitter::new(Framing::Lines, RECORD_BYTES_MAX, 0);
        timed(|| {
            for read in log.predictions.chunks(READ_BYTES) {
                splitter.space(READ_BYTES).extend_from_slice(read);
                while let Some(run) = splitter.take() {
                    black_box(lines::records(&run.bytes, Framing::Lines).count());
                }
            }
        })
    };
    let baseline = || timed(|| assert!(memchr::memchr_iter(b'\n', &log.predictions).count() > 0));
    table.row("lines", EVENTS, step, "memchr", baseline);
}

/// Records to predictions; least: the same fields into a struct.
pub(crate) fn decode(log: &Log, table: &Table) {
    let step = || timed(|| log.each(|text, event| drop(black_box((text, event)))));
    table.row("decode", EVENTS, step, "sonic-rs into a struct", || {
        parse(log)
    });
}

/// An id to what labels join on; least: a hash that may collide.
pub(crate) fn key(log: &Log, table: &Table) {
    let read = log.read();
    let step = || {
        timed(|| {
            for (_, prediction) in &read {
                black_box(Key::of(&prediction.id, None));
            }
        })
    };
    let hasher = DefaultHashBuilder::default();
    let baseline = || {
        timed(|| {
            for (_, prediction) in &read {
                black_box(hasher.hash_one(&prediction.id));
            }
        })
    };
    table.row("key", EVENTS, step, "foldhash", baseline);
}

/// A prediction is kept, and found by its label; least: in and out of a hash map.
pub(crate) fn join(log: &Log, table: &Table) {
    let read = log.read();
    let keys: Vec<Key> = read
        .iter()
        .map(|(_, prediction)| Key::of(&prediction.id, None))
        .collect();
    let times = read.iter().map(|(_, prediction)| prediction.time);
    let times: Vec<Timestamp> = times.collect();
    let step = || {
        let mut join = Join::new(&Settings::default());
        timed(|| {
            for (key, time) in keys.iter().zip(&times) {
                let met = join.predict(Open::new(*key, *time, NOW, 0, 0), 0);
                assert!(matches!(met, Met::New(..)));
            }
            for key in scattered(&keys) {
                let found = join.opens.find(key);
                let open = join.opens.get_mut(found[0]).unwrap();
                open.revision += 1;
            }
        })
    };
    let baseline = || {
        let mut map: HashMap<Key, [u64; 4]> = HashMap::new();
        timed(|| {
            map.extend(keys.iter().map(|key| (*key, [0; 4])));
            for key in scattered(&keys) {
                assert!(map.remove(&key).is_some());
            }
        })
    };
    table.row("join", EVENTS, step, "a hash map, in and out", baseline);
}

/// A prediction counts in its windows: three lengths, the whole and two slices; least: to add one in as many places of a
/// hash map.
pub(crate) fn windows(log: &Log, table: &Table) {
    let settings = pipeline::settings(true);
    let (mut names, mut slices) = (Names::default(), Slices::default());
    let task = pipeline::task().interned(|class| names.intern(class));
    let slice_names = ["country".to_owned(), "device".to_owned()];
    let cuts = slices.cuts(&slice_names, &[], settings.slice_values_max);
    let read = log.read();
    let mut places = Vec::new();
    for (_, prediction) in &read {
        let place = Place {
            series: u32::from(prediction.version.ends_with('1')),
            slice_set: slices.set(&cuts, &prediction.slices),
        };
        let fraud = names.intern(if prediction.score >= Some(0.5) {
            "fraud"
        } else {
            "ok"
        });
        places.push((place, prediction, Outcome::Class(fraud)));
    }
    let step = || {
        let mut windows = Windows::new(&settings.windows, settings.window_bytes_max);
        timed(|| {
            for (place, prediction, predicted) in &places {
                let scored = Scored {
                    predicted: *predicted,
                    score: prediction.score,
                    scores: &[],
                    latency_ms: prediction.latency_ms,
                };
                let members = slices.members(place.slice_set);
                windows.change(*place, members, prediction.time, Some(NOW), |gain| {
                    gain.tally.predict(&task, &scored);
                });
            }
            windows.gather();
        })
    };
    let baseline = || {
        let mut counts: HashMap<(usize, u32, u32, i64), u64> = HashMap::new();
        timed(|| {
            for (place, prediction, _) in &places {
                for (length, window) in settings.windows.iter().enumerate() {
                    let start = window.start(prediction.time).0;
                    let members = slices.members(place.slice_set);
                    for slice in members.iter().copied().chain([u32::MAX]) {
                        *counts
                            .entry((length, place.series, slice, start))
                            .or_default() += 1;
                    }
                }
            }
        })
    };
    table.row("windows", EVENTS, step, "9 counts in a hash map", baseline);
}

/// A prediction's document and its action line; least: to copy as many bytes.
pub(crate) fn encode(log: &Log, table: &Table) {
    let settings = pipeline::settings(true);
    let letterhead = Letterhead::new(&settings.pipeline, &settings.agent.id, &settings.agent.name);
    let slice_names = ["country".to_owned(), "device".to_owned()];
    let read = log.read();
    let tag = Tag::of("bench", "fraud", "2.0");
    let ids: Vec<PredictionId> = read
        .iter()
        .map(|(_, prediction)| PredictionId::of(Key::of(&prediction.id, None), tag))
        .collect();
    let mut indices = Indices::new(&settings.index_prefix);
    let mut encode =
        |read: &[(&str, Prediction<'_>)], ids: &[PredictionId], out: &mut Documents| {
            for ((text, prediction), id) in read.iter().zip(ids) {
                let index = indices.name(Dataset::Prediction, prediction.time);
                let document = PredictionDocument {
                    prediction,
                    slice_names: &slice_names,
                    host_name: b"\"host-1\"",
                    host: &[],
                    record: Some(&Record::Json(text)),
                };
                let id = id.as_str();
                out.add(Action::Create, &index, id, key_of_id(id), |bytes| {
                    document.write_head(&letterhead, NOW, bytes);
                    bytes.push(b',');
                    LabelPart::Pending.write(bytes);
                    bytes.push(b'}');
                });
            }
        };
    let mut written = Documents::default();
    encode(&read, &ids, &mut written);
    let step = || {
        let mut out = Documents::default();
        timed(|| {
            for (read, ids) in read.chunks(BATCH).zip(ids.chunks(BATCH)) {
                out.bytes.clear();
                out.items.clear();
                encode(read, ids, &mut out);
                black_box(&out);
            }
        })
    };
    let baseline = || {
        let mut copy = Vec::new();
        timed(|| {
            for items in written.items.chunks(BATCH) {
                copy.clear();
                for item in items {
                    copy.extend_from_slice(&written.bytes[item.lines.clone()]);
                }
                black_box(&copy);
            }
        })
    };
    table.row("encode", EVENTS, step, "a copy", baseline);
}

/// Documents to requests; least: to copy them.
pub(crate) fn pack(log: &Log, table: &Table) {
    let mut engine = Engine::new(pipeline::settings(false)).unwrap();
    let mut out = Documents::default();
    engine.push(
        &pipeline::batch(0, Bytes::copy_from_slice(&log.predictions)),
        NOW,
        &mut out,
    );
    let step = || {
        let mut lane = Lane::new(BULK_BYTES);
        timed(|| {
            let mut packed = 0;
            while packed < out.items.len() {
                packed = lane.push(&out, packed);
                if let Some(request) = lane.take() {
                    lane.settled(request.first());
                }
            }
        })
    };
    let baseline = || {
        timed(|| {
            for body in out.bytes.chunks(BULK_BYTES) {
                black_box(body.to_vec());
            }
        })
    };
    table.row("pack", EVENTS, step, "a copy", baseline);
}

/// All that the engine does to a prediction, and to a label; least: to parse them.
pub(crate) fn engine(log: &Log, table: &Table) {
    let push = |engine: &mut Engine, batches: &[Batch], now: Timestamp| {
        for batch in batches {
            let mut out = Documents::default();
            engine.push(batch, now, &mut out);
            assert!(out.dead_letters.is_empty());
            black_box(out);
        }
    };
    let [predictions, labels] = [&log.predictions, &log.labels].map(|text| batches(text));
    let tail = || {
        let mut engine = Engine::new(pipeline::settings(false)).unwrap();
        timed(|| push(&mut engine, &predictions, NOW))
    };
    table.row(
        "engine, prediction",
        EVENTS,
        tail,
        "sonic-rs into a struct",
        || parse(log),
    );
    let label_count = memchr::memchr_iter(b'\n', &log.labels).count() as u64;
    let label = || {
        let mut engine = Engine::new(pipeline::settings(true)).unwrap();
        push(&mut engine, &predictions, NOW);
        let later = NOW.plus(6_000);
        engine.advance(later, &mut Documents::default());
        timed(|| push(&mut engine, &labels, later))
    };
    let baseline = || {
        timed(|| {
            for (_, record) in lines::records(&log.labels, Framing::Lines) {
                black_box(sonic_rs::get(record, ["label"]).unwrap());
            }
        })
    };
    table.row(
        "engine, label",
        label_count,
        label,
        "sonic-rs finds the last field",
        baseline,
    );
}

fn parse(log: &Log) -> Duration {
    timed(|| {
        for (_, record) in lines::records(&log.predictions, Framing::Lines) {
            line::parse(record);
        }
    })
}

/// As the edge hands them over; whole lines.
fn batches(text: &[u8]) -> Vec<Batch> {
    let mut splitter = Splitter::new(Framing::Lines, RECORD_BYTES_MAX, 0);
    let mut batches = Vec::new();
    for read in text.chunks(READ_BYTES) {
        splitter.space(READ_BYTES).extend_from_slice(read);
        while let Some(run) = splitter.take() {
            batches.push(pipeline::batch(run.base, run.bytes));
        }
    }
    batches
}

/// In another order: in steps, which visit every place once.
fn scattered(keys: &[Key]) -> impl Iterator<Item = Key> {
    (0..keys.len()).map(|place| keys[place * 7_919 % keys.len()])
}
