//! Numbers go on over rolls, restarts and torn lines; each entry is handed on once; configurations are compared.

use std::fs;

use serde_json::json;

use super::*;
use crate::flow::operation::Action;

fn operation(text: &str) -> Operation {
    Operation::success(Action::Alert, text)
}

fn numbers(folder: &Path, behind: u64) -> Vec<u64> {
    let entries = read(folder, behind, usize::MAX).unwrap();
    entries.iter().map(|entry| entry.number).collect()
}

#[test]
fn numbers_go_on_over_restarts_torn_lines_and_commands() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert_eq!(numbers(path, 0), [] as [u64; 0]);
    let agent = Operations::new(path);
    agent.record(operation("a"));
    // A command beside it.
    Operations::new(path).record(operation("b"));
    agent.record(operation("c"));
    let file = path.join("operations.ndjson");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}{{\"number\":4,\"at\":1")).unwrap();
    agent.record(operation("d"));
    assert_eq!(numbers(path, 0), [1, 2, 3, 4]);
    assert_eq!(numbers(path, 2), [3, 4]);
}

#[test]
fn what_a_replay_enters_again_is_there_once() {
    let folder = tempfile::tempdir().unwrap();
    for id in ["a.1", "a.2", "a.1", "a.3", "a.2"] {
        let operation = operation("an alert").with("notice_id", id);
        Operations::new(folder.path()).record_once("notice_id", operation);
    }
    let entries = read(folder.path(), 0, usize::MAX).unwrap();
    let ids = entries
        .iter()
        .map(|entry| entry.operation.details["notice_id"].clone());
    assert_eq!(ids.collect::<Vec<_>>(), ["a.1", "a.2", "a.3"]);
}

#[test]
fn it_is_rolled_and_the_oldest_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let operations = Operations::new(path);
    let long = "x".repeat(900);
    let mut written = 0;
    while !path.join("operations.000009.ndjson").try_exists().unwrap() {
        operations.lock().write(vec![operation(&long); 100]);
        written += 100;
    }
    let count = fs::read_dir(path).unwrap().count();
    assert_eq!(count, FILES_MAX + 1, "and the lock");
    let all = numbers(path, 0);
    assert!(all.is_sorted() && *all.last().unwrap() == written);
    assert!(all[0] > 1 && all.len() as u64 == written - all[0] + 1);
    for behind in [all[0], all[all.len() / 2], written - 1, written] {
        let rest: Vec<u64> = (behind + 1..=written).collect();
        assert_eq!(numbers(path, behind), rest);
    }
    assert_eq!(
        Operations::new(path)
            .lock()
            .files
            .append(now(), vec![operation("next")])
            .ok(),
        Some(())
    );
    assert_eq!(numbers(path, written), [written + 1]);
}

#[tokio::test(start_paused = true)]
async fn each_entry_is_handed_on_once_and_what_was_is_not_again() {
    let folder = tempfile::tempdir().unwrap();
    let operations = Operations::new(folder.path());
    for text in ["a", "b", "c"] {
        operations.record(operation(text));
    }
    let (out, mut intake) = mpsc::channel(4);
    let (stop, stopped) = watch::channel(false);
    let head = Head {
        offset: 1,
        ..Head::default()
    };
    let running = tokio::spawn(run(
        operations.clone(),
        Some(head),
        false,
        Some(out),
        stopped,
    ));
    let mut heard = Vec::new();
    let next = intake.recv().await;
    operations.record(operation("d"));
    for next in [next, intake.recv().await] {
        let Some(Intake::Operations(run)) = next else {
            panic!("{next:?}")
        };
        assert_eq!(run.source, source());
        assert_eq!(run.head.offset, run.entries.last().unwrap().number);
        heard.extend(run.entries.into_iter().map(|entry| entry.operation.message));
    }
    assert_eq!(heard, ["b", "c", "d"]);
    stop.send_replace(true);
    running.await.unwrap();
    assert!(intake.recv().await.is_none());
}

#[tokio::test]
async fn a_log_that_begins_anew_is_read_from_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let operations = Operations::new(folder.path());
    operations.record(operation("first of a new folder"));
    let (out, mut intake) = mpsc::channel(4);
    let (_stop, stopped) = watch::channel(false);
    let head = Head {
        offset: 500,
        ..Head::default()
    };
    run(operations, Some(head), true, Some(out), stopped).await;
    let Some(Intake::Operations(run)) = intake.recv().await else {
        panic!("nothing was handed on")
    };
    assert_eq!(run.entries[0].number, 1);
}

#[test]
fn a_configuration_is_compared_with_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let of = |pairs: &[(&str, &str)]| Configuration {
        keys: pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let operations = Operations::new(folder.path());
    let first = of(&[("pipeline", "p"), ("windows.0", "1h"), ("host", "off")]);
    operations.configured(&first);
    operations.configured(&first);
    let second = of(&[("pipeline", "p"), ("windows.0", "2h"), ("windows.1", "1d")]);
    operations.configured(&second);
    let entries = read(folder.path(), 0, 10).unwrap();
    let details = |at: usize| serde_json::to_value(&entries[at].operation.details).unwrap();
    assert_eq!(details(0), json!({ "hash": first.hash() }));
    assert_eq!(details(1), json!({ "hash": first.hash(), "changes": 0 }));
    assert_eq!(
        details(2),
        json!({
            "hash": second.hash(), "earlier_hash": first.hash(), "changes": 3,
            "changed": ["host: removed off", "windows.0: 1h → 2h", "windows.1: added 1d"],
        })
    );
    assert_ne!(first.hash(), second.hash());
}

#[test]
fn a_disk_that_takes_nothing_stops_nobody() {
    let operations = Operations::new(Path::new("/no/such/folder"));
    operations.record(operation("a"));
    operations.repeated("b", operation("b"));
    operations.close();
}
