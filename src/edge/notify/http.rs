//! One POST to a receiver, and what its answer means for the notice.
//!
//! | answer | the notice |
//! |---|---|
//! | 2xx | was told |
//! | 408, 425, 429, 5xx, none in time, no connection | is tried again, not before `Retry-After` |
//! | 3xx, 401, 403, 404, 405, 407, 410 | is tried again: somebody must mend the address or the credentials |
//! | other 4xx | is refused: the receiver will never take it |

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, StatusCode, Url};

use super::{Failure, Secret};
use crate::edge::now::now;

/// As for Elasticsearch: a second round the world, or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is read of an answer, for a person.
const ANSWER_BYTES_MAX: usize = 4 << 10;

/// … and what is shown of it.
const ANSWER_SHOWN: usize = 200;

/// Where to post, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// May hold a secret.
    pub url: Secret,
    /// Who we are.
    pub authorization: Authorization,
    /// Names and values of more headers.
    pub headers: Vec<(String, Secret)>,
    /// PEM file of the authority that signed the receiver's certificate, beside the public ones.
    pub ca: Option<PathBuf>,
    /// A receiver that has not answered for so long has failed.
    pub timeout: Duration,
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// Nobody in particular.
    None,
    /// A bearer token.
    Bearer(Secret),
    /// User and password.
    Basic(String, Secret),
}

/// A receiver.
#[derive(Debug)]
pub(super) struct Receiver {
    client: Client,
    url: Url,
}

impl Receiver {
    pub(super) fn open(target: &Target, path: &str) -> Result<Self, String> {
        let text = format!("{}{path}", target.url.0.trim_end_matches('/'));
        let url = if path.is_empty() {
            Url::parse(&target.url.0)
        } else {
            Url::parse(&text)
        };
        let url = url.map_err(|_| "its url is none".to_owned())?;
        let mut headers = HeaderMap::new();
        let secret = |text: &str| {
            let mut value = HeaderValue::from_str(text).map_err(|_| {
                "a header or token holds a character that no header may hold".to_owned()
            })?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        };
        for (name, value) in &target.headers {
            let name = reqwest::header::HeaderName::try_from(name.as_str())
                .map_err(|_| format!("`{name}` is no name for a header"))?;
            headers.insert(name, secret(&value.0)?);
        }
        match &target.authorization {
            Authorization::None => {}
            Authorization::Bearer(token) => {
                headers.insert(AUTHORIZATION, secret(&format!("Bearer {}", token.0))?);
            }
            Authorization::Basic(user, password) => {
                use base64::Engine as _;
                let both = base64::engine::general_purpose::STANDARD
                    .encode(format!("{user}:{}", password.0));
                headers.insert(AUTHORIZATION, secret(&format!("Basic {both}"))?);
            }
        }
        let mut builder = Client::builder()
            .default_headers(headers)
            .user_agent(concat!("modelbeat/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT.min(target.timeout))
            .timeout(target.timeout)
            // A notice goes where the file says, and nowhere else.
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = &target.ca {
            let cannot = |why: String| format!("ca {}: {why}", path.display());
            let pem = std::fs::read(path).map_err(|error| cannot(error.to_string()))?;
            let certificates = Certificate::from_pem_bundle(&pem)
                .map_err(|_| cannot("it holds no PEM certificate".to_owned()))?;
            for certificate in certificates {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let client = builder.build().map_err(|error| why(&error))?;
        Ok(Self { client, url })
    }

    /// Posts JSON. Returns what was answered, in words.
    pub(super) async fn post(&self, headers: HeaderMap, body: Vec<u8>) -> Result<String, Failure> {
        let request = self
            .client
            .post(self.url.clone())
            .headers(headers)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let answer = request.send().await;
        let mut answer = answer.map_err(|error| Failure::again(why(&error)))?;
        let status = answer.status();
        let after = answer.headers().get(RETRY_AFTER).and_then(wish);
        let mut bytes = Vec::new();
        // What it says is for a person; the status decides.
        while let Ok(Some(chunk)) = answer.chunk().await {
            bytes.extend_from_slice(&chunk);
            if bytes.len() >= ANSWER_BYTES_MAX {
                break;
            }
        }
        verdict(status, after, &bytes)
    }
}

fn verdict(status: StatusCode, after: Option<Duration>, body: &[u8]) -> Result<String, Failure> {
    let text = String::from_utf8_lossy(body);
    let text: String = text
        .trim()
        .chars()
        .take(ANSWER_SHOWN)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let said = if text.is_empty() {
        format!("status {status}")
    } else {
        format!("status {status}: {text}")
    };
    let why = match status.as_u16() {
        200..=299 => return Ok(said),
        300..=399 => format!("{said}; give the address it has moved to"),
        401 | 403 | 407 => format!("{said}; check the credentials"),
        404 | 405 | 410 => format!("{said}; check the url"),
        408 | 425 | 429 | 500..=599 => return Err(Failure::Again { why: said, after }),
        _ => return Err(Failure::Refused { why: said }),
    };
    Err(Failure::Again { why, after })
}

/// Seconds, or a date.
fn wish(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    let wait = date.timestamp().as_millisecond() - now().0;
    Some(Duration::from_millis(u64::try_from(wait).unwrap_or(0)))
}

/// The innermost cause, and never the URL: it may hold a secret.
fn why(error: &reqwest::Error) -> String {
    let mut innermost: Option<&dyn std::error::Error> = None;
    let mut cause = error.source();
    while let Some(next) = cause {
        innermost = Some(next);
        cause = next.source();
    }
    let what = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the request failed"
    };
    match innermost {
        Some(cause) if !error.is_timeout() => format!("{what}: {cause}"),
        _ => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, expect: Result<&str, (&str, bool)>) {
        let status = StatusCode::from_u16(status).unwrap();
        let seen = verdict(status, None, b"so\nbe it");
        let seen = match &seen {
            Ok(said) => Ok(said.as_str()),
            Err(failure) => Err((failure.why(), matches!(failure, Failure::Again { .. }))),
        };
        assert_eq!(seen, expect);
    }

    #[test]
    fn only_what_will_never_be_taken_is_refused() {
        check(202, Ok("status 202 Accepted: so be it"));
        check(503, Err(("status 503 Service Unavailable: so be it", true)));
        check(
            401,
            Err((
                "status 401 Unauthorized: so be it; check the credentials",
                true,
            )),
        );
        check(400, Err(("status 400 Bad Request: so be it", false)));
        check(
            302,
            Err((
                "status 302 Found: so be it; give the address it has moved to",
                true,
            )),
        );
    }

    #[test]
    fn a_wish_is_seconds_or_a_date() {
        let read = |text: &str| wish(&HeaderValue::from_str(text).unwrap());
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            read("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::ZERO),
            "a date in the past"
        );
        let far = read("Sat, 06 Nov 2094 08:49:37 GMT").unwrap();
        assert!(far > Duration::from_hours(24));
        assert_eq!(read("soon"), None);
    }
}
