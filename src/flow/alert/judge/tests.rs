//! Judgements whose numbers come from elsewhere: by hand, or by a few lines of Python that say so.

use super::*;
use crate::flow::alert::history::Patience;
use crate::flow::alert::reading::Histogram;
use crate::flow::alert::rule::{
    Against, By, Comparison, Detection, Distribution, Measure, Of, Shift,
};
use crate::flow::detect::{Adwin, Chart, Detector, Feed, adwin, chart};
use crate::flow::quality::intervals::wilson;
use crate::flow::windows::Length;

const HOUR: i64 = 3_600_000;

fn rule(check: Check) -> WindowRule {
    WindowRule {
        metric: "quality.recall".into(),
        window: Length::Fixed(HOUR),
        model: None,
        version: None,
        slices: Vec::new(),
        min_support: 30,
        windows_in_a_row: 1,
        wait_ms: 0,
        open: false,
        check,
    }
}

fn share(hits: u64, trials: u64) -> Reading {
    Reading {
        value: (trials > 0).then(|| hits as f64 / trials as f64),
        interval: wilson(hits, trials).map(|interval| (interval.low, interval.high)),
        share: Some((hits, trials)),
        support: trials,
        complete: false,
        p_value: None,
    }
}

fn number(value: f64, support: u64) -> Reading {
    Reading {
        value: Some(value),
        support,
        ..Reading::default()
    }
}

/// Windows an hour apart, all of them looked at and found good but the last.
fn history(readings: &[Reading]) -> (History, Timestamp) {
    let mut history = History::default();
    let patience = Patience {
        wait_ms: 0,
        open: false,
        min_support: 0,
    };
    let mut start = Timestamp(0);
    for (place, reading) in readings.iter().enumerate() {
        start = Timestamp(i64::try_from(place).unwrap() * HOUR);
        history.publish(start, start.plus(HOUR), *reading, patience, start);
        if place + 1 < readings.len() {
            history.found(start, Verdict::Clear, true);
        }
    }
    (history, start)
}

fn judged(check: Check, readings: &[Reading]) -> Judged {
    let (history, start) = history(readings);
    judge(&rule(check), &history, start, &|_| None)
}

fn verdict_of(check: Check, readings: &[Reading]) -> Verdict {
    judged(check, readings).verdict
}

#[test]
fn a_threshold_is_held_against_the_bound_or_the_value() {
    let below = |basis, clear| {
        Check::Threshold(Threshold {
            side: Side::Below,
            at: 0.85,
            clear,
            basis,
        })
    };
    // 0.829 of 205 rows, 0.7719 to 0.8745 at 95 % (Wilson, by Python from his formula).
    let reading = [share(170, 205)];
    assert_eq!(
        verdict_of(below(Basis::Value, 0.85), &reading),
        Verdict::Breach
    );
    assert_eq!(
        verdict_of(below(Basis::Bound, 0.85), &reading),
        Verdict::Held
    );
    assert_eq!(
        verdict_of(below(Basis::Bound, 0.85), &[share(180, 205)]),
        Verdict::Clear
    );
    assert_eq!(
        verdict_of(below(Basis::Bound, 0.9), &[share(180, 205)]),
        Verdict::Held
    );
    assert_eq!(
        verdict_of(below(Basis::Bound, 0.85), &[share(10, 29)]),
        Verdict::Unknown
    );
    assert_eq!(
        verdict_of(below(Basis::Bound, 0.85), &[share(0, 0)]),
        Verdict::Unknown
    );
    let above = Check::Threshold(Threshold {
        side: Side::Above,
        at: 100.0,
        clear: 80.0,
        basis: Basis::Bound,
    });
    assert_eq!(
        verdict_of(above.clone(), &[number(101.0, 500)]),
        Verdict::Breach
    );
    assert_eq!(
        verdict_of(above.clone(), &[number(90.0, 500)]),
        Verdict::Held
    );
    assert_eq!(verdict_of(above, &[number(80.0, 500)]), Verdict::Clear);
}

fn drop(by: By, limit: f64, against: Against) -> Check {
    Check::Change(Shift {
        side: Side::Below,
        by,
        limit,
        against,
    })
}

