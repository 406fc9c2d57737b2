//! The cluster's hosts, in turn; one that did not answer is passed over for a while.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use elasticsearch::http::Url;
use elasticsearch::http::transport::{Connection, ConnectionPool};
use tokio::time::Instant;

/// How long a host that did not answer is passed over at first; twice as long each time it fails again.
const PASSED_OVER: Duration = Duration::from_secs(30);

/// … and at most: a host that comes back is used again within five minutes.
const PASSED_OVER_MAX: Duration = Duration::from_mins(5);

/// All hosts. Clones share what they know.
#[derive(Clone, Debug)]
pub(super) struct Hosts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hosts: Vec<Host>,
    /// Any host, for when all are passed over; also the one to begin with.
    next: AtomicUsize,
}

#[derive(Debug)]
struct Host {
    url: Url,
    connection: Connection,
    health: Mutex<Health>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Health {
    failures: u32,
    passed_over_until: Option<Instant>,
}

impl Hosts {
    /// `None`: there are none.
    pub(super) fn new(urls: Vec<Url>) -> Option<Self> {
        let hosts: Vec<_> = urls
            .into_iter()
            .map(|url| Host {
                connection: Connection::new(url.clone()),
                url,
                health: Mutex::default(),
            })
            .collect();
        let next = AtomicUsize::new(0);
        (!hosts.is_empty()).then(|| Self(Arc::new(Inner { hosts, next })))
    }

    /// The host of this URL did not answer.
    pub(super) fn pass_over(&self, url: &Url) {
        self.of(url, |health| {
            let pause = PASSED_OVER.saturating_mul(1 << health.failures.min(8));
            health.failures = health.failures.saturating_add(1);
            health.passed_over_until = Some(Instant::now() + pause.min(PASSED_OVER_MAX));
        });
    }

    /// It did.
    pub(super) fn answered(&self, url: &Url) {
        self.of(url, |health| *health = Health::default());
    }

    fn of(&self, url: &Url, change: impl Fn(&mut Health)) {
        for host in &self.0.hosts {
            if host.url.origin() == url.origin() {
                change(&mut host.health.lock().unwrap_or_else(PoisonError::into_inner));
            }
        }
    }
}

impl ConnectionPool for Hosts {
    fn next(&self) -> Connection {
        let Inner { hosts, next } = &*self.0;
        let start = next.fetch_add(1, Ordering::Relaxed) % hosts.len().max(1);
        let (before, from) = hosts.split_at(start);
        let in_turn = || from.iter().chain(before);
        let now = Instant::now();
        let is_well = |host: &&Host| {
            let health = host.health.lock().unwrap_or_else(PoisonError::into_inner);
            health.passed_over_until.is_none_or(|until| until <= now)
        };
        match in_turn().find(is_well).or_else(|| in_turn().next()) {
            Some(host) => host.connection.clone(),
            // Never so: `new` makes no empty pool.
            None => elasticsearch::http::transport::SingleNodeConnectionPool::default().next(),
        }
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<&str> = self.0.hosts.iter().map(|host| host.url.as_str()).collect();
        formatter.write_str(&urls.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Hosts {
        let urls = ["http://a:1", "http://b:1", "http://c:1"];
        Hosts::new(urls.map(|url| Url::parse(url).unwrap()).to_vec()).unwrap()
    }

    fn turn(hosts: &Hosts) -> String {
        let next = || hosts.next().url().host_str().unwrap().to_owned();
        [next(), next(), next()].concat()
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_are_asked_in_turn_and_a_silent_one_is_passed_over_for_a_while() {
        let hosts = hosts();
        assert_eq!(turn(&hosts), "abc");
        hosts.pass_over(&Url::parse("http://b:1/_bulk").unwrap());
        assert_eq!(turn(&hosts), "acc");
        tokio::time::advance(PASSED_OVER).await;
        assert_eq!(turn(&hosts), "abc");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stays_silent_is_passed_over_longer_until_it_answers() {
        let hosts = hosts();
        let b = Url::parse("http://b:1").unwrap();
        hosts.pass_over(&b);
        hosts.pass_over(&b);
        tokio::time::advance(PASSED_OVER).await;
        assert_eq!(turn(&hosts), "acc");
        hosts.answered(&b);
        assert_eq!(turn(&hosts), "abc");
    }

    #[test]
    fn when_all_are_silent_all_are_tried() {
        let hosts = hosts();
        for host in ["http://a:1", "http://b:1", "http://c:1"] {
            hosts.pass_over(&Url::parse(host).unwrap());
        }
        assert_eq!(turn(&hosts), "abc");
    }
}
