//! `output:`: Elasticsearch, files, or both.

use std::time::Duration;

use reqwest::Url;

use crate::config::item::Item;
use crate::config::section::Section;
use crate::config::values::{self, Complaint};
use crate::config::{INDEX_PREFIX, existing_file};
use crate::edge::elastic::{self, Credentials};
use crate::edge::{ship, write};

const HOSTS_MAX: usize = 64;

/// Where documents go.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) elasticsearch: Option<(elastic::Settings, ship::Settings)>,
    pub(super) file: Option<write::Settings>,
    pub(super) index_prefix: String,
}

pub(super) fn read(mut section: Section<'_>) -> Option<Output> {
    let elasticsearch = section.get("elasticsearch");
    let file = section.get("file");
    if elasticsearch.is_none() && file.is_none() {
        section.fault(
            "`output` says nowhere to write to",
            "add `elasticsearch:` or `file:`",
        );
    }
    section.finish();
    let elasticsearch = elasticsearch.map(|item| item.section().and_then(cluster));
    let file = file.map(|item| item.section().and_then(folder));
    // An outer `Some` means the key is there, an inner `None` that its faults are reported.
    if matches!(elasticsearch, Some(None)) || matches!(file, Some(None)) {
        return None;
    }
    let (elasticsearch, index_prefix) = match elasticsearch.flatten() {
        Some((settings, ship, index_prefix)) => (Some((settings, ship)), index_prefix),
        None => (None, INDEX_PREFIX.to_owned()),
    };
    Some(Output {
        elasticsearch,
        file: file.flatten(),
        index_prefix,
    })
}

fn folder(mut section: Section<'_>) -> Option<write::Settings> {
    let path = section.require("path").and_then(Item::text);
    section.finish();
    Some(write::Settings { path: path?.into() })
}

fn cluster(mut section: Section<'_>) -> Option<(elastic::Settings, ship::Settings, String)> {
    let hosts_item = section.require("hosts");
    let hosts = hosts_item.clone().and_then(|item| item.list(HOSTS_MAX));
    let hosts: Option<Vec<Url>> = hosts.map(|items| {
        items
            .into_iter()
            .filter_map(|item| item.parse("a URL", url))
            .collect()
    });
    let credentials = credentials(&mut section);
    let ca = section.get("ca");
    let index_prefix = section
        .get("index_prefix")
        .and_then(|item| item.parse("a prefix", index_prefix));
    let compress = section
        .get("compression")
        .and_then(|item| item.one_of(&[("gzip", true), ("none", false)]));
    let timeout = section
        .get("timeout")
        .and_then(|item| item.duration(Duration::from_secs(1)..=Duration::from_mins(10)));
    let bulk = section
        .get("bulk")
        .and_then(Item::section)
        .map(bulk)
        .unwrap_or_default();
    let spool_item = section.get("spool");
    let spool = spool_item
        .clone()
        .and_then(|item| item.parse("a size", spool_bytes));
    section.finish();

    let bulk = ship::Settings {
        spool_bytes_max: spool.unwrap_or(0),
        ..bulk
    };
    let in_flight = bulk.bulk_bytes.saturating_mul(bulk.requests_max) as u64;
    if let Some(item) = spool_item.filter(|_| (1..in_flight).contains(&bulk.spool_bytes_max)) {
        item.warn(
            "`spool` may be too small for what is in flight, and is then of no use",
            "make it larger than `bulk.bytes` times `bulk.requests`",
        );
    }
    let plain = |url: &&Url| url.scheme() == "http";
    if let (Some(item), Some(hosts)) = (&hosts_item, &hosts) {
        if credentials != Credentials::None && hosts.iter().filter(plain).any(|url| !is_local(url))
        {
            item.warn("the password or API key travels unencrypted", "use https");
        }
        if let Some(ca) = ca.as_ref().filter(|_| hosts.iter().all(|url| plain(&url))) {
            ca.warn(
                "`ca` is not used: no host is https",
                "use https, or leave `ca` out",
            );
        }
    }
    let ca = ca.map(existing_file);
    if matches!(ca, Some(None)) {
        return None;
    }
    let hosts = hosts?
        .into_iter()
        .map(|url| url.as_str().trim_end_matches('/').to_owned())
        .collect();
    let settings = elastic::Settings {
        hosts,
        credentials,
        ca: ca.flatten(),
        compress: compress.unwrap_or(true),
        timeout: timeout.unwrap_or(elastic::REQUEST_TIMEOUT),
    };
    Some((
        settings,
        bulk,
        index_prefix.unwrap_or_else(|| INDEX_PREFIX.to_owned()),
    ))
}

/// An API key, or user and password; never both, never a half.
fn credentials(section: &mut Section<'_>) -> Credentials {
    let api_key = section.get("api_key");
    let username = section.get("username");
    let password = section.get("password");
    if let (Some(item), Some(_)) = (&api_key, username.as_ref().or(password.as_ref())) {
        item.fault(
            "both an API key and a user or password",
            "keep one way to sign in",
        );
    }
    match (&username, &password) {
        (Some(item), None) => item.fault(
            "`username` without `password`",
            "add `password: ${ES_PASSWORD}`",
        ),
        (None, Some(item)) => item.fault("`password` without `username`", "add `username:`"),
        _ => {}
    }
    let (api_key, username, password) = (
        api_key.and_then(Item::secret),
        username.and_then(Item::text),
        password.and_then(Item::secret),
    );
    match (api_key, username, password) {
        (Some(key), ..) => Credentials::ApiKey(key),
        (None, Some(user), Some(password)) => Credentials::Basic(user, password),
        _ => Credentials::None,
    }
}

fn bulk(mut section: Section<'_>) -> ship::Settings {
    let default = ship::Settings::default();
    // Elasticsearch refuses more than 100 MB (http.max_content_length) unless told otherwise.
    let bytes = section
        .get("bytes")
        .and_then(|item| item.size(64 << 10..=100 << 20));
    let flush = section
        .get("flush")
        .and_then(|item| item.duration(Duration::from_millis(10)..=Duration::from_mins(1)));
    let requests = section
        .get("requests")
        .and_then(|item| item.integer(1..=64));
    section.finish();
    ship::Settings {
        bulk_bytes: bytes
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(default.bulk_bytes),
        flush_after: flush.unwrap_or(default.flush_after),
        requests_max: requests
            .and_then(|requests| usize::try_from(requests).ok())
            .unwrap_or(default.requests_max),
        spool_bytes_max: default.spool_bytes_max,
    }
}

/// `0` for none, or a size: a smaller one than 1 MiB holds too little to be worth a file.
pub(super) fn spool_bytes(text: &str) -> Result<u64, Complaint> {
    if text == "0" {
        return Ok(0);
    }
    values::size(text, 1 << 20..=1 << 50)
}

fn url(text: &str) -> Result<Url, Complaint> {
    let help = "write http:// or https://, a host and a port, such as https://es.example:9200";
    let url = values::url(text, help, "write them as `username:` and `password:`")?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Complaint::new("has a query or fragment", help));
    }
    Ok(url)
}

pub(super) fn is_local(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.parse()
                .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        }
        None => false,
    }
}

/// What Elasticsearch allows in index names, with room for what is put behind.
fn index_prefix(text: &str) -> Result<String, Complaint> {
    let first = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let rest = text
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
    if first && rest && text.len() <= 100 {
        return Ok(text.to_owned());
    }
    let help =
        "write at most 100 lower-case letters, digits, `-`, `_` and `.`, a letter or digit first";
    Err(Complaint::new("cannot start an index name", help))
}
