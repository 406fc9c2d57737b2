//! Counters over restarts: killed under load again and again, an agent shows no number lower than one that it has shown, and in
//! the end each record is counted once.

use super::scrape::Scrape;
use super::{PIPELINE, Watched, assert_documents_add_up, label, prediction, scrape};
use crate::agent::Home;
use crate::cluster::{Cluster, Prefix};

/// Lives of the agent that end with kill -9.
const KILLS: u64 = 6;
/// Looks at the metrics in each life, with more to read and more posts before each. A checkpoint is due every 10 s: most of the
/// lives end with work that none covers.
const ROUNDS: u64 = 3;
/// Predictions and labels of a round.
const PREDICTIONS: u64 = 20;
const LABELS: u64 = 10;

#[test]
fn no_counter_goes_back_however_often_the_agent_is_killed_under_load() {
    let prefix = Prefix::new(Cluster::plain(), "continues");
    let home = Home::new();
    home.write("logs/events.jsonl", "");
    let mut look = Look::default();
    let mut round = 0;
    for _ in 0..KILLS {
        let mut watched = Watched::start_as(&home, PIPELINE, &prefix, &prefix.cluster().url);
        look.begin(&mut watched);
        for _ in 0..ROUNDS {
            home.append("logs/events.jsonl", &events(round));
            watched.post(&labels(round));
            round += 1;
            let before = look.events();
            look.until(&mut watched, |seen| {
                seen.sum("modelbeat_events_total", &[]) > before
            });
        }
        watched.agent.kill();
    }

    let rounds = KILLS * ROUNDS;
    let account = |seen: &Scrape| {
        let events = |outcome: &str| seen.sum("modelbeat_events_total", &[("outcome", outcome)]);
        ["prediction", "label", "duplicate", "dead_letter", "ignored"].map(events)
            == [
                PREDICTIONS * rounds,
                LABELS * rounds,
                rounds,
                rounds,
                rounds,
            ]
            && seen.sum("modelbeat_documents_in_flight", &[]) == 0
            && seen.sum("modelbeat_input_unacknowledged_bytes", &[]) == 0
    };
    let mut watched = Watched::start_as(&home, PIPELINE, &prefix, &prefix.cluster().url);
    look.begin(&mut watched);
    look.until(&mut watched, account);
    assert_documents_add_up(look.last.as_ref().unwrap());
    watched.agent.stop().expect_code(0);
    // Stopped in order, nothing is counted again.
    let mut watched = Watched::start_as(&home, PIPELINE, &prefix, &prefix.cluster().url);
    look.begin(&mut watched);
    look.until(&mut watched, account);
    assert_documents_add_up(look.last.as_ref().unwrap());
}

/// Whoever looks, and remembers what was last seen.
#[derive(Default)]
struct Look {
    last: Option<Scrape>,
}

impl Look {
    /// Looks for the first time in a life: before there is anything new to count.
    #[track_caller]
    fn begin(&mut self, watched: &mut Watched) {
        let address = watched.address.clone();
        let is_wired = || {
            scrape(&address)
                .value("modelbeat_documents_total", &[])
                .is_some()
        };
        watched
            .agent
            .wait_until_equal("the metrics", &true, is_wired);
        self.until(watched, |_| true);
    }

    /// Looks until this is seen; at no time may anything have gone back.
    #[track_caller]
    fn until(&mut self, watched: &mut Watched, mut is_seen: impl FnMut(&Scrape) -> bool) {
        let address = watched.address.clone();
        let last = &mut self.last;
        watched
            .agent
            .wait_until_equal("what is counted", &true, || {
                let now = scrape(&address);
                if let Some(last) = last {
                    assert_nothing_went_back(last, &now);
                }
                let is_seen = is_seen(&now);
                *last = Some(now);
                is_seen
            });
    }

    fn events(&self) -> u64 {
        let last = self.last.as_ref();
        last.map_or(0, |last| last.sum("modelbeat_events_total", &[]))
    }
}

/// Of the pipeline; what begins with the process has no such label.
#[track_caller]
fn assert_nothing_went_back(before: &Scrape, now: &Scrape) {
    let mut compared = 0;
    for (series, was) in before.growing() {
        if !series.1.contains_key("pipeline") {
            continue;
        }
        let is = now.of(series);
        assert!(is >= Some(was), "{series:?} was {was} and is {is:?}");
        compared += 1;
    }
    assert!(compared > 50, "{compared}");
}

/// The predictions of a round, one of them twice, a line that is no JSON and one that is neither prediction nor label.
fn events(round: u64) -> String {
    let ids = round * PREDICTIONS..(round + 1) * PREDICTIONS;
    let mut lines: Vec<String> = ids.clone().map(prediction).collect();
    lines.push(prediction(ids.start));
    lines.push("{\"event\":".to_owned());
    lines.push(r#"{"event":"heartbeat"}"#.to_owned());
    lines.join("\n") + "\n"
}

fn labels(round: u64) -> String {
    let start = round * PREDICTIONS;
    let labels: Vec<String> = (start..start + LABELS).map(label).collect();
    labels.join("\n")
}
