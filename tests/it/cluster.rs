//! The Elasticsearch node that `tests/run` started, as seen by someone who searches it; nothing of modelbeat's own client.

use std::env;
use std::fs;
use std::path::PathBuf;

use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::wait;

/// Hits taken at a time: large enough to be quick, small enough for a node with a small heap.
const PAGE: usize = 2_000;

/// Index names in one URL; a URL may be 4 KiB.
const NAMES_A_REQUEST: usize = 60;

/// A node, spoken to synchronously: a story is a straight line.
pub(crate) struct Cluster {
    pub(crate) url: String,
    /// User and password, where security is on.
    basic: Option<(String, String)>,
    client: Client,
    runtime: Runtime,
}

/// The first part of all index names of one story, so that stories can run at once. Dropped, its indices and
/// templates are deleted.
pub(crate) struct Prefix {
    pub(crate) name: String,
    cluster: Cluster,
}

impl Cluster {
    /// The node without security.
    pub(crate) fn plain() -> Self {
        Self::new(variable("MODELBEAT_TEST_ES"), None, None)
    }

    /// A story's own node without security.
    pub(crate) fn at(url: &str) -> Self {
        Self::new(url.to_owned(), None, None)
    }

    /// The node with HTTPS and authentication; we are its superuser.
    pub(crate) fn secured() -> Self {
        let user = variable("MODELBEAT_TEST_ES_SECURE_USER");
        let password = variable("MODELBEAT_TEST_ES_SECURE_PASSWORD");
        let ca = fs::read(Self::secured_ca()).expect("the secured node's authority");
        Self::new(
            variable("MODELBEAT_TEST_ES_SECURE"),
            Some((user, password)),
            Some(&ca),
        )
    }

    /// PEM file of the authority that signed the secured node's certificate.
    pub(crate) fn secured_ca() -> PathBuf {
        variable("MODELBEAT_TEST_ES_SECURE_CA").into()
    }

    fn new(url: String, basic: Option<(String, String)>, ca: Option<&[u8]>) -> Self {
        let mut builder = Client::builder().no_proxy();
        if let Some(pem) = ca {
            builder = builder.add_root_certificate(Certificate::from_pem(pem).expect("PEM"));
        }
        Self {
            url,
            basic,
            client: builder.build().expect("an HTTP client"),
            runtime: Runtime::new().expect("a runtime"),
        }
    }

    /// One request; the status and the JSON of the answer (null where it is none).
    pub(crate) fn call(&self, method: &Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut request = self
            .client
            .request(method.clone(), format!("{}/{path}", self.url));
        if let Some((user, password)) = &self.basic {
            request = request.basic_auth(user, Some(password));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.runtime.block_on(async {
            let response = request.send().await.expect("the node answers");
            let status = response.status().as_u16();
            let text = response.bytes().await.expect("a whole answer");
            (status, serde_json::from_slice(&text).unwrap_or_default())
        })
    }

    /// One request that must succeed. The shards of an index that was made a moment ago may not have started, or there is no memory
    /// or place in a queue just now: a busy node then answers 503 or 429, and is asked again.
    #[track_caller]
    pub(crate) fn ask(&self, method: &Method, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = wait::until("the shards to be there", || {
            match self.call(method, path, body) {
                (429 | 503, answer) => Err(answer.to_string()),
                answered => Ok(answered),
            }
        });
        assert!(
            (200..300).contains(&status),
            "{method} {path} said {status}: {answer}"
        );
        answer
    }

    /// How many documents of `indices` (a pattern) match, as a search right now would find.
    pub(crate) fn count(&self, indices: &str, query: &Value) -> u64 {
        self.ask(&Method::POST, &format!("{indices}/_refresh"), None);
        let body = json!({ "query": query });
        let answer = self.ask(&Method::POST, &format!("{indices}/_count"), Some(&body));
        answer["count"].as_u64().expect("a count")
    }

    /// Every hit (`_index`, `_id`, `_version`, `_source`) of a search, handed over page by page.
    pub(crate) fn search(&self, indices: &str, query: &Value, mut each: impl FnMut(&Value)) {
        self.ask(&Method::POST, &format!("{indices}/_refresh"), None);
        let opened = self.ask(
            &Method::POST,
            &format!("{indices}/_pit?keep_alive=2m"),
            None,
        );
        let point = opened["id"].as_str().expect("a point in time").to_owned();
        let mut body = json!({
            "size": PAGE, "query": query, "sort": ["_shard_doc"], "track_total_hits": false, "version": true,
            "pit": { "id": point, "keep_alive": "2m" },
        });
        loop {
            let page = self.ask(&Method::POST, "_search", Some(&body));
            let hits = page["hits"]["hits"].as_array().expect("hits");
            let Some(last) = hits.last() else { break };
            hits.iter().for_each(&mut each);
            body["search_after"] = last["sort"].clone();
        }
        self.ask(&Method::DELETE, "_pit", Some(&json!({ "id": point })));
    }

    /// A key that may do just this, encoded as Kibana shows it.
    pub(crate) fn create_api_key(&self, name: &str, role: &Value) -> String {
        let body = json!({ "name": name, "role_descriptors": { "role": role } });
        let answer = self.ask(&Method::POST, "_security/api_key", Some(&body));
        answer["encoded"].as_str().expect("a key").to_owned()
    }

    fn delete_all(&self, prefix: &str) {
        let path = format!("_cat/indices/{prefix}-*?format=json&h=index&expand_wildcards=all");
        let listed = self.ask(&Method::GET, &path, None);
        let names: Vec<&str> = listed
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|entry| entry["index"].as_str())
            .collect();
        for some in names.chunks(NAMES_A_REQUEST) {
            self.call(&Method::DELETE, &some.join(","), None);
        }
        for kind in ["index_template", "component_template"] {
            self.call(&Method::DELETE, &format!("_{kind}/{prefix}*"), None);
        }
    }
}

impl Prefix {
    /// A prefix nobody else uses; `story` is lower case.
    pub(crate) fn new(cluster: Cluster, story: &str) -> Self {
        let name = format!("t-{story}-{}", std::process::id());
        Self { name, cluster }
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// A pattern over the story's indices: `predictions` → `t-story-1234-predictions-*`.
    pub(crate) fn indices(&self, family: &str) -> String {
        format!("{}-{family}-*", self.name)
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        // After a failure the node is about to go anyway; a second panic would hide the first.
        if !std::thread::panicking() {
            self.cluster.delete_all(&self.name);
        }
    }
}

#[track_caller]
fn variable(name: &str) -> String {
    let value = env::var(name).unwrap_or_default();
    assert!(
        !value.is_empty(),
        "{name} is not set: this test needs a real Elasticsearch; run it by `tests/run`"
    );
    value
}
