//! Prepares a Kibana: data views, searches and dashboards through its import, alert rules through its alerting API.
//!
//! Driven by `modelbeat setup FILE --kibana URL`, after the cluster itself. Idempotent: objects keep their ids and are written
//! over, for they are ours; a rule that exists is left alone, for people set its threshold and its actions. The import answers
//! 200 also where some objects failed: each that did is a step of the report that says why, and the others are there.

mod answer;
mod objects;

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Certificate, Client, Method, Url};
use serde_json::Value;

use super::{Outcome, Report, Step};
use crate::edge::elastic::Credentials;
use answer::{Answer, Imported};

/// How to reach a Kibana.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its URL, with its base path if it has one.
    pub url: String,
    /// The space; `None`: the default one.
    pub space: Option<String>,
    /// Who we are.
    pub credentials: Credentials,
    /// PEM file of the authority that signed its certificate.
    pub ca: Option<PathBuf>,
}

/// Why Kibana cannot be set up. A refused object or rule is no error but a step of the report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is wrong.
    #[error("{0}")]
    Settings(String),
    /// No answer, and why.
    #[error("no answer from kibana at {url}: {why}")]
    Unanswered {
        /// Without user and password.
        url: String,
        /// The innermost cause, and what to look at.
        why: String,
    },
    /// It is older than what the objects are written for.
    #[error(
        "kibana at {url} is version {version}; the dashboards need 8.12 or newer: upgrade it, or run setup without --kibana"
    )]
    TooOld {
        /// Without user and password.
        url: String,
        /// `8.11.4`
        version: String,
    },
    /// An answer, but not the one asked for.
    #[error("kibana refused to {doing} (status {status}): {why}{hint}")]
    Refused {
        /// "say its version"
        doing: &'static str,
        /// HTTP status.
        status: u16,
        /// Kibana's words.
        why: String,
        /// What to do about it; begins with "; " or is empty.
        hint: &'static str,
    },
}

/// The first version whose import is known to take the objects.
const OLDEST: (u32, u32) = (8, 12);

/// Importing takes Kibana a second or two; a migration after an upgrade holds it up for longer.
const TIMEOUT: Duration = Duration::from_mins(2);

/// As for Elasticsearch: a second round the world, or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Between the parts of a form; does not occur in the objects, which are JSON without raw line breaks.
const BOUNDARY: &str = "modelbeat-5f2b8c1e94d7";

/// Imports the objects and creates the rules for indices that begin with `prefix`; `window` is the length that the
/// dashboards show at first; `None`: all of the pipeline's windows overlap, which those panels leave out.
pub async fn run(settings: &Settings, prefix: &str, window: Option<&str>) -> Result<Report, Error> {
    let kibana = Kibana::open(settings)?;
    kibana.check_version().await?;
    let mut report = kibana.import(objects::dashboards(prefix, window)).await?;
    if window.is_none() {
        report.steps.push(Step {
            what: "panels over windows".to_owned(),
            outcome: Outcome::Skipped(
                "they stay empty for this pipeline: all of its windows overlap, so that sums would count a prediction \
                 several times; add one without `every` under windows"
                    .to_owned(),
            ),
        });
    }
    for rule in objects::rules(prefix, window, &kibana.space) {
        report.steps.push(kibana.create_rule(rule).await);
    }
    Ok(report)
}

/// A way to a Kibana.
struct Kibana {
    client: Client,
    /// As shown: without user, password and a slash at its end.
    url: String,
    /// `/s/NAME`, or nothing for the default space.
    space: String,
}

