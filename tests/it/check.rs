//! `modelbeat check`: every mistake of a file at once, each where it is; and a file without one.

use std::fs;

use crate::agent::{Home, Modelbeat};
use crate::nannyml;

/// Each mistake is marked on its own line by what stands behind `# at`: there the report must point.
const SIX_MISTAKES: &str = r#"pipeline: six
inputs:
  - type: file
    paths: ["logs/*.jsonl"]
    formt: json                        # at formt
  - type: file
    paths: ["logs/*.csv"]
    format: csv
    start_at: middle                   # at middle
  - type: http
    listen: nowhere                    # at nowhere
mapping:
  prediction: {id: id, time: ts, model: m, predicted: p}
  label: {id: id, actual: y}
task: {kind: binray, positive: "1"}    # at binray
windows: [1m, 7q]                      # at 7q
join:
  label_horizon: soon                  # at soon
output:
  file: {path: out}
"#;

#[test]
fn six_mistakes_are_named_at_once_with_line_and_column() {
    let home = Home::new();
    home.write("bad.yml", SIX_MISTAKES);
    let ended = Modelbeat::new(&home, &["check", "bad.yml"])
        .finish()
        .expect_code(1);
    let places = marked_places(SIX_MISTAKES);
    assert_eq!(places.len(), 6);
    for (line, column) in places {
        let place = format!("bad.yml:{line}:{column}");
        assert!(
            ended.output.contains(&place),
            "no {place} in:\n{}",
            ended.output
        );
    }
    // An unknown key comes with the one that was probably meant.
    ended.expect_words(&["formt", "format"]);
}

#[test]
fn the_pipelines_that_come_with_modelbeat_have_no_mistake() {
    let home = Home::new();
    let files = fs::read_dir(nannyml::pipelines()).expect("pipelines");
    let mut command = Modelbeat::new(&home, &["check"]).env("NANNYML_DATA", "data");
    for file in files {
        command = command.argument(file.expect("an entry").path());
    }
    command.finish().expect_code(0);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let home = Home::new();
    Modelbeat::new(&home, &["check", "missing.yml"])
        .finish()
        .expect_code(1)
        .expect_words(&["missing.yml"]);
}

#[test]
fn an_unknown_command_is_wrong_usage() {
    let home = Home::new();
    Modelbeat::new(&home, &["chekc"]).finish().expect_code(2);
}

/// Line and column, from 1, of the word that each mark names: its first occurrence on the line.
fn marked_places(text: &str) -> Vec<(usize, usize)> {
    let numbered = (1..).zip(text.lines());
    numbered
        .filter_map(|(line, content)| {
            let (before, word) = content.split_once("# at ")?;
            let start = before.find(word).expect("the marked word is on the line");
            Some((line, before[..start].chars().count() + 1))
        })
        .collect()
}
