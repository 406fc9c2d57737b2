//! How many requests may be in flight, how large they are, and when nothing is sent at all: found out, within bounds, from how
//! the cluster answers.
//!
//! Additive increase, multiplicative decrease, as TCP and Vector's adaptive concurrency do it: while the cluster says
//! that it is too busy, or does not answer in time, half as many requests are in flight, and once it is one, it holds half as
//! much. While all is well, one of the two grows a step at a time, and the step is taken back if it
//! brought no throughput. Latency is looked at per byte: when it is a multiple of its floor, requests only wait for each
//! other in the cluster's queue, and fewer do as well.
//!
//! Invariants: `1 ≤ requests ≤ bounds.requests` and `least ≤ bytes ≤ bounds.bytes`, whatever is heard. One failure halves
//! once, however many requests in flight it hit. While someone must mend something, one request in flight asks whether it
//! is mended. Driven by `edge::ship`; `now` is the time since any fixed beginning.

use std::time::Duration;

use super::backoff::{backoff, wish};

/// What the pipeline file allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Requests in flight at most; at least 1.
    pub requests: usize,
    /// Bytes of a request at most.
    pub bytes: usize,
}

/// Why documents are sent again, by what is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is too much for the cluster: 429, 5xx, no answer in time. Less of it, after a while.
    Busy,
    /// There is no cluster to be found. Fewer requests, after a while; their size is not to blame.
    Away,
    /// Nothing helps until someone has mended it. One request asks now and then.
    Broken,
}

/// A request of more than this is no first request: who knows what the cluster takes.
const FIRST_BYTES: usize = 1 << 20;

/// Requests in flight at first: one is answered while the next is on its way.
const FIRST_REQUESTS: usize = 2;

/// Smaller requests than this spare a cluster nothing: if one is too large, it is its documents that are.
const LEAST_BYTES: usize = 64 << 10;

/// Replies that make a round, at least: fewer say little.
const ROUND: usize = 4;

/// Requests twice as large must bring a twentieth more throughput, or they are made smaller again. (One request more must
/// bring half of what it could.)
const WORTHWHILE: u64 = 20;

/// Rounds without a step after one that was not worth its while, or too much.
const REST: u32 = 16;

/// Latency per byte beyond so many times its floor is time spent in the cluster's queue.
const CROWDED: u64 = 3;

/// Rounds that the floor is the least of, to twice as many: a network or cluster that has become slower for good is not
/// measured by what it was.
const FLOOR_ROUNDS: u32 = 64;

/// What is known of the cluster's mood.
#[derive(Debug)]
pub struct Pace {
    bounds: Bounds,
    requests: usize,
    bytes: usize,
    round: Round,
    /// The step up that is being tried.
    trial: Option<Trial>,
    /// The step after it is one of requests, not of bytes.
    more_requests_next: bool,
    /// Rounds to go without a step.
    rest: u32,
    floor: Floor,
    /// Failures since the last success.
    failures: u32,
    /// Someone must mend something.
    broken: bool,
    /// When a failure was last acted upon: what was sent before tells nothing new.
    heeded: Duration,
    /// Nothing is sent before.
    quiet_until: Duration,
}

/// Full requests answered since the last decision.
#[derive(Debug, Default)]
struct Round {
    replies: usize,
    bytes: u64,
    latency: Duration,
}

/// What it was like before the step.
#[derive(Debug)]
struct Trial {
    requests: usize,
    bytes: usize,
    /// What the step must bring.
    throughput: u64,
}

/// The least cost of late.
#[derive(Debug)]
struct Floor {
    before: u64,
    lately: u64,
    rounds: u32,
}

