//! `modelbeat setup FILE --kibana URL`, the real binary against a small Kibana that behaves as the documentation says.

use serde_json::json;

use super::fake::{Kibana, State};
use super::objects::{all, lines, of_type};
use crate::agent::{Ended, Home, Modelbeat};
use crate::cluster::{Cluster, Prefix};

const PIPELINE: &str = r#"
pipeline: setup
inputs:
  - {type: file, paths: [events.jsonl], format: json}
mapping:
  prediction: {id: id, time: ts, model: {const: m}, predicted: predicted}
task: {kind: binary, positive: "1"}
windows: [1d, {length: 1h, every: 5m}]
output:
  elasticsearch:
    hosts: ["${ELASTICSEARCH_URL}"]
    index_prefix: ${INDEX_PREFIX}
"#;

fn set_up(prefix: &Prefix, kibana: &Kibana, more: &[&str]) -> Ended {
    set_up_at(prefix, PIPELINE, &kibana.url, more)
}

fn set_up_at(prefix: &Prefix, pipeline: &str, url: &str, more: &[&str]) -> Ended {
    let home = Home::new();
    home.write("pipeline.yml", pipeline);
    let command = Modelbeat::new(&home, &["setup", "pipeline.yml", "--kibana", url]);
    let command = more.iter().fold(command, Modelbeat::argument);
    command.shipping_to(prefix).finish()
}

