//! Rules read the numbers that the documents say, whatever they are about, and their alerts are documents of the index of their
//! month that fit the template's fields.

use serde_json::Value as Json;

use super::tests::{NINE, batch, settings};
use super::*;
use crate::flow::alert::{
    self, Basis, Check, Distribution, Measure, Of, Phase, Rule, Severity, Side, Threshold, Watch,
    WindowRule,
};
use crate::flow::windows::Length;

const HOUR: i64 = 3_600_000;

fn rule(name: &str, metric: &str, check: Check) -> Rule {
    let on = WindowRule {
        metric: metric.into(),
        window: Length::Fixed(HOUR),
        model: None,
        version: None,
        slices: Vec::new(),
        min_support: 1,
        windows_in_a_row: 1,
        wait_ms: 0,
        open: false,
        check,
    };
    Rule {
        name: name.into(),
        severity: Severity::Info,
        notify: vec!["ops".into()],
        watch: Watch::Windows(Box::new(on)),
    }
}

/// Fires for any number: the alert says which.
fn any(metric: &str) -> Rule {
    let threshold = Threshold {
        side: Side::Above,
        at: -1.0,
        clear: -1.0,
        basis: Basis::Value,
    };
    rule(metric, metric, Check::Threshold(threshold))
}

fn prediction(id: i64, hour: i64, class: &str, score: f64) -> String {
    let time = NINE + hour * HOUR;
    format!(
        r#"{{"event":"prediction","id":"{id}","ts":{time},"version":"v1","predicted":"{class}","score":{score},"segment":{{"country":"DE"}}}}"#
    )
}

/// An engine with these rules that has read these records, at the end of all data.
fn finished(rules: Vec<Rule>, lines: &[String]) -> Documents {
    let mut settings = settings();
    settings.expires = false;
    settings.alerts = alert::Settings {
        rules,
        ..alert::Settings::default()
    };
    let mut engine = Engine::new(settings).unwrap();
    let mut out = Documents::default();
    let now = Timestamp(NINE + 100 * HOUR);
    engine.push(&batch(lines), now, &mut out);
    engine.finish(now, &mut out);
    out
}

fn documents(out: &Documents, dataset: &str) -> Vec<Json> {
    let text = String::from_utf8(out.bytes.clone()).unwrap();
    let sources = text.lines().skip(1).step_by(2);
    let read = sources.map(|line| serde_json::from_str::<Json>(line).unwrap());
    read.filter(|source| source["event"]["dataset"] == dataset)
        .collect()
}

#[test]
fn rules_read_what_the_documents_say() {
    let mut lines: Vec<String> = (0..10)
        .map(|id| prediction(id, 0, if id < 4 { "fraud" } else { "legit" }, 0.1))
        .collect();
    for id in 0..5 {
        let time = NINE + 60_000;
        lines.push(format!(
            r#"{{"event":"label","id":"{id}","ts":{time},"label":"fraud"}}"#
        ));
    }
    let metrics = [
        "quality.recall",
        "quality.coverage",
        "quality.macro.f1",
        "counts.predictions",
        "rate.predictions_per_second",
        "label_delay.p50",
        "score.mean",
    ];
    let mut country = any("quality.recall");
    country.name = "by-country".into();
    if let Watch::Windows(on) = &mut country.watch {
        on.slices = vec!["country".into()];
    }
    let rules = metrics.into_iter().map(any).chain([country]);
    let out = finished(rules.collect(), &lines);
    let window = &documents(&out, "modelbeat.quality")[0];
    let alerts = documents(&out, "modelbeat.alert");
    assert_eq!((alerts.len(), out.notices.len()), (8, 8));
    for metric in metrics {
        let path = format!("/{}", metric.replace('.', "/"));
        let expected = window.pointer(&path).and_then(Json::as_f64);
        let alert = alerts
            .iter()
            .find(|alert| alert["rule"]["name"] == metric)
            .unwrap();
        assert!(expected.is_some(), "{metric}");
        assert_eq!(alert["alert"]["value"].as_f64(), expected, "{metric}");
    }
    let sliced = alerts
        .iter()
        .find(|alert| alert["rule"]["name"] == "by-country")
        .unwrap();
    assert_eq!(sliced["slice"]["value"], "DE");
    assert_eq!(sliced["alert"]["support"], 5, "recall is of five");
    let alert = out
        .items
        .iter()
        .find(|item| out.index_of(item).contains("alerts"))
        .unwrap();
    assert_eq!(out.index_of(alert), "modelbeat-alerts-2026.11");
}

