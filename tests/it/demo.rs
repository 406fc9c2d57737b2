//! `modelbeat demo` as somebody runs it who has nothing else: its table says what a recount of the simulated server's own
//! files says, and what a recount of the documents says; the incident is found where it was planted; nobody's folder is
//! touched; Ctrl-C ends it.

pub(crate) mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::Value;

use self::written::{Row, Written};
use crate::agent::{Ended, Home, Modelbeat};
use crate::documents::field;
use crate::faults::written::Written as Documents;
use crate::wait;

/// The table shows three digits.
const SHOWN: f64 = 0.0005 + 1e-9;

#[test]
fn the_table_says_what_a_recount_says_and_the_incident_is_where_it_was_planted() {
    let home = Home::new();
    // Taken by us, or by somebody else: the demo goes elsewhere.
    let taken = TcpListener::bind("127.0.0.1:9702");
    let ended = demo(&home, &["--exit", "--seconds", "5", "--seed", "7"])
        .finish()
        .expect_code(0);
    drop(taken);
    let page = words_behind(&ended, "Watch it live: http://127.0.0.1:");
    assert_ne!(page[0], "9702/");

    let folder = home.path("modelbeat-demo");
    let told = Written::by_the_server(&folder);
    let made = Written::in_documents(&folder.join("documents"));
    assert_eq!(told.rows.len(), made.rows.len());
    for (id, row) in &told.rows {
        assert_eq!(Some(row), made.rows.get(id), "{id}");
    }
    assert_eq!(told.orphans, made.orphans);
    assert_table(&ended, &told);
    assert_counts(&ended, &told);
    assert_incident(&ended, &told);
    assert_alerts(&ended, &told, &folder.join("documents"));
    assert_described(&ended, &home);
    let hosts = fs::read_dir(folder.join("documents")).expect("a folder");
    let hosts = hosts.filter(|entry| {
        let name = entry.as_ref().expect("an entry").file_name();
        name.to_string_lossy().contains("-host-")
    });
    assert_ne!(hosts.count(), 0, "the host was measured");

    // What is there stays as it is.
    let before = fs::read(folder.join("labels.ndjson")).expect("labels");
    demo(&home, &["--folder", "modelbeat-demo"])
        .finish()
        .expect_code(1)
        .expect_words(&["modelbeat-demo is there already and not empty", "remove it"]);
    assert_eq!(
        before,
        fs::read(folder.join("labels.ndjson")).expect("labels")
    );
}

#[test]
fn it_can_be_stopped_in_the_middle_and_the_next_one_takes_another_folder() {
    let home = Home::new();
    home.write("modelbeat-demo/mine.txt", "mine");
    let running = demo(
        &home,
        &["--keep-open", "--seconds", "3600", "--status-listen", "0"],
    )
    .start();
    let labels = home.path("modelbeat-demo-2/labels.ndjson");
    wait::until("labels", || match fs::metadata(&labels) {
        Ok(file) if file.len() > 0 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // What was accepted a moment ago is in the journal, and need not be in the table yet.
    running.stop().expect_code(0).expect_words(&[
        "Stopped on day 1 of 30. What modelbeat found",
        "modelbeat-demo-2/",
    ]);
    assert_eq!(
        fs::read_to_string(home.path("modelbeat-demo/mine.txt")).expect("mine"),
        "mine"
    );
    assert_eq!(
        fs::read_dir(home.path("modelbeat-demo"))
            .expect("a folder")
            .count(),
        1
    );
}

#[test]
fn what_cannot_begin_is_said_in_words_and_leaves_nothing() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    demo(&home, &["--status-listen", &port])
        .finish()
        .expect_code(1)
        .expect_words(&["cannot listen on 127.0.0.1:", "--status-listen"]);
    demo(&home, &["--kibana", "http://127.0.0.1:1"])
        .finish()
        .expect_code(2)
        .expect_words(&["--kibana needs --elasticsearch"]);
    demo(&home, &["--elasticsearch", "http://127.0.0.1:1"])
        .finish()
        .expect_code(1);
    let left = fs::read_dir(home.path("")).expect("a folder").count();
    assert_eq!(left, 0, "what could not begin leaves nothing");
}

fn demo(home: &Home, arguments: &[&str]) -> Modelbeat {
    arguments
        .iter()
        .fold(Modelbeat::new(home, &["demo"]), |command, argument| {
            command.argument(argument)
        })
}

/// Every row, and every number of it.
#[track_caller]
fn assert_table(ended: &Ended, told: &Written) {
    let mut shown = BTreeMap::new();
    for line in ended.output.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [version @ ("1" | "2"), country, numbers @ ..] = words.as_slice() {
            shown.insert((*version, *country), numbers.to_vec());
        }
    }
    let mut counted = BTreeMap::new();
    for row in told.rows.values() {
        for country in ["all", row.country.as_str()] {
            counted
                .entry((row.version.as_str(), country))
                .or_insert_with(Count::default)
                .add(row);
        }
    }
    assert_eq!(
        shown.keys().collect::<Vec<_>>(),
        counted.keys().collect::<Vec<_>>()
    );
    for (key, count) in &counted {
        let numbers: Vec<Option<f64>> = shown[key]
            .iter()
            .flat_map(|word| {
                word.trim_matches(['(', ')'])
                    .split('-')
                    .filter(|part| !part.is_empty())
            })
            .map(|word| Some(word.parse().expect("a number")))
            .collect();
        let expected = count.shown();
        assert_eq!(numbers.len(), expected.len(), "{key:?}: {:?}", shown[key]);
        for (shown, expected) in numbers.into_iter().flatten().zip(expected) {
            assert!(
                (shown - expected).abs() <= SHOWN,
                "{key:?}: {shown}, recounted {expected}"
            );
        }
    }
}

