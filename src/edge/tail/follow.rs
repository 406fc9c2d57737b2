//! The loop of a tail that goes on until it is stopped: scan when it is time, read what has news, hand it over.
//!
//! While nobody takes what was read, no file is read on, but scans go on: a log that is rotated and deleted while
//! Elasticsearch is away is opened before it goes, and the status tells how much waits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::tailer::Tailer;
use super::watch::{Rung, Watch};
use super::{InputStatus, SCAN_GAP, Status, Stop};
use crate::edge::now::now;
use crate::flow::engine::Intake;

/// Of many files, a scan takes a while: it is then rarer than `poll` says, so that quiet files take no more than this part of a
/// core. What changes in a watched folder is heard of at once all the same.
const SCAN_SHARE: u32 = 256;

/// But not rarer than this.
const SCAN_REST_MAX: Duration = Duration::from_secs(10);

/// How long a quiet tail waits after a ring before it looks, so that a writer of single lines makes batches of them.
const RING_GAP: Duration = Duration::from_millis(10);

/// Longest time between two looks whether a full channel has room again: the first is after a
/// millisecond, and a full one of large batches does not run dry in this.
const ROOM_WAIT_MAX: Duration = Duration::from_millis(20);

/// A tail at work.
pub(super) struct Follow<'a> {
    tailer: &'a mut Tailer,
    out: &'a Sender<Intake>,
    stop: &'a Stop,
    status: &'a Status,
    watch: Watch,
    /// What was read and not taken yet, in order.
    waiting: VecDeque<Intake>,
    /// Intakes that were taken so far.
    sent: u64,
    /// The status says that something waits.
    shows_lag: bool,
    /// When each input was last scanned, and when it is scanned next.
    scans: Vec<(Option<Instant>, Instant)>,
}

/// What became of what was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    All,
    /// The channel is full.
    Some,
    /// Nobody receives any more.
    Closed,
}

impl<'a> Follow<'a> {
    pub(super) fn new(
        tailer: &'a mut Tailer,
        out: &'a Sender<Intake>,
        stop: &'a Stop,
        status: &'a Status,
    ) -> Self {
        let start = Instant::now();
        let scans = tailer.settings().map(|_| (None, start)).collect();
        Self {
            tailer,
            out,
            stop,
            status,
            watch: Watch::new(stop),
            waiting: VecDeque::new(),
            sent: 0,
            shows_lag: false,
            scans,
        }
    }

    /// Returns when stopped, or when nobody receives.
    pub(super) fn run(mut self) {
        let mut wake = Instant::now();
        let mut room_wait = Duration::ZERO;
        loop {
            let sent_before = self.sent;
            let rung = self.stop.wait_until(wake);
            if rung.stopped {
                return;
            }
            self.hear(&rung);
            self.scan();
            let sent = self.read();
            if sent == Sent::Closed {
                return;
            }
            if sent == Sent::All && std::mem::take(&mut self.shows_lag) {
                // Nothing waits any more: not to be hidden until the next scan, which may be a minute away.
                self.status.set(self.tailer.snapshot());
            }
            wake = self.next_scan();
            let gap = if sent == Sent::Some {
                if self.sent > sent_before {
                    room_wait = Duration::ZERO;
                }
                room_wait = (room_wait * 2).clamp(Duration::from_millis(1), ROOM_WAIT_MAX);
                room_wait
            } else {
                room_wait = Duration::ZERO;
                RING_GAP
            };
            self.stop
                .pause(gap.min(wake.saturating_duration_since(Instant::now())));
            if sent == Sent::Some {
                wake = Instant::now();
            }
        }
    }

    fn hear(&mut self, rung: &Rung) {
        for path in &rung.changed {
            self.tailer.mark(path);
        }
        if rung.names {
            let moment = Instant::now();
            for (last, next) in &mut self.scans {
                *next = (*next).min(last.map_or(moment, |last| last + SCAN_GAP));
            }
        }
    }

    /// Scans the inputs whose time has come.
    fn scan(&mut self) {
        let moment = Instant::now();
        let polls: Vec<_> = self.tailer.settings().map(|input| input.poll).collect();
        let mut has_scanned = false;
        for (index, (poll, (last, next))) in polls.iter().zip(&mut self.scans).enumerate() {
            if moment < *next {
                continue;
            }
            let mut intakes = Vec::new();
            self.tailer.scan(index, now(), &mut intakes);
            self.waiting.extend(intakes);
            *last = Some(moment);
            let rest = (moment.elapsed() * SCAN_SHARE).min(SCAN_REST_MAX);
            *next = moment + (*poll).max(SCAN_GAP).max(rest);
            has_scanned = true;
        }
        if has_scanned {
            let folders = self.tailer.folders();
            self.watch.watch(&folders);
            let snapshot = self.tailer.snapshot();
            let waits = |input: &InputStatus| input.waiting_since.is_some();
            self.shows_lag = snapshot.inputs.iter().any(waits);
            self.status.set(snapshot);
        }
    }

    /// Reads as long as what is read is taken; a long backlog is interrupted for the scan, which notices rotations.
    fn read(&mut self) -> Sent {
        let mut intakes = Vec::new();
        loop {
            let sent = self.send();
            if sent != Sent::All || self.stop.is_stopped() || Instant::now() >= self.next_scan() {
                return sent;
            }
            let has_read = self.tailer.read_some(now(), &mut intakes);
            self.waiting.extend(intakes.drain(..));
            if !has_read {
                return Sent::All;
            }
        }
    }

    fn send(&mut self) -> Sent {
        while let Some(intake) = self.waiting.pop_front() {
            match self.out.try_send(intake) {
                Ok(()) => self.sent += 1,
                Err(TrySendError::Full(intake)) => {
                    self.waiting.push_front(intake);
                    return Sent::Some;
                }
                Err(TrySendError::Closed(_)) => return Sent::Closed,
            }
        }
        Sent::All
    }

    fn next_scan(&self) -> Instant {
        let next = self.scans.iter().map(|(_, next)| *next).min();
        next.unwrap_or_else(Instant::now)
    }
}
