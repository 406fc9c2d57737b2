//! Setup against a cluster that remembers what it is given, with lifecycles and without.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method as HttpMethod, StatusCode, Uri};

use super::*;
use crate::edge::elastic::{Credentials, REQUEST_TIMEOUT, Settings};

type Kept = Arc<Mutex<BTreeMap<String, Value>>>;

/// How a cluster answers requests for its lifecycles.
#[derive(Clone, Copy)]
enum Lifecycles {
    Yes,
    No,
    Forbidden,
}

async fn cluster(lifecycles: Lifecycles) -> (Elastic, Kept) {
    let kept = Kept::default();
    let things = kept.clone();
    let app = Router::new().fallback(
        move |method: HttpMethod, uri: Uri, body: Bytes| async move {
            answer(lifecycles, &things, &method, uri.path(), &body)
        },
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let settings = Settings {
        hosts: vec![host],
        credentials: Credentials::None,
        ca: None,
        compress: false,
        timeout: REQUEST_TIMEOUT,
    };
    (Elastic::open(&settings).unwrap(), kept)
}

/// As Elasticsearch 8.19.8 words it.
const NO_HANDLER: &str = r#"{"error":"Incorrect HTTP method for uri [/_ilm/policy/mb] and method [GET], allowed: [POST]","status":405}"#;
const UNAUTHORIZED: &str = r#"{"error":{"type":"security_exception","reason":"action [cluster:admin/ilm/get] is unauthorized"},"status":403}"#;

fn answer(
    lifecycles: Lifecycles,
    kept: &Kept,
    method: &HttpMethod,
    path: &str,
    body: &[u8],
) -> (StatusCode, String) {
    let is_lifecycle = path.starts_with("/_ilm");
    if is_lifecycle {
        let unable = match lifecycles {
            Lifecycles::Yes => None,
            Lifecycles::No => Some((StatusCode::METHOD_NOT_ALLOWED, NO_HANDLER)),
            Lifecycles::Forbidden => Some((StatusCode::FORBIDDEN, UNAUTHORIZED)),
        };
        if let Some((status, words)) = unable {
            return (status, words.to_owned());
        }
    }
    let mut kept = kept.lock().unwrap();
    if *method == HttpMethod::PUT {
        kept.insert(path.to_owned(), serde_json::from_slice(body).unwrap());
        return (StatusCode::OK, r#"{"acknowledged":true}"#.to_owned());
    }
    if let Some(thing) = kept.get(path) {
        return (StatusCode::OK, thing.to_string());
    }
    let words =
        r#"{"error":{"type":"resource_not_found_exception","reason":"not found"},"status":404}"#;
    (StatusCode::NOT_FOUND, words.to_owned())
}

fn outcomes(report: &Report) -> Vec<&Outcome> {
    report.steps.iter().map(|step| &step.outcome).collect()
}

#[tokio::test]
async fn everything_is_installed_once_and_left_alone_after() {
    let (elastic, kept) = cluster(Lifecycles::Yes).await;
    let first = run(&elastic, "mb").await.unwrap();
    assert_eq!(outcomes(&first), [&Outcome::Installed; 8]);
    assert_eq!(
        outcomes(&run(&elastic, "mb").await.unwrap()),
        [&Outcome::Unchanged; 8]
    );
    let kept = kept.lock().unwrap();
    let common = &kept["/_component_template/mb-common"];
    assert_eq!(
        common["template"]["settings"]["index"]["lifecycle"]["name"],
        "mb"
    );
    assert_eq!(
        kept["/_index_template/mb-quality"]["index_patterns"][0],
        "mb-quality-*"
    );
    assert_eq!(
        kept["/_index_template/mb-quality"]["composed_of"][0],
        "mb-common"
    );
}

#[tokio::test]
async fn a_template_of_another_version_is_replaced_and_a_lifecycle_of_the_users_is_kept() {
    let (elastic, kept) = cluster(Lifecycles::Yes).await;
    let own = json!({"policy": {"phases": {"delete": {}}}});
    kept.lock()
        .unwrap()
        .insert("/_ilm/policy/mb".to_owned(), own.clone());
    kept.lock().unwrap().insert(
        "/_index_template/mb-host".to_owned(),
        json!({"_meta": {"checksum": "old"}}),
    );
    let report = run(&elastic, "mb").await.unwrap();
    assert_eq!(
        report.steps[0].to_string(),
        "unchanged  lifecycle policy mb"
    );
    assert_eq!(
        report.steps[4].to_string(),
        "installed  index template mb-host"
    );
    assert_eq!(kept.lock().unwrap()["/_ilm/policy/mb"], own);
}

#[tokio::test]
async fn a_cluster_without_lifecycles_is_set_up_without_and_told_so() {
    let (elastic, kept) = cluster(Lifecycles::No).await;
    let report = run(&elastic, "mb").await.unwrap();
    let said = report.steps[0].to_string();
    assert!(
        said.starts_with(
            "skipped    lifecycle policy mb: this cluster has no index lifecycle management"
        ),
        "{said}"
    );
    let settings = &kept.lock().unwrap()["/_component_template/mb-common"]["template"]["settings"];
    assert_eq!(settings["index"].get("lifecycle"), None);
}

#[tokio::test]
async fn a_missing_privilege_is_named() {
    let (elastic, _) = cluster(Lifecycles::Forbidden).await;
    let error = run(&elastic, "mb").await.unwrap_err().to_string();
    assert!(
        error.contains("needs the cluster privilege `manage_ilm`"),
        "{error}"
    );
}

#[test]
fn every_file_is_whole_and_knows_its_prefix() {
    for (name, file) in TEMPLATES
        .into_iter()
        .chain([("common", COMMON), ("lifecycle", LIFECYCLE)])
    {
        let value = rendered(file, "my-prefix");
        assert!(value.is_object(), "{name}");
        assert!(!value.to_string().contains("{prefix}"), "{name}");
    }
    for (name, file) in TEMPLATES {
        let pattern = format!("my-prefix-{name}-*");
        assert_eq!(
            rendered(file, "my-prefix")["index_patterns"],
            json!([pattern])
        );
    }
}
