//! Every number against scikit-learn, scipy and statsmodels: `tests/reference/metrics.json`, written by the
//! `metrics.py` beside it (versions are in the file). Each case is counted twice: straight, and through wrong labels,
//! corrections and split tallies merged backwards; both must agree to the bit.

#![allow(
    clippy::cast_possible_truncation,
    clippy::float_cmp,
    reason = "delays are small; thresholds are written alike on both sides"
)]

use serde_json::Value;

use super::comparison::{compare, holm, mcnemar, newcombe, two_proportions};
use super::*;

const TOLERANCE: f64 = 1e-9;

#[test]
fn every_metric_is_scikit_learns() {
    let reference = reference();
    let cases = reference["cases"].as_array().unwrap();
    assert!(cases.len() >= 29);
    for case in cases {
        check(&Case::read(case), &case["expected"]);
    }
}

#[test]
fn differences_of_shares_are_statsmodels() {
    for case in reference()["tests"]["shares"].as_array().unwrap() {
        let (first, second) = (pair(&case["first"]), pair(&case["second"]));
        let interval = newcombe(first, second).unwrap();
        near("low", interval.low, &case["interval"][0]);
        near("high", interval.high, &case["interval"][1]);
        let test = two_proportions(first, second);
        assert_eq!(test.is_none(), case["z"].is_null(), "{case}");
        if let Some(test) = test {
            near("z", test.z, &case["z"]);
            near_relative("p", test.p_value, &case["p"]);
        }
    }
}

#[test]
fn mcnemar_is_statsmodels() {
    for case in reference()["tests"]["mcnemar"].as_array().unwrap() {
        let found = mcnemar(case["b"].as_u64().unwrap(), case["c"].as_u64().unwrap());
        near_relative("p", found.p_value, &case["p"]);
        assert_eq!(found.chi_squared.is_none(), case["chi_squared"].is_null());
        if let Some(chi_squared) = found.chi_squared {
            near("chi squared", chi_squared, &case["chi_squared"]);
        }
    }
}

#[test]
fn holm_is_statsmodels() {
    for case in reference()["tests"]["holm"].as_array().unwrap() {
        let p_values: Vec<f64> = numbers(&case["p"]);
        for (found, expected) in holm(&p_values).iter().zip(numbers(&case["adjusted"])) {
            assert!((found - expected).abs() <= TOLERANCE, "{case}");
        }
    }
}

#[test]
fn a_difference_of_mean_errors_is_statsmodels() {
    let case = &reference()["tests"]["errors"];
    let [first, second] = ["first", "second"].map(|side| {
        let mut tally = Tally::default();
        for (row, error) in numbers(&case[side]).into_iter().enumerate() {
            let sign = if row % 2 == 0 { 1.0 } else { -1.0 };
            let scored = says(Outcome::Number(sign * error));
            tally.predict(&TaskKind::Regression, &scored);
            tally.label(
                &TaskKind::Regression,
                &scored,
                Judgement::timeless(Outcome::Number(0.0)),
            );
        }
        tally
    });
    let found = compare(&TaskKind::Regression, &first, &second, None);
    let difference = found
        .differences
        .iter()
        .find(|found| found.name == "mae")
        .unwrap();
    near("low", difference.interval.low, &case["interval"][0]);
    near("high", difference.interval.high, &case["interval"][1]);
    near("z", difference.test.unwrap().z, &case["z"]);
    near("p", difference.test.unwrap().p_value, &case["p"]);
}

#[test]
fn durations_are_numpys_within_one_percent() {
    let case = &reference()["durations"];
    let mut tally = Tally::default();
    let task = TaskKind::Binary { positive: 0 };
    for value in numbers(&case["values"]) {
        let scored = Scored {
            latency_ms: Some(value),
            ..says(Outcome::Class(0))
        };
        tally.predict(&task, &scored);
        // Delays are whole milliseconds: the same distribution in microseconds.
        let delay = (value * 1_000.0).round() as i64;
        let judgement = Judgement {
            actual: Outcome::Class(0),
            delay_ms: Some(delay),
            late: false,
        };
        tally.label(&task, &scored, judgement);
    }
    let document = document(&summarise(&tally, &task, &|_| "yes", 1));
    for (name, expected) in case["expected"].as_object().unwrap() {
        let expected = expected.as_f64().unwrap();
        let within = |found: &Value, expected: f64| {
            let found = found.as_f64().unwrap();
            assert!(
                (found / expected - 1.0).abs() <= 0.01,
                "{name}: {found}, {expected}"
            );
        };
        within(&document["latency"][name], expected);
        within(&document["label_delay"][name], expected * 1_000.0);
    }
    near(
        "mean",
        document["latency"]["mean"].as_f64().unwrap(),
        &case["mean"],
    );
}

/// One case's rows, interned against the alphabet so that no order of classes can be a coincidence.
struct Case {
    name: String,
    task: TaskKind,
    names: Vec<String>,
    rows: Vec<Row>,
}

