//! Lines that are no ordinary ones: whatever can be read is stored, the rest are dead letters with file and offset.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::written::Written;
use crate::agent::{Home, Modelbeat};
use crate::wait;

const PIPELINE: &str = r#"
pipeline: odd
inputs:
  - {type: file, paths: ["odd.jsonl"], format: json, max_record: 11MiB, poll: 100ms}
mapping:
  prediction: {id: id, time: ts, model: {const: m}, predicted: predicted}
task: {kind: binary, positive: "1"}
windows: [1d]
join: {hold: 0s}
host: off
operations: {ship: false}
output: {file: {path: out}}
"#;

/// What a line is to become.
enum Fate {
    Stored(&'static str),
    /// A dead letter, with these words in its reason.
    Dead(&'static str),
}

#[test]
fn every_odd_line_is_stored_or_a_dead_letter_with_its_file_and_offset() {
    let home = Home::new();
    let pipeline = home.write("pipeline.yml", PIPELINE);
    let lines = odd_lines();
    let mut bytes = Vec::new();
    let mut dead = BTreeSet::new();
    let mut stored = BTreeSet::new();
    for (line, fate) in &lines {
        match fate {
            Fate::Stored(id) => stored.insert((*id).to_owned()),
            Fate::Dead(words) => dead.insert((bytes.len(), *words)),
        };
        bytes.extend_from_slice(line);
    }
    // The last line is partial: half of it now, the rest when all else is stored.
    let last = record("last", "");
    let (half, rest) = last.split_at(last.len() / 2);
    let offset_of_last = bytes.len();
    fs::write(home.path("odd.jsonl"), [&bytes[..], half].concat()).unwrap();
    let mut agent = Modelbeat::run(&home, &pipeline).start();
    agent.wait_until_equal("ids stored", &stored, || ids(&home));
    agent.kill();
    let mut agent = Modelbeat::run(&home, &pipeline).start();
    home.append("odd.jsonl", std::str::from_utf8(rest).unwrap());
    stored.insert("last".into());
    agent.wait_until_equal("ids stored", &stored, || ids(&home));
    agent.stop().expect_code(0);

    let path = home.path("odd.jsonl");
    let letters = wait::until("the dead letters", || {
        let text =
            fs::read_to_string(home.path("data/odd/dead-letters.ndjson")).unwrap_or_default();
        let letters = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let letters: Vec<_> = letters.collect();
        if letters.len() >= dead.len() {
            Ok(letters)
        } else {
            Err(text)
        }
    });
    // Killed, it may have written one again: the offset says which it is.
    let seen: BTreeSet<_> = letters
        .iter()
        .map(|letter| letter["origin"].as_str().unwrap())
        .collect();
    let expected: BTreeSet<_> = dead
        .iter()
        .map(|(offset, _)| format!("{}:{offset}", path.display()))
        .collect();
    assert_eq!(seen, expected.iter().map(String::as_str).collect());
    for (offset, words) in dead {
        let origin = format!("{}:{offset}", path.display());
        let letter = letters
            .iter()
            .find(|letter| letter["origin"] == origin.as_str())
            .unwrap();
        let reason = letter["reason"].as_str().unwrap();
        assert!(reason.contains(words), "{origin}: {reason}");
    }
    assert!(offset_of_last > 0);
}

fn odd_lines() -> Vec<(Vec<u8>, Fate)> {
    let long = "x".repeat(10 << 20);
    let too_long = "y".repeat(12 << 20);
    let crlf = |id| [record(id, "").trim_ascii_end(), b"\r\n"].concat();
    vec![
        (record("first", ""), Fate::Stored("first")),
        (
            record("ten mebibytes", &long),
            Fate::Stored("ten mebibytes"),
        ),
        (
            record("too long", &too_long),
            Fate::Dead("record is longer than 11534336 bytes"),
        ),
        (crlf("crlf"), Fate::Stored("crlf")),
        (b"\n\r\n  \n".to_vec(), Fate::Stored("first")),
        (
            b"{\"id\": \"\xFF\xFE\", \"ts\": 1}\n".to_vec(),
            Fate::Dead("UTF-8"),
        ),
        (b"\0\0\0\0\n".to_vec(), Fate::Dead("")),
        (b"{\"id\": \"nul\0\", \"ts\": 1}\n".to_vec(), Fate::Dead("")),
        (b"not JSON\n".to_vec(), Fate::Dead("")),
        (record("after all that", ""), Fate::Stored("after all that")),
    ]
}

fn record(id: &str, padding: &str) -> Vec<u8> {
    format!("{{\"id\": \"{id}\", \"ts\": \"2026-01-02T03:04:05Z\", \"predicted\": 1, \"padding\": \"{padding}\"}}\n").into_bytes()
}

/// Ids of all predictions in the output.
fn ids(home: &Home) -> BTreeSet<String> {
    let written = Written::read(&home.path("out"));
    written.predictions().into_iter().collect()
}
