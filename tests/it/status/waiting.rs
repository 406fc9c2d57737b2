//! What waits, where and for how long: in the spool, which keeps the agent ready; before a spool that is full, which does not; and
//! in files that cannot be read.

use std::fmt::Write as _;
use std::os::unix::fs::symlink;

use reqwest::StatusCode;

use super::gate::Gate;
use super::{
    PIPELINE, PREDICTIONS, Watched, assert_documents_add_up, events, get, label, prediction, scrape,
};
use crate::agent::Home;
use crate::cluster::{Cluster, Prefix};

#[test]
fn with_a_spool_an_agent_is_ready_while_the_cluster_is_away_and_says_what_waits() {
    let prefix = Prefix::new(Cluster::plain(), "spooled");
    let home = Home::new();
    let gate = Gate::before(&prefix.cluster().url);
    home.write("logs/events.jsonl", &events());
    let mut watched = Watched::start_as(&home, &with_spool("64MiB"), &prefix, &gate.url);
    let address = watched.address.clone();

    // Everything is in the spool, and a checkpoint counts it as safe.
    let waits = || {
        let seen = scrape(&address);
        let in_spool = seen.sum("modelbeat_spool_documents", &[]);
        let in_flight = seen.sum("modelbeat_documents_in_flight", &[]);
        (
            in_spool >= PREDICTIONS && in_spool == in_flight,
            seen.sum("modelbeat_spool_bytes", &[]) > 0,
            seen.sum("modelbeat_input_unacknowledged_bytes", &[]),
        )
    };
    watched
        .agent
        .wait_until_equal("the spool", &(true, true, 0), waits);
    let ready = || {
        let (status, answer) = get(&address, "readyz");
        let says = |what: &str, word: &str| answer["pipelines"][0][what].to_string().contains(word);
        (status, says("reasons", "held up"), says("notes", "spool"))
    };
    let expected = (StatusCode::OK, false, true);
    watched
        .agent
        .wait_until_equal("readiness with a note", &expected, ready);
    let paced = || {
        let seen = scrape(&address);
        let held_up = seen.sum("modelbeat_shipping_held_up", &[]);
        (held_up, seen.sum("modelbeat_bulk_requests_allowed", &[]))
    };
    watched.agent.wait_until_equal("the pace", &(1, 1), paced);
    let seen = scrape(&address);
    assert_eq!(seen.sum("modelbeat_shipping_needs_a_person", &[]), 0);
    assert_eq!(seen.sum("modelbeat_spool_refuses", &[]), 0);
    assert_eq!(seen.sum("modelbeat_spool_bytes_max", &[]), 64 << 20);
    // The record that is none.
    assert_eq!(seen.sum("modelbeat_dead_letter_log_files", &[]), 1);
    assert!(seen.sum("modelbeat_dead_letter_log_bytes", &[]) > 0);
    assert_documents_add_up(&seen);

    gate.open();
    let is_drained = || {
        let seen = scrape(&address);
        let waits = seen.sum("modelbeat_spool_documents", &[])
            + seen.sum("modelbeat_spool_bytes", &[])
            + seen.sum("modelbeat_documents_in_flight", &[]);
        (waits, ready())
    };
    let expected = (0, (StatusCode::OK, false, false));
    watched
        .agent
        .wait_until_equal("the spool to be drained", &expected, is_drained);
    let seen = scrape(&address);
    assert!(seen.sum("modelbeat_documents_spooled_total", &[]) >= PREDICTIONS);
    assert_documents_add_up(&seen);
}

/// More than the spool and all that memory holds on the way: some 15 MB.
const LONG_PREDICTIONS: u64 = 3_000;

