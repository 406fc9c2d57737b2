//! A model gets worse, and late labels show that it was not so bad: the alert fires once and is over once, as documents, whoever
//! kills the agent in between; and what rules would say of recorded data can be tried beforehand.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::agent::{Agent, Home, Modelbeat};
use crate::cluster::{Cluster, Prefix};
use crate::documents::field;
use crate::nannyml;
use crate::wait;

const PIPELINE: &str = r#"
pipeline: watched
inputs:
  - {type: file, paths: ["*.jsonl"], format: json}
mapping:
  prediction: {when: {event: prediction}, id: id, time: ts, model: {const: fraud}, version: {const: "7"}, predicted: predicted}
  label: {when: {event: label}, id: id, time: ts, actual: label}
task: {kind: binary, positive: fraud}
windows: [1h]
publish_every: 1s
join: {hold: 0s}
alerts:
  rules:
    - {name: recall-low, metric: quality.recall, below: 0.85, min_support: 30, wait: 1s, severity: critical}
    - {name: accuracy-fell, metric: quality.accuracy, change: {drop: 0.05, windows: 5}, min_support: 30, for: 2, wait: 1s}
host: off
output: {elasticsearch: {hosts: ["${ELASTICSEARCH_URL}"], index_prefix: "${INDEX_PREFIX}"}}
"#;

/// 2026-11-24T09:00:00Z
const NINE: i64 = 1_795_510_800_000;

/// Predictions of an hour, all of them fraud, of which the model found `found`; those below `labelled` have their label.
fn hour(
    hour: i64,
    labelled: std::ops::Range<usize>,
    found: impl Fn(usize) -> bool,
) -> (String, String) {
    let (mut predictions, mut labels) = (String::new(), String::new());
    for at in 0..200 {
        let time = NINE + hour * 3_600_000 + i64::try_from(at).unwrap() * 1_000;
        let (id, predicted) = (
            format!("{hour}-{at}"),
            if found(at) { "fraud" } else { "legit" },
        );
        predictions += &format!(
            "{}\n",
            json!({"event": "prediction", "id": id, "ts": time, "predicted": predicted})
        );
        if labelled.contains(&at) {
            labels += &format!(
                "{}\n",
                json!({"event": "label", "id": id, "ts": time, "label": "fraud"})
            );
        }
    }
    (predictions, labels)
}

struct Story {
    home: Home,
    prefix: Prefix,
    pipeline: PathBuf,
    agent: Agent,
}

impl Story {
    fn begin() -> Self {
        let prefix = Prefix::new(Cluster::plain(), "alerts");
        let home = Home::new();
        let pipeline = nannyml::write_pipeline(&home, PIPELINE);
        nannyml::set_up(&home, &pipeline, &prefix);
        let agent = Modelbeat::run(&home, &pipeline)
            .shipping_to(&prefix)
            .start();
        Self {
            home,
            prefix,
            pipeline,
            agent,
        }
    }

    fn kill_and_start_again(&mut self) {
        self.agent.kill();
        self.agent = Modelbeat::run(&self.home, &self.pipeline)
            .shipping_to(&self.prefix)
            .start();
    }

    /// The alert documents: `rule number state`, sorted, each with its source.
    fn alerts(&self) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        let all = json!({ "term": { "event.dataset": "modelbeat.alert" } });
        self.prefix
            .cluster()
            .search(&format!("{}-*", self.prefix.name), &all, |hit| {
                let source = &hit["_source"];
                let text = |name: &str| field(source, name).to_string().replace('"', "");
                let id = hit["_id"].as_str().unwrap();
                assert_eq!(id, format!("{}.{}", text("alert.id"), text("alert.number")));
                let key = format!(
                    "{} {} {}",
                    text("rule.name"),
                    text("alert.number"),
                    text("alert.state")
                );
                found.push((key, source.clone()));
            });
        found.sort_by(|one, other| one.0.cmp(&other.0));
        found
    }

    #[track_caller]
    fn wait_for(&mut self, expected: &[&str]) -> Vec<Value> {
        wait::until(&format!("the alerts {expected:?}"), || {
            assert!(self.agent.is_running());
            let found = self.alerts();
            let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
            if keys == expected {
                Ok(found.into_iter().map(|(_, source)| source).collect())
            } else {
                Err(format!("{keys:?}"))
            }
        })
    }

    /// A batch of further predictions is counted in its window, so all that was decided before is past.
    fn wait_for_count(&mut self, start: i64, labelled: u64) {
        let query = json!({ "bool": { "filter": [
            { "term": { "event.dataset": "modelbeat.quality" } },
            { "term": { "window.start": start } },
            { "term": { "counts.labelled": labelled } },
        ] } });
        wait::until("the window to be published", || {
            assert!(self.agent.is_running());
            match self
                .prefix
                .cluster()
                .count(&self.prefix.indices("quality"), &query)
            {
                1 => Ok(()),
                other => Err(format!("{other} windows of {labelled} labels")),
            }
        });
    }
}