/// Actual, predicted, score, scores.
type Row = (Outcome, Outcome, Option<f64>, Vec<(Class, f64)>);

impl Case {
    fn read(case: &Value) -> Self {
        let rows = case["rows"].as_array().unwrap();
        let mut names: Vec<String> = rows
            .iter()
            .flat_map(|row| [&row[0], &row[1]])
            .chain(case["columns"].as_array().into_iter().flatten())
            .chain(case.get("positive"))
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        names.sort();
        names.dedup();
        names.reverse();
        let class = |name: &Value| {
            let place = names
                .iter()
                .position(|known| Some(known.as_str()) == name.as_str());
            Class::try_from(place.unwrap()).unwrap()
        };
        let outcome = |value: &Value| match value.as_f64() {
            Some(number) => Outcome::Number(number),
            None => Outcome::Class(class(value)),
        };
        let scores = |row: &Value| match (row[2].as_array(), case["columns"].as_array()) {
            (Some(scores), Some(columns)) => columns
                .iter()
                .zip(scores)
                .map(|(column, score)| (class(column), score.as_f64().unwrap()))
                .collect(),
            _ => Vec::new(),
        };
        let task = match case["task"].as_str().unwrap() {
            "binary" => TaskKind::Binary {
                positive: class(&case["positive"]),
            },
            "multiclass" => TaskKind::Multiclass {
                classes: Vec::new(),
            },
            _ => TaskKind::Regression,
        };
        Self {
            name: case["name"].as_str().unwrap().to_owned(),
            task,
            rows: rows
                .iter()
                .map(|row| {
                    (
                        outcome(&row[0]),
                        outcome(&row[1]),
                        row[2].as_f64(),
                        scores(row),
                    )
                })
                .collect(),
            names,
        }
    }

    fn scored(&self, row: usize) -> Scored<'_> {
        let (_, predicted, score, scores) = &self.rows[row];
        Scored {
            predicted: *predicted,
            score: *score,
            scores,
            latency_ms: None,
        }
    }

    fn straight(&self) -> Tally {
        let mut tally = Tally::default();
        for (row, &(actual, ..)) in self.rows.iter().enumerate() {
            tally.predict(&self.task, &self.scored(row));
            tally.label(&self.task, &self.scored(row), Judgement::timeless(actual));
        }
        tally
    }

    /// Predictions in one tally, labels in another, every second one first wrong, corrections in a third.
    fn roundabout(&self) -> Tally {
        let mut parts = [Tally::default(), Tally::default(), Tally::default()];
        for (row, &(actual, ..)) in self.rows.iter().enumerate().rev() {
            parts[0].predict(&self.task, &self.scored(row));
            let wrong = self.rows[(row * 7 + 1) % self.rows.len()].0;
            let first = if row % 2 == 0 { wrong } else { actual };
            let (first, last) = (Judgement::timeless(first), Judgement::timeless(actual));
            parts[1].label(&self.task, &self.scored(row), first);
            parts[2].correct(&self.task, &self.scored(row), first, last);
        }
        let [predictions, labels, mut all] = parts;
        all.merge(&labels);
        all.merge(&predictions);
        all
    }

    fn summary(&self, tally: &Tally) -> Summary {
        summarise(tally, &self.task, &|class| &self.names[class as usize], 1)
    }
}

fn check(case: &Case, expected: &Value) {
    let summary = case.summary(&case.straight());
    let found = document(&summary);
    let mut again = case.summary(&case.roundabout());
    again.counts.corrected_labels = 0;
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    summary.write_members(&mut once);
    again.write_members(&mut twice);
    assert_eq!(
        String::from_utf8(once).unwrap(),
        String::from_utf8(twice).unwrap(),
        "{}: corrections leave a trace",
        case.name
    );

    check_values(&case.name, &found, expected);
    check_areas(&case.name, &found, &expected["areas"]);
    for (average, values) in members(&expected["averages"]) {
        for (metric, value) in members(values) {
            let name = format!("{}: {average}.{metric}", case.name);
            near(
                &name,
                found["quality"][average][metric].as_f64().unwrap(),
                value,
            );
            near(
                &name,
                summary.value(&format!("{average}.{metric}")).unwrap(),
                value,
            );
        }
    }
    for (average, areas) in members(&expected["average_areas"]) {
        let inner = serde_json::json!({
            "quality": found["quality"][average], "interval": found["interval"][average],
        });
        check_areas(&format!("{}: {average}", case.name), &inner, areas);
    }
    check_classes(case, &summary, expected);
    check_cells(case, &summary, expected);
    for (row, expected) in summary
        .thresholds()
        .iter()
        .zip(expected["sweep"].as_array().into_iter().flatten())
    {
        assert_eq!(row.threshold, expected[0].as_f64().unwrap());
        let counts = (row.quadrants.tp, row.quadrants.fp);
        assert_eq!(
            counts,
            (expected[1].as_u64().unwrap(), expected[2].as_u64().unwrap()),
            "{}: {expected}",
            case.name
        );
    }
}

