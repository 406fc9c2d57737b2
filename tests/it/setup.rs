//! `modelbeat setup`: what it installs works, doing it again changes nothing, and what the cluster lacks is said.

use reqwest::Method;
use serde_json::{Value, json};

use crate::agent::Home;
use crate::agent::{Ended, Modelbeat};
use crate::cluster::{Cluster, Prefix};

const PIPELINE: &str = r#"
pipeline: setup
inputs:
  - {type: file, paths: [events.jsonl], format: json}
mapping:
  prediction: {id: id, time: ts, model: {const: m}, predicted: predicted}
task: {kind: binary, positive: "1"}
windows: [1d]
output:
  elasticsearch:
    hosts: ["${ELASTICSEARCH_URL}"]
    index_prefix: ${INDEX_PREFIX}
"#;

#[test]
fn setting_up_twice_is_setting_up_once_and_what_the_cluster_lacks_is_said() {
    let prefix = Prefix::new(Cluster::plain(), "setup");
    let first = set_up(&prefix);
    // The test node has no ILM module: that is worth a word, not a failure.
    assert!(
        ["ILM", "lifecycle"]
            .iter()
            .any(|word| first.output.contains(word)),
        "says that it skipped the lifecycle policy:\n{}",
        first.output
    );
    let installed = templates(&prefix);
    set_up(&prefix);
    assert_eq!(templates(&prefix), installed);
}

#[test]
fn a_record_of_any_shape_is_one_flattened_field_and_names_are_keywords() {
    let prefix = Prefix::new(Cluster::plain(), "mapped");
    set_up(&prefix);
    let cluster = prefix.cluster();
    let index = format!("{}-predictions-2026.01.02", prefix.name);
    // One field, first an object and then a text: without `flattened` the second is refused.
    for (id, record) in [
        ("1", json!({ "a": { "b": 1 } })),
        ("2", json!({ "a": "text" })),
    ] {
        let document = json!({
            "@timestamp": "2026-01-02T03:04:05Z", "slice": { "country": "CH" }, "record": record,
        });
        cluster.ask(
            &Method::PUT,
            &format!("{index}/_create/{id}"),
            Some(&document),
        );
    }
    let by_keyword = json!({ "term": { "slice.country": "CH" } });
    assert_eq!(cluster.count(&index, &by_keyword), 2);
    let mapping = cluster.ask(&Method::GET, &format!("{index}/_mapping"), None);
    let fields = &mapping[&index]["mappings"]["properties"];
    assert_eq!(fields["record"]["type"], "flattened", "{fields}");
    assert_eq!(fields["@timestamp"]["type"], "date", "{fields}");
}

#[track_caller]
fn set_up(prefix: &Prefix) -> Ended {
    let home = Home::new();
    home.write("pipeline.yml", PIPELINE);
    Modelbeat::new(&home, &["setup", "pipeline.yml"])
        .shipping_to(prefix)
        .finish()
        .expect_code(0)
}

/// Index and component templates under the prefix; at least one of each.
#[track_caller]
fn templates(prefix: &Prefix) -> [Value; 2] {
    ["index_template", "component_template"].map(|kind| {
        let path = format!("_{kind}/{}*", prefix.name);
        prefix.cluster().ask(&Method::GET, &path, None)
    })
}
