//! What a kill, a torn or flipped byte, a full disk and a changed pipeline file leave of the outbox.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::flow::alert::{Change, Severity};

/// The n-th change of an alert, for `page`.
pub(in crate::edge) fn sample(alert: &str, change: u32) -> Notice {
    Notice {
        id: format!("{alert}.{change}"),
        alert_id: alert.into(),
        pipeline: "fraud".into(),
        rule: "recall-low".into(),
        change: if change % 2 == 1 {
            Change::Firing
        } else {
            Change::Resolved
        },
        severity: Severity::Critical,
        model: "fraud".into(),
        version: "2.1".into(),
        slice: None,
        window_start: None,
        window_end: None,
        value: Some(0.8125),
        threshold: "recall below 0.9".into(),
        reason: "recall was 0.8125".into(),
        at: Timestamp(1_795_514_405_250),
        starts_at: Timestamp(1_795_514_405_250),
        notify: vec!["page".into()],
    }
}

fn addressee(name: &str) -> Addressee {
    Addressee {
        name: name.into(),
        give_up: Duration::from_hours(1),
        is_reminded: false,
    }
}

fn open(folder: &TempDir) -> Outbox {
    open_for(folder, "page").unwrap()
}

fn open_for(folder: &TempDir, name: &str) -> Result<Outbox, Error> {
    let letters = DeadLetters::new(folder.path(), dead_letters::Settings::default());
    Outbox::open(folder.path(), &[addressee(name)], letters)
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("notices.log")
}

fn next(outbox: &Outbox) -> Option<String> {
    outbox.next("page").map(|errand| errand.notice.id.clone())
}

fn letters(folder: &TempDir) -> Vec<DeadLetter> {
    let lines = dead_letters::open(folder.path())
        .unwrap()
        .into_iter()
        .flatten();
    lines
        .map(|line| line.unwrap().entry.unwrap().letter)
        .collect()
}

#[test]
fn what_was_taken_and_told_is_known_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(&folder);
    assert!(!file(&folder).try_exists().unwrap());
    outbox
        .take(&[sample("a", 1), sample("b", 1), sample("a", 1)])
        .unwrap();
    outbox.told(&sample("a", 1), "page").unwrap();
    // Killed: nothing is dropped in order.
    std::mem::forget(outbox);
    let outbox = open(&folder);
    let again = [sample("a", 1), sample("b", 1), sample("a", 2)];
    assert_eq!(outbox.unknown(&again), [&again[2]]);
    outbox.take(&again).unwrap();
    assert_eq!(next(&outbox).as_deref(), Some("b.1"));
    outbox.told(&sample("b", 1), "page").unwrap();
    assert_eq!(next(&outbox).as_deref(), Some("a.2"));
    outbox.told(&sample("a", 2), "page").unwrap();
    assert_eq!(next(&outbox), None);
    assert_eq!(next(&open(&folder)), None);
}

/// Cut anywhere: all whole lines before count, and what was taken last may be taken again.
#[test]
fn a_file_cut_anywhere_is_read_up_to_the_cut() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(&folder);
    outbox.take(&[sample("a", 1)]).unwrap();
    outbox.told(&sample("a", 1), "page").unwrap();
    outbox.take(&[sample("b", 1)]).unwrap();
    let whole = fs::read(file(&folder)).unwrap();
    let ends: Vec<usize> = (1..=whole.len())
        .filter(|end| whole[end - 1] == b'\n')
        .collect();
    assert_eq!(ends.len(), 4, "a header and three records");
    for length in 0..whole.len() {
        fs::write(file(&folder), &whole[..length]).unwrap();
        let outbox = open(&folder);
        let expected = match ends.iter().filter(|end| **end <= length).count() {
            2 => Some("a.1"),
            _ => None,
        };
        assert_eq!(next(&outbox).as_deref(), expected, "cut at {length}");
        outbox.take(&[sample("c", 1)]).unwrap();
        let outbox = open(&folder);
        assert_eq!(
            next(&outbox).as_deref(),
            expected.or(Some("c.1")),
            "cut at {length}"
        );
    }
}

#[test]
fn a_flipped_byte_costs_its_line_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(&folder);
    outbox.take(&[sample("a", 1)]).unwrap();
    outbox.take(&[sample("b", 1)]).unwrap();
    let whole = fs::read(file(&folder)).unwrap();
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let second = first
        + whole[first..]
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap();
    for at in first..second {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(file(&folder), &flipped).unwrap();
        let waiting: BTreeSet<Option<String>> = BTreeSet::from([next(&open(&folder))]);
        assert_eq!(
            waiting,
            BTreeSet::from([Some("b.1".to_owned())]),
            "flipped at {at}"
        );
    }
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(file(&folder), "modelbeat notices 2\nwhatever\n").unwrap();
    let error = open_for(&folder, "page").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("has format 2, and this modelbeat reads up to 1"),
        "{error}"
    );
    assert_eq!(
        fs::read_to_string(file(&folder)).unwrap(),
        "modelbeat notices 2\nwhatever\n"
    );
}

#[test]
fn what_is_refused_or_for_nobody_is_a_dead_letter_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(&folder);
    let stranger = Notice {
        notify: vec!["pager".into()],
        ..sample("s", 1)
    };
    outbox.take(&[sample("a", 1), stranger]).unwrap();
    outbox
        .give_up(&sample("a", 1), "page", "`page` refused it: status 400")
        .unwrap();
    assert_eq!(next(&outbox), None);
    let letters = letters(&folder);
    let told: Vec<_> = letters
        .iter()
        .map(|letter| {
            (
                letter.origin.as_str(),
                letter.reason.as_str(),
                letter.notifier.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                "s.1",
                "there is no notifier `pager` under `notify` in the pipeline file",
                Some("pager")
            ),
            ("a.1", "`page` refused it: status 400", Some("page")),
        ]
    );
    let text: Notice = serde_json::from_str(&letters[1].text).unwrap();
    assert_eq!(text, sample("a", 1));
}

#[test]
fn a_notifier_that_is_gone_from_the_file_leaves_dead_letters() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder).take(&[sample("a", 1)]).unwrap();
    let outbox = open_for(&folder, "ops").unwrap();
    assert_eq!(next(&outbox), None);
    assert_eq!(letters(&folder).len(), 1);
    assert_eq!(next(&open(&folder)), None, "it is not told later, too");
}

#[test]
fn the_file_stays_as_long_as_what_it_must_say() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(&folder);
    let waits = sample("waits", 1);
    outbox.take(std::slice::from_ref(&waits)).unwrap();
    let mut longest = 0;
    for number in 0..4_000 {
        let notice = sample(&format!("a{number}"), 1);
        let mut inner = outbox.lock();
        let record = inner.queue.offer(&notice, Timestamp(0)).unwrap();
        // Without a thousand fsyncs.
        inner.log.append_later(std::slice::from_ref(&record));
        inner.queue.apply(record);
        let done = Record::Done {
            id: notice.id.clone(),
            to: "page".into(),
            told: true,
        };
        inner.log.append_later(std::slice::from_ref(&done));
        inner.queue.apply(done);
        drop(inner);
        if number % 500 == 499 {
            outbox.told(&notice, "page").unwrap();
            longest = longest.max(fs::metadata(file(&folder)).unwrap().len());
        }
    }
    assert!(longest < 2 << 20, "{longest} bytes");
    assert_eq!(next(&open(&folder)).as_deref(), Some("waits.1"));
}
