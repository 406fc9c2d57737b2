//! What of a lane is not settled, as documents again: for a spool that is to hold all that a cluster has not taken.

use super::super::{Place, Request};
use super::Lane;
use crate::flow::document::{Documents, Item};

impl Lane {
    /// The documents of requests in flight and of the one being built, in their order, each lot with the running number of its
    /// first. Requests are kept by the caller: whoever sent them knows which have not come to their end.
    pub fn unsettled<'r>(
        &self,
        in_flight: impl Iterator<Item = &'r Request>,
    ) -> Vec<(u64, Documents)> {
        let mut lots: Vec<(u64, Documents)> = in_flight
            .filter_map(|request| {
                let keys = self.flights.get(&request.first)?;
                let documents = documents(request.body.to_vec(), &request.places, keys);
                Some((request.first, documents))
            })
            .collect();
        if !self.places.is_empty() {
            let documents = documents(self.building.clone(), &self.places, &self.keys);
            lots.push((self.first_unpacked(), documents));
        }
        lots.sort_unstable_by_key(|(first, _)| *first);
        lots
    }
}

fn documents(bytes: Vec<u8>, places: &[Place], keys: &[u64]) -> Documents {
    let mut start = 0;
    let items = places
        .iter()
        .zip(keys)
        .map(|(place, key)| {
            let lines = start..place.end;
            start = place.end;
            Item {
                key: *key,
                lines,
                action_length: place.action_length,
            }
        })
        .collect();
    Documents {
        changes: Vec::new(),
        notices: Vec::new(),
        bytes,
        items,
        dead_letters: Vec::new(),
    }
}
