//! People are told of alerts, once: by a webhook that fails twice, Slack's like, a real Alertmanager, a real SMTP server and a
//! program, across a kill -9 between the firing and the telling, and any number of kills at any moment.
//!
//! What the engine hands out is put into the outbox as shipping does it; what comes behind is the real binary.

mod fired;
mod receivers;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use modelbeat::edge::dead_letters::{self, DeadLetters};
use modelbeat::edge::notify::outbox::{Addressee, Outbox};
use modelbeat::flow::alert::{Change, Notice, Severity};
use modelbeat::flow::event::Timestamp;
use serde_json::{Value, json};

use crate::agent::{Ended, Home, Modelbeat};
use crate::faults::written::whole_lines;
use crate::{ports, wait};
use receivers::{Alertmanager, Posted, Sink, Smtp, distinct};

const HEAD: &str = r#"
pipeline: told
inputs: [{type: file, paths: ["logs/*.jsonl"], format: json}]
mapping:
  prediction: {id: id, time: ts, model: {const: m}, predicted: y}
task: {kind: regression}
"#;

/// Those who are told. Alertmanager takes an alert for over four times `every` after it heard of it last, and whoever takes longer
/// than `timeout` to answer is told again: both longer than a machine pauses.
const TAIL: &str = r#"
host: off
notify:
  - {name: hook, type: webhook, url: "${HOOK}", secret: "${HOOK_SECRET}", token: "${HOOK_TOKEN}", timeout: 5m}
  - {name: team, type: slack, url: "${SLACK}", timeout: 5m}
  - {name: manager, type: alertmanager, url: "${ALERTMANAGER}", labels: {team: risk}, every: 10m, timeout: 5m}
  - {name: mail, type: email, server: "${SMTP}", tls: none, from: modelbeat <beat@models.example>, to: [ops@models.example], timeout: 5m}
  - {name: page, type: exec, command: [sh, -c, 'test -e ready && cat >> paged.jsonl'], timeout: 5m}
output: {file: {path: out}}
"#;

const NAMES: [&str; 5] = ["hook", "team", "manager", "mail", "page"];

const SECRETS: [&str; 3] = [
    "s3cret-of-the-signature",
    "t0ken-of-the-hook",
    "T0/B0/of-slack",
];

#[test]
fn each_is_told_once_across_a_kill_between_firing_and_telling() {
    let story = Story::new();
    let fires = notice("recall", 1, &NAMES);
    story.hook.be(503);
    story.slack.be(429);
    // Nobody listens for mail and alerts yet, and the program fails.
    story.fire(std::slice::from_ref(&fires));
    let agent = story.run().start();
    wait::until("the webhook and slack to be tried", || {
        let tried = [story.hook.posted().len(), story.slack.posted().len()];
        tried
            .iter()
            .all(|tried| *tried > 0)
            .then_some(())
            .ok_or_else(|| format!("{tried:?}"))
    });
    agent.killed();
    story.hook.script([503]);
    story.hook.be(200);
    story.slack.be(200);

    // A replay hands the notice out again.
    story.fire(std::slice::from_ref(&fires));
    let smtp = Smtp::start(story.smtp_port, &story.home.path("mails"), 1);
    let manager = Alertmanager::start(story.manager_port, &story.home.path("am"), &story.pager.url);
    story.home.write("ready", "");
    let mut agent = story.run().start();
    agent.wait_until_equal("notices taken", &[1; 5], || story.told(&smtp, &manager));
    agent.wait_until_equal("pages by Alertmanager", &1, || story.pager.taken().len());
    agent.stop().expect_code(0);

    // Nothing is left to tell, and a replay makes nothing.
    story.fire(std::slice::from_ref(&fires));
    story.once().expect_code(0);
    assert_eq!(story.told(&smtp, &manager), [1; 5]);
    assert_eq!(story.pager.taken().len(), 1);

    story.check_signature();
    let keys: Vec<String> = story
        .hook
        .posted()
        .iter()
        .map(|posted| posted.key().to_owned())
        .collect();
    assert!(keys.len() >= 3, "it failed in either life");
    assert_eq!(
        distinct(keys.iter().map(String::as_str)).len(),
        1,
        "{keys:?}"
    );
    let mail = &smtp.mails()[0];
    assert_eq!(
        mail["headers"]["message-id"],
        "<recall.1.mail@models.example>"
    );
    assert_eq!(mail["to"], json!(["ops@models.example"]));
    assert!(
        mail["text"]
            .as_str()
            .expect("text")
            .contains("recall below 0.9"),
        "{mail}"
    );
    let labels = &manager.alerts()[0]["labels"];
    assert_eq!(
        (&labels["alertname"], &labels["team"]),
        (&json!("recall-low"), &json!("risk"))
    );
    let paged: Value = serde_json::from_str(&story.paged()).expect("JSON");
    assert_eq!(paged["id"], "recall.1");

    // It is over: Alertmanager's alert with it, and each of the others hears of it once.
    story.fire(&[fires, notice("recall", 2, &NAMES)]);
    story.once().expect_code(0);
    wait::until("the alert to be over", || {
        let left = manager.alerts();
        left.is_empty()
            .then_some(())
            .ok_or_else(|| format!("{left:?}"))
    });
    assert_eq!(story.hook.taken().len(), 2);
    assert_eq!((story.slack.taken().len(), smtp.mails().len()), (2, 2));
    assert_eq!(story.paged().lines().count(), 2);
    story.expect_no_secret();
}

