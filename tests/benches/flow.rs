//! What each step of the hot path costs alone: `cargo bench --bench flow`, or with the names of steps behind `--`.
//!
//! Every step runs over the same log in one thread, beside the least that could do the like. Of several passes the best
//! counts: the machine can only make them slower.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench ends at what it did not expect"
)]

#[path = "fraud/line.rs"]
mod line;
#[path = "fraud/log.rs"]
mod log;
#[path = "fraud/pipeline.rs"]
mod pipeline;
#[path = "flow/steps.rs"]
mod steps;

use std::time::{Duration, Instant};

const PASSES: usize = 7;

fn main() {
    // `cargo test --all-targets` runs benches too, unoptimised: nothing to learn from that.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    println!(
        "| step | ns an event | the least that does the like | ns | ratio |\n|---|---|---|---|---|"
    );
    let table = Table { wanted };
    let log = steps::Log::new();
    steps::lines(&log, &table);
    steps::decode(&log, &table);
    steps::key(&log, &table);
    steps::join(&log, &table);
    steps::windows(&log, &table);
    steps::encode(&log, &table);
    steps::pack(&log, &table);
    steps::engine(&log, &table);
}

/// The rows that are wanted; all, if none is named.
struct Table {
    wanted: Vec<String>,
}

impl Table {
    /// Runs a step and its baseline in turns, so that both see the same machine.
    fn row(
        &self,
        name: &str,
        events: u64,
        mut step: impl FnMut() -> Duration,
        least: &str,
        mut baseline: impl FnMut() -> Duration,
    ) {
        if !self.wanted.is_empty() && !self.wanted.iter().any(|wanted| wanted == name) {
            return;
        }
        let mut best = [Duration::MAX; 2];
        for _ in 0..PASSES {
            best = [best[0].min(step()), best[1].min(baseline())];
        }
        let [cost, floor] = best.map(|time| time.as_secs_f64() * 1e9 / events as f64);
        println!(
            "| {name} | {cost:.0} | {least} | {floor:.0} | {:.1} |",
            cost / floor
        );
    }
}

fn timed(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}