/// 60 predictions an hour, half of them fraud at a score of 0.9; in the ninth hour all of them.
#[test]
fn what_predictions_look_like_is_watched_without_a_label() {
    let mut lines = Vec::new();
    for hour in 0..9 {
        for at in 0..60 {
            let is_fraud = hour == 8 || at % 2 == 0;
            let (class, score) = if is_fraud {
                ("fraud", 0.9)
            } else {
                ("legit", 0.2)
            };
            lines.push(prediction(hour * 100 + at, hour, class, score));
        }
    }
    let watch = |name, of, measure| {
        let distribution = Distribution {
            of,
            measure,
            above: 0.2,
            limit: 3.3,
            windows: 48,
        };
        rule(name, name, Check::Distribution(distribution))
    };
    let rules = vec![
        watch("scores.psi", Of::Scores, Measure::Psi),
        watch("classes.js_distance", Of::Classes, Measure::JensenShannon),
    ];
    let out = finished(rules, &lines);
    let fired: Vec<_> = out
        .changes
        .iter()
        .map(|event| {
            (
                event.rule.as_str(),
                event.phase,
                event.window.as_ref().unwrap().start,
            )
        })
        .collect();
    let ninth = Timestamp(NINE + 8 * HOUR);
    assert_eq!(
        fired,
        [
            ("scores.psi", Phase::Firing, ninth),
            ("classes.js_distance", Phase::Firing, ninth)
        ]
    );
    // √ of the divergence of (½, ½) and (1, 0) in bits: 1 − ¾·log₂ 3 + ½ = 0.3113 (by hand).
    let distance = out.changes[1].value.unwrap();
    assert!(
        (distance - 0.311_278_124_459_132_8_f64.sqrt()).abs() < 1e-12,
        "{distance}"
    );
}

/// Version 1 is right 90 times of 100, version 2 only 60 times; nearly all of its errors are in Germany.
fn two_versions() -> Vec<String> {
    let mut lines = Vec::new();
    for (version, wrong_from) in [("1", 90), ("2", 60)] {
        for at in 0..100 {
            let time = NINE + at * 1_000 + i64::from(version == "2");
            let country = if at < 50 { "FR" } else { "DE" };
            let class = if at < wrong_from { "fraud" } else { "legit" };
            lines.push(format!(
                r#"{{"event":"prediction","id":"{version}-{at}","ts":{time},"version":"{version}","predicted":"{class}","segment":{{"country":"{country}"}}}}"#
            ));
            lines.push(format!(
                r#"{{"event":"label","id":"{version}-{at}","ts":{time},"label":"fraud"}}"#
            ));
        }
    }
    lines
}

fn worse(name: &str, baseline: Option<&str>, p_value: Option<f64>, slices: &[&str]) -> Rule {
    let comparison = alert::Comparison {
        side: Side::Below,
        by: 0.0,
        baseline: baseline.map(str::to_owned),
        p_value,
    };
    let mut rule = rule(name, "quality.accuracy", Check::Comparison(comparison));
    if let Watch::Windows(on) = &mut rule.watch {
        on.slices = slices.iter().map(|name| (*name).to_owned()).collect();
    }
    rule
}

#[test]
fn a_version_that_is_worse_than_another_is_told_of_as_their_comparison_says_it() {
    let rules = vec![
        worse("by-interval", None, None, &[]),
        worse("by-test", Some("1"), Some(0.001), &[]),
        worse("somewhere", None, Some(0.01), &["country"]),
        worse("other-baseline", Some("2"), None, &[]),
    ];
    let out = finished(rules, &two_versions());
    let alerts = documents(&out, "modelbeat.alert");
    let told: Vec<_> = alerts
        .iter()
        .map(|alert| {
            let text = |path: &str| alert.pointer(path).and_then(Json::as_str).unwrap_or("-");
            let (rule, version) = (text("/rule/name"), text("/model/version"));
            (
                rule.to_owned(),
                version.to_owned(),
                text("/slice/value").to_owned(),
            )
        })
        .collect();
    let expected = [
        ("by-interval", "2", "-"),
        ("by-test", "2", "-"),
        ("somewhere", "2", "DE"),
    ];
    let expected =
        expected.map(|(rule, version, slice)| (rule.into(), version.into(), slice.into()));
    assert_eq!(told, expected);
    let comparisons = documents(&out, "modelbeat.comparison");
    for alert in &alerts {
        let of_slice = |source: &&Json| source["slice"] == alert["slice"];
        let compared = comparisons.iter().rfind(of_slice).unwrap();
        let accuracy = &compared["comparison"]["accuracy"];
        assert_eq!(alert["alert"]["value"], accuracy["difference"]);
        let message = alert["message"].as_str().unwrap();
        assert!(
            message.contains(", p below 0.0001"),
            "{message}: {accuracy}"
        );
    }
}

#[test]
fn dead_letters_are_a_matter_of_the_agents_health() {
    let mut settings = settings();
    let watch = Watch::Health(alert::HealthRule {
        figure: alert::Figure::DeadLetterRate,
        above: 0.4,
        clear: 0.4,
        for_ms: 0,
        over_ms: 900_000,
        min_support: 2,
    });
    settings.alerts.rules = vec![Rule {
        name: "refused".into(),
        severity: Severity::Warning,
        notify: Vec::new(),
        watch,
    }];
    let mut engine = Engine::new(settings).unwrap();
    assert!(engine.feels());
    let mut out = Documents::default();
    let lines = [prediction(1, 0, "fraud", 0.5), "{".to_owned()];
    let now = Timestamp(NINE + HOUR);
    engine.push(&batch(&lines), now, &mut out);
    engine.feel(&alert::Pulse::default(), now);
    let shown = engine.alerts(9).unwrap().shown;
    assert_eq!(shown.len(), 1);
    assert_eq!(
        (shown[0].event.value, shown[0].event.support),
        (Some(0.5), Some(2))
    );
}
