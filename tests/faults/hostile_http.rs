//! Hostile HTTP: whatever comes over the wire is bounded, refused with the right status, and logged; a well-behaved client
//! beside it is served all the while, and its events are counted exactly.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::agent::{Agent, Home, Modelbeat};
use crate::wait;

const TOKEN: &str = "a-token-for-this-test";

const PIPELINE: &str = r#"
pipeline: hostile
inputs:
  - {type: http, listen: 127.0.0.1:0, token: a-token-for-this-test, MORE}
mapping:
  prediction: {id: id, time: ts, model: {const: m}, predicted: predicted}
task: {kind: binary, positive: "1"}
windows: [1d]
host: off
operations: {ship: false}
output: OUTPUT
"#;

const FILES: &str = "{file: {path: out}}";

/// What a debug build with all its threads takes, 64 MiB of bodies under way, and four bodies of 16 MiB being unpacked,
/// each in a buffer that may have doubled: far below what the attackers send.
const MEMORY_KIB_MAX: u64 = 256 << 10;

#[test]
fn each_hostile_request_gets_its_status_and_nothing_of_it_is_taken() {
    let story = Story::start("max_body: 64KiB", FILES);
    let large = "x".repeat(70_000);
    let bomb = gzip(&vec![b' '; 32 << 20]);
    let deep = format!(
        "{{\"a\":{}1{}}}",
        "[".repeat(100_000 / 4),
        "]".repeat(100_000 / 4)
    );
    let chunk = format!("11170\r\n{large}\r\n0\r\n\r\n");
    let named = |name: &str, value: &str| request(&format!("{name}: {value}\r\n"), b"{}");
    let cases: Vec<(&str, u16, Vec<u8>)> = vec![
        (
            "a body larger than allowed",
            413,
            request("", large.as_bytes()),
        ),
        (
            "chunks that become larger than allowed",
            413,
            [
                head("Transfer-Encoding: chunked\r\n").into_bytes(),
                chunk.into_bytes(),
            ]
            .concat(),
        ),
        (
            "a gzip bomb",
            413,
            request("Content-Encoding: gzip\r\n", &bomb),
        ),
        (
            "half a gzip body",
            400,
            request("Content-Encoding: gzip\r\n", &gzip(b"{\"id\":1}")[..20]),
        ),
        ("what is not gzip", 400, named("Content-Encoding", "gzip")),
        (
            "an encoding we do not read",
            415,
            named("Content-Encoding", "br"),
        ),
        (
            "a form",
            415,
            named("Content-Type", "application/x-www-form-urlencoded"),
        ),
        ("deep nesting", 400, request("", deep.as_bytes())),
        ("what is not JSON", 400, request("", b"{\"id\": 1")),
        ("what is not UTF-8", 400, request("", b"{\"id\": \"\xff\"}")),
        ("two lengths", 400, named("Content-Length", "7")),
        (
            "garbage",
            400,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
        ),
        (
            "a header larger than allowed",
            431,
            named("X-Large", &"y".repeat(1 << 20)),
        ),
        (
            "a thousand headers",
            431,
            request(&"X-Many: 1\r\n".repeat(1_000), b"{}"),
        ),
        (
            "another token",
            401,
            with_token("another-token-for-this", b"{}"),
        ),
        (
            "a longer token",
            401,
            with_token(&format!("{TOKEN}-and-more"), b"{}"),
        ),
        (
            "no token",
            401,
            b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
        ),
    ];
    for (what, status, bytes) in &cases {
        assert_eq!(
            send(&story.address, bytes).as_deref().map(status_of),
            Some(*status),
            "{what}"
        );
    }
    let mut story = story;
    story
        .agent
        .wait_for_complaint("a valid bearer token is needed");
    story
        .agent
        .wait_for_complaint("the body is larger than 65536 bytes");
    story
        .agent
        .wait_for_complaint("unsupported content encoding");
    let ended = story.end(0);
    for token in ["another-token-for-this", TOKEN] {
        assert!(!ended.contains(token), "a token is in the output:\n{ended}");
    }
}

