//! The Transport on the official client; the only room that names it.
//!
//! Several hosts are asked in turn, and one that does not answer is passed over for a while. Certificates are always
//! checked: against the public authorities and, where given, the pipeline file's own. Bodies are compressed here, with
//! gzip level 1: the client's own compression is level 6, which costs four times the time (3.8 against 1.0 µs a document) for
//! a tenth fewer bytes, and would do it on the async thread.
//!
//! The client offers no time-out for connecting alone, so a host that has not answered for a while is knocked at first: one
//! that swallows packets costs `knock::CONNECT_TIMEOUT`, not that of a request, and the next one is asked at once. A connection that
//! died without a word (a firewall forgot it, a host lost its power) is found out by the client's TCP keep-alive, 15 s and three
//! probes, or, when something is written to it, by its user time-out of 30 s; one that is idle for 90 s is closed.

mod faults;
mod hosts;
mod knock;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use elasticsearch::auth::Credentials as ClientCredentials;
use elasticsearch::cert::{Certificate, CertificateValidation};
pub(crate) use elasticsearch::http::Method;
use elasticsearch::http::Url;
use elasticsearch::http::headers::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER,
};
use elasticsearch::http::transport::{SingleNodeConnectionPool, TransportBuilder};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Deserialize;

use crate::edge::ship::{Reply, Transport, Unanswered};
use crate::flow::bulk::{Explanation, explain};
use faults::Lost;
use hosts::{Host, Hosts};
use knock::{is_behind_a_proxy, knock};

/// The usual time-out. A bulk request waits a minute for its shards at most; then it answers, or never will.
pub const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// `output.elasticsearch`: how to reach the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// URLs; tried in turn.
    pub hosts: Vec<String>,
    /// Who we are.
    pub credentials: Credentials,
    /// PEM file of the authority that signed the cluster's certificate.
    pub ca: Option<PathBuf>,
    /// gzip request bodies.
    pub compress: bool,
    /// A request that is not answered so long after it was begun has failed.
    pub timeout: Duration,
}

/// Who we are to the cluster.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Security is off.
    None,
    /// `id:api_key`, or its base64 as Kibana shows it ("encoded").
    ApiKey(String),
    /// User and password.
    Basic(String, String),
}

impl std::fmt::Debug for Credentials {
    /// Never prints a secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::None => "None",
            Self::ApiKey(_) => "ApiKey(…)",
            Self::Basic(..) => "Basic(…)",
        })
    }
}

/// Why the cluster cannot be used as it stands.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pipeline file is wrong: do not start.
    #[error("output.elasticsearch: {0}")]
    Settings(String),
    /// No answer, and why.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// An answer, but not the one asked for.
    #[error("elasticsearch refused to {doing} (status {status}): {why}{hint}")]
    Refused {
        /// What was asked: "install the index template …".
        doing: String,
        /// HTTP status.
        status: u16,
        /// The cluster's words; they name the privilege where one is missing.
        why: Explanation,
        /// What to do about it; begins with "; " or is empty.
        hint: &'static str,
    },
}

impl Error {
    /// An answer with an error status, in words.
    pub(crate) fn refused(doing: impl Into<String>, reply: &Reply) -> Self {
        Self::Refused {
            doing: doing.into(),
            status: reply.status,
            why: explain(&reply.body),
            hint: match reply.status {
                401 => {
                    "; check api_key, or username and password, under output.elasticsearch, and that the key is neither expired nor invalidated"
                }
                403 => "; grant the user or API key one of the privileges named",
                404 | 405 => {
                    "; does output.elasticsearch.hosts name an elasticsearch, and no path too many?"
                }
                _ => "",
            },
        }
    }
}

/// A way to the cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Elastic {
    hosts: Hosts,
    compress: bool,
    timeout: Duration,
    /// What is behind a proxy cannot be knocked at from here.
    knocks: bool,
}

