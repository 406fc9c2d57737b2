//! What `kibana/*.ndjson` holds, for a pipeline: under its index prefix, with its own window length chosen at first.
//!
//! The files import as they are, for the prefix `modelbeat` and windows of an hour; here they are only renamed. Driven by
//! [`super::run`].

use serde_json::Value;

/// Data views, searches and dashboards; `kibana/generate` writes it.
const DASHBOARDS: &str = include_str!("../../../../kibana/dashboards.ndjson");

/// Alert rules, each as the alerting API takes it.
const RULES: &str = include_str!("../../../../kibana/rules.ndjson");

/// The window length that the files choose.
const DEFAULT_WINDOW: &str = "1h";

/// An alert rule to create.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rule {
    /// Its id: a UUID, as the API demands; the same for the same rule, prefix and space.
    pub(super) id: String,
    /// Its name.
    pub(super) name: String,
    /// The request's body.
    pub(super) body: String,
}

/// The NDJSON to import.
pub(super) fn dashboards(prefix: &str, window: Option<&str>) -> String {
    let text = renamed(DASHBOARDS, prefix);
    let Some(window) = window.filter(|&window| window != DEFAULT_WINDOW) else {
        return text;
    };
    text.lines()
        .map(|line| with_window(line, window) + "\n")
        .collect()
}

/// The rules to create in a space, by its part of a path (empty: the default one).
pub(super) fn rules(prefix: &str, window: Option<&str>, space: &str) -> Vec<Rule> {
    let quoted = |window| format!(r#"\"window.length\":\"{window}\""#);
    let text = renamed(RULES, prefix).replace(
        &quoted(DEFAULT_WINDOW),
        &quoted(window.unwrap_or(DEFAULT_WINDOW)),
    );
    let rule = |line: &str| {
        let body: Value = serde_json::from_str(line).ok()?;
        let name = body["name"].as_str()?.to_owned();
        Some(Rule {
            id: uuid(&[prefix, space, &name]),
            name,
            body: line.to_owned(),
        })
    };
    text.lines().filter_map(rule).collect()
}

/// Ids, index patterns, links and titles begin with the prefix; names of datasets (`modelbeat.quality`) stay.
fn renamed(text: &str, prefix: &str) -> String {
    if prefix == "modelbeat" {
        return text.to_owned();
    }
    text.replace("modelbeat-", &format!("{prefix}-"))
        .replace("[modelbeat]", &format!("[{prefix}]"))
        .replace("modelbeat: ", &format!("{prefix}: "))
}

/// A dashboard with another window length chosen; any other object as it is.
fn with_window(line: &str, window: &str) -> String {
    let replaced = || {
        let mut object: Value = serde_json::from_str(line).ok()?;
        let group = object
            .pointer_mut("/attributes/controlGroupInput/panelsJSON")
            .filter(|group| group.is_string())?;
        let mut controls: Value = serde_json::from_str(group.as_str()?).ok()?;
        for control in controls.as_object_mut()?.values_mut() {
            let input = &mut control["explicitInput"];
            if input["fieldName"] == "window.length" {
                input["selectedOptions"] = Value::from([window].as_slice());
            }
        }
        *group = Value::from(controls.to_string());
        Some(object.to_string())
    };
    replaced().unwrap_or_else(|| line.to_owned())
}

/// A name-based UUID: version 5 by its look, as Kibana's check wants it.
fn uuid(parts: &[&str]) -> String {
    let hash = blake3::hash(parts.join("\0").as_bytes());
    let bits = hash
        .as_bytes()
        .iter()
        .take(16)
        .fold(0_u128, |bits, &byte| (bits << 8) | u128::from(byte));
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x5 << 76) | (0x2 << 62);
    let text = format!("{bits:032x}");
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(text: &str) -> Vec<Value> {
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn for_the_default_prefix_and_window_the_files_are_as_they_are() {
        assert_eq!(dashboards("modelbeat", Some("1h")), DASHBOARDS);
        assert_eq!(dashboards("modelbeat", None), DASHBOARDS);
    }

    #[test]
    fn another_prefix_is_in_every_id_reference_pattern_and_link() {
        let text = dashboards("bank", Some("1h"));
        assert!(!text.contains("modelbeat-"), "{text}");
        for object in objects(&text) {
            assert!(object["id"].as_str().unwrap().starts_with("bank-"));
        }
        assert!(text.contains(r#""title":"bank-quality-*""#));
        assert!(
            text.contains("modelbeat.quality"),
            "datasets keep their names"
        );
    }

    #[test]
    fn the_windows_control_and_the_rules_begin_with_the_pipelines_window() {
        let text = dashboards("modelbeat", Some("1m"));
        assert!(!text.contains(r#"selectedOptions\":[\"1h\"]"#));
        assert_eq!(text.matches(r#"selectedOptions\":[\"1m\"]"#).count(), 2);
        assert!(
            text.contains(r#"selectedOptions\":[\"_all\"]"#),
            "the slice stays"
        );
        let rules = rules("modelbeat", Some("1m"), "");
        assert!(
            rules
                .iter()
                .any(|rule| rule.body.contains(r#"\"window.length\":\"1m\""#))
        );
        assert!(!rules.iter().any(|rule| rule.body.contains(r#"\"1h\""#)));
    }

    #[test]
    fn a_rules_id_is_a_uuid_of_its_own_in_each_space_and_always_the_same() {
        let [one, again, other] = ["a", "a", "b"].map(|space| rules("modelbeat", None, space));
        assert_eq!(one, again);
        let mut ids: Vec<&str> = one
            .iter()
            .chain(&other)
            .map(|rule| rule.id.as_str())
            .collect();
        let count = ids.len();
        for id in &ids {
            let lengths: Vec<usize> = id.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
            assert_eq!(&id[14..15], "5", "{id}");
            assert!("89ab".contains(&id[19..20]), "{id}");
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