#[test]
fn requests_in_a_row_and_a_client_that_has_said_all_get_their_answers() {
    let story = Story::start("max_body: 64KiB", FILES);
    let mut row: Vec<u8> = (0..50)
        .flat_map(|id| request("", prediction(id).as_bytes()))
        .collect();
    row.extend(b"garbage\r\n\r\n");
    let answers = send(&story.address, &row).expect("answers");
    assert_eq!(answers.matches("HTTP/1.1 202").count(), 50, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 400").count(), 1, "{answers}");

    let mut stream = connect(&story.address);
    stream
        .write_all(&request("", prediction(50).as_bytes()))
        .expect("sent");
    stream.shutdown(Shutdown::Write).expect("half closed");
    let answer = read_all(&mut stream).expect("an answer");
    assert_eq!(status_of(&answer), 202);
    story.end(51);
}

#[test]
fn slow_clients_are_given_up_and_hinder_nobody() {
    let story = Story::start("max_body: 64KiB", FILES);
    let client = Client::start(&story.address);
    let mut in_header = connect(&story.address);
    in_header
        .write_all(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        .expect("sent");
    let mut in_body = connect(&story.address);
    let promised = head("Content-Length: 1000\r\n");
    in_body
        .write_all(format!("{promised}{{\"id\"").as_bytes())
        .expect("sent");
    let mut unknown = connect(&story.address);
    unknown
        .write_all(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"id\"")
        .expect("sent");
    // A byte now and then earns nobody more time.
    let dripping: Vec<_> = [&in_header, &in_body, &unknown]
        .map(|stream| stream.try_clone().expect("a handle"))
        .into_iter()
        .map(|mut stream| {
            thread::spawn(move || {
                while stream.write_all(b" ").is_ok() {
                    thread::sleep(std::time::Duration::from_millis(500));
                }
            })
        })
        .collect();
    client.wait_for_more(20);
    assert_eq!(read_all(&mut unknown).as_deref().map(status_of), Some(401));
    assert_eq!(read_all(&mut in_body).as_deref().map(status_of), Some(408));
    let header_answer = read_all(&mut in_header).unwrap_or_default();
    assert!(
        header_answer.is_empty() || status_of(&header_answer) == 408,
        "{header_answer}"
    );
    for stream in [in_header, in_body, unknown] {
        stream.shutdown(Shutdown::Both).ok();
    }
    for drip in dripping {
        drip.join().expect("no panic");
    }
    let sent = client.stop();
    story.end(sent);
}

#[test]
fn a_thousand_idle_connections_keep_nobody_out() {
    allow_open_files(4_096);
    let story = Story::start("max_body: 64KiB", FILES);
    let client = Client::start(&story.address);
    let mut idle: Vec<TcpStream> = (0..1_000).map(|_| connect(&story.address)).collect();
    // Half of them begin something.
    for stream in idle.iter_mut().step_by(2) {
        stream.write_all(b"POST /v1/events HTTP/1.1\r\nHos").ok();
    }
    client.wait_for_more(20);
    let mut newcomer = connect(&story.address);
    newcomer
        .write_all(&request(
            "Connection: close\r\n",
            prediction(1_000_000).as_bytes(),
        ))
        .expect("sent");
    assert_eq!(read_all(&mut newcomer).as_deref().map(status_of), Some(202));
    let mut story = story;
    story.agent.wait_for_complaint("too many http connections");
    let sent = client.stop();
    drop(idle);
    story.end(sent + 1);
}

#[test]
fn under_attack_memory_stays_bounded_and_everyone_else_is_served() {
    let story = Story::start("max_journal: 256MiB", FILES);
    let client = Client::start(&story.address);
    let bomb = Arc::new(request(
        "Content-Encoding: gzip\r\n",
        &gzip(&vec![b'['; 256 << 20]),
    ));
    let large = Arc::new(request("", &vec![b' '; 17 << 20]));
    let allowed = Arc::new(request("", &vec![b' '; 15 << 20]));
    let header = Arc::new(request(&format!("X: {}\r\n", "y".repeat(60_000)), b"no"));
    let attackers: Vec<JoinHandle<()>> = [bomb, large, allowed, header]
        .into_iter()
        .flat_map(|bytes| {
            let address = story.address.clone();
            (0..4).map(move |_| {
                let (address, bytes) = (address.clone(), Arc::clone(&bytes));
                thread::spawn(move || {
                    for _ in 0..2 {
                        // 413, or 429 when too much is under way, or 408 where sending takes too long; a client that goes on
                        // sending may be cut off.
                        let status = send(&address, &bytes).as_deref().map(status_of);
                        let is_refused = matches!(status, None | Some(400 | 408 | 413 | 429));
                        assert!(is_refused, "{status:?}");
                    }
                })
            })
        })
        .collect();
    for attacker in attackers {
        attacker.join().expect("refused as expected");
    }
    client.wait_for_more(20);
    let peak = story.agent.memory("VmHWM") >> 10;
    assert!(peak < MEMORY_KIB_MAX, "{peak} KiB");
    let sent = client.stop();
    story.end(sent);
}

#[test]
fn a_full_journal_says_when_to_come_again_and_nothing_accepted_is_lost() {
    // Nothing listens on port 1: no document is ever acknowledged, so no checkpoint frees the journal.
    let away = r#"{elasticsearch: {hosts: ["http://127.0.0.1:1"]}}"#;
    let mut story = Story::start("max_body: 64KiB, max_journal: 1MiB", away);
    let mut accepted = 0;
    let refused = loop {
        let some: String = (accepted..accepted + 100).map(prediction).collect();
        let answer = send(
            &story.address,
            &request("Connection: close\r\n", some.as_bytes()),
        );
        let answer = answer.expect("an answer");
        match status_of(&answer) {
            202 => accepted += 100,
            _ => break answer,
        }
    };
    assert_eq!(status_of(&refused), 429, "{refused}");
    assert!(
        refused.to_lowercase().contains("retry-after: "),
        "{refused}"
    );
    story.agent.wait_for_complaint("the journal is full");
    story.agent.kill();
    let Story { home, .. } = story;
    let pipeline = write_pipeline(&home, "max_body: 64KiB, max_journal: 1MiB", FILES);
    let ended = Modelbeat::once(&home, &pipeline).finish().expect_code(0);
    assert_counted(&ended.output, accepted);
}

/// A running agent and its HTTP address.
struct Story {
    home: Home,
    agent: Agent,
    address: String,
}

impl Story {
    fn start(more: &str, output: &str) -> Self {
        let home = Home::new();
        let pipeline = write_pipeline(&home, more, output);
        let mut agent = Modelbeat::run(&home, &pipeline).start();
        let address = agent.http_address();
        Self {
            home,
            agent,
            address,
        }
    }

    /// Stops the agent, which must have counted so many predictions, and nothing else; returns what it said.
    #[track_caller]
    fn end(mut self, predictions: u64) -> String {
        assert!(self.agent.is_running());
        let ended = self.agent.stop().expect_code(0);
        let pipeline = self.home.path("pipeline.yml");
        // What the grace left unread is read now.
        let again = Modelbeat::once(&self.home, &pipeline)
            .finish()
            .expect_code(0);
        let output = format!("{}\n{}", ended.output, again.output);
        assert_counted(&output, predictions);
        output
    }
}

fn write_pipeline(home: &Home, more: &str, output: &str) -> std::path::PathBuf {
    let text = PIPELINE.replace("MORE", more).replace("OUTPUT", output);
    home.write("pipeline.yml", &text)
}

/// The runs in this output took in so many predictions, and no other event.
#[track_caller]
fn assert_counted(output: &str, predictions: u64) {
    let ends = output.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        (line["message"] == "pipeline ended").then_some(line)
    });
    let (mut events, mut counted) = (0, 0);
    for end in ends {
        events += end["events"].as_u64().expect("a count");
        counted += end["predictions"].as_u64().expect("a count");
    }
    assert_eq!((events, counted), (predictions, predictions), "{output}");
}

