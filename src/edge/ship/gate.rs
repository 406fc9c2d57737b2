//! The gate that every request passes on its way out: as many at once as the pace allows, and none while it is quiet.
//!
//! All requests of a pipeline share one, so what one of them hears of the cluster, all of them heed. Requests that wait to be sent
//! again wait here too: a cluster that is away, or refuses us, sees one request at a time, not all of them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::warn;

use super::{Pacing, Settings, random};
use crate::flow::bulk::{Bounds, Pace, Trouble};

/// Shared by all requests.
#[derive(Debug)]
pub(super) struct Gate {
    began: Instant,
    state: Mutex<State>,
    /// The pace, or the number of requests under way, has changed.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    under_way: usize,
}

/// A request under way. Dropped, another may go.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    sent: Duration,
}

/// Why a request may not go now.
enum Closed {
    /// As many as may are under way.
    Full,
    /// Nothing is sent for so long.
    Quiet(Duration),
}

impl Gate {
    pub(super) fn new(settings: &Settings) -> Self {
        let bounds = Bounds {
            requests: settings.requests_max,
            bytes: settings.bulk_bytes,
        };
        Self {
            began: Instant::now(),
            state: Mutex::new(State {
                pace: Pace::new(bounds),
                under_way: 0,
            }),
            changed: Notify::new(),
        }
    }

    /// Requests that may be under way at once.
    pub(super) fn requests(&self) -> usize {
        self.state().pace.requests()
    }

    /// Bytes of a request.
    pub(super) fn bytes(&self) -> usize {
        self.state().pace.bytes()
    }

    /// What has been found out so far.
    pub(super) fn pacing(&self) -> Pacing {
        let pace = &self.state().pace;
        Pacing {
            requests: pace.requests(),
            bytes: pace.bytes(),
            needs_a_person: pace.is_broken(),
        }
    }

    /// Waits for its turn. Cancel safe.
    pub(super) async fn enter(&self) -> Pass<'_> {
        loop {
            // Asked for first, so that no change falls between looking and waiting.
            let changed = self.changed.notified();
            match self.try_enter() {
                Ok(pass) => return pass,
                Err(Closed::Full) => changed.await,
                Err(Closed::Quiet(wait)) => tokio::time::sleep(wait).await,
            }
        }
    }

    fn try_enter(&self) -> Result<Pass<'_>, Closed> {
        let mut state = self.state();
        let now = self.began.elapsed();
        let wait = state.pace.quiet(now);
        if !wait.is_zero() {
            return Err(Closed::Quiet(wait));
        }
        if state.under_way >= state.pace.requests() {
            return Err(Closed::Full);
        }
        state.under_way += 1;
        Ok(Pass {
            gate: self,
            sent: now,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// Documents of a request of so many bytes were stored.
    pub(super) fn answered(&self, bytes: usize) {
        self.tell(|pace, sent, now| pace.answered(bytes, sent, now));
    }

    /// Documents are to be sent again.
    pub(super) fn failed(&self, trouble: Trouble, retry_after: Option<Duration>) {
        self.tell(|pace, sent, now| pace.failed(trouble, retry_after, random(), sent, now));
    }

    /// A request of so many bytes is more than the cluster takes.
    pub(super) fn too_large(&self, bytes: usize) {
        let mut state = self.gate.state();
        if state.pace.too_large(bytes) {
            let bulk_bytes = state.pace.bytes();
            warn!(
                bytes,
                bulk_bytes,
                "request was larger than the cluster takes, sending smaller ones from now on"
            );
        }
    }

    fn tell(&self, say: impl FnOnce(&mut Pace, Duration, Duration)) {
        let now = self.gate.began.elapsed();
        say(&mut self.gate.state().pace, self.sent, now);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.gate.state().under_way -= 1;
        self.gate.changed.notify_waiters();
    }
}