impl Kibana {
    fn open(settings: &Settings) -> Result<Self, Error> {
        let wrong = |why: String| Error::Settings(format!("--kibana: {why}"));
        let (url, inline) = base_url(&settings.url).map_err(wrong)?;
        let space = match settings.space.as_deref() {
            None | Some("" | "default") => String::new(),
            Some(space) if is_space(space) => format!("/s/{space}"),
            Some(space) => {
                return Err(Error::Settings(format!(
                    "--kibana-space: `{space}` is no identifier of a space: give what its URL shows behind /s/, lower-case \
                     letters, digits, `-` and `_`"
                )));
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert("kbn-xsrf", HeaderValue::from_static("modelbeat"));
        let credentials = inline.as_ref().unwrap_or(&settings.credentials);
        if let Some(authorization) = authorization(credentials) {
            let mut value = HeaderValue::from_str(&authorization).map_err(|_| {
                wrong("the api key holds a character that no header may hold".into())
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut builder = Client::builder()
            .default_headers(headers)
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirect is a wrong base path or a login page: say so instead of posting to it.
            .redirect(reqwest::redirect::Policy::none());
        if let Some(ca) = &settings.ca {
            let wrong = |why: String| {
                Error::Settings(format!(
                    "cannot use the authority {}: {why}; it must be a PEM file (BEGIN CERTIFICATE)",
                    ca.display()
                ))
            };
            let pem = std::fs::read(ca).map_err(|error| wrong(error.to_string()))?;
            let authorities =
                Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
            if authorities.is_empty() {
                return Err(wrong("there is no certificate in it".to_owned()));
            }
            builder = authorities
                .into_iter()
                .fold(builder, reqwest::ClientBuilder::add_root_certificate);
        }
        let client = builder
            .build()
            .map_err(|error| wrong(format!("cannot set up a client: {}", innermost(&error))))?;
        Ok(Self { client, url, space })
    }

    /// Asks before anything is changed.
    async fn check_version(&self) -> Result<(), Error> {
        let answer = self
            .send(
                Method::GET,
                "/api/status",
                "application/json",
                String::new(),
            )
            .await?;
        let doing = "say its version";
        // While it starts, or its cluster is away, it says so with 503, and would take nothing.
        if !(200..300).contains(&answer.status) {
            return Err(answer.refused(doing));
        }
        let status: Value =
            serde_json::from_slice(&answer.body).map_err(|_| answer.of_another(doing))?;
        // Who is not logged in is told the level only; what is missing then, the import says.
        let Some(version) = status["version"]["number"].as_str() else {
            return Ok(());
        };
        if release(version).is_some_and(|release| release < OLDEST) {
            return Err(Error::TooOld {
                url: self.url.clone(),
                version: version.to_owned(),
            });
        }
        Ok(())
    }

    async fn import(&self, objects: String) -> Result<Report, Error> {
        let path = format!("{}/api/saved_objects/_import?overwrite=true", self.space);
        let form = format!("multipart/form-data; boundary={BOUNDARY}");
        let body = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"dashboards.ndjson\"\r\n\
             Content-Type: application/ndjson\r\n\r\n{objects}\r\n--{BOUNDARY}--\r\n"
        );
        let answer = self.send(Method::POST, &path, &form, body).await?;
        let doing = "import the dashboards";
        if answer.status != 200 {
            return Err(answer.refused(doing));
        }
        let imported: Imported =
            serde_json::from_slice(&answer.body).map_err(|_| answer.of_another(doing))?;
        if !imported.is_explained() {
            return Err(answer.refused(doing));
        }
        Ok(imported.report())
    }

    async fn create_rule(&self, rule: objects::Rule) -> Step {
        let path = format!("{}/api/alerting/rule/{}", self.space, rule.id);
        let asked = self
            .send(Method::POST, &path, "application/json", rule.body)
            .await;
        let outcome = match asked {
            Ok(answer) => match answer.status {
                200..=299 => Outcome::Installed,
                // It is there, perhaps with other thresholds.
                409 => Outcome::Unchanged,
                // Dashboards are of use without rules.
                403 | 404 => Outcome::Skipped(format!(
                    "{}; rules need the kibana privilege \"Stack Rules: All\"",
                    answer.words()
                )),
                status => Outcome::Failed(format!("status {status}: {}", answer.words())),
            },
            Err(error) => Outcome::Failed(error.to_string()),
        };
        Step {
            what: format!("alert rule {} (switched off)", rule.name),
            outcome,
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: String,
    ) -> Result<Answer, Error> {
        let lost = |error: reqwest::Error| Error::Unanswered {
            url: self.url.clone(),
            why: why_lost(&error),
        };
        let response = self
            .client
            .request(method, format!("{}{path}", self.url))
            .header(CONTENT_TYPE, content_type)
            .body(body)
            .send()
            .await
            .map_err(lost)?;
        let location = response.headers().get(LOCATION);
        Ok(Answer {
            status: response.status().as_u16(),
            location: location
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
            body: response.bytes().await.map_err(lost)?.to_vec(),
        })
    }
}

/// The URL as shown, and the user and password that stood in it.
fn base_url(text: &str) -> Result<(String, Option<Credentials>), String> {
    let wrong = |why: &str| format!("this is no URL of a kibana: {why}; write https://name:5601");
    let mut url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it begins neither with http:// nor with https://"));
    }
    let user = url.username().to_owned();
    let password = url.password().unwrap_or_default().to_owned();
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err(wrong("it names no host"));
    }
    url.set_query(None);
    url.set_fragment(None);
    let inline = (!user.is_empty()).then_some(Credentials::Basic(user, password));
    Ok((url.as_str().trim_end_matches('/').to_owned(), inline))
}

/// Kibana's rule for identifiers of spaces.
fn is_space(space: &str) -> bool {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    space.bytes().all(is_allowed)
}

fn authorization(credentials: &Credentials) -> Option<String> {
    match credentials {
        Credentials::None => None,
        Credentials::Basic(user, password) => Some(format!(
            "Basic {}",
            BASE64.encode(format!("{user}:{password}"))
        )),
        Credentials::ApiKey(key) => {
            let key = key.trim();
            let encoded = if key.contains(':') {
                BASE64.encode(key)
            } else {
                key.to_owned()
            };
            Some(format!("ApiKey {encoded}"))
        }
    }
}

/// `8.12.2`, `9.1.0-SNAPSHOT` → (8, 12), (9, 1)
fn release(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn why_lost(error: &reqwest::Error) -> String {
    let why = innermost(error);
    let hint = if error.is_timeout() {
        "is it overloaded, or does a firewall swallow the connection?"
    } else if why.contains("certificate") {
        "give --kibana-ca the authority that signed its certificate"
    } else if error.is_connect() {
        "is kibana running there, and are address, port and http or https right?"
    } else {
        "does it expect https?"
    };
    format!("{why}; {hint}")
}

fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