/// `predictions 29910, labelled …`
#[track_caller]
fn assert_counts(ended: &Ended, told: &Written) {
    let rows = || told.rows.values();
    let labelled = rows().filter(|row| row.label.is_some()).count();

    let is_late = |row: &&Row| {
        row.label
            .as_ref()
            .is_some_and(|(time, _)| day_of(*time) > day_of(row.time))
    };
    let late = rows().filter(is_late).count();
    let corrected = rows().filter(|row| row.is_corrected).count();
    let twice: usize = rows().map(|row| row.times - 1).sum();
    for (words, count) in [
        ("predictions", told.rows.len()),
        ("labelled", labelled),
        ("labels after their day's end", late),
        ("corrected", corrected),
        ("logged twice", twice),
        ("labels without a prediction", told.orphans.len()),
    ] {
        assert!(count > 0);
        let shown = format!("{words} {count}");
        let line = line_with(ended, "labels without a prediction");
        assert!(
            line.split(", ").any(|part| part.trim() == shown),
            "{shown}: {line}"
        );
    }
}

/// Where the recount sees recall low, and where the log says that answers took long.
#[track_caller]
fn assert_incident(ended: &Ended, told: &Written) {
    let found = words_behind(ended, "Incident: recall in ");
    let [
        country,
        "was",
        recall,
        "from",
        first,
        "to",
        last,
        "(3",
        "days),",
        "and",
        usual,
        ..,
    ] = found.as_slice()
    else {
        panic!("{found:?}")
    };
    let planted = words_behind(ended, "Planted was one in ");
    assert_eq!(
        planted,
        [*country, "from", *first, "to", &format!("{last}.")]
    );

    let [first, last]: [Date; 2] = [first, last].map(|day| day.parse().expect("a date"));
    let is_in = |row: &&Row| (first..=last).contains(&day_of(row.time));
    let there = || told.rows.values().filter(|row| row.country == *country);
    let count = |rows: &mut dyn Iterator<Item = &Row>| {
        let mut count = Count::default();
        rows.for_each(|row| count.add(row));
        count
    };
    for (shown, recounted) in [
        (recall, count(&mut there().filter(is_in)).recall()),
        (
            usual,
            count(&mut there().filter(|row| !is_in(row))).recall(),
        ),
    ] {
        let shown: f64 = shown.parse().expect("a number");
        assert!(
            (shown - recounted).abs() <= SHOWN,
            "{shown}, recounted {recounted}"
        );
    }
    let latency = |rows: &mut dyn Iterator<Item = &Row>| {
        let latencies: Vec<f64> = rows.map(|row| row.latency_ms).collect();
        latencies.iter().sum::<f64>() / latencies.len() as f64
    };
    let elsewhere = latency(
        &mut told
            .rows
            .values()
            .filter(|row| !is_in(row) || row.country != *country),
    );
    assert!(latency(&mut there().filter(is_in)) > 3.0 * elsewhere);
}

