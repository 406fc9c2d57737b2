//! From a line in a log to a person: a rule fires, the agent is killed at each of several moments, and everybody was told once.

use std::ops::Range;

use serde_json::json;

use super::receivers::{Alertmanager, Smtp, distinct};
use super::{Posted, Story, TAIL};
use crate::agent::Agent;
use crate::wait;

const HEAD: &str = r#"
pipeline: told
inputs: [{type: file, paths: ["logs/*.jsonl"], format: json}]
mapping:
  prediction: {when: {event: prediction}, id: id, time: ts, model: {const: fraud}, version: {const: "7"}, predicted: predicted}
  label: {when: {event: label}, id: id, time: ts, actual: label}
task: {kind: binary, positive: fraud}
windows: [1h]
publish_every: 1s
join: {hold: 0s}
alerts:
  rules:
    - {name: recall-low, metric: quality.recall, below: 0.85, min_support: 30, wait: 1s, severity: critical, notify: [hook, team, manager, mail, page]}
"#;

/// 2026-11-24T09:00:00Z
const NINE: i64 = 1_795_510_800_000;

/// Two hundred frauds of an hour, of which the model missed fifteen.
fn predictions() -> String {
    let line = |at: i64| {
        let predicted = if at >= 15 { "fraud" } else { "legit" };
        json!({"event": "prediction", "id": at, "ts": NINE + at * 1_000, "predicted": predicted})
    };
    (0..200).map(|at| format!("{}\n", line(at))).collect()
}

fn labels(which: Range<i64>) -> String {
    let line =
        |at: i64| json!({"event": "label", "id": at, "ts": NINE + at * 1_000, "label": "fraud"});
    which.map(|at| format!("{}\n", line(at))).collect()
}

/// When the agent is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The engine knows that it fires.
    Fired,
    /// The outbox has it.
    Durable,
    /// The webhook was tried, in vain.
    Tried,
}

impl Moment {
    fn wait(self, story: &Story, agent: &mut Agent) {
        match self {
            Self::Fired => {
                agent.wait_for_log("an alert fires");
            }
            Self::Durable => {
                let outbox = story.home.path("data/told/notices.log");
                agent.wait_until_equal("outboxes", &true, || outbox.is_file());
            }
            Self::Tried => {
                agent.wait_until_equal("tries", &true, || !story.hook.posted().is_empty());
            }
        }
    }
}

#[test]
fn a_rule_that_fires_is_told_once_whenever_the_agent_is_killed() {
    for moment in [Moment::Fired, Moment::Durable, Moment::Tried] {
        let story = Story::with(&format!("{HEAD}{TAIL}"));
        // Nobody can be told before the kill: nobody listens, the program fails, and the webhooks do.
        story.hook.be(503);
        story.slack.be(503);
        story.home.append("logs/a.jsonl", &predictions());
        // Of the first fifty labels fifteen are of what the model missed: recall is 0.7.
        story.home.append("logs/a.jsonl", &labels(0..50));
        let mut agent = story.run().start();
        moment.wait(&story, &mut agent);
        agent.killed();
        for sink in [&story.hook, &story.slack] {
            sink.script([503]);
            sink.be(200);
        }

        let smtp = Smtp::start(story.smtp_port, &story.home.path("mails"), 1);
        let manager =
            Alertmanager::start(story.manager_port, &story.home.path("am"), &story.pager.url);
        story.home.write("ready", "");
        let mut agent = story.run().start();
        agent.wait_until_equal("notices taken", &[1; 5], || story.told(&smtp, &manager));
        agent.wait_until_equal("pages by Alertmanager", &1, || story.pager.taken().len());
        let notice = story.hook.taken()[0].json();
        assert_eq!(notice["rule"], "recall-low");
        assert_eq!(
            (&notice["change"], &notice["value"]),
            (&json!("firing"), &json!(0.7))
        );
        assert_eq!(manager.alerts()[0]["labels"]["version"], "7");

        // Killed once more, with nothing to tell (before it is written down that one was told, one is told twice, under one key);
        // then late labels repair the window, and all hear of it, once.
        agent.wait_until_equal("tellings written down", &5, || {
            let outbox = std::fs::read_to_string(story.home.path("data/told/notices.log"));
            outbox.unwrap_or_default().matches("\"told\":true").count()
        });
        agent.killed();
        story.home.append("logs/a.jsonl", &labels(50..200));
        let mut agent = story.run().start();
        let over = || {
            [
                story.hook.taken().len(),
                story.slack.taken().len(),
                smtp.mails().len(),
                story.paged().lines().count(),
            ]
        };
        agent.wait_until_equal("notices taken", &[2; 4], over);
        wait::until("the alert to be over", || {
            let left = manager.alerts();
            left.is_empty()
                .then_some(())
                .ok_or_else(|| format!("{left:?}"))
        });
        agent.stop().expect_code(0);
        story.once().expect_code(0);
        assert_eq!(over(), [2; 4], "{moment:?}");
        let taken = story.hook.taken();
        assert_eq!(taken[1].json()["change"], "resolved");
        assert_eq!(distinct(taken.iter().map(Posted::key)).len(), 2);
        // Each change of the alert is one entry of the operation log.
        let log =
            std::fs::read_to_string(story.home.path("data/told/operations.ndjson")).expect("a log");
        assert_eq!(log.matches("\"action\":\"alert\"").count(), 2, "{log}");
        story.expect_no_secret();
    }
}
