//! Real sockets, real TLS, a real journal: what a client sees, and what is in the journal afterwards.

mod station;

use std::fs;
use std::time::Duration;

use proptest::prelude::*;
use reqwest::Client;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::flow::event::Kind;
use station::*;

#[tokio::test]
async fn what_was_accepted_is_what_the_next_start_reads() {
    let station = Station::start(|_, _| ()).await;
    let sent = [
        ("/v1/events", "{\"a\": 1}\n{\"b\": 2}\n", 2),
        ("/v1/predictions", "[{\"c\":3},\n {\"d\":4}]", 2),
        ("/v1/labels", "{\n  \"e\": 5.0\n}", 1),
        ("/v1/events", "[]", 0),
    ];
    for (path, text, count) in sent {
        check_answer(
            &answer(station.post(path, text)).await,
            202,
            &json!({ "accepted": count }),
        );
    }
    assert_eq!(
        status(station.post("/v1/events", "{\"f\":6}\nnonsense")).await,
        400
    );
    let packed = station
        .post("/v1/labels", gzip(b"{\"g\":7}"))
        .header("content-encoding", "gzip");
    check_answer(&answer(packed).await, 202, &json!({ "accepted": 1 }));

    assert_eq!(
        station
            .counters
            .answers_total()
            .filter(|(_, count)| *count > 0)
            .collect::<Vec<_>>(),
        [(202, 5), (400, 1)]
    );
    assert_eq!(station.counters.events_total(), 6);
    let expect = [
        (None, r#"{"a": 1}"#),
        (None, r#"{"b": 2}"#),
        (Some(Kind::Prediction), r#"{"c":3}"#),
        (Some(Kind::Prediction), r#"{"d":4}"#),
        (Some(Kind::Label), r#"{"e":5.0}"#),
        (Some(Kind::Label), r#"{"g":7}"#),
    ];
    assert_eq!(
        station.stop_and_read().await,
        expect.map(|(kind, line)| (kind, line.to_owned()))
    );
}

#[tokio::test]
async fn a_broken_body_is_refused_whole_with_its_place() {
    let station = Station::start(|_, _| ()).await;
    let cases: [(&str, usize, usize, &str); 3] = [
        (
            "",
            1,
            1,
            "line 1, byte 1: the body is empty: expected JSON objects",
        ),
        (
            "{\"a\":1}\n{\"b\":2}\n{\"c\":!}\n",
            3,
            6,
            "line 3, byte 6: expected value",
        ),
        (
            "[{\"a\":1},\n  2]",
            2,
            3,
            "line 2, byte 3: expected a JSON object",
        ),
    ];
    for (text, line, byte, error) in cases {
        let expect = json!({ "error": error, "line": line, "byte": byte });
        check_answer(
            &answer(station.post("/v1/events", text)).await,
            400,
            &expect,
        );
    }
    let not_gzip = station
        .post("/v1/events", "{}")
        .header("content-encoding", "gzip");
    assert_eq!(status(not_gzip).await, 400);
    let half = gzip(&b"{\"a\":1}\n".repeat(500));
    let half = station
        .post("/v1/events", half[..half.len() / 2].to_vec())
        .header("content-encoding", "gzip");
    assert_eq!(
        answer(half).await.1,
        json!({ "error": "the gzip body ends too early" })
    );
    assert_eq!(station.stop_and_read().await, []);
}

#[tokio::test]
async fn only_the_right_token_opens_and_nothing_else_is_told() {
    let station =
        Station::start(|settings, _| settings.token = Some(Token("s3cret".to_owned()))).await;
    for path in ["/v1/events", "/nowhere"] {
        let response = station.post(path, "{}").send().await.expect("an answer");
        assert_eq!(response.status(), 401);
        assert_eq!(
            response.headers()["www-authenticate"],
            "Bearer realm=\"modelbeat\""
        );
        assert_eq!(
            body(response).await,
            json!({ "error": "a valid bearer token is needed" })
        );
    }
    for wrong in [
        "Bearer s3cre",
        "Bearer s3cret2",
        "Bearer ",
        "Basic s3cret",
        "s3cret",
        "Bearer",
    ] {
        let request = station
            .post("/v1/events", "{}")
            .header("authorization", wrong);
        assert_eq!(status(request).await, 401, "{wrong}");
    }
    // A large body is not cut off by a reset before the answer.
    let large = vec![b'x'; BODY_BYTES_MAX];
    assert_eq!(status(station.post("/v1/events", large)).await, 401);
    for right in ["Bearer s3cret", "bearer s3cret"] {
        let request = station
            .post("/v1/events", "{}")
            .header("authorization", right);
        assert_eq!(status(request).await, 202, "{right}");
    }
    assert_eq!(station.stop_and_read().await.len(), 2);
}

#[tokio::test]
async fn what_we_do_not_read_is_said() {
    let station = Station::start(|_, _| ()).await;
    assert_eq!(status(station.post("/v1/nothing", "{}")).await, 404);
    let get = station
        .client
        .get(format!("http://{}/v1/events", station.address));
    let response = get.send().await.expect("an answer");
    assert_eq!(
        (response.status().as_u16(), &response.headers()["allow"]),
        (405, &"POST".parse().expect("a header"))
    );
    for (name, value) in [
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-encoding", "br"),
        ("content-encoding", "gzip, gzip"),
    ] {
        assert_eq!(
            status(station.post("/v1/events", "{}").header(name, value)).await,
            415,
            "{value}"
        );
    }
    assert_eq!(station.stop_and_read().await, []);
}

#[tokio::test]
async fn bodies_too_large_before_or_after_unpacking_are_refused() {
    let station = Station::start(|_, _| ()).await;
    let limit_fits = format!("{{\"a\":\"{}\"}}", "x".repeat(BODY_BYTES_MAX - 8));
    assert_eq!(
        status(station.post("/v1/events", limit_fits.clone())).await,
        202
    );
    let too_large = format!("{limit_fits} ");
    assert_eq!(
        status(station.post("/v1/events", too_large.clone())).await,
        413
    );
    // Without a length: in chunks, the last of them too much.
    let chunks: Vec<u8> = too_large.clone().into_bytes();
    let mut stream = TcpStream::connect(station.address).await.expect("connects");
    let head = "POST /v1/events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("writes");
    for chunk in chunks.chunks(50_000) {
        stream
            .write_all(format!("{:x}\r\n", chunk.len()).as_bytes())
            .await
            .expect("writes");
        stream.write_all(chunk).await.expect("writes");
        stream.write_all(b"\r\n").await.expect("writes");
    }
    stream.write_all(b"0\r\n\r\n").await.expect("writes");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.expect("an answer");
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    // A hundred megabytes in less than one: unpacking stops at the limit.
    let bomb = gzip(&vec![b' '; 100_000_000]);
    assert!(bomb.len() < 1_000_000);
    let bomb = bomb[..BODY_BYTES_MAX.min(bomb.len())].to_vec();
    let request = station
        .post("/v1/events", bomb)
        .header("content-encoding", "gzip");
    assert_eq!(status(request).await, 413);
    assert_eq!(station.stop_and_read().await.len(), 1);
}

#[tokio::test]
async fn a_full_journal_says_when_to_come_again_and_takes_more_once_released() {
    let station = Station::start(|settings, _| {
        settings.body_bytes_max = 5_000;
        settings.journal_bytes_max = 10_000;
    })
    .await;
    let text = format!("{{\"a\":\"{}\"}}\n", "x".repeat(3_000));
    let mut accepted = 0;
    let refused = loop {
        let response = station
            .post("/v1/events", text.clone())
            .send()
            .await
            .expect("an answer");
        if response.status() != 202 {
            break response;
        }
        accepted += 1;
    };
    assert_eq!((accepted, refused.status().as_u16()), (3, 429));
    assert_eq!(refused.headers()["retry-after"], "5");
    station.journal.release(station.journal.size().end());
    assert_eq!(status(station.post("/v1/events", text)).await, 202);
    station.stop().await;
}

#[tokio::test]
async fn half_a_header_or_body_does_not_hinder_others() {
    let station = Station::start(|_, _| ()).await;
    let mut slow = Vec::new();
    for start in [
        "",
        "POST /v1/ev",
        "POST /v1/events HTTP/1.1\r\ncontent-length: 100\r\n\r\n{",
    ] {
        for _ in 0..50 {
            let mut stream = TcpStream::connect(station.address).await.expect("connects");
            stream.write_all(start.as_bytes()).await.expect("writes");
            slow.push(stream);
        }
    }
    assert_eq!(status(station.post("/v1/events", "{}")).await, 202);
    drop(slow);
    assert_eq!(station.stop_and_read().await.len(), 1);
}

/// Time is paused, so that it jumps to the next deadline whenever nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn half_a_header_or_body_is_given_up_in_time() {
    let station = Station::start(|_, _| ()).await;
    for (start, expect) in [
        ("", ""),
        ("POST /v1/ev", ""),
        (
            "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",
            "HTTP/1.1 408 ",
        ),
    ] {
        let mut stream = TcpStream::connect(station.address).await.expect("connects");
        stream.write_all(start.as_bytes()).await.expect("writes");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.expect("an end");
        assert!(
            reply.starts_with(expect) && reply.is_empty() == expect.is_empty(),
            "{reply}"
        );
    }
    assert_eq!(station.stop_and_read().await, []);
}

#[tokio::test]
async fn what_was_accepted_survives_the_loss_of_everything_not_on_disk() {
    let station = Station::start(|settings, _| {
        settings.body_bytes_max = 1_000;
        settings.journal_bytes_max = 8_000;
    })
    .await;
    let mut expect = Vec::new();
    for round in 0..20 {
        let line = format!("{{\"round\":{round},\"x\":\"{}\"}}", "x".repeat(200));
        assert_eq!(status(station.post("/v1/events", line.clone())).await, 202);
        expect.push((None, line));
        // What a crash at this moment would leave: the files as they are.
        let image = tempfile::tempdir().expect("a folder");
        let folder = image.path().join("journal-0");
        fs::create_dir(&folder).expect("a folder");
        for entry in fs::read_dir(station.data.path().join("journal-0")).expect("lists") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), folder.join(entry.file_name())).expect("copies");
        }
        assert_eq!(read(image.path()).await, expect);
    }
    station.stop().await;
}

#[tokio::test]
async fn a_connection_too_many_is_closed_at_once() {
    let station = Station::start(|_, _| ()).await;
    let mut open = Vec::new();
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    while station.counters.connections_refused_total() == 0 {
        assert!(tokio::time::Instant::now() < deadline, "never refused");
        open.push(TcpStream::connect(station.address).await.expect("connects"));
    }
    assert!(open.len() > 512);
    drop(open);
    // Places come back as the server notices the ends.
    while station
        .post("/v1/events", "{}")
        .send()
        .await
        .map_or(true, |response| response.status() != 202)
    {
        assert!(
            tokio::time::Instant::now() < deadline,
            "never accepted again"
        );
    }
    station.stop().await;
}

#[tokio::test]
async fn stopping_answers_what_is_under_way_and_takes_nothing_more() {
    let station = Station::start(|_, _| ()).await;
    let mut stream = TcpStream::connect(station.address).await.expect("connects");
    let head =
        "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 7\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("writes");
    // The server asks for the body: the request is under way.
    let mut reply = [0; 25];
    stream.read_exact(&mut reply).await.expect("asks");
    assert!(reply.starts_with(b"HTTP/1.1 100 "));
    station.stop.send(true).expect("it runs");
    let address = station.address;
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    while TcpStream::connect(address).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "still listening");
        tokio::task::yield_now().await;
    }
    stream.write_all(b"{\"a\":1}").await.expect("writes");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.expect("an answer");
    assert!(reply.starts_with("HTTP/1.1 202 "), "{reply}");
    let data = {
        station.running.await.expect("ends").expect("well");
        station.journal.close().await;
        station.data
    };
    assert_eq!(read(data.path()).await, [(None, "{\"a\":1}".to_owned())]);
}

