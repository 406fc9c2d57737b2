//! A pipeline file as it may be shown to anybody: every key with its value as written, variables by their names, secrets as
//! asterisks. For the operation log.

use std::collections::BTreeMap;

use super::tree::{Node, Value};
use crate::edge::operations::Configuration;

/// Keys that are kept; pipeline files have a hundred.
const KEYS_MAX: usize = 5_000;

/// Longer values are cut.
const VALUE_CHARS_MAX: usize = 200;

pub(super) fn configuration(root: &Node) -> Configuration {
    let mut keys = BTreeMap::new();
    flatten(root, "", &mut keys);
    Configuration { keys }
}

fn flatten(node: &Node, path: &str, into: &mut BTreeMap<String, String>) {
    let below = |key: &str| super::section::join(path, key);
    match &node.value {
        Value::Scalar(scalar) => {
            if into.len() < KEYS_MAX {
                let shown: String = scalar.shown.chars().take(VALUE_CHARS_MAX).collect();
                into.insert(path.to_owned(), shown.replace(char::is_control, " "));
            }
        }
        Value::List(nodes) => {
            for (at, node) in nodes.iter().enumerate() {
                flatten(node, &below(&at.to_string()), into);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                flatten(&entry.value, &below(&entry.key), into);
            }
        }
        Value::Broken => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn no_secret_is_in_what_is_shown() {
        let text = r#"
pipeline: p
inputs: [{type: http, listen: "127.0.0.1:0", token: literal-1}]
mapping: {prediction: {id: id, time: t, model: m, predicted: y}}
task: {kind: regression}
notify:
  - {name: team, type: slack, url: "${URL}"}
  - {name: hook, type: webhook, url: "https://hooks.example/literal-2?x", headers: {X-Key: literal-3}, secret: "${SECRET}"}
output: {elasticsearch: {hosts: ["http://${HOST}:9200"], username: u, password: literal-4}}
"#;
        let environment = |name: &str| {
            Some(match name {
                "HOST" => "es.example".to_owned(),
                "URL" => "https://hooks.slack.example/hunter2".to_owned(),
                _ => "hunter2".to_owned(),
            })
        };
        let config = Config::parse("test.yml", text, &environment).unwrap();
        let keys = &config.configuration.keys;
        let shown = format!("{keys:?}");
        assert!(
            !shown.contains("literal") && !shown.contains("hunter2"),
            "{shown}"
        );
        for (key, value) in [
            ("pipeline", "p"),
            ("inputs.0.token", "********"),
            ("notify.0.url", "${URL}"),
            ("notify.1.url", "https://hooks.example/********"),
            ("notify.1.headers.X-Key", "********"),
            ("notify.1.secret", "${SECRET}"),
            ("output.elasticsearch.hosts.0", "http://${HOST}:9200"),
            ("output.elasticsearch.password", "********"),
        ] {
            assert_eq!(keys[key], value, "{key}");
        }
    }
}
