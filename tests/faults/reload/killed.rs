//! Killed in the middle of a reload, again and again: while sources stop, when all has ended and nothing is open, while it opens,
//! right after; with good files and with such as are refused. What was accepted is counted once.

use std::thread;
use std::time::Duration;

use reqwest::Client;
use tokio::runtime::Builder;

use super::{Story, closing, hang_up, label, letters, pipeline, post, prediction};
use crate::faults::written::Written;

const ROUNDS: u64 = 12;

/// Events of each round, half of them logged and half posted.
const EVENTS: u64 = 200;

#[test]
fn a_kill_in_the_middle_of_a_reload_loses_nothing_and_counts_nothing_twice() {
    let story = Story::new();
    let client = Client::builder().no_proxy().build().expect("a client");
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for round in 0..ROUNDS {
        // A start with the file that was refused would be refused.
        story.write(&pipeline("gen-again", 1));
        let mut agent = story.run().start();
        let url = format!("http://{}/v1/events", agent.http_address());
        let (logged, posted): (Vec<_>, Vec<_>) =
            (round * EVENTS..(round + 1) * EVENTS).map(lines).unzip();
        for body in posted.chunks(20) {
            let body = body.concat();
            let posting = post(&client, &url, &body);
            assert!(runtime.block_on(posting), "it is not reloaded yet");
        }
        let (before, after) = logged.split_at(logged.len() / 2);
        story.home.append("logs/a.jsonl", &before.concat());
        story.write(&changed(round));
        hang_up(&agent);
        story.home.append("logs/a.jsonl", &after.concat());
        match round % 4 {
            0 => drop(agent.wait_for_log("stopping")),
            1 => drop(agent.wait_for_log("pipeline ended")),
            2 => drop(agent.wait_for_log("pipeline was reloaded")),
            // Wherever it is.
            _ => thread::sleep(Duration::from_millis(round * 5)),
        }
        agent.kill();
    }
    story.write(&pipeline("gen-last", 1));
    let last = story.run().argument("--once").finish().expect_code(0);

    let told = ROUNDS * EVENTS;
    let written = Written::read(&story.home.path("out"));
    assert_eq!(written.predictions().len() as u64, 2 * told);
    let labels = told + told - EVENTS;
    let right = (0..told).filter(|number| number.is_multiple_of(3)).count() as u64;
    let late = (0..told - EVENTS)
        .filter(|number| number.is_multiple_of(3))
        .count() as u64;
    for length in ["10m", "1d"] {
        for (count, expected) in [
            // The whole and its two halves.
            ("predictions", 2 * 2 * told),
            ("labelled", 2 * labels),
            ("correct", 2 * (right + late)),
        ] {
            assert_eq!(
                written.windows(length, count),
                expected,
                "{count} of {length}"
            );
        }
    }
    assert_eq!(closing(&last)["orphans"].as_u64(), Some(0));
}

/// What is logged and what is posted: the prediction of this number on both ways, the label of the logged one by post, and that
/// of one posted a round before in the log.
fn lines(number: u64) -> (String, String) {
    let mut logged = format!("{}\n", prediction(&format!("f-{number}"), number));
    if let Some(before) = number.checked_sub(EVENTS) {
        logged += &format!("{}\n", label(&format!("h-{before}"), before));
    }
    let posted = format!(
        "{}\n{}\n",
        prediction(&format!("h-{number}"), number),
        label(&format!("f-{number}"), number)
    );
    (logged, posted)
}

/// A file that is taken; in each third round one whose output cannot be opened, so that the one before is gone back to.
fn changed(round: u64) -> String {
    let name = letters(usize::try_from(round).expect("small"));
    let good = pipeline(&format!("gen-{name}"), 1);
    if round % 3 == 2 {
        good.replace("path: out", &format!("path: no-folder/{name}"))
    } else {
        good
    }
}
