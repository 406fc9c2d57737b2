//! The pipeline file: YAML as written → [`Config`] as meant, or all its faults at once, each with its place, the line
//! itself and what to do about it. Knows every room; no room knows it.
//!
//! ```text
//! text ─ tree (places, variables put in) ─ section (keys asked for, one line each) ─ the rooms' settings
//!                                      └── item (values) ── faults, collected ───────┘
//! ```
//!
//! Invariants: a `Config` exists only for a file without errors; no secret's value is ever part of a message; what the
//! file says and this version cannot do is refused, never ignored; every key is described in the [`schema`].

mod alerts;
mod faults;
mod host;
mod inputs;
mod item;
mod mapping;
mod notify;
mod output;
mod privacy;
mod quality;
pub mod schema;
mod section;
mod tree;
mod values;
mod variables;
mod written;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::edge::operations::Configuration;
use crate::edge::{elastic, notify as edge_notify, receive, sample, ship, tail, write};
use crate::flow::engine;

pub use faults::{Fault, Faults, Place, Severity};
pub use variables::Environment;

use item::Item;
use section::{Report, Section};
use values::Complaint;

/// Pipeline files are a page long; more than this is a mistaken file name.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// First part of every index name, unless the file says otherwise.
const INDEX_PREFIX: &str = "modelbeat";

/// One pipeline file, as meant: the settings of every room.
#[derive(Clone, Debug)]
pub struct Config {
    /// Everything the engine must know. `agent.id` and `agent.name` are empty unless the file sets them: the agent
    /// fills them in.
    pub engine: engine::Settings,
    /// `type: file` inputs.
    pub files: Vec<tail::Settings>,
    /// `type: http` inputs.
    pub receivers: Vec<receive::Settings>,
    /// Host snapshots; `None`: `host: off`.
    pub host: Option<sample::Settings>,
    /// Elasticsearch, and how to ship to it.
    pub elasticsearch: Option<(elastic::Settings, ship::Settings)>,
    /// Files.
    pub file_output: Option<write::Settings>,
    /// Who is told of alerts.
    pub notifiers: Vec<edge_notify::Settings>,
    /// The operation log goes to the output, too, and not only to the data folder.
    pub ships_operations: bool,
    /// The file as it may be shown to anybody.
    pub configuration: Configuration,
    /// What is probably not meant, though it can be run: say it once.
    pub warnings: Faults,
}

impl Config {
    /// Reads a pipeline file.
    ///
    /// # Errors
    /// All that is wrong with it, or why it cannot be read.
    pub fn load(path: &Path, environment: Environment<'_>) -> Result<Self, Faults> {
        let name = path.display().to_string();
        let bytes = read(path).map_err(|why| {
            Faults::whole_file(&name, &format!("cannot be read: {why}"), "check the path")
        })?;
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(&name, &text, environment),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                Err(Faults::whole_file(
                    &name,
                    &format!("not UTF-8 at byte {at}"),
                    "save the file as UTF-8",
                ))
            }
        }
    }

    /// Reads a pipeline file's text; `name` is what messages call the file.
    ///
    /// Looks at the disk only to see that the TLS files it names are there.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(name: &str, text: &str, environment: Environment<'_>) -> Result<Self, Faults> {
        let (config, faults, _) = read_text(name, text, environment);
        match config {
            Some(config) if faults.errors() == 0 => Ok(Self {
                warnings: faults,
                ..config
            }),
            _ => Err(faults),
        }
    }
}

/// The size of a spool as `--spool` writes it, like `output.elasticsearch.spool`, in bytes.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub fn spool_bytes(text: &str) -> Result<u64, String> {
    output::spool_bytes(text).map_err(|complaint| format!("{}: {}", complaint.what, complaint.help))
}

/// A config that holds if there are no errors among the faults, and the keys that were asked for on the way.
fn read_text(
    name: &str,
    text: &str,
    environment: Environment<'_>,
) -> (Option<Config>, Faults, BTreeSet<String>) {
    // A byte order mark is no character of the first line.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let report = Report::default();
    let tree = tree::parse(text, environment, &report);
    let config = tree
        .as_ref()
        .and_then(|node| Section::root(&report, node))
        .and_then(pipeline);
    let configuration = tree.as_ref().map(written::configuration);
    let config = config.map(|config| Config {
        configuration: configuration.unwrap_or_default(),
        ..config
    });
    let (faults, secrets, asked) = report.into_parts();
    (config, Faults::new(name, text, faults, &secrets), asked)
}