#[tokio::test]
async fn over_tls_only_clients_with_a_certificate_of_the_authority_are_let_in() {
    let authority = Authority::new("ours");
    let stranger = Authority::new("theirs");
    let station = Station::start(|settings, data| {
        let (certificate, key) = authority.issue("127.0.0.1");
        let write = |name: &str, text: &str| {
            let path = data.join(name);
            fs::write(&path, text).expect("writes");
            path
        };
        settings.tls = Some(Tls {
            certificate: write("server.pem", &certificate),
            key: write("server.key", &key),
            client_ca: Some(write("clients.pem", &authority.pem)),
        });
    })
    .await;
    let url = format!("https://{}/v1/events", station.address);
    let trusting = || {
        let ours = reqwest::Certificate::from_pem(authority.pem.as_bytes()).expect("PEM");
        Client::builder().no_proxy().add_root_certificate(ours)
    };
    let with_identity = |(certificate, key): (String, String)| {
        let identity =
            reqwest::Identity::from_pem(format!("{certificate}{key}").as_bytes()).expect("PEM");
        trusting().identity(identity).build().expect("a client")
    };
    let known = with_identity(authority.issue("client"));
    assert_eq!(status(known.post(&url).body("{}")).await, 202);
    let unknown = with_identity(stranger.issue("client"));
    assert!(unknown.post(&url).body("{}").send().await.is_err());
    let bare = trusting().build().expect("a client");
    assert!(bare.post(&url).body("{}").send().await.is_err());
    let plain = client()
        .post(format!("http://{}/v1/events", station.address))
        .body("{}");
    assert!(plain.send().await.is_err());
    assert_eq!(station.stop_and_read().await.len(), 1);
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_at_the_start() {
    let refusal = async |change: fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        bind(settings).await.expect_err("refused").to_string()
    };
    let exposed =
        refusal(|settings| settings.listen = "0.0.0.0:0".parse().expect("an address")).await;
    assert!(
        exposed.starts_with("0.0.0.0:0 can be reached from outside"),
        "{exposed}"
    );
    let quota = refusal(|settings| settings.journal_bytes_max = 1_000).await;
    assert!(
        quota.starts_with("`journal_bytes_max` (1000) must be at least twice"),
        "{quota}"
    );
    let tls = refusal(|settings| {
        settings.tls = Some(Tls {
            certificate: "/no.pem".into(),
            key: "/no.key".into(),
            client_ca: None,
        });
    })
    .await;
    assert!(tls.starts_with("cannot use /no.pem for TLS: "), "{tls}");
}

