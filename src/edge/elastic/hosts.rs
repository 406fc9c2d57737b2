//! The cluster's hosts, in turn; one that did not answer is passed over for a while.
//!
//! Each has a client of its own, so that we know whom a request went to, whatever became of it.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use elasticsearch::http::Url;
use elasticsearch::http::transport::Transport as Client;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::edge::ship::Unanswered;

/// How long a host that did not answer is passed over at first; twice as long each time it fails again.
const PASSED_OVER: Duration = Duration::from_secs(30);

/// … and at most: a host that comes back is used again within five minutes.
const PASSED_OVER_MAX: Duration = Duration::from_mins(5);

/// A host that answered so lately is there: a connection to it is open, and needs no knock first.
const LATELY: Duration = Duration::from_secs(10);

/// All hosts. Clones share what they know.
#[derive(Clone, Debug)]
pub(super) struct Hosts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hosts: Vec<Host>,
    /// The one to begin with.
    next: AtomicUsize,
}

/// One host, and the way to it.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) url: Url,
    pub(super) client: Client,
    health: Mutex<Health>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Health {
    failures: u32,
    passed_over_until: Option<Instant>,
    answered: Option<Instant>,
}

impl Hosts {
    /// `None`: there are none.
    pub(super) fn new(hosts: Vec<(Url, Client)>) -> Option<Self> {
        let hosts: Vec<_> = hosts
            .into_iter()
            .map(|(url, client)| Host {
                url,
                client,
                health: Mutex::default(),
            })
            .collect();
        let next = AtomicUsize::new(0);
        (!hosts.is_empty()).then(|| Self(Arc::new(Inner { hosts, next })))
    }

    /// Every host once, in the order to ask them in: those that are well, in turn; any one of the others if none is.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = &Host> {
        let Inner { hosts, next } = &*self.0;
        let start = next.fetch_add(1, Ordering::Relaxed) % hosts.len().max(1);
        let (before, from) = hosts.split_at(start);
        let now = Instant::now();
        let in_turn = from.iter().chain(before);
        let well: Vec<&Host> = in_turn.clone().filter(|host| host.is_well(now)).collect();
        let any = well.is_empty();
        well.into_iter().chain(in_turn.take(usize::from(any)))
    }

    /// It did not answer: others are asked for a while, where there are others.
    pub(super) fn pass_over(&self, host: &Host, why: &Unanswered) {
        let mut health = host.health();
        let is_news = health.failures == 0;
        let pause = PASSED_OVER.saturating_mul(1 << health.failures.min(8));
        health.failures = health.failures.saturating_add(1);
        health.passed_over_until = Some(Instant::now() + pause.min(PASSED_OVER_MAX));
        health.answered = None;
        drop(health);
        if is_news && self.0.hosts.len() > 1 {
            warn!(host = %host.url, reason = %why, "a host does not answer, the others are asked meanwhile");
        }
    }

    /// It did.
    pub(super) fn answered(&self, host: &Host) {
        let answered = Some(Instant::now());
        let health = Health {
            answered,
            ..Health::default()
        };
        let before = std::mem::replace(&mut *host.health(), health);
        if before.failures > 0 && self.0.hosts.len() > 1 {
            info!(host = %host.url, "a host answers again");
        }
    }
}

impl Host {
    /// True if it has answered a moment ago.
    pub(super) fn is_there(&self) -> bool {
        let answered = self.health().answered;
        answered.is_some_and(|at| at.elapsed() < LATELY)
    }

    fn is_well(&self, now: Instant) -> bool {
        let until = self.health().passed_over_until;
        until.is_none_or(|until| until <= now)
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Host {
    /// `https://name:9200`: no path, and no query.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.url.origin().ascii_serialization())
    }
}

#[cfg(test)]
mod tests {
    use elasticsearch::http::transport::{SingleNodeConnectionPool, TransportBuilder};

    use super::*;

    fn hosts() -> Hosts {
        let host = |url| {
            let url = Url::parse(url).unwrap();
            let pool = SingleNodeConnectionPool::new(url.clone());
            (url, TransportBuilder::new(pool).build().unwrap())
        };
        Hosts::new(["http://a:1", "http://b:1", "http://c:1"].map(host).into()).unwrap()
    }

    /// Whom three requests would ask first.
    fn turn(hosts: &Hosts) -> String {
        let next = || name(hosts.in_turn().next().unwrap());
        [next(), next(), next()].concat()
    }

    fn name(host: &Host) -> String {
        host.url.host_str().unwrap().to_owned()
    }

    fn pass_over(hosts: &Hosts, names: &[&str]) {
        let silent = hosts
            .0
            .hosts
            .iter()
            .filter(|host| names.contains(&name(host).as_str()));
        silent.for_each(|host| hosts.pass_over(host, &Unanswered::Late(String::new())));
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_are_asked_in_turn_and_a_silent_one_is_passed_over_for_a_while() {
        let hosts = hosts();
        assert_eq!(turn(&hosts), "abc");
        pass_over(&hosts, &["b"]);
        assert_eq!(turn(&hosts), "acc");
        tokio::time::advance(PASSED_OVER).await;
        assert_eq!(turn(&hosts), "abc");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stays_silent_is_passed_over_longer_until_it_answers() {
        let hosts = hosts();
        pass_over(&hosts, &["b"]);
        pass_over(&hosts, &["b"]);
        tokio::time::advance(PASSED_OVER).await;
        assert_eq!(turn(&hosts), "acc");
        hosts.answered(&hosts.0.hosts[1]);
        assert_eq!(turn(&hosts), "abc");
    }

    #[test]
    fn when_all_are_silent_all_are_tried_but_one_at_a_time() {
        let hosts = hosts();
        pass_over(&hosts, &["a", "b", "c"]);
        assert_eq!(turn(&hosts), "abc");
        assert_eq!(hosts.in_turn().count(), 1);
    }

    #[test]
    fn one_request_may_ask_all_that_are_well() {
        let hosts = hosts();
        pass_over(&hosts, &["b"]);
        assert_eq!(hosts.in_turn().map(name).collect::<String>(), "ac");
    }
}