/// Newcombe (1998), table II, example (a): 56/70 against 48/80, difference 0.2, interval 0.0524 to 0.3339.
#[test]
fn a_drop_must_be_larger_than_chance_and_than_what_matters() {
    let windows = [share(56, 70), share(48, 80)];
    let check = |by, limit| {
        let check = drop(By::Absolute(by), limit, Against::Previous);
        verdict_of(check, &windows)
    };
    let z95 = crate::flow::quality::intervals::Z95;
    assert_eq!(check(0.05, z95), Verdict::Breach, "0.0524 at least");
    assert_eq!(check(0.0525, z95), Verdict::Held);
    assert_eq!(check(0.0, 3.3), Verdict::Held);
    assert_eq!(
        check(0.21, 0.0),
        Verdict::Clear,
        "no larger than what matters"
    );
    let share = drop(By::Share(0.2), 0.0, Against::Previous);
    assert_eq!(
        verdict_of(share, &windows),
        Verdict::Breach,
        "0.16 is a fifth of 0.8"
    );
}

#[test]
fn a_reference_is_pooled_from_good_windows_only() {
    let mut readings = vec![share(90, 100); 5];
    readings.push(share(70, 100));
    let against = drop(By::Absolute(0.0), 3.3, Against::Trailing(4));
    assert_eq!(judged(against.clone(), &readings).limit, Some(0.9));
    assert_eq!(verdict_of(against.clone(), &readings), Verdict::Breach);
    let (mut history, start) = history(&readings);
    history.found(start.plus(-HOUR), Verdict::Breach, true);
    history.found(start.plus(-2 * HOUR), Verdict::Breach, true);
    assert_eq!(
        judge(&rule(against.clone()), &history, start, &|_| None).verdict,
        Verdict::Breach
    );
    history.found(start.plus(-3 * HOUR), Verdict::Breach, true);
    let few = judge(&rule(against), &history, start, &|_| None);
    assert_eq!(
        few.verdict,
        Verdict::Unknown,
        "two windows are no reference"
    );
}

#[test]
fn versions_baselines_and_last_week_are_references() {
    let against = |against| drop(By::Absolute(0.02), 3.3, against);
    let (history, start) = history(&[share(70, 100)]);
    let other = |version: &str| (version == "6").then(|| share(180, 200));
    let judge = |check| super::judge(&rule(check), &history, start, &other).verdict;
    assert_eq!(
        judge(against(Against::Version("6".into()))),
        Verdict::Breach
    );
    assert_eq!(
        judge(against(Against::Version("5".into()))),
        Verdict::Unknown
    );
    assert_eq!(judge(against(Against::Baseline(0.9))), Verdict::Breach);
    assert_eq!(judge(against(Against::Baseline(0.7))), Verdict::Clear);
    assert_eq!(judge(against(Against::LastWeek)), Verdict::Unknown);
    let mut week = vec![share(90, 100); 168];
    week.push(share(60, 100));
    assert_eq!(
        verdict_of(against(Against::LastWeek), &week),
        Verdict::Breach
    );
}

/// Thirty windows of 900 in 1,000 and one of 850: the chart's limits, from its formula by Python:
/// `c = 27000.5/30001; z = .3*.85 + .7*c; s = math.sqrt(c*(1-c)*(.09/1000 + .09/30000))`, and 3.5 of them are too many.
#[test]
fn a_chart_is_asked_with_all_its_windows_and_takes_back_what_late_labels_repair() {
    let chart = Chart::new(chart::Settings {
        lambda: 0.3,
        limit: 3.5,
        baseline_windows: 30,
        baseline_counts: 1_000,
        pool_below: 30,
    });
    let detection = Detection {
        detector: Detector::Chart(chart),
        side: Some(Side::Below),
    };
    let mut feed = Feed::new(detection.detector.clone());
    let mut put = |hour: i64, hits| {
        let sample = detection::sample(share(hits, 1_000));
        let judged = detection::judge(&detection, &mut feed, Timestamp(hour * HOUR), sample);
        let verdicts = judged.iter().map(|(_, judged)| judged.verdict);
        verdicts.collect::<Vec<_>>()
    };
    for hour in 0..29 {
        put(hour, 900);
    }
    assert!(
        put(29, 900)
            .iter()
            .all(|verdict| *verdict == Verdict::Unknown),
        "it learns"
    );
    assert_eq!(put(30, 850)[30], Verdict::Breach);
    assert_eq!(put(31, 900)[30..], [Verdict::Breach, Verdict::Held]);
    assert_eq!(
        put(32, 930)[30..],
        [Verdict::Breach, Verdict::Held, Verdict::Clear]
    );
    assert_eq!(put(30, 899)[30..], [Verdict::Clear; 3]);
}