#[tokio::test]
async fn a_taken_address_is_said() {
    let station = Station::start(|_, _| ()).await;
    let mut settings = settings();
    settings.listen = station.address;
    let refusal = bind(settings).await.expect_err("taken").to_string();
    assert_eq!(refusal, format!("cannot listen on {}", station.address));
    station.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_at_once_lose_nothing_and_double_nothing() {
    let station = Station::start(|_, _| ()).await;
    let clients: Vec<_> = (0..16_usize)
        .map(|client| {
            let url = format!("http://{}/v1/events", station.address);
            let http = station.client.clone();
            tokio::spawn(async move {
                for round in 0..20_usize {
                    let line = |line| format!("{{\"id\":\"{client:02}-{round:02}-{line}\"}}\n");
                    let lines = [0, 1, 2, 3, 4].map(line).concat();
                    assert_eq!(status(http.post(&url).body(lines)).await, 202);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("a client ends well");
    }
    let mut ids: Vec<String> = station
        .stop_and_read()
        .await
        .into_iter()
        .map(|(_, line)| line)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 16 * 20 * 5);
}

proptest! {
    #[test]
    fn unpacking_gives_back_what_was_packed_or_stops_at_the_limit(
        bytes in prop::collection::vec(any::<u8>(), 0..5_000), bytes_max in 0..5_000_usize,
    ) {
        let mut share = memory::Memory::new(1 << 20).share();
        let mut packed = gzip(&bytes);
        let (first, second) = bytes.split_at(bytes.len() / 2);
        if bytes_max % 2 == 0 {
            // Two members are one body.
            packed = [gzip(first), gzip(second)].concat();
        }
        match super::body::unpack(&packed, bytes_max, &mut share) {
            Ok(unpacked) => prop_assert!(unpacked == bytes),
            Err(_) => prop_assert!(bytes.len() > bytes_max),
        }
    }
}
