//! What holds for any input: no panic, a bound on memory, and that a checkpoint or another order of changes makes no
//! difference.

#![allow(
    clippy::float_cmp,
    reason = "the same arithmetic must give the same bits"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::flow::event::Timestamp;

proptest! {
    #[test]
    fn a_stopped_detector_goes_on_as_if_it_had_not(
        mut detector in detector(),
        samples in prop::collection::vec(sample(), 0..60),
        stop in 0_usize..60,
    ) {
        let mut stopped = detector.clone();
        for (at, sample) in samples.iter().enumerate() {
            if at == stop {
                let kept = postcard::to_stdvec(&stopped).unwrap();
                stopped = postcard::from_bytes(&kept).unwrap();
            }
            let reading = detector.update(sample);
            prop_assert_eq!(stopped.update(sample), reading);
            if let Some(Bounds { low, center, high }) = reading.bounds {
                prop_assert!(low <= center && center <= high, "{:?}", reading);
            }
        }
    }

    /// Any values, NaN and the infinities among them: those are passed over.
    #[test]
    fn no_value_harms_a_detector(mut adwin in adwins(), mut test in page_hinkleys(), values in prop::collection::vec(figure(), 0..300)) {
        let usable = values.iter().filter(|value| is_usable(**value)).count();
        let (mut alarms, mut alarms_of_test) = (0, 0);
        for value in values {
            alarms += usize::from(adwin.update(value).is_some());
            alarms_of_test += usize::from(test.update(value).is_some());
            prop_assert!(adwin.estimate().is_none_or(f64::is_finite));
            prop_assert!(test.estimate().is_none_or(f64::is_finite));
        }
        prop_assert!(adwin.width() <= usable as u64 && alarms <= usable && alarms_of_test <= usable);
    }

    #[test]
    fn adwin_stays_small(mut adwin in adwins(), seed in any::<u64>()) {
        let mut mixed = seed;
        for _ in 0..20_000 {
            mixed = mixed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            adwin.update(f64::from(u8::from(mixed >> 60 == 0)));
            let rows = (adwin.width() + 1).ilog2() as usize + 1;
            let row = (adwin.settings().max_buckets + 1) * 16 * 2 + 24 * 2;
            // A vector of rows starts with room for four, and doubles.
            prop_assert!(adwin.heap_bytes() <= (rows + 4) * row, "{} for {}", adwin.heap_bytes(), adwin.width());
        }
    }

    /// Windows come in any order and are corrected any number of times: only what they hold in the end counts.
    #[test]
    fn readings_hang_on_final_counts_alone(
        detector in detector(),
        changes in prop::collection::vec((0..30_i64, prop::option::of(share())), 0..120),
        settle in 0..30_i64,
    ) {
        let mut feed = Feed::new(detector.clone());
        let mut last: BTreeMap<i64, Option<Sample>> = BTreeMap::new();
        for (start, sample) in changes {
            prop_assert!(feed.put(Timestamp(start), sample).is_empty());
            last.insert(start, sample);
        }
        let mut straight = detector;
        let expected: Vec<_> = last
            .iter()
            .filter_map(|(start, sample)| Some((start, (*sample).filter(Sample::is_something)?)))
            .map(|(start, sample)| (Timestamp(*start), straight.update(&sample)))
            .collect();
        prop_assert_eq!(feed.readings(), expected.clone());
        let kept = postcard::to_stdvec(&feed).unwrap();
        let mut feed: Feed = postcard::from_bytes(&kept).unwrap();
        let mut readings = feed.settle(Timestamp(settle));
        readings.extend(feed.readings());
        prop_assert_eq!(readings, expected);
    }

    #[test]
    fn a_window_is_spread_evenly(trials in 0..3_000_u64, share in 0.0..=1.0_f64) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the trials")]
        let hits = (trials as f64 * share) as u64;
        let values: Vec<bool> = spread(hits, trials).collect();
        prop_assert_eq!(values.len() as u64, trials.min(VALUES_MAX));
        let mut seen = 0.0;
        for (at, hit) in values.iter().enumerate() {
            seen += f64::from(u8::from(*hit));
            let due = (at + 1) as f64 * hits as f64 / trials as f64;
            prop_assert!((seen - due).abs() <= 1.5, "{seen} hits after {at}, {due} due");
        }
        if trials <= VALUES_MAX {
            prop_assert_eq!(seen, hits as f64);
        }
    }

    #[test]
    fn shifts_are_symmetric_and_bounded(pairs in prop::collection::vec((count(), count()), 0..40)) {
        let Some(found) = shift(&pairs) else {
            return Ok(());
        };
        prop_assert!(found.psi >= 0.0 && found.psi.is_finite());
        prop_assert!((0.0..=1.0).contains(&found.js_divergence) && (0.0..=1.0).contains(&found.js_distance));
        prop_assert!(found.by_chance(3.0) >= found.by_chance(2.0));
        let swapped: Vec<_> = pairs.iter().map(|&(reference, current)| (current, reference)).collect();
        let back = shift(&swapped).unwrap();
        prop_assert!((back.psi - found.psi).abs() <= 1e-12 * found.psi.max(1.0));
        prop_assert!((back.js_divergence - found.js_divergence).abs() <= 1e-12);
        let same: Vec<_> = pairs.iter().map(|&(reference, _)| (reference, reference)).collect();
        if let Some(none) = shift(&same) {
            prop_assert_eq!((none.psi, none.js_distance), (0.0, 0.0));
        }
    }
}

