//! Those who are told: a web server that counts, and the real programs, an SMTP server (aiosmtpd) and Prometheus Alertmanager.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::faults::written::whole_lines;
use crate::wait;

/// One POST that came in.
#[derive(Clone, Debug)]
pub(super) struct Posted {
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
    pub(super) status: u16,
}

impl Posted {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// What a receiver knows a telling by.
    pub(super) fn key(&self) -> &str {
        &self.headers["idempotency-key"]
    }
}

#[derive(Default)]
struct State {
    posted: Vec<Posted>,
    script: VecDeque<u16>,
    standing: Option<u16>,
}

/// A web server that takes what is posted, unless told otherwise; gone when dropped.
pub(super) struct Sink {
    pub(super) url: String,
    state: Arc<Mutex<State>>,
    _runtime: Runtime,
}

impl Sink {
    pub(super) fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        let take = move |uri: Uri, headers: HeaderMap, body: Bytes| async move {
            let mut state = shared.lock().expect("no panic while held");
            let status = state.script.pop_front().or(state.standing).unwrap_or(200);
            let text = |value: &axum::http::HeaderValue| value.to_str().expect("text").to_owned();
            state.posted.push(Posted {
                path: uri.path().to_owned(),
                headers: headers
                    .iter()
                    .map(|(name, value)| (name.to_string(), text(value)))
                    .collect(),
                body: body.to_vec(),
                status,
            });
            (
                StatusCode::from_u16(status).expect("a status"),
                "as scripted",
            )
        };
        let app = Router::new().fallback(take);
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self {
            url,
            state,
            _runtime: runtime,
        }
    }

    /// Answers to the next posts.
    pub(super) fn script(&self, answers: impl IntoIterator<Item = u16>) {
        self.state().script.extend(answers);
    }

    /// The answer to what the script does not answer.
    pub(super) fn be(&self, answer: u16) {
        self.state().standing = Some(answer);
    }

    pub(super) fn posted(&self) -> Vec<Posted> {
        self.state().posted.clone()
    }

    /// Those that were taken.
    pub(super) fn taken(&self) -> Vec<Posted> {
        let mut posted = self.posted();
        posted.retain(|posted| posted.status == 200);
        posted
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }
}

/// Runs one of the scripts under `tests/`, and returns what it prints.
fn script(name: &str, argument: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name);
    let output = Command::new(path)
        .arg(argument)
        .stderr(Stdio::inherit())
        .output()
        .expect("a script of ours");
    assert!(output.status.success(), "tests/{name} {argument} failed");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

/// A real SMTP server; gone when dropped.
pub(super) struct Smtp {
    file: PathBuf,
    child: Child,
    _input: ChildStdin,
}

impl Smtp {
    /// On a port of the caller's choice; puts the first mails off, as many as that.
    pub(super) fn start(port: u16, file: &Path, refused: u32) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smtp-server");
        let mut child = Command::new(path)
            .arg(file)
            .args([
                "--port",
                &port.to_string(),
                "--refuse",
                &refused.to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/smtp-server, which needs python3");
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut said)
            .expect("its port");
        assert_eq!(said.trim(), port.to_string(), "the SMTP server listens");
        Self {
            file: file.to_owned(),
            _input: child.stdin.take().expect("piped"),
            child,
        }
    }

    /// All mails it has taken.
    pub(super) fn mails(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let mails = whole_lines(&text).lines();
        mails
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A real Alertmanager, whose own receiver is a webhook; gone when dropped.
pub(super) struct Alertmanager {
    url: String,
    child: Child,
    client: reqwest::Client,
    runtime: Runtime,
}

impl Alertmanager {
    pub(super) fn start(port: u16, folder: &Path, receiver: &str) -> Self {
        let program = script("debian-program", "prometheus-alertmanager");
        fs::create_dir_all(folder).expect("a folder");
        let config = folder.join("alertmanager.yml");
        let text = json!({
            "route": { "receiver": "pager", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h" },
            "receivers": [{ "name": "pager", "webhook_configs": [{ "url": receiver }] }],
        });
        fs::write(&config, text.to_string()).expect("a file");
        let url = format!("http://127.0.0.1:{port}");
        let log = fs::File::create(folder.join("log")).expect("a file");
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Alertmanager starts");
        let mut manager = Self {
            url,
            child,
            client: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("a client"),
            runtime: Runtime::new().expect("a runtime"),
        };
        wait::until("Alertmanager to be ready", || {
            let ended = manager.child.try_wait().expect("our child");
            assert_eq!(ended, None, "see {}/log", folder.display());
            manager.get("-/ready").map(|_| ())
        });
        manager
    }

    /// All alerts it knows.
    pub(super) fn alerts(&self) -> Vec<Value> {
        let text = wait::until("Alertmanager to answer", || self.get("api/v2/alerts"));
        serde_json::from_str(&text).expect("a list")
    }

    fn get(&self, path: &str) -> Result<String, String> {
        let request = self.client.get(format!("{}/{path}", self.url));
        self.runtime.block_on(async {
            let answer = request.send().await.map_err(|error| error.to_string())?;
            let answer = answer
                .error_for_status()
                .map_err(|error| error.to_string())?;
            answer.text().await.map_err(|error| error.to_string())
        })
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The different ones among many.
pub(super) fn distinct<'t>(keys: impl IntoIterator<Item = &'t str>) -> BTreeSet<&'t str> {
    keys.into_iter().collect()
}
