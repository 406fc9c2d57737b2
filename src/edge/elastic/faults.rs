//! Why there was no answer, in words that say what, where, why and what to do.

use std::error::Error as StdError;
use std::io;

use elasticsearch::http::Url;
use rustls::CertificateError;

use super::REQUEST_TIMEOUT;
use crate::edge::ship::Unanswered;

/// A request that got no answer.
pub(super) struct Fault {
    /// In words.
    pub(super) unanswered: Unanswered,
    /// Which host, where the client knows.
    pub(super) url: Option<Url>,
}

/// `hosts`: what to call the cluster when the client does not say which host it was.
pub(super) fn classify(error: &elasticsearch::Error, hosts: &str) -> Fault {
    let request = chain(error).find_map(|cause| cause.downcast_ref::<reqwest::Error>());
    let url = request.and_then(reqwest::Error::url).cloned();
    let host = match &url {
        Some(url) => origin(url),
        None => hosts.to_owned(),
    };
    Fault {
        unanswered: explain(error, request, &host),
        url,
    }
}

fn explain(
    error: &elasticsearch::Error,
    request: Option<&reqwest::Error>,
    host: &str,
) -> Unanswered {
    if let Some(error) = chain(error).find_map(tls) {
        return distrust(error, host);
    }
    if request.is_some_and(reqwest::Error::is_timeout) {
        let seconds = REQUEST_TIMEOUT.as_secs();
        return Unanswered::Unreachable(format!(
            "no answer from {host} within {seconds} s; is it overloaded, or does a firewall swallow the connection?"
        ));
    }
    let kind = chain(error).find_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind()));
    if kind == Some(io::ErrorKind::ConnectionRefused) {
        return Unanswered::Unreachable(format!(
            "{host} refuses the connection; is elasticsearch running there, and the port right?"
        ));
    }
    let words: Vec<String> = chain(error).map(ToString::to_string).collect();
    if words.iter().any(|word| word.contains("dns error")) {
        let why = words.last().map_or("", String::as_str);
        return Unanswered::Unreachable(format!(
            "cannot find the host of {host}: {why}; check its name in output.elasticsearch.hosts, and this machine's DNS"
        ));
    }
    let why = words.last().map_or("", String::as_str);
    let hint = if host.starts_with("http:") && request.is_some_and(reqwest::Error::is_request) {
        "; if it expects TLS, write https://"
    } else {
        ""
    };
    Unanswered::Unreachable(format!("the connection to {host} broke off: {why}{hint}"))
}

fn distrust(error: &rustls::Error, host: &str) -> Unanswered {
    let what_to_do = match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is signed by an authority that is not trusted here (unknown issuer); give that authority's \
             certificate (PEM) as output.elasticsearch.ca"
                .to_owned()
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            expected,
            presented,
        }) => format!(
            "its certificate is not made out to `{}` but to {}; write one of these names in output.elasticsearch.hosts, or \
             renew the certificate",
            expected.to_str(),
            names(presented)
        ),
        rustls::Error::InvalidCertificate(CertificateError::NotValidForName) => {
            "its certificate is made out to another name; write that name in output.elasticsearch.hosts".to_owned()
        }
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "its certificate has expired; renew it, or set this machine's clock right".to_owned(),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "its certificate is not valid yet; set this machine's clock right".to_owned(),
        rustls::Error::InvalidMessage(_) => {
            format!("what answers does not speak TLS ({error}); if it is meant so, write http://")
        }
        error => format!("{error}; check the certificates of the cluster and output.elasticsearch.ca"),
    };
    Unanswered::Distrusted(format!("no secure connection to {host}: {what_to_do}"))
}

/// `DnsName("localhost")`, as the certificate's reader has it, reads `localhost`.
fn names(presented: &[String]) -> String {
    let name = |text: &String| {
        let inner = text
            .split_once('(')
            .map_or(text.as_str(), |(_, inner)| inner);
        inner.trim_matches([')', '"']).to_owned()
    };
    presented.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// An error and its causes; an [`io::Error`] hides one that `source` skips.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>() {
            Some(error) => error
                .get_ref()
                .map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}

fn tls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    error.downcast_ref()
}

/// `https://name:9200`: no path, and no query.
fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::ServerName;

    use super::*;

    fn check(error: CertificateError, expected: &str) {
        let said =
            distrust(&rustls::Error::InvalidCertificate(error), "https://es:9200").to_string();
        assert!(said.contains(expected), "{said}");
    }

    #[test]
    fn each_fault_of_a_certificate_has_its_way_out() {
        check(
            CertificateError::UnknownIssuer,
            "give that authority's certificate (PEM) as output.elasticsearch.ca",
        );
        check(CertificateError::Expired, "has expired");
        check(
            CertificateError::NotValidYet,
            "set this machine's clock right",
        );
        let wrong_name = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("es").unwrap(),
            // As Elasticsearch's own certificate tool fills it.
            presented: vec![
                "DnsName(\"localhost\")".to_owned(),
                "IpAddress(127.0.0.1)".to_owned(),
            ],
        };
        check(
            wrong_name,
            "not made out to `es` but to localhost, 127.0.0.1; write one of these",
        );
        check(
            CertificateError::Revoked,
            "check the certificates of the cluster",
        );
    }
}