#[test]
fn a_tail_has_an_end() {
    let mut feed = Feed::new(Detector::Chart(Chart::new(chart::Settings::default())));
    let window = |hits| Some(Sample::Share { hits, trials: 100 });
    let last = i64::try_from(TAIL_MAX).unwrap() + 9;
    let settled: Vec<_> = (0..=last)
        .flat_map(|start| feed.put(Timestamp(start), window(10)))
        .map(|(start, _)| start)
        .collect();
    assert_eq!(settled, (0..10).map(Timestamp).collect::<Vec<_>>());
    assert_eq!(feed.readings().len(), TAIL_MAX);
    let before = feed.readings();
    assert!(feed.put(Timestamp(9), window(90)).is_empty());
    assert_eq!((feed.missed(), feed.readings()), (1, before));
    let bytes = postcard::to_stdvec(&feed).unwrap().len();
    assert!(bytes < 20 << 10, "{bytes}");
}

/// A late label mends a window: its alarm is gone.
#[test]
fn a_mended_window_takes_its_alarm_back() {
    for detector in [
        Detector::Adwin(Adwin::new(adwin::Settings::default())),
        Detector::PageHinkley(PageHinkley::new(page_hinkley::Settings::default())),
        Detector::Chart(Chart::new(chart::Settings::default())),
    ] {
        let mut feed = Feed::new(detector);
        for start in 0..30 {
            let window = Sample::Share {
                hits: 50,
                trials: 500,
            };
            assert!(feed.put(Timestamp(start), Some(window)).is_empty());
        }
        let alarms = |feed: &Feed| {
            let readings = feed.readings().into_iter();
            readings
                .filter_map(|(start, reading)| Some((start.0, reading.turn?)))
                .collect::<Vec<_>>()
        };
        assert_eq!(alarms(&feed), []);
        assert!(
            feed.put(
                Timestamp(30),
                Some(Sample::Share {
                    hits: 200,
                    trials: 500
                })
            )
            .is_empty()
        );
        assert_eq!(alarms(&feed), [(30, Turn::Up)]);
        assert!(
            feed.put(
                Timestamp(30),
                Some(Sample::Share {
                    hits: 52,
                    trials: 500
                })
            )
            .is_empty()
        );
        assert_eq!(alarms(&feed), []);
    }
}

#[test]
fn small_windows_are_judged_together() {
    let settings = chart::Settings {
        baseline_windows: 2,
        baseline_counts: 0,
        pool_below: 30,
        ..chart::Settings::default()
    };
    let mut chart = Chart::new(settings);
    let mut judged = Vec::new();
    for _ in 0..9 {
        judged.push(
            chart
                .update(&Sample::Share {
                    hits: 1,
                    trials: 10,
                })
                .level
                .is_some(),
        );
    }
    // By hand: three windows of ten make one; two of those are the baseline, the third is judged.
    assert_eq!(
        judged,
        [false, false, false, false, false, false, false, false, true]
    );
    chart.relearn();
    assert!(!chart.has_learned());
}

#[test]
fn one_error_is_no_alarm_where_there_were_none() {
    let mut chart = Chart::new(chart::Settings::default());
    let alarms = |chart: &mut Chart, hits| chart.update(&Sample::Share { hits, trials: 500 }).turn;
    for _ in 0..30 {
        assert_eq!(alarms(&mut chart, 0), None);
    }
    assert!(chart.has_learned());
    assert_eq!(alarms(&mut chart, 0), None);
    assert_eq!(alarms(&mut chart, 1), None);
    assert_eq!(alarms(&mut chart, 25), Some(Turn::Up));
}

