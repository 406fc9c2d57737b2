//! One courier a notifier: takes what is to be told out of the outbox, tells it, and writes down that it did; waits between
//! tries, longer each time; tells again of what fires where that is wanted.
//!
//! Bounds: one telling under way a notifier. Stopping: a courier that is told to stop tries once more what is due, and ends
//! when nothing is, or something fails; the agent bounds the time. What is left waits in the outbox.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::outbox::{Errand, Error, Outbox};
use super::{Failure, Notifier};
use crate::edge::now::now;
use crate::flow::alert::Notice;
use crate::flow::bulk::backoff;

/// With nothing to do, this often what has waited too long is looked for.
const LOOK: Duration = Duration::from_secs(30);

/// The couriers of a pipeline, under way. Dropped, they stop where they are.
#[derive(Debug)]
pub struct Couriers {
    tasks: JoinSet<()>,
    stopping: watch::Sender<bool>,
}

/// Starts a courier for each notifier.
pub fn start(notifiers: Vec<Notifier>, outbox: &Arc<Outbox>) -> Couriers {
    let (stopping, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for notifier in notifiers {
        let waiting = outbox.waiting(notifier.name());
        if waiting > 0 {
            info!(
                notifier = notifier.name(),
                notices = waiting,
                "notices of an earlier run are told first"
            );
        }
        let courier = Courier {
            changes: outbox.changes(),
            outbox: Arc::clone(outbox),
            next_reminder: notifier.reminded_every().map(|_| Instant::now()),
            notifier,
            failures: 0,
            not_before: None,
        };
        tasks.spawn(courier.run(stopped.clone()));
    }
    Couriers { tasks, stopping }
}

impl Couriers {
    /// Lets each try once more what is due, for so long at most.
    pub async fn stop(mut self, grace: Duration) {
        self.stopping.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, ended).await.is_err() {
            warn!(
                ?grace,
                "grace is over, notices that could not be told wait for the next start"
            );
        }
    }
}

#[derive(Debug)]
struct Courier {
    notifier: Notifier,
    outbox: Arc<Outbox>,
    changes: watch::Receiver<()>,
    /// In a row.
    failures: u32,
    /// The receiver is not tried sooner.
    not_before: Option<Instant>,
    next_reminder: Option<Instant>,
}

impl Courier {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            self.changes.mark_unchanged();
            self.sweep().await;
            let is_stopping = *stopped.borrow();
            let now = Instant::now();
            let may_try = self.not_before.is_none_or(|until| until <= now) || is_stopping;
            let mut has_worked = false;
            if may_try {
                has_worked = self.errand().await;
                if !is_stopping && self.failures == 0 {
                    self.remind(now).await;
                }
            }
            if is_stopping && (!has_worked || self.failures > 0) {
                return;
            }
            if has_worked && self.failures == 0 {
                continue;
            }
            let wake = [self.not_before, self.next_reminder]
                .into_iter()
                .flatten()
                .filter(|at| *at > now)
                .chain([now + LOOK])
                .min();
            let waits_for_change = self.not_before.is_none();
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => {}
                changed = self.changes.changed(), if waits_for_change => if changed.is_err() { return },
                () = tokio::time::sleep_until(wake.unwrap_or(now)) => {}
            }
        }
    }

    /// Tells what is due, if something is. True if something was tried.
    async fn errand(&mut self) -> bool {
        let Some(Errand { notice, tries }) = self.outbox.next(self.notifier.name()) else {
            return false;
        };
        let said = self.notifier.tell(&notice, now()).await;
        let notifier = self.notifier.name().to_owned();
        match said {
            Ok(_) => {
                if self.failures > 0 {
                    info!(notifier, "the notifier tells again");
                }
                self.worked();
                info!(
                    notifier,
                    notice = notice.id,
                    alert = notice.alert_id,
                    change = notice.change.name(),
                    tries = tries + 1,
                    "told"
                );
                let written = self
                    .blocking(move |outbox, name| outbox.told(&notice, name))
                    .await;
                self.complain(written);
            }
            Err(Failure::Refused { why }) => {
                self.worked();
                let reason = format!("`{notifier}` refused it: {why}");
                let written = self
                    .blocking(move |outbox, name| outbox.give_up(&notice, name, &reason))
                    .await;
                self.complain(written);
            }
            Err(failure) => self.failed(&failure, Some(&notice)),
        }
        true
    }

    async fn remind(&mut self, now_at: Instant) {
        let Some(every) = self.notifier.reminded_every() else {
            return;
        };
        if self.next_reminder.is_some_and(|at| at > now_at) {
            return;
        }
        self.next_reminder = Some(now_at + every);
        let now = now();
        let standing = self.outbox.standing(self.notifier.name(), now);
        if standing.is_empty() {
            return;
        }
        let standing: Vec<&Notice> = standing.iter().map(|notice| &**notice).collect();
        if let Err(failure) = self.notifier.remind(&standing, now).await {
            self.failed(&failure, None);
            // What fires must not lapse because of one failure.
            self.next_reminder = self.not_before;
        }
    }

    fn worked(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }

    fn failed(&mut self, failure: &Failure, notice: Option<&Notice>) {
        let notifier = self.notifier.name();
        if let Some(notice) = notice {
            self.outbox.failed(notice, notifier);
        }
        let after = match failure {
            Failure::Again { after, .. } => *after,
            Failure::Refused { .. } => None,
        };
        let wait = backoff(self.failures, RandomState::new().hash_one(0), after);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + wait);
        let waiting = self.outbox.waiting(notifier);
        warn!(
            notifier,
            reason = failure.why(),
            waiting,
            "the notifier cannot tell, trying again"
        );
    }

    async fn sweep(&mut self) {
        let swept = self
            .blocking(|outbox, name| outbox.sweep(name).map(|_| ()))
            .await;
        self.complain(swept);
    }

    /// The disk says no: what was told is told again only if the process dies before it says yes.
    fn complain(&mut self, outcome: Result<(), Error>) {
        if let Err(error) = outcome {
            error!(notifier = self.notifier.name(), %error, "the outbox cannot be written");
            self.failures = self.failures.saturating_add(1);
            self.not_before =
                Some(Instant::now() + backoff(self.failures, RandomState::new().hash_one(0), None));
        }
    }

    async fn blocking(
        &self,
        call: impl FnOnce(&Outbox, &str) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        let (outbox, name) = (Arc::clone(&self.outbox), self.notifier.name().to_owned());
        // It breaks off only with the runtime.
        spawn_blocking(move || call(&outbox, &name))
            .await
            .unwrap_or(Ok(()))
    }
}
