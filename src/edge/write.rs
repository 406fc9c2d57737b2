//! The `file` output: bulk NDJSON, one file an index; no Elasticsearch.

use std::path::PathBuf;

/// `output.file`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder; made if missing.
    pub path: PathBuf,
}