#[test]
fn too_few_counts_give_no_shift() {
    // By hand: 19 · (1/n + 1/100000) ≤ 0.05 from n = 382 on.
    let even = |count: u64| (0..20).map(move |bar| count / 20 + u64::from(bar < count % 20));
    let found = |count| shift(&even(100_000).zip(even(count)).collect::<Vec<_>>());
    assert!(found(381).is_none() && found(382).is_some());
    assert!(
        shift(&[(1_000, 15), (1_000, 14)]).is_none(),
        "29 are too few"
    );
    assert!(shift(&[]).is_none());
    let known = side_by_side(
        &BTreeMap::from([(1, 5), (2, 6)]),
        &BTreeMap::from([(2, 7), (3, 8)]),
    );
    assert_eq!(known, [(5, 0), (6, 7), (0, 8)]);
}

#[test]
fn detectors_are_as_small_as_they_say() {
    assert!(size_of::<Chart>() <= 350, "{}", size_of::<Chart>());
    assert!(
        size_of::<PageHinkley>() <= 150,
        "{}",
        size_of::<PageHinkley>()
    );
}

#[test]
fn faults_are_named() {
    let adwin = adwin::Settings {
        delta: f64::NAN,
        ..adwin::Settings::default()
    };
    assert!(adwin.fault().unwrap().contains("delta"));
    let adwin = adwin::Settings {
        max_buckets: 1,
        ..adwin::Settings::default()
    };
    assert!(adwin.fault().unwrap().contains("max_buckets"));
    let test = page_hinkley::Settings {
        alpha: 1.1,
        ..page_hinkley::Settings::default()
    };
    assert!(test.fault().unwrap().contains("alpha"));
    let chart = chart::Settings {
        lambda: 0.0,
        ..chart::Settings::default()
    };
    assert!(chart.fault().unwrap().contains("lambda"));
    assert_eq!(chart::Settings::default().fault(), None);
}

fn detector() -> impl Strategy<Value = Detector> {
    prop_oneof![
        adwins().prop_map(Detector::Adwin),
        page_hinkleys().prop_map(Detector::PageHinkley),
        charts().prop_map(Detector::Chart),
    ]
}

fn adwins() -> impl Strategy<Value = Adwin> {
    (0.001..0.9_f64, 1..40_u32, 2..9_usize, 1..20_u32, 0..50_u32).prop_map(
        |(delta, clock, max_buckets, min_window_length, grace_period)| {
            let settings = adwin::Settings {
                delta,
                clock,
                max_buckets,
                min_window_length,
                grace_period,
            };
            assert_eq!(settings.fault(), None);
            Adwin::new(settings)
        },
    )
}

fn page_hinkleys() -> impl Strategy<Value = PageHinkley> {
    let modes = prop_oneof![
        Just(page_hinkley::Mode::Up),
        Just(page_hinkley::Mode::Down),
        Just(page_hinkley::Mode::Both)
    ];
    (0..50_u32, 0.0..0.1_f64, 0.1..50.0_f64, 0.5..=1.0_f64, modes).prop_map(
        |(min_instances, delta, threshold, alpha, mode)| {
            let settings = page_hinkley::Settings {
                min_instances,
                delta,
                threshold,
                alpha,
                mode,
            };
            assert_eq!(settings.fault(), None);
            PageHinkley::new(settings)
        },
    )
}

fn charts() -> impl Strategy<Value = Chart> {
    (
        0.01..=1.0_f64,
        0.5..5.0_f64,
        2..8_u32,
        0..500_u64,
        0..60_u64,
    )
        .prop_map(
            |(lambda, limit, baseline_windows, baseline_counts, pool_below)| {
                let settings = chart::Settings {
                    lambda,
                    limit,
                    baseline_windows,
                    baseline_counts,
                    pool_below,
                };
                assert_eq!(settings.fault(), None);
                Chart::new(settings)
            },
        )
}

fn share() -> impl Strategy<Value = Sample> {
    (0..40_u64, 0..200_u64).prop_map(|(hits, trials)| Sample::Share { hits, trials })
}

/// Samples of every kind, possible and impossible, mixed as no feed would.
fn sample() -> impl Strategy<Value = Sample> {
    prop_oneof![
        share(),
        (any::<u64>(), any::<u64>()).prop_map(|(hits, trials)| Sample::Share { hits, trials }),
        (figure(), figure(), any::<u64>()).prop_map(|(mean, variance, count)| {
            Sample::Mean {
                mean,
                variance,
                count,
            }
        }),
        (-9.0..9.0_f64, 0.0..4.0_f64, 0..100_u64).prop_map(|(mean, variance, count)| {
            Sample::Mean {
                mean,
                variance,
                count,
            }
        }),
        figure().prop_map(Sample::Single),
    ]
}

/// Half of them usual, half anything: `any` would leave NaN and the infinities out.
fn figure() -> impl Strategy<Value = f64> {
    prop_oneof![-9.0..9.0_f64, prop::num::f64::ANY]
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..500_u64, any::<u64>()]
}