#[test]
fn late_labels_end_an_alert_and_kills_neither_lose_nor_repeat_one() {
    let mut story = Story::begin();
    // Of the first fifty labels, fifteen are of what the model missed; of all two hundred only these.
    let (predictions, labels) = hour(0, 0..50, |at| at >= 15);
    story.home.append("predictions.jsonl", &predictions);
    story.home.append("labels.jsonl", &labels);
    story.kill_and_start_again();
    let [firing] = story.wait_for(&["recall-low 1 firing"]).try_into().unwrap();
    assert_eq!(field(&firing, "alert.value"), 0.7);
    assert_eq!(field(&firing, "alert.support"), 50);
    assert_eq!(field(&firing, "window.start"), "2026-11-24T09:00:00.000Z");
    assert_eq!(field(&firing, "model.version"), "7");
    let message = firing["message"].as_str().unwrap();
    // 35 of 50: Wilson 0.5625 to 0.809, by Python from his formula.
    assert_eq!(
        message,
        "recall-low is firing for fraud 7: quality.recall below 0.85: 0.7 of 50 rows, 0.5625 to 0.809 at 95 %"
    );

    let id = field(&firing, "alert.id").as_str().unwrap().to_owned();
    Modelbeat::new(&story.home, &["alerts", "acknowledge", "--data-dir"])
        .argument(story.home.path("data"))
        .argument(&story.pipeline)
        .argument(id)
        .shipping_to(&story.prefix)
        .finish()
        .expect_code(0);
    let known = ["recall-low 1 firing", "recall-low 2 acknowledged"];
    let [_, acknowledged] = story.wait_for(&known).try_into().unwrap();
    for _ in 0..3 {
        story.kill_and_start_again();
    }
    // Another hour, so that there is proof that the agent has gone on, and is well.
    let (predictions, labels) = hour(1, 0..20, |_| true);
    story.home.append("predictions.jsonl", &predictions);
    story.home.append("labels.jsonl", &labels);
    story.wait_for_count(NINE + 3_600_000, 20);
    assert_eq!(
        story.wait_for(&known),
        [firing.clone(), acknowledged.clone()],
        "the same, and once"
    );

    let (_, late) = hour(0, 50..200, |at| at >= 15);
    story.home.append("labels.jsonl", &late);
    story.kill_and_start_again();
    let expected = [known[0], known[1], "recall-low 3 resolved"];
    let [first, second, over] = story.wait_for(&expected).try_into().unwrap();
    assert_eq!((&first, &second), (&firing, &acknowledged));
    assert_eq!(field(&over, "alert.id"), field(&firing, "alert.id"));
    assert_eq!(field(&over, "alert.fired"), field(&firing, "@timestamp"));
    let reason = field(&over, "alert.reason").as_str().unwrap();
    assert!(
        reason.starts_with("labels that came late have repaired the window: 0.925 of 200 rows"),
        "{reason}"
    );

    for _ in 0..2 {
        story.kill_and_start_again();
    }
    let (_, more) = hour(1, 20..25, |_| true);
    story.home.append("labels.jsonl", &more);
    story.wait_for_count(NINE + 3_600_000, 25);
    assert_eq!(story.wait_for(&expected), [first, second, over]);
    let Story { agent, .. } = story;
    agent.stop().expect_code(0);
}

#[test]
fn rules_can_be_tried_on_recorded_data() {
    let home = Home::new();
    let paging = PIPELINE
        .replace(
            "severity: critical}",
            "severity: critical, notify: [pager]}",
        )
        .replace(
            "host: off",
            "    - {name: quiet, silence: 1m}\n    - {name: behind, agent: input_lag_seconds, above: 60}\nnotify:\n  - {name: pager, type: exec, command: [touch, paged]}\nhost: off",
        );
    let pipeline = home.write("pipeline.yml", &paging);
    for at in 0..12 {
        // The ninth and the tenth hour are bad.
        let bad = (8..10).contains(&at);
        let (predictions, labels) =
            hour(
                at,
                0..200,
                |place| if bad { place % 5 > 0 } else { place % 20 > 0 },
            );
        home.append("data.jsonl", &predictions);
        home.append("data.jsonl", &labels);
    }
    let tried = Modelbeat::new(&home, &["alerts", "test"])
        .argument(&pipeline)
        .env("ELASTICSEARCH_URL", "http://127.0.0.1:9")
        .env("INDEX_PREFIX", "t")
        .finish()
        .expect_code(0);
    tried.expect_words(&[
        "2026-11-24T17:00:00.000Z  1h   critical recall-low is firing for fraud 7: quality.recall below 0.85: 0.8 of 200 rows, 0.7391 to 0.8495 at 95 %",
        "2026-11-24T17:00:00.000Z  1h   warning  accuracy-fell is pending for fraud 7: quality.accuracy more than 0.05 below 0.95 of the last 5 good windows: 0.8 of 200 rows",
        "2026-11-24T18:00:00.000Z  1h   warning  accuracy-fell is firing for fraud 7: quality.accuracy more than 0.05 below 0.95 of the last 5 good windows in 2 windows: 0.8 of 200 rows",
        "2026-11-24T19:00:00.000Z  1h   critical recall-low is resolved for fraud 7: it is back: 0.95 of 200 rows",
        "recall-low: pending 0, fired 1, over 1 times",
        "accuracy-fell: pending 1, fired 1, over 1 times",
        "quiet: not tried: silence goes by the agent's clock, and data is read at once",
        "behind: not tried: it is about an agent that runs, and data says nothing of one",
        "`wait` is not tried: windows are judged once, with all the labels that the data has",
    ]);
    assert!(
        !home.path("paged").try_exists().unwrap(),
        "a trial paged somebody"
    );
    let nothing = home.write("nothing.yml", &PIPELINE.replace("alerts:", "alertz:"));
    Modelbeat::new(&home, &["alerts", "test"])
        .argument(&nothing)
        .env("ELASTICSEARCH_URL", "http://127.0.0.1:9")
        .env("INDEX_PREFIX", "t")
        .finish()
        .expect_code(1)
        .expect_words(&["did you mean `alerts`?"]);
}