/// At least once, and under one key: what a kill between the answer and our fsync does, a receiver that heeds the key undoes.
#[test]
fn killed_at_any_moment_nobody_misses_anything_and_few_hear_it_twice() {
    const ALERTS: usize = 12;
    let story = Story::new();
    story.home.write("ready", "");
    let smtp = Smtp::start(story.smtp_port, &story.home.path("mails"), 2);
    let manager = Alertmanager::start(story.manager_port, &story.home.path("am"), &story.pager.url);
    story.hook.script([503, 200, 503, 429, 200, 500]);
    let all: Vec<Notice> = (0..ALERTS)
        .map(|number| notice(&format!("alert{number}"), 1, &NAMES))
        .collect();
    let mut kills = 0;
    // Killed ever later, by what the receivers have heard, until a run lives to its end.
    for step in 1_usize.. {
        // A replay hands out all of them, each time.
        story.fire(&all);
        let mut agent = story.run().start();
        let heard = || {
            story.hook.posted().len()
                + story.slack.posted().len()
                + smtp.mails().len()
                + story.paged().lines().count()
        };
        let before = heard();
        let is_done = || story.told_keys(&smtp).iter().all(|keys| *keys == ALERTS);
        let ended = wait::until("the agent to be old enough to die", || {
            let old = heard() >= before + step * 3;
            let is_done = is_done();
            (old || is_done)
                .then_some(is_done)
                .ok_or_else(|| format!("{} heard", heard()))
        });
        // Where we were too slow for the agent, it is killed with nothing left to tell.
        if ended && kills > 2 {
            agent.wait_until_equal("alerts that fire", &ALERTS, || manager.alerts().len());
            agent.stop().expect_code(0);
            break;
        }
        agent.killed();
        kills += 1;
    }
    story.fire(&all);
    story.once().expect_code(0);
    assert_eq!(story.told_keys(&smtp), [ALERTS; 4]);
    // One telling is under way a notifier: a kill doubles one at most.
    let counts = [
        story.hook.taken().len(),
        story.slack.taken().len(),
        smtp.mails().len(),
        story.paged().lines().count(),
    ];
    for count in counts {
        assert!(count <= ALERTS + kills, "{counts:?} told, {kills} kills");
    }
    // Whoever is told by Alertmanager is told once: it knows the alerts by their labels.
    wait::until("Alertmanager to have paged", || {
        let pages = story.pager.taken().len();
        (pages >= ALERTS)
            .then_some(())
            .ok_or_else(|| pages.to_string())
    });
    let mut pages: BTreeMap<String, usize> = BTreeMap::new();
    for page in story.pager.taken() {
        for alert in page.json()["alerts"].as_array().expect("alerts") {
            *pages
                .entry(alert["labels"]["alert_id"].to_string())
                .or_default() += 1;
        }
    }
    assert!(
        pages.len() == ALERTS && pages.values().all(|count| *count == 1),
        "{pages:?}"
    );
}

