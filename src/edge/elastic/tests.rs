//! The client against servers of our own, in process, and against none.

use std::io::Read;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes as Body;
use axum::http::{HeaderMap as Headers, StatusCode, Uri};

use super::*;

type Seen = Arc<Mutex<Vec<(String, Headers, Vec<u8>)>>>;

/// A server that answers everything so, and remembers what it was asked.
async fn server(status: u16, answer: &'static str) -> (String, Seen) {
    let seen = Seen::default();
    let kept = seen.clone();
    let app = Router::new().fallback(move |uri: Uri, headers: Headers, body: Body| async move {
        kept.lock()
            .unwrap()
            .push((uri.to_string(), headers, body.to_vec()));
        (
            StatusCode::from_u16(status).unwrap(),
            [("retry-after", "7")],
            answer,
        )
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, seen)
}

fn settings(hosts: &[&str]) -> Settings {
    Settings {
        hosts: hosts.iter().map(ToString::to_string).collect(),
        credentials: Credentials::None,
        ca: None,
        compress: false,
        timeout: REQUEST_TIMEOUT,
    }
}

/// A port that nobody listens on, nor can while the socket is held.
fn nobody() -> (String, tokio::net::TcpSocket) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (format!("http://{}", socket.local_addr().unwrap()), socket)
}

#[tokio::test]
async fn a_bulk_asks_for_no_more_than_is_read_and_hands_back_what_came() {
    let (url, seen) = server(429, "busy").await;
    let elastic = Elastic::open(&settings(&[&url])).unwrap();
    let reply = elastic.bulk(Bytes::from_static(b"{}\n{}\n")).await.unwrap();
    assert_eq!((reply.status, &reply.body[..]), (429, &b"busy"[..]));
    assert_eq!(reply.retry_after, Some(Duration::from_secs(7)));
    let (uri, headers, body) = seen.lock().unwrap().remove(0);
    assert_eq!(
        uri,
        "/_bulk?filter_path=took,errors,items.*.status,items.*.error"
    );
    assert_eq!(headers["content-type"], "application/x-ndjson");
    assert_eq!(headers["accept-encoding"], "identity");
    assert_eq!(body, b"{}\n{}\n");
}

#[tokio::test]
async fn a_compressed_body_is_the_same_body() {
    let (url, seen) = server(200, "{}").await;
    let elastic = Elastic::open(&Settings {
        compress: true,
        ..settings(&[&url])
    });
    let body = Bytes::from(vec![b'x'; 10_000]);
    elastic.unwrap().bulk(body.clone()).await.unwrap();
    let (_, headers, sent) = seen.lock().unwrap().remove(0);
    assert_eq!(headers["content-encoding"], "gzip");
    assert!(sent.len() < 1_000);
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&sent[..])
        .read_to_end(&mut plain)
        .unwrap();
    assert_eq!(plain, body);
}

#[tokio::test]
async fn every_form_of_credentials_reaches_the_header() {
    // "id:key" and "me:secret" in base64, by coreutils' base64.
    let key = "ApiKey aWQ6a2V5";
    let basic = "Basic bWU6c2VjcmV0";
    let (url, seen) = server(200, "{}").await;
    let inline = url.replace("http://", "http://me:secret@");
    for (host, credentials, expected) in [
        (&url, Credentials::ApiKey("id:key".to_owned()), key),
        (&url, Credentials::ApiKey(" aWQ6a2V5\n".to_owned()), key),
        (
            &url,
            Credentials::Basic("me".to_owned(), "secret".to_owned()),
            basic,
        ),
        (&inline, Credentials::None, basic),
    ] {
        let elastic = Elastic::open(&Settings {
            credentials,
            ..settings(&[host])
        });
        elastic.unwrap().bulk(Bytes::new()).await.unwrap();
        let (_, headers, _) = seen.lock().unwrap().remove(0);
        let all: Vec<_> = headers.get_all("authorization").iter().collect();
        assert_eq!(all, [expected]);
    }
}

#[test]
fn no_password_stays_in_the_url_that_is_logged_even_without_a_user() {
    for host in ["https://me:secret@name:9200", "https://:secret@name:9200"] {
        let (found, _) = url(host).unwrap();
        assert_eq!(found.as_str(), "https://name:9200/");
    }
}

