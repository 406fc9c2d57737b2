//! The disk: logs that grow and go, the last saved checkpoint, the store behind it, dead letters. What survives a crash, and
//! no more: letters that were not yet synced may be gone, and the store knows what was applied to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use modelbeat::flow::document::DeadLetter;
use modelbeat::flow::engine::Checkpoint;
use modelbeat::flow::join::{Cold, ColdError, Key, Ticket};
use modelbeat::flow::windows::{RowKey, Rows};

/// Everything that is durable, or nearly.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// One entry a log of the story.
    pub(super) logs: Vec<Written>,
    pub(super) saved: Option<Checkpoint>,
    pub(super) store: Store,
    pub(super) letters: Vec<DeadLetter>,
    /// So many of them survive.
    pub(super) letters_synced: usize,
}

/// What there is of a log.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// So much of its text.
    pub(super) bytes: usize,
    pub(super) deleted: bool,
    /// A journal's segments below are gone.
    pub(super) cut: usize,
}

/// The store of open predictions and of windows: a handle, whose clones see the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Store(Arc<Mutex<Shelf>>);

#[derive(Debug, Default)]
struct Shelf {
    /// Number of the last checkpoint it has seen.
    seen: u64,
    opens: BTreeMap<Ticket, (Key, Vec<u8>)>,
    windows: BTreeMap<RowKey, Vec<u8>>,
}

impl Store {
    /// What follows the saving of a checkpoint.
    pub(super) fn apply(&self, checkpoint: &Checkpoint) {
        let (opens, rows) = (&checkpoint.cold, &checkpoint.rows);
        let mut shelf = self.shelf();
        assert!(
            (opens.edges.upon..=opens.edges.number).contains(&shelf.seen),
            "the store has seen checkpoint {}, and this one's delta is {:?}",
            shelf.seen,
            opens.edges
        );
        if opens.is_empty() && rows.is_empty() {
            return;
        }
        shelf.seen = opens.edges.number;
        for row in opens.rows() {
            let is_known = shelf.opens.contains_key(&row.ticket);
            assert!(row.ticket >= opens.edges.new_from || is_known);
            shelf
                .opens
                .insert(row.ticket, (row.key, row.bytes.to_vec()));
        }
        if !opens.is_empty() {
            shelf.opens = shelf.opens.split_off(&opens.edges.first);
        }
        for key in &rows.gone {
            shelf.windows.remove(key);
        }
        shelf.windows.extend(rows.kept.iter().cloned());
    }

    /// What a start does: brings it to the point of the saved checkpoint, whose delta may not have come to it.
    pub(super) fn recover(&self, saved: Option<&Checkpoint>) {
        match saved {
            None => *self.shelf() = Shelf::default(),
            Some(checkpoint) => {
                let seen = self.shelf().seen;
                if seen < checkpoint.cold.edges.number {
                    self.apply(checkpoint);
                }
            }
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap()
    }
}

impl Cold for Store {
    fn find(&self, key: Key, found: &mut dyn FnMut(Ticket, &[u8])) -> Result<(), ColdError> {
        for (ticket, (of, bytes)) in &self.shelf().opens {
            if *of == key {
                found(*ticket, bytes);
            }
        }
        Ok(())
    }

    fn read(
        &self,
        from: Ticket,
        most: usize,
        found: &mut dyn FnMut(Ticket, &[u8]),
    ) -> Result<(), ColdError> {
        for (ticket, (_, bytes)) in self.shelf().opens.range(from..).take(most) {
            found(*ticket, bytes);
        }
        Ok(())
    }
}

impl Rows for Store {
    fn row(&self, key: &RowKey) -> Result<Option<Vec<u8>>, ColdError> {
        Ok(self.shelf().windows.get(key).cloned())
    }
}
