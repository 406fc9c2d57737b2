//! A store that was being made when the process died: the next start makes it again.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{NO_ROWS, key};
use crate::edge::state::{FOLDER, State};
use crate::flow::event::Timestamp;
use crate::flow::join::{Delta, Open, Opens};

/// Kills, each later after the store has begun to be made than the one before, by the square: together they pass the moment
/// in which it takes its place, on a fast disk and on a slow one.
const KILLS: u32 = 60;
const LATER: Duration = Duration::from_micros(40);

/// In the environment of a process that is to be killed: the data folder.
const DATA: &str = "MODELBEAT_TEST_MAKES_A_STORE_IN";

/// This test's name, for a process that runs only it.
const NAME: &str =
    "edge::state::tests::made::killed_while_the_store_is_made_the_next_start_makes_it";

#[test]
fn killed_while_the_store_is_made_the_next_start_makes_it() {
    if let Some(data) = std::env::var_os(DATA) {
        recover(Path::new(&data));
        return;
    }
    let (mut unfinished, mut whole) = (0, 0);
    for kill in 0..KILLS {
        let data = tempfile::tempdir().unwrap();
        let is_there = |name: &str| data.path().join(name).try_exists().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env(DATA, data.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        loop {
            // Looked at first: what has ended has made it.
            let ended = child.try_wait().unwrap();
            if is_there("open-predictions.new") || is_there(FOLDER) {
                break;
            }
            assert_eq!(ended, None);
            thread::yield_now();
        }
        thread::sleep(LATER * kill * kill);
        child.kill().unwrap();
        child.wait().unwrap();
        *(if is_there(FOLDER) {
            &mut whole
        } else {
            &mut unfinished
        }) += 1;
        recover(data.path());
    }
    println!("{unfinished} killed while the store was made, {whole} after");
}

#[test]
fn whatever_is_left_of_a_store_that_was_being_made_is_no_store() {
    let made = tempfile::tempdir().unwrap();
    recover(made.path());
    let files = files(&made.path().join(FOLDER));
    assert!(files == ["00000000000000000001.rows"], "{files:?}");
    for left in 0..=files.len() {
        let data = tempfile::tempdir().unwrap();
        for file in &files[..left] {
            let path = data.path().join("open-predictions.new").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "cut").unwrap();
        }
        recover(data.path());
    }
    // It may also stand beside a store that is whole.
    fs::create_dir(made.path().join("open-predictions.new")).unwrap();
    recover(made.path());
}

/// A start with a checkpoint that the store has not heard of, or not to its end.
#[track_caller]
fn recover(data: &Path) {
    let delta = delta();
    let state = State::new(data);
    state.recover(Some((&delta, &NO_ROWS))).unwrap();
    let mut found = 0;
    crate::flow::join::Cold::find(&state, key(0), &mut |_, _| found += 1).unwrap();
    assert_eq!(found, 1);
    drop(state);
    let names: Vec<_> = fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, [FOLDER]);
}

fn delta() -> Delta {
    let data = tempfile::tempdir().unwrap();
    let mut opens = Opens::new(0);
    opens.spill_to(Box::new(State::new(data.path())));
    for id in 0..20 {
        opens.push(Open::new(key(id), Timestamp(0), Timestamp(0), 0, 0));
    }
    let (_, delta) = opens.cut(1, None).unwrap();
    assert!(!delta.is_empty());
    delta
}

/// By name, folders walked through.
fn files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                names.push(
                    path.strip_prefix(folder)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
    }
    names.sort_unstable();
    names
}
