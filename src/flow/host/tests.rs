//! The writer against a tree built naively, the history against a scan, the merge against a recount.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[test]
fn a_snapshot_is_nested_members_in_the_order_of_their_paths() {
    let mut snapshot = HostSnapshot::new(Timestamp(1));
    snapshot.set(Metric::ProcessPid, 7);
    snapshot.set(Metric::CpuTotal, 0.5);
    snapshot.set(Metric::Load15, 1.0);
    snapshot.set(Metric::Load1, 0.25);
    snapshot.set(Metric::ProcessName, "a\"b");
    snapshot.set(Metric::CpuCores, 2);
    snapshot.set(Metric::CpuTotal, 0.75);
    insta::assert_snapshot!(members(&snapshot), @r#""process":{"name":"a\"b","pid":7},"system":{"cpu":{"cores":2,"total":{"norm":{"pct":0.75}}},"load":{"1":0.25,"15":1.0}}"#);

    let mut attached = Vec::new();
    snapshot.write_attached(&mut attached);
    insta::assert_snapshot!(text(attached), @r#""system":{"cpu":{"total":{"norm":{"pct":0.75}}}}"#);
}

#[test]
fn an_aggregate_has_average_and_maximum_of_what_may_be_averaged() {
    let mut aggregate = Aggregate::default();
    for (cpu, rss) in [(0.25, Some(4096)), (0.5, None), (0.75, Some(8192))] {
        let mut snapshot = HostSnapshot::new(Timestamp(1));
        snapshot.set(Metric::CpuTotal, cpu);
        snapshot.set(Metric::CpuCores, 2);
        snapshot.set_some(Metric::ProcessRss, rss);
        aggregate.add(&snapshot);
    }
    // (0.25 + 0.5 + 0.75) / 3; (4096 + 8192) / 2: the absent reading is no zero.
    insta::assert_snapshot!(averages(&aggregate), @r#""system":{"cpu":{"total":{"norm":{"pct":{"avg":0.5,"max":0.75}}}},"process":{"memory":{"rss":{"bytes":{"avg":6144.0,"max":8192.0}}}}}"#);
}

#[test]
fn nothing_read_is_nothing_written() {
    assert_eq!(members(&HostSnapshot::new(Timestamp(1))), "");
    assert_eq!(averages(&Aggregate::default()), "");
}

#[test]
fn what_is_not_finite_is_no_reading() {
    let mut snapshot = HostSnapshot::new(Timestamp(1));
    snapshot.set(Metric::CpuTotal, f64::NAN);
    snapshot.set(Metric::Load1, f64::INFINITY);
    assert!(snapshot.is_empty());
    assert_eq!(snapshot.get(Metric::CpuTotal), None);
}

#[test]
fn paths_are_distinct_need_no_escape_and_no_value_is_an_object_elsewhere() {
    for metric in Metric::all() {
        let path = metric.path();
        assert!(
            path.bytes().all(|byte| byte == b'.'
                || byte == b'_'
                || byte.is_ascii_lowercase()
                || byte.is_ascii_digit()),
            "{path}"
        );
        for other in Metric::all().filter(|other| *other != metric) {
            assert_ne!(other.path(), path);
            assert!(!other.path().starts_with(&format!("{path}.")), "{path}");
        }
    }
}

#[test]
fn the_past_beyond_tolerance_is_not_that_moment() {
    let mut history = History::default();
    for time in [10_000, 20_000, 30_000] {
        history.push(HostSnapshot::new(Timestamp(time)), 60_000);
    }
    check_newest(&history, 9_999, 60_000, None);
    check_newest(&history, 10_000, 0, Some(10_000));
    check_newest(&history, 29_999, 10_000, Some(20_000));
    check_newest(&history, 31_000, 1_000, Some(30_000));
    check_newest(&history, 31_001, 1_000, None);
}

#[test]
fn a_clock_set_back_forgets_the_future_that_never_was() {
    let mut history = History::default();
    for time in [10_000, 20_000, 9_999_999, 30_000] {
        history.push(HostSnapshot::new(Timestamp(time)), 60_000);
    }
    // The leap of more than an hour forgot what was before it; setting back forgot the leap.
    assert_eq!(history.len(), 1);
    check_newest(&history, 10_000_000, i64::MAX, Some(30_000));
}

#[test]
fn a_history_is_bounded_in_number_and_age() {
    let mut history = History::default();
    for second in 0..10_000 {
        history.push(HostSnapshot::new(Timestamp(second * 1_000)), 60_000);
    }
    assert_eq!(history.len(), 1_024);
    let mut history = History::default();
    for second in (0..10_000).step_by(10) {
        history.push(HostSnapshot::new(Timestamp(second * 1_000)), 60_000);
    }
    assert_eq!(history.len(), 361);
    let two_hours = 7_200_000;
    let mut history = History::default();
    for second in (0..10_000).step_by(10) {
        history.push(HostSnapshot::new(Timestamp(second * 1_000)), two_hours);
    }
    assert_eq!(history.len(), 721);
}

proptest! {
    #[test]
    fn members_are_the_tree_built_naively(snapshot in snapshot()) {
        let written: Value = serde_json::from_str(&format!("{{{}}}", members(&snapshot))).unwrap();
        let mut tree = json!({});
        for metric in Metric::all() {
            let Some(reading) = snapshot.get(metric) else { continue };
            let pointer = metric.path().split('.').fold(&mut tree, |at, key| &mut at[key]);
            *pointer = match reading {
                Reading::Integer(number) => json!(number),
                Reading::Float(number) => json!(number),
                Reading::Text(text) => json!(text),
            };
        }
        prop_assert_eq!(written, tree);
    }

    #[test]
    fn averages_are_a_naive_recount_however_merged(
        snapshots in vec(snapshot(), 0..12),
        cuts in vec(0usize..12, 0..3),
    ) {
        let mut at_once = Aggregate::default();
        let mut parts = vec![Aggregate::default()];
        for (index, snapshot) in snapshots.iter().enumerate() {
            if cuts.contains(&index) {
                parts.push(Aggregate::default());
            }
            at_once.add(snapshot);
            parts.last_mut().unwrap().add(snapshot);
        }
        let mut merged = Aggregate::default();
        for part in parts.iter().rev() {
            merged.merge(part);
        }
        prop_assert_eq!(&merged, &at_once);

        let written: Value = serde_json::from_str(&format!("{{{}}}", averages(&merged))).unwrap();
        for metric in Metric::all() {
            let numbers: Vec<f64> = snapshots
                .iter()
                .filter_map(|snapshot| snapshot.get(metric)?.number())
                .collect();
            let found = metric.path().split('.').fold(&written, |at, key| &at[key]);
            if numbers.is_empty() || !metric.is_averaged() {
                prop_assert_eq!(found, &Value::Null);
                continue;
            }
            let average = numbers.iter().sum::<f64>() / numbers.len() as f64;
            // serde_json reads a double to within its last bit (its feature float_roundtrip is off).
            let read = found["avg"].as_f64().unwrap();
            prop_assert!((read - average).abs() <= average * f64::EPSILON, "{read} {average}");
            prop_assert_eq!(&found["max"], &json!(numbers.iter().copied().fold(f64::MIN, f64::max)));
        }
    }

    #[test]
    fn the_newest_is_what_a_scan_finds(
        steps in vec(1i64..20_000, 0..40),
        time in 0i64..400_000,
        tolerance_ms in 0i64..50_000,
    ) {
        let mut history = History::default();
        let mut times = Vec::new();
        let mut clock = 0;
        for step in steps {
            clock += step;
            times.push(clock);
            history.push(HostSnapshot::new(Timestamp(clock)), 60_000);
        }
        let scanned = times.into_iter().rev().find(|taken| *taken <= time);
        check_newest(&history, time, tolerance_ms, scanned.filter(|taken| time - taken <= tolerance_ms));
    }

    #[test]
    fn state_survives_a_checkpoint(snapshots in vec(snapshot(), 0..8)) {
        let mut history = History::default();
        let mut aggregate = Aggregate::default();
        for snapshot in snapshots {
            aggregate.add(&snapshot);
            history.push(snapshot, 60_000);
        }
        let bytes = postcard::to_stdvec(&(&history, &aggregate)).unwrap();
        let back: (History, Aggregate) = postcard::from_bytes(&bytes).unwrap();
        prop_assert_eq!(back, (history, aggregate));
    }
}

/// Floats are multiples of 1/1024, so that sums are exact in any order.
fn snapshot() -> impl Strategy<Value = HostSnapshot> {
    let metrics: Vec<Metric> = Metric::all().collect();
    let readings = btree_map(
        proptest::sample::select(metrics),
        (0u32..1 << 24, ".{0,8}"),
        0..30,
    );
    (0i64..10_000_000, readings).prop_map(|(time, readings)| {
        let mut snapshot = HostSnapshot::new(Timestamp(time));
        for (metric, (number, text)) in readings {
            match metric.kind() {
                Kind::Integer => snapshot.set(metric, u64::from(number)),
                Kind::Float => snapshot.set(metric, f64::from(number) / 1024.0),
                Kind::Text => snapshot.set(metric, text.as_str()),
            }
        }
        snapshot
    })
}

#[track_caller]
fn check_newest(history: &History, time: i64, tolerance_ms: i64, expect: Option<i64>) {
    let found = history.newest_at_or_before(Timestamp(time), tolerance_ms);
    assert_eq!(found.map(|snapshot| snapshot.time.0), expect);
    assert_eq!(
        history.attached_at(Timestamp(time), tolerance_ms).is_some(),
        expect.is_some()
    );
}

fn members(snapshot: &HostSnapshot) -> String {
    let mut out = Vec::new();
    snapshot.write_members(&mut out);
    text(out)
}

fn averages(aggregate: &Aggregate) -> String {
    let mut out = Vec::new();
    aggregate.write_members(&mut out);
    text(out)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}
