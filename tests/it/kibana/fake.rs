//! A small Kibana on a real socket: status, import and rules, refusing what the real one refuses, in its words.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// What a fake holds and what it is like.
#[derive(Default)]
pub(super) struct State {
    /// `8.12.2` unless set; empty: it tells nobody.
    pub(super) version: Option<&'static str>,
    /// The `Authorization` that it lets in; `None`: anybody.
    pub(super) authorization: Option<String>,
    /// It lets people in who may not do this: a part of a path.
    pub(super) forbidden: Option<&'static str>,
    /// It starts: 503 to everything.
    pub(super) is_starting: bool,
    /// An object whose import fails for a reason of its own.
    pub(super) poisoned: Option<String>,
    /// Spaces beside the default one.
    pub(super) spaces: Vec<&'static str>,
    /// `space/type/id` → object.
    pub(super) objects: BTreeMap<String, Value>,
    /// `space/id` → body.
    pub(super) rules: BTreeMap<String, Value>,
    /// Method and path of each request.
    pub(super) asked: Vec<String>,
}

/// A running fake; gone when dropped.
pub(super) struct Kibana {
    pub(super) url: String,
    pub(super) state: Arc<Mutex<State>>,
    _runtime: Runtime,
}

impl Kibana {
    pub(super) fn start(state: State) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let app = Router::new().fallback(
            move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| async move {
                let (status, answer) = shared
                    .lock()
                    .expect("no panic while held")
                    .answer(&method, &uri, &headers, &body);
                (
                    StatusCode::from_u16(status).expect("a status"),
                    answer.to_string(),
                )
            },
        );
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
}

fn refusal(status: u16, error: &str, message: &str) -> (u16, Value) {
    (
        status,
        json!({ "statusCode": status, "error": error, "message": message }),
    )
}

impl State {
    fn answer(
        &mut self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &[u8],
    ) -> (u16, Value) {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        self.asked.push(format!("{method} {uri}"));
        if self.is_starting {
            return (
                503,
                json!({ "status": { "overall": { "level": "unavailable" } } }),
            );
        }
        if self.authorization.is_some() && header("authorization") != self.authorization.as_deref()
        {
            return refusal(
                401,
                "Unauthorized",
                "[security_exception]: unable to authenticate user",
            );
        }
        let (space, path) = match uri
            .path()
            .strip_prefix("/s/")
            .and_then(|rest| rest.split_once('/'))
        {
            Some((space, rest)) if self.spaces.contains(&space) => (space, format!("/{rest}")),
            Some(_) => return refusal(404, "Not Found", "Not Found"),
            None => ("default", uri.path().to_owned()),
        };
        if self.forbidden.is_some_and(|part| path.contains(part)) {
            return refusal(
                403,
                "Forbidden",
                "Unable to bulk_create dashboard,index-pattern,search",
            );
        }
        if method == Method::POST && header("kbn-xsrf").is_none() {
            return refusal(
                400,
                "Bad Request",
                "Request must contain a kbn-xsrf header.",
            );
        }
        match (method.as_str(), path.as_str()) {
            ("GET", "/api/status") => match self.version.unwrap_or("8.12.2") {
                "" => (
                    200,
                    json!({ "status": { "overall": { "level": "available" } } }),
                ),
                number => (
                    200,
                    json!({ "version": { "number": number }, "status": { "overall": { "level": "available" } } }),
                ),
            },
            ("POST", "/api/saved_objects/_import") => {
                let overwrites = uri.query() == Some("overwrite=true");
                self.import(
                    space,
                    overwrites,
                    header("content-type").unwrap_or_default(),
                    body,
                )
            }
            ("POST", path) => match path.strip_prefix("/api/alerting/rule/") {
                Some(id) => self.create_rule(space, id, body),
                None => refusal(404, "Not Found", "Not Found"),
            },
            _ => refusal(404, "Not Found", "Not Found"),
        }
    }

    fn import(
        &mut self,
        space: &str,
        overwrites: bool,
        content_type: &str,
        body: &[u8],
    ) -> (u16, Value) {
        let Some(boundary) = content_type.strip_prefix("multipart/form-data; boundary=") else {
            return refusal(415, "Unsupported Media Type", "Unsupported Media Type");
        };
        let Some(file) = file_in(body, boundary) else {
            return refusal(
                400,
                "Bad Request",
                "[request body.file]: expected value of type [Stream]",
            );
        };
        let Ok(objects) = file
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<Vec<Value>, _>>()
        else {
            return refusal(400, "Bad Request", "Unexpected token in JSON");
        };
        if objects.iter().any(|object| {
            object["typeMigrationVersion"]
                .as_str()
                .is_none_or(str::is_empty)
        }) {
            return refusal(
                500,
                "Internal Server Error",
                "An internal server error occurred.",
            );
        }
        let key = |kind: &Value, id: &Value| {
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            format!("{space}/{}/{}", text(kind), text(id))
        };
        let in_file: Vec<String> = objects
            .iter()
            .map(|object| key(&object["type"], &object["id"]))
            .collect();
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for object in &objects {
            let own = key(&object["type"], &object["id"]);
            let references = object["references"].as_array().expect("references");
            let missing: Vec<&Value> = references
                .iter()
                .filter(|each| {
                    let key = key(&each["type"], &each["id"]);
                    !in_file.contains(&key) && !self.objects.contains_key(&key)
                })
                .collect();
            let error = if self
                .poisoned
                .as_deref()
                .is_some_and(|id| object["id"] == id)
            {
                json!({ "type": "unknown", "statusCode": 400, "message": "definition for this key is missing" })
            } else if !missing.is_empty() {
                json!({ "type": "missing_references", "references": missing })
            } else if !overwrites && self.objects.contains_key(&own) {
                json!({ "type": "conflict" })
            } else {
                self.objects.insert(own, object.clone());
                Value::Null
            };
            let meta = json!({ "title": object["attributes"]["title"], "icon": "an icon" });
            let mut result = json!({ "type": object["type"], "id": object["id"], "meta": meta });
            if error.is_null() {
                results.push(result);
            } else {
                result["error"] = error;
                errors.push(result);
            }
        }
        let mut answer = json!({
            "success": errors.is_empty(), "successCount": results.len(), "warnings": [], "successResults": results,
        });
        if !errors.is_empty() {
            answer["errors"] = json!(errors);
        }
        (200, answer)
    }

    fn create_rule(&mut self, space: &str, id: &str, body: &[u8]) -> (u16, Value) {
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        if lengths != [8, 4, 4, 4, 12] {
            return refusal(
                400,
                "Bad Request",
                "Predefined IDs are not allowed unless the ID is a UUID",
            );
        }
        let body: Value = serde_json::from_slice(body).expect("JSON");
        if self.rules.contains_key(&format!("{space}/{id}")) {
            return refusal(
                409,
                "Conflict",
                &format!("Saved object [alert/{id}] conflict"),
            );
        }
        self.rules.insert(format!("{space}/{id}"), body.clone());
        (200, body)
    }
}

/// The part of a form that is called `file`, as a multipart reader finds it.
fn file_in<'b>(body: &'b [u8], boundary: &str) -> Option<&'b str> {
    let text = std::str::from_utf8(body).ok()?;
    let inner = text.strip_prefix(&format!("--{boundary}\r\n"))?;
    let inner = inner.strip_suffix(&format!("\r\n--{boundary}--\r\n"))?;
    let (head, file) = inner.split_once("\r\n\r\n")?;
    let is_file = head.contains("form-data; name=\"file\"; filename=") && !file.contains(boundary);
    is_file.then_some(file)
}