/// Values, reasons, intervals, counts and sketched quantiles directly under the document's members.
fn check_values(name: &str, found: &Value, expected: &Value) {
    for (metric, value) in members(&expected["values"]) {
        let name = format!("{name}: {metric}");
        if value.is_null() {
            assert_eq!(found["quality"].get(metric), None, "{name}");
            assert!(
                found["quality"]["undefined"][metric].is_string(),
                "{name}: no reason"
            );
        } else {
            let found = found["quality"][metric].as_f64().expect(&name);
            if name.starts_with("small numbers") {
                near_relative(&name, found, value);
            } else {
                near(&name, found, value);
            }
        }
    }
    for (metric, ends) in members(&expected["intervals"]) {
        let name = format!("{name}: interval of {metric}");
        let interval = found["interval"].get(metric);
        assert_eq!(interval.is_none(), ends.is_null(), "{name}");
        if let Some(interval) = interval {
            near(&name, interval["low"].as_f64().unwrap(), &ends[0]);
            near(&name, interval["high"].as_f64().unwrap(), &ends[1]);
        }
    }
    for (count, value) in members(&expected["counts"]) {
        assert_eq!(&found["counts"][count], value, "{name}: {count}");
    }
    for (metric, value) in members(&expected["sketched"]) {
        let (found, expected) = (
            found["quality"][metric].as_f64().unwrap(),
            value.as_f64().unwrap(),
        );
        assert!(
            (found - expected).abs() <= 0.01 * expected + 1e-30,
            "{name}: {metric} {found}, {expected}"
        );
    }
}

/// The true area lies within the published bounds, and the published value no further from it than they allow.
fn check_areas(name: &str, found: &Value, expected: &Value) {
    for (metric, exact) in members(expected) {
        let name = format!("{name}: {metric}");
        let Some(exact) = exact.as_f64() else {
            assert_eq!(found["quality"].get(metric), None, "{name}");
            continue;
        };
        let value = found["quality"][metric].as_f64().expect(&name);
        let end = |end: &str| found["interval"][metric][end].as_f64().unwrap();
        for inside in [exact, value] {
            assert!(
                end("low") - TOLERANCE <= inside && inside <= end("high") + TOLERANCE,
                "{name}: {inside} in {found}"
            );
        }
        let error = (value - exact).abs();
        assert!(error <= 0.005, "{name}: {value}, {exact}");
    }
}

fn check_classes(case: &Case, summary: &Summary, expected: &Value) {
    let expected = &expected["classes"];
    let names: Vec<&str> = members(expected).map(|(name, _)| name.as_str()).collect();
    let found: Vec<&str> = summary
        .classes()
        .iter()
        .map(|row| row.class.as_str())
        .collect();
    assert_eq!(found, names, "{}: classes, by name", case.name);
    for row in summary.classes() {
        let mut out = b"{".to_vec();
        row.write_members(&mut out);
        out.push(b'}');
        let found: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(found["class"]["name"], row.class.as_str());
        check_values(
            &format!("{}: class {}", case.name, row.class),
            &found,
            &expected[&row.class],
        );
    }
}

fn check_cells(case: &Case, summary: &Summary, expected: &Value) {
    let found: Vec<Value> = summary
        .cells()
        .iter()
        .map(|cell| serde_json::json!([cell.actual, cell.predicted, cell.count]))
        .collect();
    let expected = expected["cells"].as_array().cloned().unwrap_or_default();
    assert_eq!(found, expected, "{}: cells", case.name);
}

fn document(summary: &Summary) -> Value {
    let mut out = b"{".to_vec();
    summary.write_members(&mut out);
    out.push(b'}');
    serde_json::from_slice(&out).unwrap()
}

fn reference() -> Value {
    let text = include_str!("../../../tests/reference/metrics.json");
    serde_json::from_str(text).unwrap()
}

fn says(predicted: Outcome) -> Scored<'static> {
    Scored {
        predicted,
        score: None,
        scores: &[],
        latency_ms: None,
    }
}

/// Within 1e-9 of the expected number, or of 1 if that is larger.
fn near(name: &str, found: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    let allowed = TOLERANCE * expected.abs().max(1.0);
    assert!(
        (found - expected).abs() <= allowed,
        "{name}: {found}, not {expected}"
    );
}

/// Within 1e-9 of the expected number, however small that is.
fn near_relative(name: &str, found: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    assert!(
        (found - expected).abs() <= TOLERANCE * expected.abs(),
        "{name}: {found}, not {expected}"
    );
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

fn pair(value: &Value) -> (u64, u64) {
    (value[0].as_u64().unwrap(), value[1].as_u64().unwrap())
}
