//! A store of windows in memory, for tests: what is applied to it survives the engine that is dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::flow::join::ColdError;
use crate::flow::windows::{RowKey, Rows, RowsDelta};

/// A handle to the store; clones see the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowShelf(Arc<Mutex<BTreeMap<RowKey, Vec<u8>>>>);

impl RowShelf {
    pub(crate) fn apply(&self, delta: &RowsDelta) {
        let mut rows = self.0.lock().unwrap();
        for key in &delta.gone {
            rows.remove(key);
        }
        rows.extend(delta.kept.iter().cloned());
    }

    /// How many rows it holds.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Rows for RowShelf {
    fn row(&self, key: &RowKey) -> Result<Option<Vec<u8>>, ColdError> {
        Ok(self.0.lock().unwrap().get(key).cloned())
    }
}