/// A well-behaved client: one event a request on one connection, and on to a new one if it is closed.
struct Client {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Client {
    fn start(address: &str) -> Self {
        let (stop, served) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        let url = format!("http://{address}/v1/predictions");
        let (is_over, count) = (Arc::clone(&stop), Arc::clone(&served));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                while !is_over.load(Ordering::Relaxed) {
                    let id = count.load(Ordering::Relaxed);
                    let request = client.post(&url).bearer_auth(TOKEN).body(prediction(id));
                    match request.send().await.map(|answer| answer.status().as_u16()) {
                        Ok(202) => {
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        // Too much at once, or its kept connection went to a newcomer: the same event again.
                        Ok(429) | Err(_) => tokio::task::yield_now().await,
                        Ok(status) => panic!("a good request got {status}"),
                    }
                }
            });
        });
        let client = Self {
            stop,
            served,
            thread,
        };
        client.wait_for_more(1);
        client
    }

    fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    #[track_caller]
    fn wait_for_more(&self, more: u64) {
        let goal = self.served() + more;
        wait::until("the client to be served", || {
            assert!(!self.thread.is_finished(), "the client gave up");
            (self.served() >= goal)
                .then_some(())
                .ok_or_else(|| format!("{} of {goal}", self.served()))
        });
    }

    /// Returns how many events were accepted.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a good client has no trouble");
        self.served.load(Ordering::Relaxed)
    }
}

fn prediction(id: u64) -> String {
    format!(
        "{}\n",
        json!({ "id": id, "ts": "2026-01-02T03:04:05Z", "predicted": 1 })
    )
}

fn head(headers: &str) -> String {
    format!(
        "POST /v1/predictions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n{headers}\r\n"
    )
}

fn request(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = head(&format!("Content-Length: {}\r\n{headers}", body.len()));
    [head.as_bytes(), body].concat()
}

fn with_token(token: &str, body: &[u8]) -> Vec<u8> {
    let request = String::from_utf8(request("", body)).expect("text");
    request.replace(TOKEN, token).into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).expect("memory");
    packer.finish().expect("memory")
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connects");
    stream
        .set_read_timeout(Some(wait::DEADLINE))
        .expect("a time");
    stream
}

/// Sends bytes as they are and reads the answers; `None`: the connection was cut off first.
fn send(address: &str, bytes: &[u8]) -> Option<String> {
    let mut stream = connect(address);
    // Refused early, not all of it can be sent.
    if stream.write_all(bytes).is_ok() {
        stream.shutdown(Shutdown::Write).ok();
    }
    read_all(&mut stream)
}

/// All that comes until the other side closes.
fn read_all(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    // A reset behind an answer does not undo it.
    let outcome = stream.read_to_end(&mut bytes);
    (outcome.is_ok() || !bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

fn status_of(answer: &str) -> u16 {
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.unwrap_or_default()
}

/// Both ends of a thousand connections are files of this process and of its child.
fn allow_open_files(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        let raised = Rlimit {
            current: Some(limit.maximum.map_or(count, |most| most.min(count))),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).expect("a soft limit may be raised");
    }
}