#[tokio::test]
async fn a_host_that_is_down_costs_nothing_where_another_is_up() {
    let (down, _held) = nobody();
    let (up, seen) = server(200, "{}").await;
    let elastic = Elastic::open(&settings(&[&down, &up])).unwrap();
    for _ in 0..5 {
        elastic.bulk(Bytes::new()).await.unwrap();
    }
    assert_eq!(seen.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn a_host_that_swallows_connections_is_left_for_the_next_one() {
    let (deaf, _held) = swallower();
    let (up, seen) = server(200, "{}").await;
    let elastic = Elastic::open(&Settings {
        timeout: Duration::from_secs(3),
        ..settings(&[&deaf, &up])
    });
    elastic.unwrap().bulk(Bytes::new()).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 1);

    let alone = Elastic::open(&Settings {
        timeout: Duration::from_secs(1),
        ..settings(&[&deaf])
    });
    let error = alone.unwrap().bulk(Bytes::new()).await.unwrap_err();
    let Unanswered::Unreachable(why) = &error else {
        panic!("{error:?}");
    };
    assert!(
        why.starts_with(&format!("no connection to {deaf} within 1s")),
        "{why}"
    );
}

#[tokio::test]
async fn a_host_that_takes_a_request_and_says_nothing_is_passed_over_by_the_next() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = (format!("http://{}", silent.local_addr().unwrap()), silent);
    let (up, seen) = server(200, "{}").await;
    let elastic = Elastic::open(&Settings {
        timeout: Duration::from_secs(4),
        ..settings(&[&silent.0, &up])
    });
    let elastic = elastic.unwrap();
    // It may have been stored: what becomes of it is decided elsewhere.
    let error = elastic.bulk(Bytes::new()).await.unwrap_err();
    assert!(matches!(error, Unanswered::Late(_)), "{error:?}");
    for _ in 0..5 {
        elastic.bulk(Bytes::new()).await.unwrap();
    }
    assert_eq!(seen.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn a_host_that_refuses_connections_says_so() {
    let (down, _held) = nobody();
    let elastic = Elastic::open(&settings(&[&down])).unwrap();
    let error = elastic.bulk(Bytes::new()).await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "{down} refuses the connection; is elasticsearch running there, and the port right?"
        )
    );
}

/// A host whose queue of connections is full, so that it does not even answer: as behind a firewall.
fn swallower() -> (String, Vec<std::net::TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Never closed: the kernel would answer again.
    std::mem::forget(listener);
    let mut held = Vec::new();
    let patience = Duration::from_millis(500);
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, patience) {
        held.push(stream);
        assert!(held.len() < 100, "this kernel never lets a queue fill");
    }
    (format!("http://{address}"), held)
}

#[tokio::test]
async fn an_unknown_name_and_a_wrong_protocol_are_told_apart() {
    let unknown = Elastic::open(&settings(&["http://no-such-host.invalid:9200"])).unwrap();
    let error = unknown.bulk(Bytes::new()).await.unwrap_err().to_string();
    assert!(
        error.starts_with("cannot find the host of http://no-such-host.invalid:9200"),
        "{error}"
    );

    let (url, _) = server(200, "{}").await;
    let plain = Elastic::open(&settings(&[&url.replace("http:", "https:")])).unwrap();
    let error = plain.bulk(Bytes::new()).await.unwrap_err();
    assert!(
        matches!(&error, Unanswered::Distrusted(why) if why.contains("does not speak TLS")),
        "{error}"
    );
}

#[tokio::test]
async fn the_probe_says_who_is_there_and_is_content_with_a_key_that_may_only_write() {
    // As Elasticsearch 8.19.8 answers, shortened.
    let (url, _) = server(
        200,
        r#"{"cluster_name":"c","version":{"number":"8.19.8","build_flavor":"default"},"tagline":"You Know, for Search"}"#,
    )
    .await;
    let cluster = Elastic::open(&settings(&[&url]))
        .unwrap()
        .probe()
        .await
        .unwrap();
    assert_eq!(
        (cluster.version.as_deref(), cluster.flavour.as_str()),
        (Some("8.19.8"), "default")
    );

    let (url, _) = server(
        403,
        r#"{"error":{"type":"security_exception","reason":"no monitor"},"status":403}"#,
    )
    .await;
    let cluster = Elastic::open(&settings(&[&url]))
        .unwrap()
        .probe()
        .await
        .unwrap();
    assert_eq!(cluster.version, None);

    let (url, _) = server(
        401,
        r#"{"error":{"type":"security_exception","reason":"unable to authenticate"},"status":401}"#,
    )
    .await;
    let error = Elastic::open(&settings(&[&url]))
        .unwrap()
        .probe()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("unable to authenticate; check api_key"),
        "{error}"
    );

    let (url, _) = server(200, "<html>hello").await;
    let error = Elastic::open(&settings(&[&url]))
        .unwrap()
        .probe()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("<html>hello; does output.elasticsearch.hosts name"),
        "{error}"
    );
}

#[test]
fn settings_that_cannot_work_are_refused_with_the_way_out() {
    let check = |settings: Settings, expected: &str| {
        let error = Elastic::open(&settings).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(settings(&[]), "hosts is empty");
    check(
        settings(&["localhost:9200"]),
        "neither with http:// nor with https://",
    );
    check(settings(&["es"]), "`es` is no URL of a host");
    let key = Credentials::ApiKey("two words".to_owned());
    check(
        Settings {
            credentials: key,
            ..settings(&["http://a"])
        },
        "api_key is neither",
    );
    let ca = Some(PathBuf::from("/no/such.pem"));
    check(
        Settings {
            ca,
            ..settings(&["http://a"])
        },
        "cannot use ca /no/such.pem",
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let ca = Some(file.path().to_owned());
    check(
        Settings {
            ca,
            ..settings(&["http://a"])
        },
        "could not find PEM certificate",
    );
}
