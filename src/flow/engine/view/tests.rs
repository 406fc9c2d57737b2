//! What a look shows is what the documents say, and no more of it than its bounds let through.

use serde_json::Value as Json;

use super::*;
use crate::flow::document::Documents;
use crate::flow::engine::tests::{NINE, batch, settings};
use crate::flow::windows::Length;

const HOUR: i64 = 3_600_000;

/// Three predictions an hour for four hours, in two countries; every one of the first three hours has a label.
fn engine(windows: Vec<Length>) -> (Engine, Vec<Json>) {
    let mut settings = settings();
    settings.windows = windows;
    settings.min_support = 3;
    let mut engine = Engine::new(settings).unwrap();
    let mut lines = Vec::new();
    for id in 0..12 {
        let time = NINE + id / 3 * HOUR + id % 3 * 60_000;
        let (class, country) = match id % 3 {
            0 => ("fraud", "DE"),
            1 => ("legit", "FR"),
            _ => ("fraud", "FR"),
        };
        lines.push(format!(
            r#"{{"event":"prediction","id":"{id}","ts":{time},"version":"v1","predicted":"{class}","score":0.5,"segment":{{"country":"{country}"}}}}"#
        ));
        if id < 9 {
            let label = if id % 2 == 0 { "fraud" } else { "legit" };
            lines.push(format!(
                r#"{{"event":"label","id":"{id}","ts":{time},"label":"{label}"}}"#
            ));
        }
    }
    let documents = feed(&mut engine, &lines, NINE + 4 * HOUR);
    (engine, documents)
}

/// Takes in some lines, and returns the windows' documents that come of it.
fn feed(engine: &mut Engine, lines: &[String], now: i64) -> Vec<Json> {
    let mut out = Documents::default();
    engine.push(&batch(lines), Timestamp(now), &mut out);
    engine.release(Timestamp(now), &mut out);
    windows_in(&out)
}

/// Takes in some lines, and lets time pass until windows are final; returns the documents that say so.
fn close(engine: &mut Engine, lines: &[String], now: i64, end: i64) -> Vec<Json> {
    engine.push(&batch(lines), Timestamp(now), &mut Documents::default());
    engine.advance(Timestamp(now + 10_000), &mut Documents::default());
    let mut last = Documents::default();
    engine.advance(Timestamp(end), &mut last);
    windows_in(&last)
}

fn windows_in(out: &Documents) -> Vec<Json> {
    let text = String::from_utf8(out.bytes.clone()).unwrap();
    let documents = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let is_quality = |document: &Json| document["event"]["dataset"] == "modelbeat.quality";
    documents.filter(is_quality).collect()
}

