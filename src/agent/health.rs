//! What a pipeline says of itself while it runs: the engine's thread pins a report to the board now and then.
//!
//! Never for each event: at most once a second, and seldom enough that reports take no more than a fiftieth of the
//! thread's time. Nobody waits for a report, and where nobody looks none is made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::edge::now::now;
use crate::edge::status::{ALERTS_MAX, Doing, Report, SERIES_MAX, Vitals};
use crate::flow::engine::{Bounds, Engine, Looked};

/// Time between reports while something changes.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Time between reports while nothing does: windows end all the same.
const IDLE_EVERY: Duration = Duration::from_secs(10);

/// Making a report may take this share of the time at most.
const SHARE: u32 = 50;

/// What the metrics and the page show. Of a whole, a month of hours; of a slice, two days of them. Two versions of three lengths
/// leave room for some slices; a window is some 700 bytes of the page's JSON. Host snapshots: an hour.
const BOUNDS: Bounds = Bounds {
    series_max: SERIES_MAX,
    whole_max: 744,
    slice_max: 48,
    windows_max: 2_400,
    host_max: 360,
};

/// The engine's thread's side of the board.
pub(super) struct Reporter {
    vitals: Arc<Vitals>,
    /// When the next report is due if something changes, and when if nothing does.
    due: (Instant, Instant),
    changed: bool,
    checkpoint_made_in: Duration,
    looked: Looked,
}

impl Reporter {
    pub(super) fn new(vitals: Arc<Vitals>) -> Self {
        let now = Instant::now();
        Self {
            vitals,
            due: (now, now),
            changed: true,
            checkpoint_made_in: Duration::ZERO,
            looked: Looked::default(),
        }
    }

    /// What the thread does from now on.
    pub(super) fn does(&self, doing: Doing) {
        self.vitals.does(doing);
    }

    /// A checkpoint was made.
    pub(super) fn made_checkpoint(&mut self, took: Duration) {
        self.checkpoint_made_in = took;
    }

    /// The engine may have changed.
    pub(super) fn changed(&mut self) {
        self.changed = true;
    }

    /// How long nothing need be reported.
    pub(super) fn wait(&self) -> Duration {
        if self.vitals.is_watched() {
            self.due().saturating_duration_since(Instant::now())
        } else {
            Duration::MAX
        }
    }

    /// Reports if it is time to.
    pub(super) fn report(&mut self, engine: &mut Engine) {
        if self.wait() > Duration::ZERO {
            return;
        }
        let start = Instant::now();
        self.report_now(engine);
        let pause = REPORT_EVERY.max(start.elapsed() * SHARE);
        self.due = (start + pause, start + pause.max(IDLE_EVERY));
        self.changed = false;
    }

    /// Reports, whatever the time.
    pub(super) fn report_now(&mut self, engine: &mut Engine) {
        let view = engine.view(now(), BOUNDS, &mut self.looked);
        self.vitals.reports(Report {
            totals: engine.counted(),
            load: engine.load(),
            offsets: engine.offsets(),
            alerts: engine.alerts(ALERTS_MAX),
            view: Some(Arc::new(view)),
            checkpoint_made_in: self.checkpoint_made_in,
        });
    }

    fn due(&self) -> Instant {
        if self.changed { self.due.0 } else { self.due.1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::edge::status::Board;

    const PIPELINE: &str = r"
pipeline: quiet
inputs: [{type: file, paths: [a.jsonl], format: json}]
mapping: {prediction: {id: id, time: ts, model: {const: m}, predicted: p}}
task: {kind: regression}
output: {file: {path: out}}
";

    #[test]
    fn where_nobody_looks_nothing_is_reported() {
        let config = Config::parse("quiet.yml", PIPELINE, &|_| None).unwrap();
        let mut engine = Engine::new(config.engine).unwrap();
        for is_watched in [false, true] {
            let mut reporter = Reporter::new(Board::new(is_watched).enter("quiet"));
            reporter.report(&mut engine);
            assert_eq!(!reporter.changed, is_watched, "a report was made");
            assert_eq!(reporter.wait() == Duration::MAX, !is_watched);
        }
    }
}
