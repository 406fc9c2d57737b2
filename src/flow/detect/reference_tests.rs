//! Every alarm against river, every figure against scipy: `tests/reference/detect.json`, written by the `detect.py`
//! beside it (versions and hashes of the inputs are in the file).

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "counts are small; the arithmetic is river's to the operation"
)]

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Adwin, Chart, PageHinkley, Reading, Sample, Turn, adwin, chart, page_hinkley, shift};

#[test]
fn adwin_alarms_where_rivers_does() {
    let mut alarms = 0;
    for (name, stream, case) in cases("adwin") {
        let settings = adwin_settings(&case["settings"]);
        assert_eq!(settings.fault(), None);
        for cut in [None, Some(every(&stream))] {
            let run = run(&stream, Adwin::new(settings), cut, Adwin::update);
            assert_eq!(run.alarms, indices(&case["alarms"]), "{name}: {settings:?}");
            for (look, detector) in looks(&case).iter().zip(&run.looks) {
                let (variance, total) = detector.sums();
                assert_eq!(
                    detector.width(),
                    look[1].as_u64().unwrap(),
                    "{name}: {look}"
                );
                assert_eq!(
                    (variance, total),
                    (number(&look[2]), number(&look[3])),
                    "{name}: {look}"
                );
            }
            alarms += run.alarms.len();
        }
    }
    assert!(alarms > 300, "{alarms}: the streams are there to alarm");
}

#[test]
fn page_hinkley_alarms_where_rivers_does() {
    let mut alarms = 0;
    for (name, stream, case) in cases("page_hinkley") {
        let settings = page_hinkley_settings(&case["settings"]);
        assert_eq!(settings.fault(), None);
        for cut in [None, Some(every(&stream))] {
            let run = run(
                &stream,
                PageHinkley::new(settings),
                cut,
                PageHinkley::update,
            );
            assert_eq!(run.alarms, indices(&case["alarms"]), "{name}: {settings:?}");
            for (look, detector) in looks(&case).iter().zip(&run.looks) {
                let sums = [number(&look[1]), number(&look[2])];
                assert_eq!(<[f64; 2]>::from(detector.sums()), sums, "{name}: {look}");
                assert_eq!(
                    detector.estimate(),
                    Some(number(&look[3])),
                    "{name}: {look}"
                );
            }
            alarms += run.alarms.len();
        }
    }
    assert!(alarms > 300, "{alarms}: the streams are there to alarm");
}

#[test]
fn shifts_are_scipys() {
    for case in reference()["histograms"].as_array().unwrap() {
        let counts = |side: &str| -> Vec<u64> {
            let side = case[side].as_array().unwrap().iter();
            side.map(|count| count.as_u64().unwrap()).collect()
        };
        let pairs: Vec<_> = counts("reference")
            .into_iter()
            .zip(counts("current"))
            .collect();
        let found = shift(&pairs).unwrap();
        near(found.psi, &case["psi"]);
        near(found.js_divergence, &case["js_divergence"]);
        near(found.js_distance, &case["js_distance"]);
        assert_eq!(found.bins as u64, case["bins"].as_u64().unwrap());
        for (z, chance) in [1.0, 2.0, 3.0, 4.0]
            .into_iter()
            .zip(case["by_chance"].as_array().unwrap())
        {
            let chance = chance.as_f64().unwrap();
            let tolerance = if z < 4.0 { 0.03 } else { 0.1 };
            assert!(
                (found.by_chance(z) - chance).abs() <= tolerance * chance,
                "z {z}: {case}"
            );
        }
    }
}

#[test]
fn a_chart_has_the_limits_of_its_definition() {
    for case in reference()["charts"].as_array().unwrap() {
        let mut chart = Chart::new(chart_settings(&case["settings"]));
        let learns = chart.settings().baseline_windows as usize;
        let windows = case["windows"].as_array().unwrap();
        for (at, window) in windows.iter().enumerate() {
            let reading = chart.update(&sample(case["kind"].as_str().unwrap(), window));
            chart = reread(&chart);
            if at < learns {
                assert_eq!(reading, Reading::default(), "it judges what it learns from");
                continue;
            }
            let expected = &case["readings"][at - learns];
            let bounds = reading.bounds.unwrap();
            near(reading.level.unwrap(), &expected[0]);
            near(bounds.low, &expected[1]);
            near(bounds.high, &expected[2]);
            near(bounds.center, &case["center"]);
            let turn = reading
                .turn
                .map(|turn| if turn == Turn::Up { "up" } else { "down" });
            assert_eq!(turn, expected[3].as_str(), "window {at}: {expected}");
        }
    }
}

/// A checkpoint after each value, or after every few of a long stream.
fn every(stream: &[f64]) -> usize {
    if stream.len() < 3_000 { 1 } else { 97 }
}

struct Run<D> {
    alarms: Vec<usize>,
    looks: Vec<D>,
}

/// Runs a detector over a stream; with `cut`, through a checkpoint at every so many values.
fn run<D: Clone + Serialize + DeserializeOwned>(
    stream: &[f64],
    mut detector: D,
    cut: Option<usize>,
    update: fn(&mut D, f64) -> Option<Turn>,
) -> Run<D> {
    let every = usize::try_from(reference()["every"].as_u64().unwrap()).unwrap();
    let (mut alarms, mut looks) = (Vec::new(), Vec::new());
    for (at, &value) in stream.iter().enumerate() {
        if update(&mut detector, value).is_some() {
            alarms.push(at);
        }
        if at % every == every - 1 || at == stream.len() - 1 {
            looks.push(detector.clone());
        }
        if cut.is_some_and(|cut| at % cut == 0) {
            detector = reread(&detector);
        }
    }
    Run { alarms, looks }
}