#[test]
fn a_change_of_level_holds_for_a_while_or_until_it_goes_back() {
    let detection = Detection {
        detector: Detector::Adwin(Adwin::new(adwin::Settings::default())),
        side: Some(Side::Below),
    };
    let mut feed = Feed::new(detection.detector.clone());
    let mut last = Vec::new();
    for hour in 0..60 {
        let hits = if hour < 30 { 95 } else { 70 };
        let sample = detection::sample(share(hits, 100));
        last = detection::judge(&detection, &mut feed, Timestamp(hour * HOUR), sample);
    }
    let verdicts: Vec<Verdict> = last.iter().map(|(_, judged)| judged.verdict).collect();
    let first = verdicts
        .iter()
        .position(|verdict| *verdict == Verdict::Breach)
        .unwrap();
    assert!((30..33).contains(&first), "{verdicts:?}");
    let last = verdicts
        .iter()
        .rposition(|verdict| *verdict == Verdict::Breach)
        .unwrap();
    assert!(
        verdicts[last + 1..].starts_with(&[Verdict::Held; 23]),
        "{verdicts:?}"
    );
    assert_eq!(verdicts.last(), Some(&Verdict::Clear), "{verdicts:?}");
}

/// Ten windows of 50 and 50, then one of 80 and 20. PSI and distance by Python, from the formulas of `detect::shift`.
#[test]
fn a_distribution_is_compared_with_good_windows_and_with_chance() {
    let (mut history, start) = history(&[number(0.0, 100); 11]);
    let mut histograms: std::collections::BTreeMap<Timestamp, Histogram> = (0..10)
        .map(|hour| (Timestamp(hour * HOUR), [(0, 50), (1, 50)].into()))
        .collect();
    histograms.insert(start, [(0, 80), (1, 20)].into());
    let rule = |measure, above, limit| Distribution {
        of: Of::Scores,
        measure,
        above,
        limit,
        windows: 48,
    };
    let judge = |rule, history: &History, histograms: &_| {
        distribution::judge(&rule, history, histograms, start)
    };
    let psi = judge(rule(Measure::Psi, 0.2, 3.3), &history, &histograms);
    assert_eq!(psi.verdict, Verdict::Breach);
    assert!((psi.value.unwrap() - PSI).abs() < 1e-12, "{psi:?}");
    let distance = judge(
        rule(Measure::JensenShannon, 0.2, 3.3),
        &history,
        &histograms,
    );
    assert!(
        (distance.value.unwrap() - DISTANCE).abs() < 1e-12,
        "{distance:?}"
    );
    let chance = judge(rule(Measure::Psi, 0.2, 9.0), &history, &histograms);
    assert_eq!(chance.verdict, Verdict::Held);
    let small = judge(rule(Measure::Psi, 0.5, 3.3), &history, &histograms);
    assert_eq!(small.verdict, Verdict::Clear);
    for hour in 0..10 {
        history.found(Timestamp(hour * HOUR), Verdict::Breach, true);
    }
    let alone = judge(rule(Measure::Psi, 0.2, 3.3), &history, &histograms);
    assert_eq!(
        alone.verdict,
        Verdict::Unknown,
        "nothing good to compare with"
    );
}

const PSI: f64 = 0.406_286_821_271_333_2;
const DISTANCE: f64 = 0.270_377_528_525_966_5;

/// Newcombe 1998, example (a) by method 10: 48 of 80 against 56 of 70 differ by -0.2, between -0.3339 and -0.0524. The pooled test's
/// p-value is 0.00805 (by hand: z = 0.2 / 0.07547 = 2.650).
#[test]
fn a_version_is_worse_by_the_interval_of_the_difference_or_by_its_test() {
    let reading = Reading {
        value: Some(-0.2),
        interval: Some((-0.3339, -0.0524)),
        support: 70,
        p_value: Some(0.00805),
        ..Reading::default()
    };
    let found = |side, by, p_value, reading| {
        let check = Check::Comparison(Comparison {
            side,
            by,
            baseline: None,
            p_value,
        });
        judged(check, &[reading]).verdict
    };
    let interval = |by| found(Side::Below, by, None, reading);
    assert_eq!([0.0, 0.05].map(interval), [Verdict::Breach; 2]);
    assert_eq!(interval(0.06), Verdict::Held, "it may be less");
    assert_eq!(interval(0.2), Verdict::Clear, "it does not matter");
    let test = |p| found(Side::Below, 0.0, Some(p), reading);
    assert_eq!((test(0.01), test(0.005)), (Verdict::Breach, Verdict::Held));
    assert_eq!(found(Side::Above, 0.0, None, reading), Verdict::Clear);
    let untested = Reading {
        p_value: None,
        ..reading
    };
    assert_ne!(
        found(Side::Below, 0.0, Some(0.01), untested),
        Verdict::Breach
    );
}
