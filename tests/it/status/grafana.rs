//! The Grafana dashboard and the alert rules without a Grafana: a real Prometheus that scrapes an agent has series for every
//! expression of every panel, and finds no fault with any rule.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::prometheus::server::{Prometheus, program};
use super::scrape::Scrape;
use super::{LABELS, PIPELINE, PREDICTIONS, events, label, prediction, scrape};
use crate::agent::{Agent, Home, Modelbeat};
use crate::cluster::{Cluster, Prefix};
use crate::gpu::Driver;

/// A model whose answers are numbers, with somebody to tell if they are wrong.
const PRICES: &str = "
pipeline: prices
inputs: [{type: file, paths: [prices/*.jsonl], format: json}]
mapping:
  prediction: {when: {event: prediction}, id: id, time: ts, model: {const: p}, version: version, predicted: predicted}
  label: {when: {event: label}, id: id, time: ts, actual: actual}
task: {kind: regression}
windows: [1h]
publish_every: 1s
notify: [{name: page, type: exec, command: [cat]}]
alerts: {rules: [{name: far-off, metric: quality.mae, above: 1e9, notify: [page]}]}
host: off
output: {file: {path: out}}
";

#[test]
fn every_panel_finds_series_and_every_rule_can_be_evaluated() {
    let prefix = Prefix::new(Cluster::plain(), "grafana");
    let home = Home::new();
    let driver = Driver::compiled();
    let (mut agent, address) = start(&home, &prefix, &driver);
    let prometheus = Prometheus::scraping(&address, &[rules()]);
    let expressions = expressions();
    assert!(expressions.len() > 40, "{}", expressions.len());
    let without_series = || {
        let is_empty = |expression: &&String| prometheus.query(&chosen(expression)).is_empty();
        expressions.iter().filter(is_empty).cloned().collect()
    };
    agent.wait_until_equal("series for all", &Vec::<String>::new(), without_series);

    let rules = || {
        let rules = prometheus.rules();
        let is_well = |rule: &&Value| rule["health"] == "ok";
        (rules.len(), rules.iter().filter(is_well).count())
    };
    agent.wait_until_equal("the rules", &(11, 11), rules);
    let seen = scrape(&address);
    for rule in prometheus.rules() {
        let query = rule["query"].as_str().expect("a query");
        for name in names(query) {
            assert!(has(&seen, &name), "no {name} for {}", rule["name"]);
        }
    }
}

#[test]
fn promtool_accepts_the_rules() {
    let checked = Command::new(program("promtool"))
        .args(["check", "rules"])
        .arg(rules())
        .output()
        .expect("promtool");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
}

/// Both pipelines, a GPU, a spool: all that there can be to show.
fn start(home: &Home, prefix: &Prefix, driver: &Driver) -> (Agent, String) {
    let host = format!(
        "host: {{every: 1s, process: {{pid: {}}}}}",
        std::process::id()
    );
    let watched = PIPELINE.replace("host: off", &host).replace(
        "predicted: predicted,",
        "predicted: predicted, latency_ms: predicted,",
    );
    let watched = home.write("watched.yml", &format!("{watched}    spool: 64MiB\n"));
    let prices = home.write("prices.yml", PRICES);
    home.write("logs/events.jsonl", &events());
    let labels = (0..LABELS).map(label);
    let priced: Vec<String> = (0..PREDICTIONS).map(prediction).chain(labels).collect();
    home.write("prices/events.jsonl", &(priced.join("\n") + "\n"));
    let mut agent = Modelbeat::run(home, &watched)
        .argument(prices)
        .argument("--status-listen")
        .argument("0")
        .env("HOST", &prefix.cluster().url)
        .env("PREFIX", &prefix.name)
        .env("LD_LIBRARY_PATH", driver.folder())
        .env("FAKE_NVML_PID", std::process::id().to_string())
        .start();
    let line = agent.wait_for_log("status is listening");
    let address = line["address"].as_str().expect("an address").to_owned();
    let labels: Vec<String> = (0..LABELS).map(label).collect();
    super::post(&agent.http_address(), &labels.join("\n"));
    (agent, address)
}

/// Of all panels of the committed dashboard.
fn expressions() -> BTreeSet<String> {
    let text = std::fs::read_to_string(committed("modelbeat.json")).expect("the dashboard");
    let board: Value = serde_json::from_str(&text).expect("JSON");
    let panels = board["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let expression = |target: &Value| target["expr"].as_str().expect("PromQL").to_owned();
    targets.flatten().map(expression).collect()
}

/// As Grafana asks it, when somebody has chosen.
fn chosen(expression: &str) -> String {
    let mut chosen = expression.to_owned();
    for (variable, value) in [
        ("$__rate_interval", "30s"),
        ("$pipeline", ".*"),
        ("$model", ".*"),
        ("$version", "v1"),
        ("$window", "1h"),
        ("$slice_value", ""),
        ("$slice", "_all"),
    ] {
        chosen = chosen.replace(variable, value);
    }
    assert!(!chosen.contains('$'), "{chosen}");
    chosen
}

/// The metrics of ours that an expression asks for.
fn names(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("modelbeat_"));
    ours.map(str::to_owned).collect()
}

fn has(seen: &Scrape, name: &str) -> bool {
    seen.samples().any(|((of, _), _)| of == name)
}

fn rules() -> PathBuf {
    committed("alerts.yml")
}

fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("kibana/grafana")
        .join(name)
}
