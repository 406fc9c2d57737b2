//! The status over real sockets: who may see what, and that clients who mean no good cost little.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Duration, timeout};

use super::*;
use crate::flow::engine::Checkpoint;

/// Generous: nothing here takes a second on a machine at rest.
const DEADLINE: Duration = Duration::from_mins(1);

/// A status with one pipeline on it.
struct Station {
    address: SocketAddr,
    vitals: Arc<Vitals>,
    _stop: watch::Sender<bool>,
}

impl Station {
    async fn start(token: Option<&str>) -> Self {
        let settings = Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            token: token.map(|token| Token(token.to_owned())),
        };
        let bound = bind(settings).await.unwrap();
        let address = bound.address();
        let board = Board::new(true);
        let vitals = board.enter("fraud");
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(run(bound, board, stopped));
        Self {
            address,
            vitals,
            _stop: stop,
        }
    }

    /// One request on a connection of its own: status line, headers and body as they came.
    async fn ask(&self, request: &str) -> String {
        self.try_ask(request).await.unwrap()
    }

    /// The same, where the connection may be closed at once.
    async fn try_ask(&self, request: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.address).await?;
        let host = if request.contains("\r\nhost:") {
            ""
        } else {
            "host: 127.0.0.1\r\n"
        };
        let request = format!("{request}{host}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        let reading = stream.read_to_string(&mut answer);
        timeout(DEADLINE, reading).await.unwrap()?;
        Ok(answer)
    }

    /// That the answer to `request` begins with this status and holds these words.
    async fn check(&self, request: &str, status: &str, words: &[&str]) {
        let answer = self.ask(request).await;
        let expected = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&expected), "{request}: {answer}");
        for word in words {
            assert!(answer.contains(word), "{request}: no `{word}` in {answer}");
        }
    }
}