#[test]
fn one_dead_receiver_delays_no_other_and_what_is_refused_is_a_dead_letter() {
    let story = Story::new();
    story.home.write("ready", "");
    story.slack.be(503);
    story.hook.be(422);
    let to = ["hook", "team", "page", "stranger"];
    story.fire(&[notice("a", 1, &to), notice("b", 1, &to)]);
    let mut agent = story.run().start();
    agent.wait_until_equal("pages", &2, || story.paged().lines().count());
    agent.wait_until_equal("refusals", &2, || story.hook.posted().len());
    agent.stop().expect_code(0);
    let listed = story.letters(&["list"]).expect_code(0).expect_words(&[
        "4 dead letters (0 documents, 0 records, 4 notices)",
        "`hook` refused it: status 422",
        "there is no notifier `stranger` under `notify` in the pipeline file",
        "  notice  a.1",
        "`hook` could not be told",
    ]);
    assert!(!listed.output.contains("`team` could not be told"));

    // Mended: what is a dead letter is told by a retry, what waits by the next start.
    story.hook.be(200);
    story.slack.be(200);
    story
        .letters(&["retry", "pipeline.yml", "--reason", "hook"])
        .expect_code(0)
        .expect_words(&["notices: 2 tried again, 0 not told again"]);
    assert_eq!(story.hook.taken().len(), 2);
    story
        .letters(&["retry", "pipeline.yml"])
        .expect_code(1)
        .expect_words(&["notices: 2 tried again, 2 not told again"]);
    story.once().expect_code(0);
    assert_eq!(story.slack.taken().len(), 2);
    story
        .letters(&["drop", "--yes", "--kind", "notice"])
        .expect_code(0)
        .expect_words(&["dropped 2 dead letters (0 documents, 0 records, 2 notices)"]);
}

#[test]
fn a_notifier_can_be_tried_out() {
    let story = Story::new();
    let test = |name: &str| {
        let arguments = ["notify", "test", "pipeline.yml", name];
        let ended = story.command(&arguments).finish();
        for secret in SECRETS {
            assert!(!ended.output.contains(secret), "{}", ended.output);
        }
        ended
    };
    test("hook")
        .expect_code(0)
        .expect_words(&["hook: told: status 200 OK: as scripted"]);
    story.check_signature();
    assert_eq!(story.hook.taken()[0].json()["rule"], "test");
    story.slack.be(404);
    test("team")
        .expect_code(1)
        .expect_words(&["team was not told: status 404 Not Found: as scripted; check the url"]);
    test("manager")
        .expect_code(1)
        .expect_words(&["manager was not told: no connection"]);
    test("mail")
        .expect_code(1)
        .expect_words(&["mail was not told: "]);
    test("page")
        .expect_code(1)
        .expect_words(&["page was not told: sh ended with exit code 1"]);
    test("pager")
        .expect_code(2)
        .expect_words(&["no notifier `pager`; there are: hook, team, manager, mail, page"]);
    let smtp = Smtp::start(story.smtp_port, &story.home.path("mails"), 0);
    let manager = Alertmanager::start(story.manager_port, &story.home.path("am"), &story.pager.url);
    story.home.write("ready", "");
    test("mail")
        .expect_code(0)
        .expect_words(&["mail: told: 250"]);
    test("manager")
        .expect_code(0)
        .expect_words(&["manager: told: status 200 OK"]);
    test("page")
        .expect_code(0)
        .expect_words(&["page: told: exit code 0"]);
    assert_eq!(smtp.mails().len(), 1);
    wait::until("the test alert to be over", || {
        let left = manager.alerts();
        left.is_empty()
            .then_some(())
            .ok_or_else(|| format!("{left:?}"))
    });
}

/// One pipeline, its receivers, and the ports of those that are not started yet.
struct Story {
    home: Home,
    hook: Sink,
    slack: Sink,
    /// Whom Alertmanager tells.
    pager: Sink,
    smtp_port: u16,
    manager_port: u16,
}

impl Story {
    fn new() -> Self {
        Self::with(&format!("{HEAD}{TAIL}"))
    }

    fn with(pipeline: &str) -> Self {
        let home = Home::new();
        home.write("pipeline.yml", pipeline);
        fs::create_dir(home.path("logs")).expect("a folder");
        let folder = home.path("data/told");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .expect("a folder");
        Self {
            home,
            hook: Sink::start(),
            slack: Sink::start(),
            pager: Sink::start(),
            smtp_port: ports::free(),
            manager_port: ports::free(),
        }
    }

    /// As shipping does it: when this returns, the firing is durable.
    fn fire(&self, notices: &[Notice]) {
        let folder = self.home.path("data/told");
        let addressees = NAMES.map(|name| Addressee {
            name: name.to_owned(),
            give_up: Duration::from_hours(24),
            is_reminded: name == "manager",
        });
        let letters = DeadLetters::new(&folder, dead_letters::Settings::default());
        let outbox = Outbox::open(&folder, &addressees, letters).expect("an outbox");
        outbox.take(notices).expect("durable");
    }

    fn command(&self, arguments: &[&str]) -> Modelbeat {
        self.configured(Modelbeat::new(&self.home, arguments))
    }

    fn pipeline(&self) -> PathBuf {
        self.home.path("pipeline.yml")
    }

    fn run(&self) -> Modelbeat {
        self.configured(Modelbeat::run(&self.home, &self.pipeline()))
    }

