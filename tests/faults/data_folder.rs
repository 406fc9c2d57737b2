//! The data folder: one agent's at a time, for its owner only, and never guessed at where a newer modelbeat wrote it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::agent::{Home, Modelbeat};

const PIPELINE: &str = r#"
pipeline: folder
agent: {id: one}
inputs:
  - {type: http, listen: "127.0.0.1:0"}
  - {type: file, paths: ["logs/*.jsonl"], format: json}
mapping:
  prediction: {id: id, time: ts, model: {const: m}, predicted: predicted}
task: {kind: binary, positive: "1"}
windows: [1d]
host: off
output: {file: {path: out}}
"#;

const LINES: &str = "{\"id\":\"1\",\"ts\":1700000000,\"predicted\":\"1\"}\n{no json\n";

#[test]
fn a_second_agent_says_who_holds_the_folder_and_ends() {
    let (home, pipeline) = home();
    let mut first = Modelbeat::run(&home, &pipeline).start();
    first.wait_for_log("pipeline is running");
    let holder = fs::read_to_string(home.path("data/folder/lock")).expect("a lock");
    let holder = format!("(process {})", holder.trim());
    for second in [Modelbeat::run, Modelbeat::once] {
        second(&home, &pipeline)
            .finish()
            .expect_code(1)
            .expect_words(&["another modelbeat", &holder, "--data-dir"]);
    }
    assert!(first.is_running());
    first.stop().expect_code(0);
    Modelbeat::once(&home, &pipeline).finish().expect_code(0);
}

/// A kill leaves the file, but not the lock.
#[test]
fn the_folder_of_a_killed_agent_is_free() {
    let (home, pipeline) = home();
    let mut agent = Modelbeat::run(&home, &pipeline).start();
    agent.wait_for_log("pipeline is running");
    agent.kill();
    Modelbeat::once(&home, &pipeline).finish().expect_code(0);
}

#[test]
fn only_the_owner_may_enter_or_read_whatever_the_umask() {
    let (home, pipeline) = home();
    let status = Command::new("sh")
        .args(["-c", "umask 000; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_modelbeat"))
        .args(["run", "--once", "--data-dir", "data"])
        .arg(&pipeline)
        .current_dir(home.path(""))
        .status()
        .expect("sh");
    assert!(status.success());
    let modes = modes(&home.path("data"));
    for name in [
        "folder/checkpoint",
        "folder/dead-letters.ndjson",
        "folder/lock",
    ] {
        assert!(modes.contains_key(Path::new(name)), "{modes:?}");
    }
    for (path, mode) in &modes {
        let expected = if home.path("data").join(path).is_dir() {
            0o700
        } else {
            0o600
        };
        assert_eq!(*mode, expected, "{}: {mode:o}", path.display());
    }
}

#[test]
fn a_newer_checkpoint_is_refused_with_words_and_left_alone() {
    let (home, pipeline) = home_after_a_run();
    // The number of the format stands behind the magic, in every format.
    change(&home.path("data/folder/checkpoint"), |bytes| {
        bytes.truncate(100);
        bytes[8..12].copy_from_slice(&7_u32.to_le_bytes());
    });
    refuses(
        &home,
        &pipeline,
        &["checkpoint has format 7", "start the newer modelbeat"],
    );
}

#[test]
fn a_newer_journal_is_refused_with_words_and_left_alone() {
    let (home, pipeline) = home_after_a_run();
    let segment = home.path("data/folder/journal-0/00000000000000000000.journal");
    change(&segment, |bytes| {
        bytes.truncate(18);
        bytes[8..10].copy_from_slice(&2_u16.to_le_bytes());
        bytes.extend(crc32fast::hash(bytes).to_le_bytes());
        bytes.extend(b"records of a kind that we do not know");
    });
    refuses(
        &home,
        &pipeline,
        &[
            "00000000000000000000.journal is of a version of the journal",
            "start the newer modelbeat",
        ],
    );
}

#[test]
fn a_newer_store_is_refused_with_words_and_left_alone() {
    let (home, pipeline) = home_after_a_run();
    let mut segment = b"MBROWS\r\n".to_vec();
    segment.extend(9_u32.to_le_bytes());
    segment.extend(crc32fast::hash(&segment).to_le_bytes());
    let folder = home.path("data/folder/open-predictions");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("00000000000000000001.rows"), segment).expect("a file");
    refuses(
        &home,
        &pipeline,
        &["a newer modelbeat wrote", "open-predictions"],
    );
}

/// Nothing is begun, and nothing in the folder is changed: the newer modelbeat, or a person, finds it as it was.
#[track_caller]
fn refuses(home: &Home, pipeline: &Path, words: &[&str]) {
    let before = contents(&home.path("data/folder"));
    for start in [Modelbeat::run, Modelbeat::once] {
        start(home, pipeline)
            .finish()
            .expect_code(1)
            .expect_words(words);
    }
    let mut after = contents(&home.path("data/folder"));
    // The process that was there last.
    let lock = PathBuf::from("lock");
    after.insert(lock.clone(), before[&lock].clone());
    assert!(before == after, "the folder was changed");
}

fn home() -> (Home, PathBuf) {
    let home = Home::new();
    let pipeline = home.write("pipeline.yml", PIPELINE);
    home.write("logs/a.jsonl", LINES);
    (home, pipeline)
}

fn home_after_a_run() -> (Home, PathBuf) {
    let (home, pipeline) = home();
    Modelbeat::once(&home, &pipeline).finish().expect_code(0);
    (home, pipeline)
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    change(&mut bytes);
    fs::write(path, bytes).expect("a file");
}

/// Permissions of all that lies in a folder, itself included.
fn modes(folder: &Path) -> BTreeMap<PathBuf, u32> {
    let mode = |path: &Path| path.metadata().expect("metadata").permissions().mode() & 0o7777;
    let mut modes: BTreeMap<_, _> = paths(folder)
        .into_iter()
        .map(|path| {
            (
                path.strip_prefix(folder).expect("in it").to_owned(),
                mode(&path),
            )
        })
        .collect();
    modes.insert(PathBuf::new(), mode(folder));
    modes
}

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    paths(folder)
        .into_iter()
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.strip_prefix(folder).expect("in it").to_owned();
            (name, fs::read(&path).expect("a file"))
        })
        .collect()
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}