/// What answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name; empty where we may not see it.
    pub name: String,
    /// `8.19.8`; `None`: the credentials are right, but lack the privilege `monitor`, which shipping does not need.
    pub version: Option<String>,
    /// `default`, `serverless`, or `opensearch`.
    pub flavour: String,
}

impl Elastic {
    /// Reads the CA file and checks the settings; connects to nothing yet.
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        let mut credentials = credentials(&settings.credentials)?;
        let mut urls = Vec::new();
        for host in &settings.hosts {
            let (url, inline) = url(host)?;
            credentials = credentials.or(inline);
            urls.push(url);
        }
        let validation = match &settings.ca {
            Some(ca) => Some(authority(ca)?),
            None => None,
        };
        let mut hosts = Vec::new();
        for url in urls {
            let pool = SingleNodeConnectionPool::new(url.clone());
            let mut builder = TransportBuilder::new(pool).timeout(settings.timeout);
            if let Some(credentials) = &credentials {
                builder = builder.auth(credentials.clone());
            }
            if let Some(authority) = &validation {
                let authority = Certificate::from_pem(authority)
                    .map_err(|error| Error::Settings(format!("cannot use ca: {error}")))?;
                builder = builder.cert_validation(CertificateValidation::Full(authority));
            }
            let client = builder.build().map_err(|error| {
                Error::Settings(format!(
                    "cannot set up the client: {error}; is ca a whole PEM certificate?"
                ))
            })?;
            hosts.push((url, client));
        }
        Ok(Self {
            hosts: Hosts::new(hosts).ok_or_else(|| {
                Error::Settings("hosts is empty; give at least one URL".to_owned())
            })?,
            compress: settings.compress,
            timeout: settings.timeout,
            knocks: !is_behind_a_proxy(),
        })
    }

    /// Asks who is there.
    pub async fn probe(&self) -> Result<Cluster, Error> {
        let reply = self.request(Method::Get, "/", None).await?;
        match reply.status {
            200..=299 => cluster(&reply.body).ok_or_else(|| Error::Refused {
                doing: "say its version".to_owned(),
                status: reply.status,
                why: explain(&reply.body),
                hint: "; does output.elasticsearch.hosts name an elasticsearch?",
            }),
            // The cluster knows the key, and the key may do no more than write: all that shipping needs.
            403 if explain(&reply.body).kind == "security_exception" => Ok(Cluster {
                name: String::new(),
                version: None,
                flavour: "default".to_owned(),
            }),
            _ => Err(Error::refused("say its version", &reply)),
        }
    }

    /// Sends any request, with a JSON body, and waits for the answer, whatever its status.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Reply, Unanswered> {
        self.send(method, path, HeaderMap::new(), body.map(Bytes::from))
            .await
    }

    /// Asks the hosts in turn, until one is there.
    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Reply, Unanswered> {
        let mut hosts = self.hosts.in_turn().peekable();
        while let Some(host) = hosts.next() {
            let asked = self
                .ask(host, method, path, headers.clone(), body.clone())
                .await;
            match asked {
                Ok(reply) => {
                    self.hosts.answered(host);
                    return Ok(reply);
                }
                Err(lost) => {
                    self.hosts.pass_over(host, &lost.unanswered);
                    // Where there was no connection, nothing was sent: the next host may be asked at once. An answer that is
                    // missing is another matter: too many of those are what the pace is for.
                    if lost.was_connected || hosts.peek().is_none() {
                        return Err(lost.unanswered);
                    }
                }
            }
        }
        Err(Unanswered::Unreachable(
            "there is no host to ask".to_owned(),
        ))
    }

    async fn ask(
        &self,
        host: &Host,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Reply, Lost> {
        if self.knocks && !host.is_there() {
            knock(host, self.timeout).await?;
        }
        let lost = |error| faults::classify(&error, host, self.timeout);
        let response = host
            .client
            .send(method, path, headers, None::<&()>, body, None)
            .await
            .map_err(lost)?;
        let status = response.status_code().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let body = response.bytes().await.map_err(lost)?;
        Ok(Reply {
            status,
            retry_after,
            body,
        })
    }
}

