//! A pipeline file as it is shown to auditors: its keys without secrets, a hash of them, and what has changed since the last
//! one that a data folder has seen (`configuration.json`).

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::flow::operation::{Action, Operation};

const FILE: &str = "configuration.json";

/// Changes that are listed; beyond, they are counted.
const CHANGES_MAX: usize = 100;

/// A pipeline file without secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// `inputs.0.listen` → `127.0.0.1:9701`: as written, variables by their names, secrets as asterisks.
    pub keys: BTreeMap<String, String>,
}

impl Configuration {
    /// BLAKE3 over keys and values: the same for files that differ in nothing but secrets, order and comments.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (key, value) in &self.keys {
            for text in [key, value] {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        }
        let mut hex = hasher.finalize().to_hex().to_string();
        hex.truncate(32);
        hex
    }

    /// What differs from an earlier one: `windows.1: 1h → 2h`, sorted by key.
    #[must_use]
    pub fn changes_since(&self, earlier: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        let keys = self.keys.keys().chain(earlier.keys.keys());
        let mut keys: Vec<&String> = keys.collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            match (earlier.keys.get(key), self.keys.get(key)) {
                (Some(was), Some(is)) if was == is => {}
                (Some(was), Some(is)) => changes.push(format!("{key}: {was} → {is}")),
                (None, Some(is)) => changes.push(format!("{key}: added {is}")),
                (Some(was), None) => changes.push(format!("{key}: removed {was}")),
                (None, None) => {}
            }
        }
        changes
    }

    /// That it was taken, where there is nothing to compare it with.
    #[must_use]
    pub fn taken(&self) -> Operation {
        Operation::success(Action::Configuration, "configuration loaded").with("hash", self.hash())
    }

    /// Compares it with the one that the folder has seen, and keeps it there instead.
    pub(super) fn compare_and_keep(&self, folder: &Path) -> io::Result<Operation> {
        let path = folder.join(FILE);
        let earlier: Option<Self> = match fs::read(&path) {
            // A file that a crash or a person has spoilt is as good as none.
            Ok(bytes) => serde_json::from_slice(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let Some(earlier) = earlier else {
            self.keep(&path)?;
            return Ok(self.taken());
        };
        let changes = self.changes_since(&earlier);
        if changes.is_empty() {
            return Ok(self.taken().with("changes", 0));
        }
        self.keep(&path)?;
        let count = changes.len();
        let listed: Vec<Value> = changes
            .into_iter()
            .take(CHANGES_MAX)
            .map(Value::from)
            .collect();
        let message = format!("configuration changed: {count} keys");
        Ok(Operation::success(Action::Configuration, message)
            .with("hash", self.hash())
            .with("earlier_hash", earlier.hash())
            .with("changes", count)
            .with("changed", listed))
    }

    fn keep(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("json.new");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        serde_json::to_writer(&mut file, self)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(new, path)
    }
}