    fn once(&self) -> Ended {
        self.configured(Modelbeat::once(&self.home, &self.pipeline()))
            .finish()
    }

    fn letters(&self, arguments: &[&str]) -> Ended {
        let all = ["dead-letters"]
            .iter()
            .chain(arguments)
            .chain(&["--data-dir", "data"]);
        self.command(&all.copied().collect::<Vec<_>>()).finish()
    }

    fn configured(&self, command: Modelbeat) -> Modelbeat {
        let [signature, token, slack] = SECRETS;
        command
            .env("HOOK", format!("{}/hook", self.hook.url))
            .env("HOOK_SECRET", signature)
            .env("HOOK_TOKEN", token)
            .env("SLACK", format!("{}/services/{slack}", self.slack.url))
            .env(
                "ALERTMANAGER",
                format!("http://127.0.0.1:{}", self.manager_port),
            )
            .env("SMTP", format!("127.0.0.1:{}", self.smtp_port))
    }

    fn paged(&self) -> String {
        let text = fs::read_to_string(self.home.path("paged.jsonl")).unwrap_or_default();
        whole_lines(&text).to_owned()
    }

    /// How many each of the five has taken.
    fn told(&self, smtp: &Smtp, manager: &Alertmanager) -> [usize; 5] {
        [
            self.hook.taken().len(),
            self.slack.taken().len(),
            manager.alerts().len(),
            smtp.mails().len(),
            self.paged().lines().count(),
        ]
    }

    /// How many different ones each of four has taken, by what it knows them by.
    fn told_keys(&self, smtp: &Smtp) -> [usize; 4] {
        let taken = self.hook.taken();
        let texts: Vec<String> = self
            .slack
            .taken()
            .iter()
            .map(|posted| posted.json()["text"].to_string())
            .collect();
        let ids: Vec<String> = smtp
            .mails()
            .iter()
            .map(|mail| mail["headers"]["message-id"].to_string())
            .collect();
        let paged = self.paged();
        [
            distinct(taken.iter().map(Posted::key)).len(),
            distinct(texts.iter().map(String::as_str)).len(),
            distinct(ids.iter().map(String::as_str)).len(),
            distinct(paged.lines()).len(),
        ]
    }

    /// As a receiver checks it (<https://www.standardwebhooks.com>), with another library's words than ours.
    #[track_caller]
    fn check_signature(&self) {
        for posted in self.hook.posted() {
            let header = |name: &str| posted.headers[name].as_str();
            let mut signed =
                format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).into_bytes();
            signed.extend_from_slice(&posted.body);
            let signature = header("webhook-signature")
                .strip_prefix("v1,")
                .expect("version 1");
            let signature = STANDARD.decode(signature).expect("base64");
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRETS[0].as_bytes());
            ring::hmac::verify(&key, &signed, &signature).expect("a true signature");
            assert_eq!(header("authorization"), format!("Bearer {}", SECRETS[1]));
            assert_eq!(posted.path, "/hook");
        }
    }

    /// Nothing that was written holds a secret.
    #[track_caller]
    fn expect_no_secret(&self) {
        let mut folders = vec![self.home.path("data"), self.home.path("out")];
        let mut looked = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let bytes = fs::read(&path).expect("a file");
                looked += 1;
                for secret in SECRETS {
                    assert!(
                        memchr::memmem::find(&bytes, secret.as_bytes()).is_none(),
                        "{secret} is in {}",
                        path.display()
                    );
                }
            }
        }
        assert!(looked > 0, "there is something to look through");
    }
}

/// The n-th change of an alert: odd ones fire.
fn notice(alert: &str, change: u32, to: &[&str]) -> Notice {
    Notice {
        id: format!("{alert}.{change}"),
        alert_id: alert.to_owned(),
        pipeline: "told".to_owned(),
        rule: "recall-low".to_owned(),
        change: if change % 2 == 1 {
            Change::Firing
        } else {
            Change::Resolved
        },
        severity: Severity::Critical,
        model: "fraud".to_owned(),
        version: "2.1".to_owned(),
        slice: Some(("country".to_owned(), alert.to_owned())),
        window_start: Some(Timestamp(1_795_510_800_000)),
        window_end: Some(Timestamp(1_795_514_400_000)),
        value: Some(0.8125),
        threshold: "recall below 0.9".to_owned(),
        reason: "recall was 0.8125".to_owned(),
        at: modelbeat::edge::now::now(),
        starts_at: Timestamp(1_795_514_405_250),
        notify: to.iter().map(|name| (*name).to_owned()).collect(),
    }
}