fn label(id: u32, actual: &str, time: i64) -> String {
    format!(r#"{{"event":"label","id":"{id}","ts":{time},"label":"{actual}"}}"#)
}

fn look(engine: &mut Engine, minutes: i64, bounds: Bounds) -> View {
    let now = Timestamp(NINE + minutes * 60_000);
    engine.view(now, bounds, &mut Looked::default())
}

const ALL_OF_IT: Bounds = Bounds {
    series_max: 100,
    whole_max: 100,
    slice_max: 100,
    windows_max: 1_000,
    host_max: 100,
};

/// Every number that the view has is the one in the document of that window.
fn check_against(documents: &[Json], series: &SeriesView, window: &WindowView) {
    let mut start = Vec::new();
    crate::flow::json::write_time(window.from, &mut start);
    let start: Json = serde_json::from_slice(&start).unwrap();
    let same = |document: &&Json| {
        document["window"]["start"] == start
            && document["window"]["length"] == series.length.text().as_str()
            && document["slice"]["name"] == series.slice_name.as_str()
            && document["slice"]["value"].as_str() == series.slice_value.as_deref()
    };
    let document = documents.iter().rfind(same).expect("published");
    let counts = &document["counts"];
    assert_eq!(counts["predictions"], window.summary.counts.predictions);
    assert_eq!(counts["labelled"], window.summary.counts.labelled);
    assert_eq!(counts["judged"], window.summary.judged);
    for (name, number) in window.summary.label_delay() {
        assert_eq!(document["label_delay"][name], written(*number), "{name}");
    }
    let scored = |name: &str| !document["quality"][name].is_null();
    for metric in &window.summary.metrics {
        assert_eq!(scored(metric.name), metric.value.is_ok(), "{}", metric.name);
        if let Ok(value) = metric.value {
            assert_eq!(
                document["quality"][metric.name],
                written(value),
                "{}",
                metric.name
            );
        }
        if let Some(interval) = metric.interval {
            assert_eq!(
                document["interval"][metric.name]["low"],
                written(interval.low)
            );
            assert_eq!(
                document["interval"][metric.name]["high"],
                written(interval.high)
            );
        }
    }
}

/// As documents write it, and as they are read: that may be off by the last bit.
fn written(number: f64) -> Json {
    let mut text = Vec::new();
    crate::flow::json::write_number(number, &mut text);
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn a_look_shows_the_numbers_of_the_documents() {
    let hopping = Length::Hopping {
        length: 2 * HOUR,
        every: HOUR,
    };
    let lengths = vec![Length::Fixed(HOUR), hopping, Length::Cumulative];
    let (mut engine, documents) = engine(lengths);
    let view = look(&mut engine, 240, ALL_OF_IT);
    // Each length of the whole and of two countries.
    assert_eq!((view.series.len(), view.left_out), (9, 0));
    for series in &view.series {
        for window in series.history.iter().chain([&series.current]) {
            check_against(&documents, series, window);
        }
    }
}

#[test]
fn the_current_window_has_ended_and_has_labels_enough_and_history_goes_beyond_it() {
    let (mut engine, _) = engine(vec![Length::Fixed(HOUR)]);
    let view = look(&mut engine, 240, ALL_OF_IT);
    let [whole, countries @ ..] = view.series.as_slice() else {
        panic!("{view:?}");
    };
    assert_eq!(whole.slice_name, "_all");
    // The fourth hour has no label, the third has three.
    assert_eq!(whole.current.from, Timestamp(NINE + 2 * HOUR));
    assert_eq!(starts(whole), [0, 1, 2, 3]);
    assert_eq!(countries.len(), 2);
    for country in countries {
        assert_eq!(starts(country), [0, 1, 2, 3]);
    }
    let early = look(&mut engine, 170, ALL_OF_IT);
    assert_eq!(
        early.series[0].current.from,
        Timestamp(NINE + HOUR),
        "the third has not ended"
    );
}

#[test]
fn a_look_is_bounded_and_says_what_it_left_out() {
    let (mut engine, _) = engine(vec![Length::Fixed(HOUR)]);
    let view = look(
        &mut engine,
        240,
        Bounds {
            series_max: 2,
            whole_max: 2,
            slice_max: 3,
            windows_max: 4,
            host_max: 1,
        },
    );
    assert_eq!((view.series.len(), view.left_out), (2, 1));
    let [whole, country] = view.series.as_slice() else {
        panic!("{view:?}");
    };
    assert_eq!(
        (whole.slice_name.as_str(), starts(whole)),
        ("_all", vec![2, 3])
    );
    // Of three, the wholes have left two.
    assert_eq!(starts(country), [2, 3]);
    assert_eq!((whole.history_left_out, country.history_left_out), (2, 2));
}

/// Hours after nine at which the windows of the history start.
fn starts(series: &SeriesView) -> Vec<i64> {
    let hours = |window: &Arc<WindowView>| (window.from.0 - NINE) / HOUR;
    series.history.iter().map(hours).collect()
}

#[test]
fn a_late_label_changes_the_history_as_it_changes_the_documents() {
    let (mut engine, before) = engine(vec![Length::Fixed(HOUR)]);
    let old = look(&mut engine, 240, ALL_OF_IT);
    // Of the first hour: 0 is corrected (it was right), 9 of the fourth gets its first label.
    let late = [
        label(0, "legit", NINE + 300 * 60_000),
        label(9, "legit", NINE + 301 * 60_000),
    ];
    let after = feed(&mut engine, &late, NINE + 5 * HOUR);
    let all: Vec<Json> = before.into_iter().chain(after).collect();
    let new = look(&mut engine, 300, ALL_OF_IT);
    for series in &new.series {
        for window in series.history.iter().chain([&series.current]) {
            check_against(&all, series, window);
        }
    }
    let accuracy = |view: &View| view.series[0].history[0].summary.value("accuracy");
    // By hand: of fraud, legit, fraud the labels were fraud, legit, fraud; the first is now legit.
    assert_eq!(accuracy(&old), Some(1.0));
    assert_eq!(accuracy(&new), Some(2.0 / 3.0));
    let corrected = new.series[0].history[0].summary.counts;
    assert_eq!((corrected.corrected_labels, corrected.late_labels), (1, 1));
}

#[test]
fn times_are_shown_of_wholes_and_of_what_is_current() {
    let (mut engine, _) = engine(vec![Length::Fixed(HOUR)]);
    let view = look(&mut engine, 240, ALL_OF_IT);
    let [whole, country, ..] = view.series.as_slice() else {
        panic!("{view:?}");
    };
    assert_eq!(whole.history[0].summary.label_delay()[0], ("p50", 0.0));
    assert_eq!(country.current.summary.label_delay()[0], ("p50", 0.0));
    assert_eq!(country.history[0].summary.label_delay(), []);
    assert_eq!(whole.history[0].summary.cells(), []);
    assert!(!whole.current.summary.cells().is_empty());
}

#[test]
fn windows_that_have_become_final_are_remembered_as_they_were() {
    let mut settings = settings();
    settings.windows = vec![Length::Fixed(HOUR)];
    settings.join.label_horizon_ms = HOUR;
    let mut engine = Engine::new(settings).unwrap();
    let line = |id: u32, time: i64| {
        format!(
            r#"{{"event":"prediction","id":"{id}","ts":{time},"version":"v1","predicted":"fraud"}}"#
        )
    };
    let first = [line(1, NINE), label(1, "fraud", NINE)];
    let later = NINE + 3 * HOUR;
    let last = close(&mut engine, &first, NINE, later);
    assert!(!last.is_empty());
    for document in &last {
        assert_eq!(document["window"]["final"], true, "{document}");
    }
    feed(&mut engine, &[line(2, later)], later);
    let view = engine.view(Timestamp(later), ALL_OF_IT, &mut Looked::default());
    let whole = &view.series[0];
    assert_eq!(starts(whole), [0, 3]);
    let are_final: Vec<_> = whole.history.iter().map(|window| window.is_final).collect();
    assert_eq!(are_final, [true, false]);
    check_against(&last, whole, &whole.history[0]);
}

#[test]
fn the_newest_window_is_filling_while_predictions_for_it_come_in_whatever_their_time() {
    let (mut engine, _) = engine(vec![Length::Fixed(HOUR)]);
    let mut are_filling = |milliseconds: i64| -> Vec<bool> {
        let at = Timestamp(NINE + 4 * HOUR + milliseconds);
        let view = engine.view(at, ALL_OF_IT, &mut Looked::default());
        let history = &view.series[0].history;
        history.iter().map(|window| window.is_filling).collect()
    };
    assert_eq!(are_filling(FILLING_MS - 1), [false, false, false, true]);
    assert_eq!(are_filling(FILLING_MS), [false; 4]);
}

#[test]
fn windows_show_what_the_host_did_meanwhile() {
    use crate::flow::host::Metric;

    let (mut engine, _) = engine(vec![Length::Fixed(HOUR)]);
    for (minute, cpu) in [(5, 0.25), (10, 0.75), (70, 0.5)] {
        let mut snapshot = HostSnapshot::new(Timestamp(NINE + minute * 60_000));
        snapshot.set(Metric::CpuTotal, cpu);
        engine.observe(
            snapshot,
            Timestamp(NINE + 4 * HOUR),
            &mut Documents::default(),
        );
    }
    let bounds = Bounds {
        host_max: 2,
        ..ALL_OF_IT
    };
    let view = look(&mut engine, 240, bounds);
    let cpu = |hour: usize| -> Vec<_> {
        let host = view.series[0].history[hour].host.iter();
        host.flat_map(Aggregate::numbers).collect()
    };
    // By hand: the mean and the maximum of 0.25 and 0.75.
    assert_eq!(cpu(0), [(Metric::CpuTotal, 0.5, 0.75)]);
    assert_eq!(cpu(1), [(Metric::CpuTotal, 0.5, 0.5)]);
    assert_eq!(cpu(2), []);
    let times: Vec<_> = view
        .host
        .iter()
        .map(|snapshot| snapshot.time.0 - NINE)
        .collect();
    assert_eq!(times, [600_000, 4_200_000]);
}

/// A reader's memory must not show: the same look with and without, after all that can change a window.
#[test]
fn who_looks_again_sees_what_who_looks_first_does() {
    let hopping = Length::Hopping {
        length: 2 * HOUR,
        every: HOUR,
    };
    let lengths = vec![Length::Fixed(HOUR), hopping, Length::Cumulative];
    let (mut engine, _) = engine(lengths);
    let mut looked = Looked::default();
    let mut check = |engine: &mut Engine, at: i64| -> View {
        let again = engine.view(Timestamp(at), ALL_OF_IT, &mut looked);
        let first = engine.view(Timestamp(at), ALL_OF_IT, &mut Looked::default());
        assert_eq!(again, first);
        again
    };
    let four = NINE + 4 * HOUR;
    let before = check(&mut engine, four);
    let after = check(&mut engine, four + HOUR);
    let kept = |at: usize| Arc::ptr_eq(&before.series[0].history[at], &after.series[0].history[at]);
    assert!(kept(0), "nothing has changed");
    feed(&mut engine, &[label(0, "legit", four)], four + HOUR);
    let mut snapshot = HostSnapshot::new(Timestamp(four + HOUR));
    snapshot.set(crate::flow::host::Metric::CpuTotal, 0.5);
    engine.observe(snapshot, Timestamp(four + HOUR), &mut Documents::default());
    check(&mut engine, four + HOUR);
    // Over the horizon: all are final, and gone from memory.
    let end = four + 31 * 24 * HOUR;
    let closed = close(&mut engine, &[label(1, "fraud", four)], four + HOUR, end);
    assert!(!closed.is_empty());
    check(&mut engine, end);
}
