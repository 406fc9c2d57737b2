//! The real Prometheus (2.42, Debian's): its tool accepts what is scraped, it scrapes an agent and holds what the agent says.

pub(super) mod server;

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::scrape::Scrape;
use super::{LABELS, PIPELINE, Watched, fetch, label, scrape};
use crate::agent::Home;
use crate::cluster::{Cluster, Prefix};
use server::{Prometheus, program};

#[test]
fn promtool_finds_nothing_to_say_about_a_scrape() {
    let prefix = Prefix::new(Cluster::plain(), "promtool");
    let home = Home::new();
    let watched = with_quality(&home, PIPELINE, &prefix);
    let (_, text) = fetch(&watched.address, "metrics", "text/plain");
    let mut tool = Command::new(program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    let mut input = tool.stdin.take().expect("piped");
    input.write_all(text.as_bytes()).expect("it reads all");
    drop(input);
    let ended = tool.wait_with_output().expect("its output");
    let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.is_empty(), "{said}\n{text}");
}

#[test]
fn prometheus_holds_what_the_agent_says() {
    let prefix = Prefix::new(Cluster::plain(), "prometheus");
    let home = Home::new();
    let mut watched = with_quality(&home, PIPELINE, &prefix);
    let prometheus = Prometheus::scraping(&watched.address, &[]);
    let up = || prometheus.query("up").iter().map(server::value).collect();
    watched.agent.wait_until_equal("the target", &vec![1.0], up);
    let address = watched.address.clone();
    let differences = || {
        let before = scrape(&address);
        let held = prometheus.query("{job=\"modelbeat\"}");
        let after = scrape(&address);
        differences(&before, &held, &after)
    };
    watched
        .agent
        .wait_until_equal("equal values", &Vec::<String>::new(), differences);
}

/// What is the same before and after must be so in between.
fn differences(before: &Scrape, held: &[Value], after: &Scrape) -> Vec<String> {
    let mut compared = 0;
    let mut differing = Vec::new();
    for (series, value) in before.samples() {
        if after.of(series) != Some(value) {
            continue;
        }
        compared += 1;
        let (name, labels) = series;
        let is_it = |sample: &&Value| {
            let metric = sample["metric"].as_object().expect("labels");
            // An empty label is none.
            let own = labels.iter().filter(|(_, value)| !value.is_empty());
            metric["__name__"] == name.as_str()
                && metric.len() == own.clone().count() + 3
                && own.clone().all(|(label, value)| {
                    let there = metric.get(label).and_then(Value::as_str);
                    there == Some(value) || (label == "le" && same_number(there, value))
                })
        };
        let there = held.iter().find(is_it).map(server::value);
        if there != Some(value) {
            differing.push(format!("{series:?} is {value}, and {there:?} is held"));
        }
    }
    assert!(compared > 100, "{compared} compared");
    differing
}

fn same_number(one: Option<&str>, other: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    one.and_then(number) == number(other)
}

/// An agent that has published quality.
fn with_quality(home: &Home, pipeline: &str, prefix: &Prefix) -> Watched {
    home.write("logs/events.jsonl", &super::events());
    let mut watched = Watched::start_as(home, pipeline, prefix, &prefix.cluster().url);
    let labels: Vec<String> = (0..LABELS).map(label).collect();
    watched.post(&labels.join("\n"));
    let address = watched.address.clone();
    let has_quality = || scrape(&address).sum("modelbeat_window_labelled_predictions", &[]) > 0;
    watched
        .agent
        .wait_until_equal("quality", &true, has_quality);
    watched
}
