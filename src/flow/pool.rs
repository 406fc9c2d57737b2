//! Buffers that come back when nobody needs them any more.
//!
//! Without them each batch that is read, and each request, is fresh memory from the kernel, given back by another thread: its
//! page faults cost more than reading and splitting together (tailing took 0.21 µs of CPU a line of 378 bytes, and takes 0.07).

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Smaller buffers are left to the allocator, which is good at them.
const CAPACITY_MIN: usize = 64 * 1024;

/// A bounded number of buffers. Clones share them.
#[derive(Clone, Debug)]
pub struct Pool {
    buffers: Arc<Mutex<Vec<Vec<u8>>>>,
    most: usize,
    capacities: RangeInclusive<usize>,
}

/// For what is read: as many as batches are under way in a pipeline's channels at a time, at most 8 MiB in all.
impl Default for Pool {
    fn default() -> Self {
        Self::new(8, 1024 * 1024)
    }
}

impl Pool {
    /// Keeps `most` buffers for reuse. Those of a capacity over `capacity_max`, made for one huge thing, go back to the
    /// allocator.
    #[must_use]
    pub fn new(most: usize, capacity_max: usize) -> Self {
        Self {
            buffers: Arc::default(),
            most,
            capacities: CAPACITY_MIN..=capacity_max,
        }
    }

    /// An empty buffer with this capacity or more, if one has come back.
    pub(crate) fn take(&self, capacity: usize) -> Option<Vec<u8>> {
        if !self.capacities.contains(&capacity) {
            return None;
        }
        let mut buffers = self.buffers();
        let index = buffers
            .iter()
            .position(|buffer| buffer.capacity() >= capacity)?;
        Some(buffers.swap_remove(index))
    }

    /// An empty buffer of whatever capacity, if one has come back.
    #[must_use]
    pub fn take_any(&self) -> Option<Vec<u8>> {
        self.buffers().pop()
    }

    /// The bytes of a buffer that comes back when the last of their owners drops them.
    pub(crate) fn lend(&self, buffer: Vec<u8>) -> Bytes {
        if self.capacities.contains(&buffer.capacity()) {
            Bytes::from_owner(Lent {
                buffer,
                pool: self.clone(),
            })
        } else {
            Bytes::from(buffer)
        }
    }

    /// Takes a buffer back, if it is of a capacity that is kept and there is room for one more.
    pub fn put(&self, mut buffer: Vec<u8>) {
        if !self.capacities.contains(&buffer.capacity()) {
            return;
        }
        buffer.clear();
        let mut buffers = self.buffers();
        if buffers.len() < self.most {
            buffers.push(buffer);
        }
    }

    fn buffers(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Lent {
    buffer: Vec<u8>,
    pool: Pool,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.pool.put(std::mem::take(&mut self.buffer));
    }
}
