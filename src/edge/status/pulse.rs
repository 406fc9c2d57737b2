//! How a pipeline fares, read off the board for the engine's rules on it: the same figures that `/metrics` shows.
//!
//! Nothing leads back from shipping: like a host snapshot, a pulse is one more thing that comes in, and one that is late or
//! missed is made up for by the next.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{self, Instant, MissedTickBehavior};

use super::board::{Durable, Input, Report, Vitals, Wiring};
use crate::edge::now::now;
use crate::edge::ship;
use crate::flow::alert::Pulse;
use crate::flow::engine::Intake;

/// Time between two pulses.
const EVERY: Duration = Duration::from_secs(10);

/// Sends a pulse every ten seconds, the first after as long, until told to stop or nobody takes one any more. Where `out` is full it waits.
///
/// Cancel safe: a pulse may be lost, which the next makes up for.
pub async fn run(vitals: Arc<Vitals>, out: mpsc::Sender<Intake>, mut stop: watch::Receiver<bool>) {
    // What was there before the start has been found by then.
    let mut ticks = time::interval_at(Instant::now() + EVERY, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut settled = Settled::new(Instant::now());
    let beating = async {
        loop {
            ticks.tick().await;
            let Some(wiring) = vitals.wiring() else {
                continue;
            };
            let (report, durable) = (vitals.report(), vitals.durable());
            let pulse = pulse(wiring, &report, durable.as_deref(), &mut settled);
            if out.send(Intake::Pulse(pulse)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = beating => {}
    }
}

fn pulse(
    wiring: &Wiring,
    report: &Report,
    durable: Option<&Durable>,
    settled: &mut Settled,
) -> Pulse {
    let now = now();
    let totals = wiring.shipping.totals();
    let held_up = settled.look(&totals, Instant::now());
    let spool = wiring.shipping.spool();
    let mut pulse = Pulse {
        held_up_seconds: held_up.as_secs_f64(),
        held_up_longer: settled.count == 0 && totals.in_flight() > 0,
        spool_filled: spool.map(|spool| share(totals.spool_bytes, spool.bytes_max)),
        documents_refused: totals.dead_documents,
        ..Pulse::default()
    };
    let mut waits = |bytes: u64, lag: Duration| {
        pulse.input_lag_bytes += bytes;
        pulse.input_lag_seconds = pulse.input_lag_seconds.max(lag.as_secs_f64());
    };
    for input in &wiring.files.snapshot().inputs {
        waits(input.lag_bytes, input.lag(now));
    }
    for input in &wiring.inputs {
        let Input::Http { journal, .. } = input else {
            continue;
        };
        let unread_from = journal.unread_from(report, durable);
        let lag = journal.size.age(unread_from).unwrap_or_default();
        waits(journal.size.end().saturating_sub(unread_from), lag);
        let filled = share(journal.unacknowledged(durable), journal.bytes_max);
        let fullest = pulse.journal_filled.unwrap_or(0.0).max(filled);
        pulse.journal_filled = Some(fullest);
    }
    pulse
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Documents that are done with, and since when they are the same while others are under way.
#[derive(Debug)]
struct Settled {
    count: u64,
    since: Instant,
}

impl Settled {
    fn new(now: Instant) -> Self {
        Self {
            count: 0,
            since: now,
        }
    }

    /// For how long documents have been under way without any being done with.
    fn look(&mut self, totals: &ship::Totals, now: Instant) -> Duration {
        let count = totals.documents - totals.in_flight();
        if count != self.count || totals.in_flight() == 0 {
            *self = Self { count, since: now };
        }
        now.duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_held_up_while_none_of_them_is_settled() {
        let start = Instant::now();
        let mut settled = Settled::new(start);
        let mut look = |second, documents, stored| {
            let totals = ship::Totals {
                documents,
                stored,
                ..ship::Totals::default()
            };
            let held_up = settled.look(&totals, start + Duration::from_secs(second));
            held_up.as_secs()
        };
        assert_eq!(look(10, 0, 0), 0, "there is nothing to ship");
        assert_eq!(look(20, 5, 0), 10, "since there was nothing, at the latest");
        assert_eq!(look(30, 9, 0), 20, "more come, none goes");
        assert_eq!(look(40, 9, 1), 0, "one is stored");
        assert_eq!(look(50, 9, 1), 10);
        assert_eq!(look(60, 9, 9), 0, "all are stored");
        assert_eq!(look(99, 9, 9), 0);
    }
}
