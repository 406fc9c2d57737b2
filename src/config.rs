//! The pipeline file: Raw (as written) → Config (as meant); all faults at once, each with file:line:column and a hint.
//! Knows every room; no room knows it.

use crate::edge::{elastic, receive, sample, ship, tail, write};
use crate::flow::engine;

/// One pipeline file, as meant: the settings of every room.
#[derive(Clone, Debug)]
pub struct Config {
    /// Everything the engine must know. `agent.id` is empty unless the file sets it: the agent fills it in.
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
}
