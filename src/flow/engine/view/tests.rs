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
    let mut out = Documents::default();
    let now = Timestamp(NINE + 4 * HOUR);
    engine.push(&batch(&lines), now, &mut out);
    engine.release(now, &mut out);
    let text = String::from_utf8(out.bytes.clone()).unwrap();
    let documents = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let is_quality = |document: &Json| document["event"]["dataset"] == "modelbeat.quality";
    let documents = documents.filter(is_quality).collect();
    (engine, documents)
}

fn look(engine: &Engine, minutes: i64, bounds: Bounds) -> View {
    engine.view(Timestamp(NINE + minutes * 60_000), bounds)
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
    let document = documents.iter().find(same).expect("published");
    let counts = &document["counts"];
    assert_eq!(counts["predictions"], window.summary.counts.predictions);
    assert_eq!(counts["labelled"], window.summary.counts.labelled);
    assert_eq!(counts["judged"], window.summary.judged);
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
    let (engine, documents) = engine(lengths);
    let view = look(&engine, 240, ALL_OF_IT);
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
    let (engine, _) = engine(vec![Length::Fixed(HOUR)]);
    let view = look(&engine, 240, ALL_OF_IT);
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
    let early = look(&engine, 170, ALL_OF_IT);
    assert_eq!(
        early.series[0].current.from,
        Timestamp(NINE + HOUR),
        "the third has not ended"
    );
}

#[test]
fn a_look_is_bounded_and_says_what_it_left_out() {
    let (engine, _) = engine(vec![Length::Fixed(HOUR)]);
    let view = look(
        &engine,
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
    let hours = |window: &WindowView| (window.from.0 - NINE) / HOUR;
    series.history.iter().map(hours).collect()
}