impl Pace {
    /// Nothing known yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let bounds = Bounds {
            requests: bounds.requests.max(1),
            bytes: bounds.bytes.max(1),
        };
        Self {
            bounds,
            requests: FIRST_REQUESTS.min(bounds.requests),
            bytes: FIRST_BYTES.min(bounds.bytes),
            round: Round::default(),
            trial: None,
            more_requests_next: false,
            rest: 0,
            floor: Floor {
                before: u64::MAX,
                lately: u64::MAX,
                rounds: 0,
            },
            failures: 0,
            broken: false,
            heeded: Duration::ZERO,
            quiet_until: Duration::ZERO,
        }
    }

    /// Requests that may be in flight now.
    #[must_use]
    pub fn requests(&self) -> usize {
        if self.broken { 1 } else { self.requests }
    }

    /// What a request holds at most, unless one document is larger.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Someone must mend something.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// How long nothing is to be sent from now on.
    #[must_use]
    pub fn quiet(&self, now: Duration) -> Duration {
        self.quiet_until.saturating_sub(now)
    }

    /// Documents of a request of so many bytes, sent at `sent`, were stored.
    pub fn answered(&mut self, bytes: usize, sent: Duration, now: Duration) {
        if sent < self.heeded {
            return;
        }
        self.failures = 0;
        self.broken = false;
        // One that went half empty, because there was no more to send, says nothing about what the cluster could take.
        if bytes.saturating_mul(2) < self.bytes {
            return;
        }
        self.round.replies += 1;
        self.round.bytes = self.round.bytes.saturating_add(bytes as u64);
        self.round.latency = self.round.latency.saturating_add(now.saturating_sub(sent));
        if self.round.replies >= self.requests.max(ROUND) {
            let cost = std::mem::take(&mut self.round).cost();
            self.decide(cost);
        }
    }

    /// A request sent at `sent` failed, whole or in part. `random` spreads the wait before anything else is sent, so that a
    /// hundred sidecars of one cluster do not come back in step; `retry_after` is what the cluster asked for.
    pub fn failed(
        &mut self,
        trouble: Trouble,
        retry_after: Option<Duration>,
        random: u64,
        sent: Duration,
        now: Duration,
    ) {
        let broken = trouble == Trouble::Broken;
        if sent < self.heeded {
            // The same failure; but what the cluster wishes is a wish each time.
            self.broken |= broken;
            let wished = now.saturating_add(retry_after.map_or(Duration::ZERO, wish));
            self.quiet_until = self.quiet_until.max(wished);
            return;
        }
        self.broken = broken;
        let wait = backoff(self.failures, random, retry_after);
        self.quiet_until = self.quiet_until.max(now.saturating_add(wait));
        self.failures = self.failures.saturating_add(1);
        self.heeded = now;
        self.round = Round::default();
        self.trial = None;
        if trouble == Trouble::Busy {
            self.rest = REST;
        }
        match trouble {
            Trouble::Broken => {}
            Trouble::Busy if self.requests == 1 => self.resize(self.bytes / 2),
            Trouble::Busy | Trouble::Away => self.requests = (self.requests / 2).max(1),
        }
    }

    /// A request of so many bytes was larger than the cluster takes at all: none will be again. True if that is news.
    pub fn too_large(&mut self, bytes: usize) -> bool {
        let most = (bytes / 2).max(LEAST_BYTES).min(self.bounds.bytes);
        let is_news = most < self.bounds.bytes;
        self.bounds.bytes = most;
        self.resize(self.bytes);
        self.trial = None;
        is_news
    }

    /// At the end of a round.
    fn decide(&mut self, cost: u64) {
        self.floor.hear(cost);
        let throughput = self.throughput(cost);
        if cost > self.floor.least().saturating_mul(CROWDED) {
            self.trial = None;
            self.rest = REST;
            match self.requests {
                1 => self.resize(self.bytes - self.bytes / 4),
                requests => self.requests = requests - requests.div_ceil(4),
            }
            return;
        }
        if let Some(before) = self.trial.take()
            && throughput < before.throughput
        {
            self.requests = before.requests;
            self.resize(before.bytes);
            self.more_requests_next = !self.more_requests_next;
            self.rest = REST;
        }
        match self.rest {
            0 => self.step_up(throughput),
            rest => self.rest = rest - 1,
        }
    }

    /// Larger requests first: they cost the cluster less than more of them.
    fn step_up(&mut self, throughput: u64) {
        let may_hold_more = self.bytes < self.bounds.bytes;
        let may_be_more = self.requests < self.bounds.requests;
        if !may_hold_more && !may_be_more {
            return;
        }
        let (requests, bytes) = (self.requests, self.bytes);
        let gain = if may_be_more && (self.more_requests_next || !may_hold_more) {
            self.requests += 1;
            throughput / (2 * requests as u64)
        } else {
            self.resize(bytes.saturating_mul(2));
            throughput / WORTHWHILE
        };
        self.trial = Some(Trial {
            requests,
            bytes,
            throughput: throughput.saturating_add(gain),
        });
    }

    fn resize(&mut self, bytes: usize) {
        let least = LEAST_BYTES.min(self.bounds.bytes);
        self.bytes = bytes.clamp(least, self.bounds.bytes);
    }

    /// In some unit: bytes in a time, if so many requests are in flight and each byte takes that long.
    fn throughput(&self, cost: u64) -> u64 {
        (self.requests as u64).saturating_mul(1 << 40) / cost.max(1)
    }
}

impl Round {
    /// Nanoseconds a KiB.
    fn cost(&self) -> u64 {
        let nanoseconds = self.latency.as_nanos().saturating_mul(1024);
        u64::try_from(nanoseconds / u128::from(self.bytes.max(1)))
            .unwrap_or(u64::MAX)
            .max(1)
    }
}

impl Floor {
    fn hear(&mut self, cost: u64) {
        if self.rounds == FLOOR_ROUNDS {
            self.before = std::mem::replace(&mut self.lately, u64::MAX);
            self.rounds = 0;
        }
        self.lately = self.lately.min(cost);
        self.rounds += 1;
    }

    fn least(&self) -> u64 {
        self.before.min(self.lately)
    }
}

#[cfg(test)]
mod tests;