/// The whole file. Each room's part is read before anything is given up, so that all faults come to light.
fn pipeline(mut file: Section<'_>) -> Option<Config> {
    let name = file.require("pipeline").and_then(pipeline_name);
    let agent = file
        .get("agent")
        .and_then(Item::section)
        .map_or_else(no_agent, agent);
    let task = file
        .require("task")
        .and_then(Item::section)
        .and_then(quality::task);
    let mapping = file
        .require("mapping")
        .and_then(Item::section)
        .map(|section| mapping::read(section, task.as_ref()));
    let kinds = mapping
        .as_ref()
        .map_or(mapping::Kinds::BOTH, |(_, kinds)| *kinds);
    let inputs = file
        .require("inputs")
        .and_then(|item| inputs::read(item, kinds));
    let windows = file
        .get("windows")
        .map_or_else(|| Some(quality::default_windows()), quality::windows);
    let join = file
        .get("join")
        .and_then(Item::section)
        .map(quality::join)
        .unwrap_or_default();
    let sliced = mapping
        .as_ref()
        .and_then(|(mapping, _)| mapping.as_ref()?.prediction.as_ref());
    let slice_names = sliced.map(|prediction| prediction.slices.as_slice());
    let slices = file
        .get("slices")
        .and_then(Item::section)
        .map_or_else(quality::Slices::default, |section| {
            quality::slices(section, slice_names)
        });
    let publish_every_ms = file
        .get("publish_every")
        .and_then(|item| item.duration(Duration::from_secs(1)..=Duration::from_hours(1)))
        .map_or(quality::PUBLISH_EVERY_MS, quality::milliseconds);
    let (min_support, window_bytes_max) = file.get("quality").and_then(Item::section).map_or(
        (quality::MIN_SUPPORT, quality::WINDOW_BYTES_MAX),
        quality::judging,
    );
    let (keep_record, privacy) = file.get("privacy").and_then(Item::section).map_or_else(
        || (true, privacy::none()),
        |section| {
            let mapping = mapping.as_ref().and_then(|(mapping, _)| mapping.as_ref());
            privacy::read(section, mapping)
        },
    );
    let host = file
        .get("host")
        .map_or_else(|| Some(host::DEFAULT), host::read);
    let output = file
        .require("output")
        .and_then(Item::section)
        .and_then(output::read);
    let ships_operations = file
        .get("operations")
        .and_then(Item::section)
        .is_none_or(operations);
    let notifiers = file
        .get("notify")
        .map_or_else(|| Some(Vec::new()), notify::read);
    file.refuse(
        "tests",
        "`tests` is not supported in this version",
        "leave it out",
    );
    let alerts = file.get("alerts").and_then(Item::section).map(|section| {
        let known = alerts::Known {
            task: task.as_ref(),
            windows: windows.as_deref().unwrap_or_default(),
            slices: slice_names.map(|names| slices.names(names)),
            min_support,
            has_spool: output.as_ref().map(|output| {
                let ship = output.elasticsearch.as_ref().map(|(_, ship)| ship);
                ship.is_some_and(|ship| ship.spool_bytes_max > 0)
            }),
            notifiers: notifiers.as_ref().map(|notifiers| {
                let names = notifiers.iter().map(|notifier| notifier.name.as_str());
                names.collect()
            }),
        };
        alerts::read(section, &known)
    });
    file.finish();

    let (inputs, output) = (inputs?, output?);
    Some(Config {
        engine: engine::Settings {
            pipeline: name?,
            agent,
            index_prefix: output.index_prefix,
            inputs: inputs.all,
            mapping: mapping.and_then(|(mapping, _)| mapping)?,
            task: task?,
            windows: windows?,
            join,
            slice_values_max: slices.max_values,
            slice_crosses: slices.crosses,
            keep_record,
            privacy,
            publish_every_ms,
            min_support,
            window_bytes_max,
            host_tolerance_ms: host
                .as_ref()
                .map_or(0, |host| quality::milliseconds(host.every * 6))
                .max(60_000),
            alerts: alerts.unwrap_or_default(),
            expires: true,
        },
        files: inputs.files,
        receivers: inputs.receivers,
        host,
        elasticsearch: output.elasticsearch,
        file_output: output.file,
        notifiers: notifiers?,
        ships_operations,
        configuration: Configuration::default(),
        warnings: Faults::default(),
    })
}

/// The name is part of document ids and of folder names.
fn pipeline_name(item: Item<'_>) -> Option<String> {
    item.parse("a name", |text| {
        let fits = text.len() <= 64 && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if fits
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        {
            return Ok(text.to_owned());
        }
        let help = "write at most 64 letters, digits, `-`, `_` and `.`, a letter or digit first";
        Err(Complaint::new("is no name for a pipeline", help))
    })
}

fn agent(mut section: Section<'_>) -> engine::Agent {
    let id = section.get("id").and_then(Item::text).unwrap_or_default();
    let name = section.get("name").and_then(Item::text).unwrap_or_default();
    section.finish();
    engine::Agent {
        id,
        name: name.into(),
    }
}

fn no_agent() -> engine::Agent {
    engine::Agent {
        id: String::new(),
        name: Arc::from(""),
    }
}

/// True if the operation log is shipped.
fn operations(mut section: Section<'_>) -> bool {
    let ship = section.get("ship").and_then(Item::boolean);
    section.finish();
    ship.unwrap_or(true)
}

/// A file that must be there when the pipeline starts.
fn existing_file(item: Item<'_>) -> Option<std::path::PathBuf> {
    item.parse("a path", |text| {
        match File::open(text).and_then(|file| file.metadata()) {
            Ok(data) if data.is_file() => Ok(text.into()),
            Ok(_) => Err(Complaint::new(
                "is not a file",
                "give the path of a PEM file",
            )),
            Err(why) => {
                let help =
                    "give the path of a PEM file; relative paths start at the working directory";
                Err(Complaint::new(format!("cannot be read: {why}"), help))
            }
        }
    })
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other(
            "it is larger than 1 MiB: no pipeline file is",
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
