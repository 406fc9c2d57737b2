//! Why there was no answer, in words that say what, where, why and what to do.

use std::error::Error as StdError;
use std::time::Duration;
use std::{fmt, io};

use rustls::CertificateError;

use super::hosts::Host;
use crate::edge::ship::Unanswered;

/// A request that got no answer.
#[derive(Debug)]
pub(super) struct Lost {
    /// In words.
    pub(super) unanswered: Unanswered,
    /// False: there was no connection, and nothing can have been sent.
    pub(super) was_connected: bool,
}

/// The client's error.
pub(super) fn classify(error: &elasticsearch::Error, host: &Host, timeout: Duration) -> Lost {
    let request = chain(error).find_map(|cause| cause.downcast_ref::<reqwest::Error>());
    Lost {
        was_connected: !request.is_some_and(reqwest::Error::is_connect),
        unanswered: explain(error, request, host, timeout),
    }
}

fn explain(
    error: &elasticsearch::Error,
    request: Option<&reqwest::Error>,
    host: &Host,
    timeout: Duration,
) -> Unanswered {
    if let Some(error) = chain(error).find_map(tls) {
        return distrust(error, host);
    }
    if request.is_some_and(reqwest::Error::is_timeout) {
        return Unanswered::Late(format!(
            "no answer from {host} within {timeout:?}; is it overloaded, or does a firewall swallow the connection?"
        ));
    }
    if let Some(error) = chain(error).find_map(|cause| cause.downcast_ref::<io::Error>())
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        return not_connected(error, host).unanswered;
    }
    let words: Vec<String> = chain(error).map(ToString::to_string).collect();
    let why = words.last().map_or("", String::as_str);
    if words.iter().any(|word| word.contains("dns error")) {
        return not_found(&why, host).unanswered;
    }
    let hint = if host.url.scheme() == "http" && request.is_some_and(reqwest::Error::is_request) {
        "; if it expects TLS, write https://"
    } else {
        ""
    };
    Unanswered::Unreachable(format!("the connection to {host} broke off: {why}{hint}"))
}

/// No address for its name.
pub(super) fn not_found(why: &impl fmt::Display, host: &Host) -> Lost {
    no_connection(format!(
        "cannot find the host of {host}: {why}; check its name in output.elasticsearch.hosts, and this machine's DNS"
    ))
}

/// No connection to its address.
pub(super) fn not_connected(error: &io::Error, host: &Host) -> Lost {
    no_connection(if error.kind() == io::ErrorKind::ConnectionRefused {
        format!(
            "{host} refuses the connection; is elasticsearch running there, and the port right?"
        )
    } else {
        format!(
            "no connection to {host}: {error}; check its address in output.elasticsearch.hosts, and the network between"
        )
    })
}

/// Neither a connection nor a refusal.
pub(super) fn swallowed(host: &Host, after: Duration) -> Lost {
    no_connection(format!(
        "no connection to {host} within {after:?}; is the host up, or does a firewall swallow the connection?"
    ))
}

fn no_connection(words: String) -> Lost {
    Lost {
        unanswered: Unanswered::Unreachable(words),
        was_connected: false,
    }
}

fn distrust(error: &rustls::Error, host: &impl fmt::Display) -> Unanswered {
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

#[cfg(test)]
mod tests {
    use rustls_pki_types::ServerName;

    use super::*;

    fn check(error: CertificateError, expected: &str) {
        let said = distrust(
            &rustls::Error::InvalidCertificate(error),
            &"https://es:9200",
        )
        .to_string();
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