#[tokio::test]
async fn a_pipeline_that_opens_lives_and_is_not_ready() {
    let station = Station::start(None).await;
    station
        .check("GET /healthz HTTP/1.1\r\n", "200", &[r#""status":"ok""#])
        .await;
    let reason = r#""reasons":["its state is being read"#;
    station
        .check("GET /readyz HTTP/1.1\r\n", "503", &["fraud", reason])
        .await;
    station.vitals.enter(Stage::Running);
    station
        .check("GET /readyz HTTP/1.1\r\n", "200", &[r#""status":"ready""#])
        .await;
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let station = Station::start(None).await;
    station.vitals.saved(&Checkpoint {
        state: vec![0; 77],
        ..Checkpoint::default()
    });
    let sample = "modelbeat_checkpoint_size_bytes{pipeline=\"fraud\"} 77.0\n";
    let (plain, open) = (
        "content-type: text/plain; version=0.0.4",
        "content-type: application/openmetrics-text; version=1.0.0",
    );
    let accept = "GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text;version=1.0.0\r\n";
    station
        .check(
            "GET /metrics HTTP/1.1\r\n",
            "200",
            &[plain, sample, "process_open_fds"],
        )
        .await;
    station.check(accept, "200", &[open, sample, "# EOF"]).await;
    station
        .check("GET /metric HTTP/1.1\r\n", "404", &["/readyz"])
        .await;
    station
        .check("DELETE /metrics HTTP/1.1\r\n", "405", &["only GET"])
        .await;
}

#[tokio::test]
async fn who_lacks_the_token_sees_that_it_lives_and_nothing_else() {
    let station = Station::start(Some("secret")).await;
    let with = |path: &str, token: &str| {
        format!("GET {path} HTTP/1.1\r\nauthorization: Bearer {token}\r\n")
    };
    station
        .check(&with("/metrics", "guessed"), "401", &["bearer token"])
        .await;
    station
        .check(&with("/metrics", "secret"), "200", &["process_open_fds"])
        .await;
    let answer = station.ask("GET /readyz HTTP/1.1\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(!answer.contains("fraud"), "{answer}");
    station
        .check(&with("/readyz", "secret"), "503", &["fraud"])
        .await;
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_counted() {
    let station = Station::start(None).await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(station.address).await.unwrap();
        // Answered, so accepted; and kept open.
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut first = [0];
        let reading = stream.read_exact(&mut first);
        timeout(DEADLINE, reading).await.unwrap().unwrap();
        held.push(stream);
    }
    let mut one_more = TcpStream::connect(station.address).await.unwrap();
    let mut rest = Vec::new();
    let closed = timeout(DEADLINE, one_more.read_to_end(&mut rest))
        .await
        .unwrap();
    assert!(closed.is_err() || rest.is_empty());
    drop(held);
    let counted = async {
        let count = "modelbeat_status_connections_refused_total 1\n";
        while !station
            .try_ask("GET /metrics HTTP/1.1\r\n")
            .await
            .is_ok_and(|answer| answer.contains(count))
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, counted).await.unwrap();
}

#[tokio::test]
async fn the_page_and_its_files_need_no_token_and_what_it_shows_does() {
    let station = Station::start(Some("secret")).await;
    let policy = "content-security-policy: default-src 'none'; script-src 'self';";
    let sniff = "x-content-type-options: nosniff";
    for (path, kind, word) in [
        ("/", "text/html", "<title>modelbeat</title>"),
        ("/page/page.js", "text/javascript", "/api/v1/status"),
        ("/page/uplot.js", "text/javascript", "leeoniya/uPlot"),
        ("/page/page.css", "text/css", "prefers-color-scheme"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\n");
        station
            .check(&request, "200", &[kind, policy, sniff, word])
            .await;
    }
    let status = "GET /api/v1/status HTTP/1.1\r\n";
    let answer = station.ask(status).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(!answer.contains("fraud"), "{answer}");
    let known = format!("{status}authorization: Bearer secret\r\n");
    let words = [r#""pipeline":"fraud""#, r#""verdict":"not ready""#];
    station.check(&known, "200", &words).await;
}

#[tokio::test]
async fn what_is_known_is_not_sent_again() {
    let station = Station::start(None).await;
    for path in ["/", "/api/v1/status"] {
        let request = format!("GET {path} HTTP/1.1\r\n");
        let answer = station.ask(&request).await;
        let tag = answer
            .lines()
            .find_map(|line| line.strip_prefix("etag: "))
            .expect("a tag");
        let again = format!("{request}if-none-match: {tag}\r\n");
        station.check(&again, "304", &[]).await;
        station.vitals.enter(Stage::Ended);
    }
}

#[tokio::test]
async fn a_pipeline_that_has_ended_is_finished() {
    let station = Station::start(None).await;
    station.vitals.enter(Stage::Ended);
    let words = [r#""stage":"ended","verdict":"finished","reasons":[]"#];
    station
        .check("GET /api/v1/status HTTP/1.1\r\n", "200", &words)
        .await;
    let words = [r#""status":"finished""#];
    station
        .check("GET /readyz HTTP/1.1\r\n", "503", &words)
        .await;
}

/// A page elsewhere that has its own name point to 127.0.0.1 may ask, and learns nothing.
#[tokio::test]
async fn a_name_that_is_not_this_machines_is_refused_where_only_it_may_ask() {
    let station = Station::start(None).await;
    let request = |host: &str| format!("GET /api/v1/status HTTP/1.1\r\nhost: {host}\r\n");
    for host in [
        "evil.example",
        "evil.example:9702",
        "127.0.0.1.evil.example",
    ] {
        let answer = station.ask(&request(host)).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{host}: {answer}");
        assert!(!answer.contains("fraud"), "{host}: {answer}");
    }
    for host in [
        "localhost:9702",
        "127.0.0.1",
        "[::1]:9702",
        "demo.localhost",
    ] {
        station.check(&request(host), "200", &["fraud"]).await;
    }
}
