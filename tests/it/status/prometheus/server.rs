//! A Prometheus server of a story's own, on a free port, gone when the story ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::status::client;
use crate::{ports, wait};

pub(crate) struct Prometheus {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Prometheus {
    /// It looks at the agent at `address` every second, and evaluates the rules of these files as often.
    #[track_caller]
    pub(crate) fn scraping(address: &str, rules: &[PathBuf]) -> Self {
        let folder = TempDir::with_prefix("prometheus-").expect("a temporary folder");
        let config = serde_json::json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "scrape_configs": [
                { "job_name": "modelbeat", "static_configs": [{ "targets": [address] }] },
            ],
            "rule_files": rules,
        });
        // YAML is a superset of JSON.
        fs::write(folder.path().join("prometheus.yml"), config.to_string()).expect("its settings");
        let program = program("prometheus");
        let mut child = None;
        let url = wait::until("Prometheus to answer", || {
            let (server, port) = child.get_or_insert_with(|| {
                let port = ports::free();
                (start(&program, folder.path(), port), port)
            });
            let url = format!("http://127.0.0.1:{port}");
            if let Some(status) = server.try_wait().expect("our child") {
                // Somebody else may have taken the port.
                child = None;
                let log = fs::read_to_string(folder.path().join("log"));
                return Err(format!("{status}: {}", log.unwrap_or_default()));
            }
            match get(&format!("{url}/-/ready")) {
                Some((true, _)) => Ok(url),
                _ => Err("not ready".to_owned()),
            }
        });
        let (child, _) = child.expect("it answers");
        Self {
            child,
            url,
            _folder: folder,
        }
    }

    /// The samples of an instant query.
    #[track_caller]
    pub(crate) fn query(&self, expression: &str) -> Vec<Value> {
        let url = reqwest::Url::parse_with_params(
            &format!("{}/api/v1/query", self.url),
            [("query", expression)],
        );
        let (is_ok, text) = get(url.expect("a URL").as_str()).expect("it answers");
        assert!(is_ok, "{expression}: {text}");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        answer["data"]["result"]
            .as_array()
            .expect("samples")
            .clone()
    }

    /// What has become of the rules: each with its health and its last error.
    #[track_caller]
    pub(crate) fn rules(&self) -> Vec<Value> {
        let (is_ok, text) = get(&format!("{}/api/v1/rules", self.url)).expect("it answers");
        assert!(is_ok, "{text}");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        let groups = answer["data"]["groups"].as_array().expect("groups");
        let rules = groups.iter().map(|group| group["rules"].as_array());
        rules
            .flat_map(|rules| rules.expect("rules").clone())
            .collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The value of a sample of an instant query.
#[track_caller]
pub(crate) fn value(sample: &Value) -> f64 {
    let text = sample["value"][1].as_str().expect("a value");
    text.parse().expect("a number")
}

/// The path of a program that Debian packages.
#[track_caller]
pub(crate) fn program(name: &str) -> PathBuf {
    let found = Command::new("tests/debian-program")
        .arg(name)
        .stderr(Stdio::inherit())
        .output()
        .expect("bash");
    assert!(found.status.success(), "no {name}: see above");
    let path = String::from_utf8(found.stdout).expect("a path");
    path.trim().into()
}

fn start(program: &Path, folder: &Path, port: u16) -> Child {
    let log = File::create(folder.join("log")).expect("a log");
    Command::new(program)
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--config.file=prometheus.yml")
        .arg("--storage.tsdb.path=data")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("Prometheus starts")
}

/// Whether the answer is a success, and its text; `None`: no answer.
fn get(url: &str) -> Option<(bool, String)> {
    Runtime::new().expect("a runtime").block_on(async {
        let answer = client().get(url).send().await.ok()?;
        let is_ok = answer.status().is_success();
        Some((is_ok, answer.text().await.ok()?))
    })
}