#[test]
fn setting_up_kibana_twice_is_setting_it_up_once_and_leaves_the_users_rules_alone() {
    let prefix = Prefix::new(Cluster::plain(), "kibana-twice");
    let kibana = Kibana::start(State::default());
    set_up(&prefix, &kibana, &[]).expect_code(0).expect_words(&[
        &format!("installed  dashboard [{}] Model quality", prefix.name),
        "installed  data view",
        "installed  alert rule",
        "switched off",
    ]);
    let objects = kibana.state.lock().expect("held").objects.clone();
    assert_eq!(objects.len(), all().len());
    let quality = &objects[&format!("default/index-pattern/{}-quality", prefix.name)];
    assert_eq!(quality["attributes"]["title"], prefix.indices("quality"));
    let board = &objects[&format!("default/dashboard/{}-model-quality", prefix.name)];
    let controls = board["attributes"]["controlGroupInput"]["panelsJSON"]
        .as_str()
        .expect("text");
    assert!(
        controls.contains(r#""selectedOptions":["1d"]"#),
        "the pipeline's own window: {controls}"
    );
    let changed = json!({ "threshold": "the user's" });
    {
        let mut state = kibana.state.lock().expect("held");
        assert_eq!(state.rules.len(), lines("rules.ndjson").len());
        assert!(state.rules.values().all(|rule| rule["enabled"] == false));
        *state.rules.values_mut().next().expect("a rule") = changed.clone();
    }
    // The default space by its name is the same space.
    set_up(&prefix, &kibana, &["--kibana-space", "default"])
        .expect_code(0)
        .expect_words(&["unchanged  alert rule"]);
    let state = kibana.state.lock().expect("held");
    assert_eq!(state.objects, objects);
    assert_eq!(state.rules.len(), lines("rules.ndjson").len());
    assert_eq!(state.rules.values().next(), Some(&changed));
}

#[test]
fn a_space_is_set_up_apart_and_one_that_is_not_there_is_said() {
    let prefix = Prefix::new(Cluster::plain(), "kibana-space");
    let kibana = Kibana::start(State {
        spaces: vec!["risk"],
        ..State::default()
    });
    set_up(&prefix, &kibana, &["--kibana-space", "risk"]).expect_code(0);
    set_up(&prefix, &kibana, &[]).expect_code(0);
    {
        let state = kibana.state.lock().expect("held");
        for space in ["risk/", "default/"] {
            let count = state
                .objects
                .keys()
                .filter(|key| key.starts_with(space))
                .count();
            assert_eq!(count, all().len(), "{space}");
        }
    }
    set_up(&prefix, &kibana, &["--kibana-space", "nowhere"])
        .expect_code(1)
        .expect_words(&["status 404", "does the space of --kibana-space exist?"]);
    set_up(&prefix, &kibana, &["--kibana-space", "No Space"])
        .expect_code(1)
        .expect_words(&["no identifier of a space"]);
}

#[test]
fn an_object_that_fails_is_named_with_its_reason_and_the_others_are_there() {
    let prefix = Prefix::new(Cluster::plain(), "kibana-part");
    let poisoned = Some(format!("{}-slices", prefix.name));
    let kibana = Kibana::start(State {
        poisoned,
        ..State::default()
    });
    set_up(&prefix, &kibana, &[]).expect_code(1).expect_words(&[
        &format!(
            "failed     dashboard [{}] Slices: definition for this key is missing",
            prefix.name
        ),
        &format!("installed  dashboard [{}] Labels", prefix.name),
        "could not be installed",
    ]);
    let state = kibana.state.lock().expect("held");
    assert_eq!(state.objects.len(), all().len() - 1);
    assert_eq!(state.rules.len(), lines("rules.ndjson").len());
}

#[test]
fn who_is_not_let_in_is_told_what_to_look_at() {
    let prefix = Prefix::new(Cluster::plain(), "kibana-auth");
    let wanted = State {
        authorization: Some("ApiKey aWQ6a2V5".to_owned()),
        ..State::default()
    };
    let kibana = Kibana::start(wanted);
    set_up(&prefix, &kibana, &[])
        .expect_code(1)
        .expect_words(&["status 401", "--kibana-api-key"]);
    // As Kibana shows a key, and as its two parts.
    for key in ["aWQ6a2V5", "id:key"] {
        set_up(&prefix, &kibana, &["--kibana-api-key", key]).expect_code(0);
    }
    kibana.state.lock().expect("held").authorization = Some("Basic bWU6c2VjcmV0".to_owned());
    set_up(
        &prefix,
        &kibana,
        &["--kibana-user", "me", "--kibana-password", "secret"],
    )
    .expect_code(0);
    kibana.state.lock().expect("held").forbidden = Some("_import");
    set_up(
        &prefix,
        &kibana,
        &["--kibana-user", "me", "--kibana-password", "secret"],
    )
    .expect_code(1)
    .expect_words(&[
        "status 403",
        "Unable to bulk_create",
        "Saved Objects Management: All",
    ]);
}

#[test]
fn who_may_make_no_rules_has_the_dashboards() {
    let prefix = Prefix::new(Cluster::plain(), "kibana-rules");
    let kibana = Kibana::start(State {
        forbidden: Some("alerting"),
        ..State::default()
    });
    set_up(&prefix, &kibana, &[])
        .expect_code(0)
        .expect_words(&["skipped    alert rule", "Stack Rules: All"]);
    let state = kibana.state.lock().expect("held");
    assert_eq!(
        of_type(
            &state.objects.values().cloned().collect::<Vec<_>>(),
            "dashboard"
        )
        .len(),
        6
    );
}

#[test]
fn an_older_kibana_one_that_starts_and_one_that_is_not_there_are_told_apart_and_nothing_is_imported()
 {
    let prefix = Prefix::new(Cluster::plain(), "kibana-old");
    let mut kibana = Kibana::start(State {
        version: Some("8.11.4"),
        ..State::default()
    });
    set_up(&prefix, &kibana, &[])
        .expect_code(1)
        .expect_words(&["8.11.4", "need 8.12 or newer"]);
    kibana.state.lock().expect("held").is_starting = true;
    set_up(&prefix, &kibana, &[])
        .expect_code(1)
        .expect_words(&["status 503", "it is starting"]);
    {
        let state = kibana.state.lock().expect("held");
        assert!(
            state.asked.iter().all(|asked| asked == "GET /api/status"),
            "{:?}",
            state.asked
        );
    }
    // Whoever tells no version may be new enough; so may a later one.
    for version in ["", "8.12.0", "9.2.0-SNAPSHOT", "10.0.0"] {
        let kibana = Kibana::start(State {
            version: Some(version),
            ..State::default()
        });
        set_up(&prefix, &kibana, &[]).expect_code(0);
    }
    kibana.url = "http://127.0.0.1:1".to_owned();
    set_up(&prefix, &kibana, &[]).expect_code(1).expect_words(&[
        "no answer from kibana at http://127.0.0.1:1",
        "is kibana running there",
    ]);
    kibana.url = "kibana:5601".to_owned();
    set_up(&prefix, &kibana, &[])
        .expect_code(1)
        .expect_words(&["no URL of a kibana"]);
}

#[test]
fn a_pipeline_whose_windows_all_overlap_is_told_which_panels_stay_empty() {
    let prefix = Prefix::new(Cluster::plain(), "kibana-hop");
    let kibana = Kibana::start(State::default());
    let overlapping = PIPELINE.replace("[1d, {", "[{");
    let ended = set_up_at(&prefix, &overlapping, &kibana.url, &[]);
    ended
        .expect_code(0)
        .expect_words(&["skipped    panels over windows", "add one without `every`"]);
}

#[test]
fn a_certificate_is_checked_against_the_authority_that_is_given() {
    let prefix = Prefix::new(Cluster::plain(), "kibana-tls");
    // Whoever has a certificate of ours and is no Kibana: the secured node.
    let url = Cluster::secured().url;
    let ended = set_up_at(&prefix, PIPELINE, &url, &[]);
    ended
        .expect_code(1)
        .expect_words(&["certificate", "--kibana-ca"]);
    let authority = Cluster::secured_ca();
    let authority = authority.to_str().expect("UTF-8");
    let ended = set_up_at(&prefix, PIPELINE, &url, &["--kibana-ca", authority]);
    ended
        .expect_code(1)
        .expect_words(&["kibana refused to say its version", "status 401"]);
    let ended = set_up_at(&prefix, PIPELINE, &url, &["--kibana-ca", "nowhere.pem"]);
    ended
        .expect_code(1)
        .expect_words(&["cannot use the authority nowhere.pem"]);
}
