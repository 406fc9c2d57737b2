//! `inputs:`: files and HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::existing_file;
use crate::config::item::Item;
use crate::config::mapping::Kinds;
use crate::config::section::Section;
use crate::config::values::{self, Complaint};
use crate::edge::{receive, tail};
use crate::flow::decode::Format;
use crate::flow::engine;
use crate::flow::event::{InputId, Kind};
use crate::flow::lines::Framing;

/// Far beyond any sidecar, and well inside what [`InputId`] can count.
const INPUTS_MAX: usize = 256;

/// Globs of one input.
const PATHS_MAX: usize = 256;

/// Default of `max_record` and `max_body`.
const RECORD_BYTES: usize = 16 << 20;

/// Default of `close.inactive`: longer than a model server is usually silent, shorter than anybody waits for a volume to
/// be unmounted.
const CLOSE_INACTIVE: Duration = Duration::from_mins(5);

/// Default of `poll`: notifications make it faster where they work.
const POLL: Duration = Duration::from_secs(1);

const DAY: Duration = Duration::from_hours(24);

/// Default of `max_journal`.
const JOURNAL_BYTES: u64 = 1 << 30;

/// Formats that the design names and this version cannot read.
const LATER_FORMATS: [&str; 13] = [
    "regex",
    "grok",
    "sagemaker",
    "kserve",
    "seldon",
    "bentoml",
    "azure",
    "databricks",
    "triton",
    "torchserve",
    "sglang",
    "openai",
    "otel",
];

/// All inputs of a pipeline; an input's place in `all` is its [`InputId`].
#[derive(Debug, Default)]
pub(super) struct Inputs {
    pub(super) all: Vec<engine::Input>,
    pub(super) files: Vec<tail::Settings>,
    pub(super) receivers: Vec<receive::Settings>,
}

#[derive(Clone, Copy)]
enum Type {
    File,
    Http,
}

pub(super) fn read(item: Item<'_>, kinds: Kinds) -> Option<Inputs> {
    let mut inputs = Inputs::default();
    let mut whole = true;
    for (at, item) in item.list(INPUTS_MAX)?.into_iter().enumerate() {
        let id = InputId(u16::try_from(at).unwrap_or(u16::MAX));
        whole &= one(item, id, kinds, &mut inputs).is_some();
    }
    whole.then_some(inputs)
}

fn one(item: Item<'_>, id: InputId, kinds: Kinds, inputs: &mut Inputs) -> Option<()> {
    let mut section = item.section()?;
    let kind_of_input = section
        .require("type")
        .and_then(|item| item.one_of(&[("file", Type::File), ("http", Type::Http)]));
    let kind = section.get("kind").and_then(|item| kind(&item, kinds));
    match kind_of_input? {
        Type::File => {
            let mut section = section.called("inputs.file");
            let format = section.get("format").map_or(Some(Format::Json), format);
            let settings = file(section, id, format);
            inputs.all.push(engine::Input {
                format: format?,
                kind,
            });
            inputs.files.push(settings?);
        }
        Type::Http => {
            let settings = http(section.called("inputs.http"), id, &inputs.receivers);
            inputs.all.push(engine::Input {
                format: Format::Json,
                kind,
            });
            inputs.receivers.push(settings?);
        }
    }
    Some(())
}

fn file(
    mut section: Section<'_>,
    input: InputId,
    format: Option<Format>,
) -> Option<tail::Settings> {
    let paths = section
        .require("paths")
        .and_then(|item| item.list(PATHS_MAX));
    let paths: Option<Vec<String>> =
        paths.map(|items| items.into_iter().filter_map(path).collect());
    let start_at = section.get("start_at").and_then(|item| {
        item.one_of(&[
            ("beginning", tail::StartAt::Beginning),
            ("end", tail::StartAt::End),
        ])
    });
    let record_bytes_max = section
        .get("max_record")
        .and_then(|item| item.size(1 << 10..=256 << 20));
    let ignore_older = section
        .get("ignore_older")
        .and_then(|item| item.duration(Duration::from_mins(1)..=DAY * 36_500));
    let close = section.get("close").and_then(Item::section).and_then(close);
    let watch = section.get("watch").and_then(|item| {
        item.one_of(&[
            ("auto", tail::WatchMode::Auto),
            ("notify", tail::WatchMode::Notify),
            ("poll", tail::WatchMode::Poll),
        ])
    });
    let poll = section
        .get("poll")
        .and_then(|item| item.duration(Duration::from_millis(100)..=Duration::from_hours(1)));
    for key in ["listen", "token", "tls", "max_body", "max_journal"] {
        section.refuse(
            key,
            &format!("`{key}` belongs to an input of `type: http`"),
            "leave it out, or make this one an http input",
        );
    }
    section.finish();
    Some(tail::Settings {
        input,
        paths: paths?,
        framing: if format? == Format::Csv {
            Framing::Csv
        } else {
            Framing::Lines
        },
        start_at: start_at.unwrap_or(tail::StartAt::Beginning),
        record_bytes_max: record_bytes_max.map_or(RECORD_BYTES, bytes),
        ignore_older,
        close_inactive: close.unwrap_or(CLOSE_INACTIVE),
        watch: watch.unwrap_or(tail::WatchMode::Auto),
        poll: poll.unwrap_or(POLL),
    })
}