/// The whole answer of an item that went well is `{"create":{"status":201}}`; items keep their order and their number.
const BULK: &str = "_bulk?filter_path=took,errors,items.*.status,items.*.error";

impl Transport for Elastic {
    async fn bulk(&self, body: Bytes) -> Result<Reply, Unanswered> {
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-ndjson"),
        );
        let body = if self.compress {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            compressed(body).await?
        } else {
            // Who wants no compression is near: spare the cluster the work as well.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            body
        };
        self.send(Method::Post, BULK, headers, Some(body)).await
    }
}

/// Off the async threads: 4 MiB take some ten milliseconds.
async fn compressed(body: Bytes) -> Result<Bytes, Unanswered> {
    let compress = move || {
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::new(1));
        encoder.write_all(&body)?;
        encoder.finish()
    };
    match tokio::task::spawn_blocking(compress).await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(error)) => Err(Unanswered::Unreachable(format!(
            "cannot compress a request: {error}"
        ))),
        Err(error) => Err(Unanswered::Unreachable(format!(
            "cannot compress a request: {error}"
        ))),
    }
}

/// The PEM file's text, which is known to hold a certificate.
fn authority(ca: &Path) -> Result<Vec<u8>, Error> {
    let wrong = |why: String| {
        let path = ca.display();
        Error::Settings(format!(
            "cannot use ca {path}: {why}; it must be a PEM file (BEGIN CERTIFICATE)"
        ))
    };
    let pem = std::fs::read(ca).map_err(|error| wrong(error.to_string()))?;
    Certificate::from_pem(&pem).map_err(|error| wrong(error.to_string()))?;
    Ok(pem)
}

fn credentials(credentials: &Credentials) -> Result<Option<ClientCredentials>, Error> {
    match credentials {
        Credentials::None => Ok(None),
        Credentials::Basic(user, password) => {
            Ok(Some(ClientCredentials::Basic(user.clone(), password.clone())))
        }
        Credentials::ApiKey(key) => match key.trim().split_once(':') {
            Some((id, key)) => Ok(Some(ClientCredentials::ApiKey(id.to_owned(), key.to_owned()))),
            // It becomes a header as it is.
            None if is_base64(key.trim()) => {
                Ok(Some(ClientCredentials::EncodedApiKey(key.trim().to_owned())))
            }
            None => Err(Error::Settings(
                "api_key is neither `id:api_key` nor the base64 text that Kibana shows as \"encoded\"".to_owned(),
            )),
        },
    }
}

fn is_base64(text: &str) -> bool {
    let is_in_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
    !text.is_empty() && text.bytes().all(is_in_alphabet)
}

/// A host's URL, and the user and password in it, which must not stay there: they would be sent twice, and logged.
fn url(host: &str) -> Result<(Url, Option<ClientCredentials>), Error> {
    let wrong = |why: &str| {
        Error::Settings(format!(
            "hosts: `{host}` is no URL of a host: {why}; write https://name:9200"
        ))
    };
    let mut url = Url::parse(host).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it begins neither with http:// nor with https://"));
    }
    let user = url.username().to_owned();
    let password = url.password().unwrap_or_default().to_owned();
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err(wrong("it names a user, but no host"));
    }
    let inline = (!user.is_empty()).then_some(ClientCredentials::Basic(user, password));
    Ok((url, inline))
}

fn cluster(body: &[u8]) -> Option<Cluster> {
    #[derive(Deserialize)]
    struct Info {
        cluster_name: String,
        version: Version,
    }
    #[derive(Deserialize)]
    struct Version {
        number: String,
        #[serde(default)]
        build_flavor: Option<String>,
        #[serde(default)]
        distribution: Option<String>,
    }
    let info: Info = serde_json::from_slice(body).ok()?;
    let Version {
        number,
        build_flavor,
        distribution,
    } = info.version;
    Some(Cluster {
        name: info.cluster_name,
        version: Some(number),
        flavour: distribution
            .or(build_flavor)
            .unwrap_or_else(|| "default".to_owned()),
    })
}
