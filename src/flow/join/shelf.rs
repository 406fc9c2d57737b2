//! A store of open predictions in memory, for tests: the plainest thing that keeps what [`Cold`] promises.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::{Cold, ColdError, Delta, Key, Ticket};

/// What is stored; clones see the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf(Arc<Mutex<Stored>>);

#[derive(Debug, Default)]
struct Stored {
    number: u64,
    rows: BTreeMap<Ticket, (Key, Vec<u8>)>,
}

impl Shelf {
    /// What saving a checkpoint does after its file is in place.
    pub(crate) fn apply(&self, delta: &Delta) {
        let mut stored = self.0.lock().unwrap();
        if delta.is_empty() {
            assert_eq!(
                stored.number, delta.edges.upon,
                "an empty delta goes with a store that has seen all before"
            );
            return;
        }
        assert!(
            (delta.edges.upon..=delta.edges.number).contains(&stored.number),
            "{:?} upon {}",
            delta.edges,
            stored.number
        );
        stored.number = delta.edges.number;
        for row in delta.rows() {
            assert!(
                row.ticket >= delta.edges.new_from || stored.rows.contains_key(&row.ticket),
                "an old row was there"
            );
            stored
                .rows
                .insert(row.ticket, (row.key, row.bytes.to_vec()));
        }
        stored.rows = stored.rows.split_off(&delta.edges.first);
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().rows.len()
    }
}

impl Cold for Shelf {
    fn find(&self, key: Key, found: &mut dyn FnMut(Ticket, &[u8])) -> Result<(), ColdError> {
        let stored = self.0.lock().unwrap();
        stored
            .rows
            .iter()
            .filter(|(_, (of, _))| *of == key)
            .for_each(|(ticket, (_, bytes))| found(*ticket, bytes));
        Ok(())
    }

    fn read(
        &self,
        from: Ticket,
        most: usize,
        found: &mut dyn FnMut(Ticket, &[u8]),
    ) -> Result<(), ColdError> {
        let stored = self.0.lock().unwrap();
        stored
            .rows
            .range(from..)
            .take(most)
            .for_each(|(ticket, (_, bytes))| found(*ticket, bytes));
        Ok(())
    }
}