/// Nothing fired but where and when the incident was planted, and all of it is over; the table says so, and a recount of each
/// day that fired finds recall below the rule's 0.65.
#[track_caller]
fn assert_alerts(ended: &Ended, told: &Written, documents: &Path) {
    let planted = words_behind(ended, "Planted was one in ");
    let [country, "from", first, "to", last] = planted[..] else {
        panic!("{planted:?}")
    };
    let incident: RangeInclusive<Date> =
        first.parse().expect("a date")..=last.trim_end_matches('.').parse().expect("a date");
    let written = Documents::read_of(documents, "alerts");
    let changes = || written.of("modelbeat.alert");
    let of = |state| changes().filter(move |change| field(change, "alert.state") == state);
    let fired: Vec<&Value> = of("firing").collect();
    assert!(!fired.is_empty(), "nothing fired");
    for change in &fired {
        let text = |name| field(change, name).as_str().unwrap_or_default();
        let start: Timestamp = text("window.start").parse().expect("a time");
        let day = day_of(start);
        assert_eq!(text("slice.value"), country, "{change}");
        assert!(incident.contains(&day), "{change}");

        let mut count = Count::default();
        let rows = told.rows.values();
        let is_of_it = |row: &&Row| {
            row.country == country
                && row.version == text("model.version")
                && day_of(row.time) == day
        };
        rows.filter(is_of_it).for_each(|row| count.add(row));
        assert!(count.recall() < 0.65, "{change}");

        let is_over = |over: &&Value| field(over, "alert.id") == field(change, "alert.id");
        let over = of("resolved").find(is_over).expect("it is over");
        let over: Timestamp = field(over, "window.start")
            .as_str()
            .and_then(|start| start.parse().ok())
            .expect("a time");
        let line = line_with(ended, &format!("{day} {}", text("message")));
        assert!(
            line.ends_with(&format!("; over with {}", day_of(over))),
            "{line}"
        );
    }
    let shown = ended
        .output
        .lines()
        .filter(|line| line.contains(" is firing for "));
    assert_eq!(shown.count(), fired.len());
}

/// All that is in the folder is named, and nothing else.
#[track_caller]
fn assert_described(ended: &Ended, home: &Home) {
    let mut lines = ended.output.lines();
    lines
        .find(|line| line.starts_with("In modelbeat-demo/"))
        .expect("a description");
    let named = lines.map_while(|line| line.strip_prefix("  ")?.split_whitespace().next());
    let named: BTreeSet<String> = named
        .map(|name| name.trim_end_matches('/').to_owned())
        .collect();
    let there = fs::read_dir(home.path("modelbeat-demo")).expect("a folder");
    let there: BTreeSet<String> = there
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(named, there);
}

fn day_of(time: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(time).date()
}

#[track_caller]
fn line_with<'e>(ended: &'e Ended, words: &str) -> &'e str {
    let line = ended.output.lines().find(|line| line.contains(words));
    line.unwrap_or_else(|| panic!("no line with `{words}` in:\n{}", ended.output))
}

#[track_caller]
fn words_behind<'e>(ended: &'e Ended, words: &str) -> Vec<&'e str> {
    let (_, behind) = line_with(ended, words).split_once(words).expect("found");
    behind.split_whitespace().collect()
}

/// Of some rows.
#[derive(Default)]
struct Count {
    predictions: u64,
    /// By what was true and what was said.
    cells: [[u64; 2]; 2],
}

impl Count {
    fn add(&mut self, row: &Row) {
        self.predictions += 1;
        if let Some((_, is_fraud)) = row.label {
            self.cells[usize::from(is_fraud)][usize::from(row.is_flagged)] += 1;
        }
    }

    fn recall(&self) -> f64 {
        let [_, [missed, caught]] = self.cells;
        caught as f64 / (caught + missed) as f64
    }

    /// What stands in a row of the table, but for what is undefined.
    fn shown(&self) -> Vec<f64> {
        let [[tn, fp], [missed, tp]] = self.cells.map(|row| row.map(|count| count as f64));
        let labelled = tn + fp + missed + tp;
        // Wilson's interval, from its formula.
        let (n, z) = (tp + missed, 1.959_963_984_540_054_f64);
        let p = tp / n;
        let centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        let all = [
            self.predictions as f64,
            labelled / self.predictions as f64,
            (tp + tn) / labelled,
            tp / (tp + fp),
            p,
            centre - half,
            centre + half,
            2.0 * tp / (2.0 * tp + fp + missed),
        ];
        all.into_iter()
            .filter(|number| number.is_finite())
            .collect()
    }
}