/// `close: {inactive: 5m}`.
fn close(mut section: Section<'_>) -> Option<Duration> {
    let inactive = section
        .get("inactive")
        .and_then(|item| item.duration(Duration::from_secs(1)..=DAY * 365));
    section.finish();
    inactive
}

fn http(
    mut section: Section<'_>,
    input: InputId,
    others: &[receive::Settings],
) -> Option<receive::Settings> {
    let listen_item = section.require("listen");
    let listen = listen_item
        .clone()
        .and_then(|item| item.parse("an address", address));
    let token = section
        .get("token")
        .and_then(Item::secret)
        .map(receive::Token);
    let tls_item = section.get("tls");
    let encrypted = tls_item.is_some();
    let tls = tls_item.and_then(Item::section).and_then(tls);
    let body_item = section.get("max_body");
    let body_bytes_max = body_item
        .clone()
        .and_then(|item| item.size(1 << 10..=1 << 30));
    let journal_item = section.get("max_journal");
    let journal_bytes_max = journal_item
        .clone()
        .and_then(|item| item.size(1 << 20..=1 << 40));
    let both_read = body_item.is_some() == body_bytes_max.is_some()
        && journal_item.is_some() == journal_bytes_max.is_some();
    if both_read {
        let body = body_bytes_max.unwrap_or(RECORD_BYTES as u64);
        let journal = journal_bytes_max.unwrap_or(JOURNAL_BYTES);
        // The key that was written is the one to point at: the other may only be a default.
        if journal / 2 < body
            && let Some(item) = journal_item.or(body_item)
        {
            item.fault(
                format!(
                    "the journal (max_journal: {journal} bytes) cannot hold two bodies (max_body: {body} bytes)"
                ),
                "raise max_journal, or lower max_body (16 MiB unless set)",
            );
        }
    }
    for key in [
        "paths",
        "start_at",
        "max_record",
        "ignore_older",
        "close",
        "watch",
        "poll",
    ] {
        section.refuse(
            key,
            &format!("`{key}` belongs to an input of `type: file`"),
            "leave it out, or make this one a file input",
        );
    }
    section.refuse(
        "format",
        "an http input has no `format`: it takes JSON",
        "leave it out",
    );

    if let (Some(listen), Some(item)) = (listen, &listen_item) {
        let local = listen.ip().to_canonical().is_loopback();
        if !local && token.is_none() && !section.is_faulty("token") {
            item.fault(
                format!(
                    "{} can be reached from other machines, and no token protects it",
                    item.shown()
                ),
                "add `token: ${MODELBEAT_TOKEN}`, or listen on 127.0.0.1",
            );
        } else if !local && !encrypted {
            item.warn(
                "the token travels unencrypted",
                "add `tls: {certificate: server.pem, key: server.key}`",
            );
        }
        if listen.port() != 0 && others.iter().any(|other| other.listen == listen) {
            item.fault(
                format!("another input listens on {} already", item.shown()),
                "give each its own port",
            );
        }
    }
    section.finish();
    Some(receive::Settings {
        input,
        listen: listen?,
        token,
        tls,
        body_bytes_max: body_bytes_max.map_or(RECORD_BYTES, bytes),
        journal_bytes_max: journal_bytes_max.unwrap_or(JOURNAL_BYTES),
    })
}

fn tls(mut section: Section<'_>) -> Option<receive::Tls> {
    let certificate = section.require("certificate").and_then(existing_file);
    let key = section.require("key").and_then(existing_file);
    let client_ca = section.get("client_ca").and_then(existing_file);
    section.finish();
    Some(receive::Tls {
        certificate: certificate?,
        key: key?,
        client_ca,
    })
}

fn kind(item: &Item<'_>, kinds: Kinds) -> Option<Kind> {
    let kind = item
        .clone()
        .one_of(&[("prediction", Kind::Prediction), ("label", Kind::Label)])?;
    let (known, name) = match kind {
        Kind::Prediction => (kinds.prediction, "prediction"),
        Kind::Label => (kinds.label, "label"),
    };
    if !known {
        item.fault(
            format!("this input holds {name}s, but `mapping` does not say how to read one"),
            format!("add `mapping.{name}`, or leave `kind` out"),
        );
    }
    Some(kind)
}

fn format(item: Item<'_>) -> Option<Format> {
    if let Some(word) = item.word().filter(|word| LATER_FORMATS.contains(word)) {
        item.fault(
            format!("the format `{word}` is not in this version"),
            "this version reads json and csv",
        );
        return None;
    }
    item.one_of(&[("json", Format::Json), ("csv", Format::Csv)])
}

fn path(item: Item<'_>) -> Option<String> {
    item.parse("a path", |text| {
        values::check_glob(text)?;
        Ok(text.to_owned())
    })
}

fn address(text: &str) -> Result<SocketAddr, Complaint> {
    text.parse().map_err(|_| {
        let help = match text.strip_prefix("localhost:") {
            Some(port) => format!("names are not looked up: write 127.0.0.1:{port}"),
            None => {
                "write an IP address and a port, such as 127.0.0.1:9701 or [::1]:9701".to_owned()
            }
        };
        Complaint::new("is not an address to listen on", help)
    })
}

/// Sizes here are bounded to far less than any `usize` of a machine that runs this.
fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