/// As it comes back from a checkpoint.
fn reread<D: Serialize + DeserializeOwned>(detector: &D) -> D {
    postcard::from_bytes(&postcard::to_stdvec(detector).unwrap()).unwrap()
}

/// (name, stream, what the detector does with one choice of settings)
fn cases(detector: &str) -> Vec<(String, Vec<f64>, Value)> {
    let mut cases = Vec::new();
    for stream in reference()["streams"].as_array().unwrap() {
        let values = values(stream);
        for case in stream[detector].as_array().unwrap() {
            let name = stream["name"].as_str().unwrap().to_owned();
            cases.push((name, values.clone(), case.clone()));
        }
    }
    assert_eq!(cases.len(), 100);
    cases
}

fn values(stream: &Value) -> Vec<f64> {
    match stream["stream"].as_str() {
        Some(text) if text.contains(' ') => text
            .split(' ')
            .map(|value| value.parse().unwrap())
            .collect(),
        Some(text) => text
            .chars()
            .map(|bit| if bit == '1' { 1.0 } else { 0.0 })
            .collect(),
        None => {
            let values = simulated(stream);
            assert_eq!(
                *values.last().unwrap(),
                number(&stream["last"]),
                "another generator"
            );
            values
        }
    }
}

/// `simulated_errors` and `simulated_values` of `detect.py`.
fn simulated(stream: &Value) -> Vec<f64> {
    let mut chance = SplitMix64(stream["seed"].as_u64().unwrap());
    let mut values = Vec::new();
    for part in stream["parts"].as_array().unwrap() {
        let part: Vec<f64> = part
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_f64().unwrap())
            .collect();
        match part[..] {
            [rate, count] => values
                .extend((0..count as u64).map(|_| f64::from(u8::from(chance.uniform() < rate)))),
            [mean, deviation, count] => values.extend((0..count as u64).map(|_| {
                let total: f64 = (0..12).fold(0.0, |total, _| total + chance.uniform());
                mean + deviation * (total - 6.0)
            })),
            _ => panic!("{stream}"),
        }
    }
    values
}

struct SplitMix64(u64);

impl SplitMix64 {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn adwin_settings(given: &Value) -> adwin::Settings {
    let mut settings = adwin::Settings::default();
    for (name, value) in given.as_object().unwrap() {
        match name.as_str() {
            "delta" => settings.delta = value.as_f64().unwrap(),
            "clock" => settings.clock = whole(value),
            "max_buckets" => settings.max_buckets = whole(value) as usize,
            "min_window_length" => settings.min_window_length = whole(value),
            "grace_period" => settings.grace_period = whole(value),
            other => panic!("{other}"),
        }
    }
    settings
}

fn page_hinkley_settings(given: &Value) -> page_hinkley::Settings {
    let mut settings = page_hinkley::Settings::default();
    for (name, value) in given.as_object().unwrap() {
        match name.as_str() {
            "min_instances" => settings.min_instances = whole(value),
            "delta" => settings.delta = value.as_f64().unwrap(),
            "threshold" => settings.threshold = value.as_f64().unwrap(),
            "alpha" => settings.alpha = value.as_f64().unwrap(),
            "mode" => {
                settings.mode = match value.as_str().unwrap() {
                    "up" => page_hinkley::Mode::Up,
                    "down" => page_hinkley::Mode::Down,
                    _ => page_hinkley::Mode::Both,
                }
            }
            other => panic!("{other}"),
        }
    }
    settings
}

fn chart_settings(given: &Value) -> chart::Settings {
    chart::Settings {
        lambda: given["lambda"].as_f64().unwrap(),
        limit: given["limit"].as_f64().unwrap(),
        baseline_windows: whole(&given["baseline_windows"]),
        baseline_counts: 0,
        pool_below: 0,
    }
}

fn sample(kind: &str, window: &Value) -> Sample {
    match kind {
        "share" => Sample::Share {
            hits: window[0].as_u64().unwrap(),
            trials: window[1].as_u64().unwrap(),
        },
        "mean" => Sample::Mean {
            mean: window[0].as_f64().unwrap(),
            variance: window[1].as_f64().unwrap(),
            count: window[2].as_u64().unwrap(),
        },
        _ => Sample::Single(window[0].as_f64().unwrap()),
    }
}

fn looks(case: &Value) -> &[Value] {
    case["looks"].as_array().unwrap()
}

fn indices(list: &Value) -> Vec<usize> {
    let list = list.as_array().unwrap().iter();
    list.map(|index| usize::try_from(index.as_u64().unwrap()).unwrap())
        .collect()
}

fn whole(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

/// A number written as text.
fn number(text: &Value) -> f64 {
    text.as_str().unwrap().parse().unwrap()
}

fn near(found: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    assert!(
        (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
        "{found} is not {expected}"
    );
}

fn reference() -> &'static Value {
    static READ: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| {
        serde_json::from_str(include_str!("../../../tests/reference/detect.json")).unwrap()
    });
    &READ
}