#[test]
fn before_a_full_spool_files_and_posts_wait_longer_and_longer_and_it_is_a_reason() {
    let prefix = Prefix::new(Cluster::plain(), "spoolfull");
    let home = Home::new();
    let gate = Gate::before(&prefix.cluster().url);
    home.write("logs/events.jsonl", &long_predictions());
    let mut watched = Watched::start_as(&home, &with_spool("1MiB"), &prefix, &gate.url);
    let address = watched.address.clone();

    let is_full = || {
        let (status, answer) = get(&address, "readyz");
        let reasons = answer["pipelines"][0]["reasons"].to_string();
        let seen = scrape(&address);
        let full_queues = ["intake", "cargo"].map(|queue| {
            let labels = [("queue", queue)];
            let [length, bytes] = ["modelbeat_queue_length", "modelbeat_queue_bytes"].map(|name| {
                let max = seen.sum(&format!("{name}_max"), &labels);
                (seen.sum(name, &labels), max)
            });
            assert!(bytes.0 <= bytes.1, "{queue}: {bytes:?}");
            length.0 == length.1 && bytes.0 > 0
        });
        let refuses = seen.sum("modelbeat_spool_refuses", &[]);
        let lag = seen.sum("modelbeat_input_lag_bytes", &[("input", "file-0")]);
        let is_said = reasons.contains("the spool is full");
        (status, is_said, refuses, full_queues, lag > 0)
    };
    // Nothing moves any more.
    let expected = (StatusCode::SERVICE_UNAVAILABLE, true, 1, [true; 2], true);
    watched
        .agent
        .wait_until_equal("the spool to be full", &expected, is_full);
    watched.post(&label(0));
    for input in ["file-0", "http-1"] {
        let lag = || {
            let seen = scrape(&address);
            seen.value("modelbeat_input_lag_seconds", &[("input", input)])
        };
        // Twice: what waits goes on waiting.
        for _ in 0..2 {
            let before = lag();
            let grown = || lag() > before;
            watched.agent.wait_until_equal("the lag", &true, grown);
        }
    }
    let (status, answer) = get(&address, "healthz");
    assert_eq!(status, StatusCode::OK, "a restart would not help: {answer}");
}

#[test]
fn a_path_that_cannot_be_read_is_a_reason_until_it_is_gone() {
    let prefix = Prefix::new(Cluster::plain(), "unreadable");
    let home = Home::new();
    home.write("logs/events.jsonl", &events());
    // A link to itself: nobody can read that, root included.
    let path = home.path("logs/circle.jsonl");
    symlink("circle.jsonl", &path).unwrap();
    let mut watched = Watched::start_as(&home, PIPELINE, &prefix, &prefix.cluster().url);
    let address = watched.address.clone();

    let seen = || {
        let (status, answer) = get(&address, "readyz");
        let is_named = answer.to_string().contains("circle.jsonl");
        let unreadable = scrape(&address).sum("modelbeat_input_unreadable_paths", &[]);
        (status, is_named, unreadable)
    };
    let expected = (StatusCode::SERVICE_UNAVAILABLE, true, 1);
    watched
        .agent
        .wait_until_equal("the path to be named", &expected, seen);
    assert_eq!(get(&address, "healthz").0, StatusCode::OK);
    std::fs::remove_file(&path).unwrap();
    watched
        .agent
        .wait_until_equal("readiness", &(StatusCode::OK, false, 0), seen);
}

fn with_spool(size: &str) -> String {
    format!("{PIPELINE}    bulk: {{bytes: 256KiB}}\n    spool: {size}\n")
}

/// Lines of 8 KiB that do not compress well.
fn long_predictions() -> String {
    let mut lines = String::new();
    let mut state = 1_u64;
    for id in 0..LONG_PREDICTIONS {
        let line = prediction(id);
        let open = line.trim_end_matches('}');
        write!(lines, r#"{open},"noise":""#).unwrap();
        for _ in 0..500 {
            // Xorshift.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            write!(lines, "{state:016x}").unwrap();
        }
        writeln!(lines, "\"}}").unwrap();
    }
    lines
}
