//! Waiting for a condition, never for a time: a story goes on the moment it can, and the deadline only says when to give up.

use std::thread;
use std::time::{Duration, Instant};

/// Generous: a slow machine is no failure. Nothing asserts that it is fast.
pub(crate) const DEADLINE: Duration = Duration::from_mins(5);

const POLL: Duration = Duration::from_millis(50);

/// Asks until there is an answer.
///
/// # Panics
/// After [`DEADLINE`], naming what it waited for and what it last saw.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(answer) => return answer,
            Err(seen) if start.elapsed() > DEADLINE => {
                panic!("waited {DEADLINE:?} for {what}; last seen: {seen}")
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}
