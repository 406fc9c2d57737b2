//! How often the hot path asks for memory: counted, not timed, so that a regression shows on any machine. An event's way from
//! the bytes of a file to the body of a request, as in the agent, in one thread.
//!
//! The bounds are what was counted, rounded up. If one fails, look for what is now made per event instead of per batch; if
//! the count fell well below its bound, lower the bound.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a test, which says what it counted"
)]

#[path = "fraud/log.rs"]
mod log;
#[path = "fraud/pipeline.rs"]
mod pipeline;

use std::ops::Range;

use modelbeat::flow::bulk::Lane;
use modelbeat::flow::document::Documents;
use modelbeat::flow::engine::Engine;
use modelbeat::flow::event::Timestamp;
use modelbeat::flow::lines::{Framing, Splitter};
use modelbeat::flow::pool::Pool;

/// Events that are let through before anything is counted: buffers have found their sizes, names are known.
const WARM: u64 = 4_000;
const COUNTED: u64 = 8_000;
const READ_BYTES: usize = 256 << 10;
const RECORD_BYTES_MAX: usize = 16 << 20;
const BULK_BYTES: usize = 4 << 20;
/// 2026-11-04T00:00:00Z: all of the log is past.
const NOW: i64 = 1_793_750_400_000;
/// Longer than a prediction is held back for its label.
const HOLD_MS: i64 = 6_000;

#[test]
fn a_prediction_that_waits_for_no_label() {
    let mut flow = Flow::new(false);
    flow.read(&predictions(0..WARM));
    let counted = predictions(WARM..WARM + COUNTED);
    assert_allocations("tail", 450, COUNTED, || flow.read(&counted));
}

#[test]
fn a_prediction_that_is_held_back_for_its_label() {
    let mut flow = Flow::new(true);
    flow.read(&predictions(0..WARM));
    flow.pass(HOLD_MS);
    let counted = predictions(WARM..WARM + COUNTED);
    assert_allocations("hold", 2_700, COUNTED, || {
        flow.read(&counted);
        flow.pass(HOLD_MS);
    });
}

#[test]
fn a_label_and_its_prediction() {
    let events = WARM + COUNTED;
    let mut flow = Flow::new(true);
    flow.read(&predictions(0..events));
    flow.pass(HOLD_MS);
    flow.read(&labels(0..WARM, events));
    let counted = labels(WARM..events, events);
    let lines = memchr::memchr_iter(b'\n', &counted).count() as u64;
    assert_allocations("label", 900, lines, || flow.read(&counted));
}

/// The stages between two files: the edge's splitter, the engine, and what shipping packs.
struct Flow {
    splitter: Splitter,
    engine: Engine,
    lane: Lane,
    now: Timestamp,
}

impl Flow {
    fn new(reads_labels: bool) -> Self {
        Self {
            splitter: Splitter::new(Framing::Lines, RECORD_BYTES_MAX, 0)
                .with_pool(&Pool::default()),
            engine: Engine::new(pipeline::settings(reads_labels)).unwrap(),
            lane: Lane::new(BULK_BYTES),
            now: Timestamp(NOW),
        }
    }

    fn read(&mut self, text: &[u8]) {
        for read in text.chunks(READ_BYTES) {
            self.splitter.space(READ_BYTES).extend_from_slice(read);
            while let Some(run) = self.splitter.take() {
                let mut out = Documents::default();
                let batch = pipeline::batch(run.base, run.bytes);
                self.engine.push(&batch, self.now, &mut out);
                self.ship(&out);
            }
        }
    }

    fn pass(&mut self, milliseconds: i64) {
        self.now = self.now.plus(milliseconds);
        let mut out = Documents::default();
        self.engine.advance(self.now, &mut out);
        self.ship(&out);
    }

    /// Every request is answered at once.
    fn ship(&mut self, out: &Documents) {
        assert!(out.dead_letters.is_empty(), "{:?}", out.dead_letters);
        let mut packed = 0;
        while packed < out.items.len() {
            packed = self.lane.push(out, packed);
            if self.lane.is_closed()
                && let Some(request) = self.lane.take()
            {
                self.lane.settled(request.first());
            }
        }
    }
}

fn predictions(numbers: Range<u64>) -> Vec<u8> {
    let mut text = Vec::new();
    for number in numbers {
        log::prediction(number, log::time(number), "", &mut text);
    }
    text
}

fn labels(places: Range<u64>, events: u64) -> Vec<u8> {
    let mut text = Vec::new();
    for place in places {
        log::label(place, events, &mut text);
    }
    text
}

/// `bound`: how often memory may be asked for by a thousand events.
fn assert_allocations(path: &str, bound: u64, events: u64, run: impl FnOnce()) {
    let made = allocation_counter::measure(run);
    let [each_thousand, bytes] =
        [made.count_total * 1_000, made.bytes_total].map(|sum| sum / events);
    println!("{path}: {each_thousand} allocations a thousand events, {bytes} bytes an event");
    assert!(
        each_thousand <= bound,
        "{path}: {each_thousand} allocations a thousand events, more than {bound}"
    );
}
