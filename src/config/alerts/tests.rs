//! Rules are meant as they are written; what is left out has its default. Bad ones are in `tests/golden/config/alerts.bad.yml`.

use crate::config::Config;
use crate::flow::alert::{
    Against, Basis, By, Check, Comparison, Figure, HealthRule, Missing, Rule, Severity, Side,
    SilenceRule, Watch, WindowRule,
};
use crate::flow::detect::Detector;
use crate::flow::windows::Length;

/// The rules of a pipeline of hours, written each in a line.
fn rules(lines: &[&str]) -> Vec<Rule> {
    let rules = lines.join("}\n    - {");
    let rules = format!("    - {{{rules}}}\n");
    let text = format!(
        "pipeline: p\ninputs: [{{type: file, paths: [a.log]}}]\n\
         mapping: {{prediction: {{id: id, time: t, model: m, predicted: y, score: s, slices: {{country: c}}}}}}\n\
         task: {{kind: binary, positive: fraud}}\nwindows: [1h, cumulative]\nquality: {{min_support: 77}}\n\
         notify: [{{name: ops, type: exec, command: [page]}}]\n\
         alerts:\n  rules:\n{rules}output: {{file: {{path: out}}}}\n"
    );
    let config = Config::parse("test.yml", &text, &|_| None);
    let config = config.unwrap_or_else(|faults| panic!("{faults}"));
    config.engine.alerts.rules
}

fn window_rule(line: &str) -> WindowRule {
    let rules = rules(&[&format!("name: r, metric: quality.recall, {line}")]);
    rules[0].windows().cloned().unwrap()
}

fn against(change: &str) -> Against {
    match window_rule(&format!("change: {{drop: 1, {change}}}")).check {
        Check::Change(change) => change.against,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_threshold_is_held_against_the_interval_of_the_only_window_that_ends() {
    let on = window_rule("below: 0.9");
    assert_eq!((on.window, on.min_support), (Length::Fixed(3_600_000), 77));
    assert_eq!(
        (on.windows_in_a_row, on.wait_ms, on.open),
        (1, 60_000, false)
    );
    let Check::Threshold(threshold) = on.check else {
        panic!("{on:?}");
    };
    assert_eq!((threshold.side, threshold.at), (Side::Below, 0.9));
    assert_eq!((threshold.clear, threshold.basis), (0.9, Basis::Bound));
}

#[test]
fn a_change_has_a_size_and_a_reference() {
    let on = window_rule("change: {rise: 10%}");
    let Check::Change(change) = on.check else {
        panic!("{on:?}");
    };
    assert_eq!((change.side, change.by), (Side::Above, By::Share(0.1)));
    assert_eq!((change.against, change.limit), (Against::Trailing(48), 3.3));
    assert_eq!(against("against: last_week"), Against::LastWeek);
    assert_eq!(against("version: v1"), Against::Version("v1".into()));
    assert_eq!(against("baseline: 0.5"), Against::Baseline(0.5));
}

#[test]
fn a_baseline_may_be_a_document_as_it_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        format!("baseline: {}", path.display())
    };
    let stored = write(
        "stored.json",
        r#"{"quality":{"recall":0.75,"low_support":false}}"#,
    );
    assert_eq!(against(&stored), Against::Baseline(0.75));
    let short = write("short.json", r#"{"quality.recall": 0.5}"#);
    assert_eq!(against(&short), Against::Baseline(0.5));
}

#[test]
fn detectors_begin_as_their_rules_say() {
    let on = window_rule("anomaly: {direction: down, weight: 0.5, limit: 3}");
    let Check::Detection(detection) = on.check else {
        panic!("{on:?}");
    };
    assert_eq!(detection.side, Some(Side::Below));
    let Detector::Chart(chart) = &detection.detector else {
        panic!("{detection:?}");
    };
    let settings = chart.settings();
    assert_eq!(
        (settings.lambda, settings.limit, settings.pool_below),
        (0.5, 3.0, 77)
    );
    let on = window_rule("drift: {method: adwin}");
    let Check::Detection(detection) = on.check else {
        panic!("{on:?}");
    };
    assert!(detection.side.is_none() && matches!(detection.detector, Detector::Adwin(_)));
}

#[test]
fn silence_is_a_rule_of_its_own() {
    let rules =
        rules(&["name: quiet, silence: 15m, of: labels, severity: critical, notify: [ops]"]);
    let [rule] = rules.as_slice() else {
        panic!("{rules:?}");
    };
    assert_eq!(
        (rule.severity, rule.notify.as_slice()),
        (Severity::Critical, ["ops".to_owned()].as_slice())
    );
    let silence = SilenceRule {
        after_ms: 900_000,
        of: Missing::Labels,
    };
    assert_eq!(rule.watch, Watch::Silence(silence));
}

#[test]
fn the_agents_health_is_a_figure_above_which_it_is_bad() {
    let rules = rules(&[
        "name: behind, agent: input_lag_seconds, above: 300, for: 5m",
        "name: refused, agent: dead_letter_rate, above: 0.02, clear: 0.01, over: 1h",
    ]);
    let behind = HealthRule {
        figure: Figure::InputLagSeconds,
        above: 300.0,
        clear: 300.0,
        for_ms: 300_000,
        over_ms: 900_000,
        min_support: 77,
    };
    let refused = HealthRule {
        figure: Figure::DeadLetterRate,
        above: 0.02,
        clear: 0.01,
        for_ms: 0,
        over_ms: 3_600_000,
        min_support: 77,
    };
    let watched: Vec<_> = rules.into_iter().map(|rule| rule.watch).collect();
    assert_eq!(watched, [behind, refused].map(Watch::Health));
}

#[test]
fn a_comparison_is_with_the_first_version_unless_the_rule_says_which() {
    let check = |line: &str| match window_rule(line).check {
        Check::Comparison(comparison) => comparison,
        other => panic!("{other:?}"),
    };
    let plain = Comparison {
        side: Side::Below,
        by: 0.0,
        baseline: None,
        p_value: None,
    };
    assert_eq!(check("comparison: {drop: 0}"), plain);
    let named = Comparison {
        side: Side::Above,
        by: 0.02,
        baseline: Some("v1".into()),
        p_value: Some(0.01),
    };
    assert_eq!(
        check("comparison: {rise: 0.02, baseline: v1, p_value: 0.01}"),
        named
    );
}
