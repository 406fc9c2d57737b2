//! Telling people: notices of alerts go to webhooks, Slack, Alertmanager, mail and programs, each in its own time.
//!
//! ```text
//! ship ──take──▶ outbox (durable) ──next──▶ courier ──▶ a receiver        one courier a notifier
//!                   ▲                          │
//!                   └── told, failed, given up ◀┘──▶ dead letters
//! ```
//!
//! Invariants: one receiver that is down delays no other. A notice is told at least once, under a key that is the same each
//! time ([`item_id`](crate::flow::notify::item_id)): exactly once, but for a kill between the receiver's answer and our fsync.
//! No secret, and no URL, which may hold one, is ever part of a message. Driven by the agent; words are made by
//! [`flow::notify`](crate::flow::notify).

mod again;
mod alertmanager;
mod courier;
mod exec;
mod http;
mod mail;
pub mod outbox;
mod secret;
mod slack;
mod webhook;

use std::time::Duration;

pub use again::tell_again;
pub use alertmanager::AlertmanagerSettings;
pub use courier::{Couriers, start};
pub use exec::ExecSettings;
pub use http::{Authorization, Target};
pub use mail::{MailSettings, MailTls, is_address};
use outbox::Addressee;
#[cfg(test)]
pub(in crate::edge) use outbox::sample;
pub use secret::Secret;
pub use slack::SlackSettings;
pub use webhook::WebhookSettings;

use crate::flow::alert::Notice;
use crate::flow::event::Timestamp;

/// A notice that could not be told for so long becomes a dead letter, unless the file says otherwise.
pub const GIVE_UP: Duration = Duration::from_hours(24);

/// A receiver that does not answer for so long has failed, unless the file says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// One notifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What rules call it.
    pub name: String,
    /// A notice that could not be told for so long becomes a dead letter.
    pub give_up: Duration,
    /// What it is.
    pub kind: Kind,
}

/// What a notifier is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// JSON by POST.
    Webhook(WebhookSettings),
    /// A Slack-compatible webhook.
    Slack(SlackSettings),
    /// Prometheus Alertmanager.
    Alertmanager(AlertmanagerSettings),
    /// Mail by SMTP.
    Email(MailSettings),
    /// A program.
    Exec(ExecSettings),
}

impl Settings {
    /// What the outbox must know.
    #[must_use]
    pub fn addressee(&self) -> Addressee {
        Addressee {
            name: self.name.clone(),
            give_up: self.give_up,
            is_reminded: matches!(self.kind, Kind::Alertmanager(_)),
        }
    }
}

/// A notifier cannot be made from its settings: do not start.
#[derive(Debug, thiserror::Error)]
#[error("notify.{name}: {why}")]
pub struct Error {
    /// The notifier.
    pub name: String,
    /// Why, and what to do about it.
    pub why: String,
}

/// Why somebody was not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may work later.
    Again {
        /// In words.
        why: String,
        /// The receiver asked not to be tried sooner.
        after: Option<Duration>,
    },
    /// This notice will never be taken.
    Refused {
        /// In words.
        why: String,
    },
}

impl Failure {
    pub(super) fn again(why: impl Into<String>) -> Self {
        Self::Again {
            why: why.into(),
            after: None,
        }
    }

    /// In words.
    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Self::Again { why, .. } | Self::Refused { why } => why,
        }
    }
}

/// A notifier, ready to tell.
#[derive(Debug)]
pub struct Notifier {
    name: String,
    channel: Channel,
}

#[derive(Debug)]
enum Channel {
    Webhook(webhook::Webhook),
    Slack(slack::Slack),
    Alertmanager(alertmanager::Alertmanager),
    Email(Box<mail::Mail>),
    Exec(exec::Exec),
}

impl Notifier {
    /// A notifier by its settings; connects to nobody yet.
    ///
    /// # Errors
    /// A certificate that cannot be read, a header that is none.
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        let channel = match &settings.kind {
            Kind::Webhook(kind) => webhook::Webhook::open(kind).map(Channel::Webhook),
            Kind::Slack(kind) => slack::Slack::open(kind).map(Channel::Slack),
            Kind::Alertmanager(kind) => {
                alertmanager::Alertmanager::open(kind).map(Channel::Alertmanager)
            }
            Kind::Email(kind) => mail::Mail::open(kind).map(|mail| Channel::Email(Box::new(mail))),
            Kind::Exec(kind) => Ok(Channel::Exec(exec::Exec::new(kind))),
        };
        let name = settings.name.clone();
        match channel {
            Ok(channel) => Ok(Self { name, channel }),
            Err(why) => Err(Error { name, why }),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells one notice, once. Returns what the receiver answered.
    ///
    /// Cancel safe: dropped, it leaves open whether the receiver was told, which its key makes harmless where the receiver heeds
    /// it.
    ///
    /// # Errors
    /// Why it was not told.
    pub async fn tell(&self, notice: &Notice, now: Timestamp) -> Result<String, Failure> {
        match &self.channel {
            Channel::Webhook(webhook) => webhook.tell(notice, &self.name, now).await,
            Channel::Slack(slack) => slack.tell(notice).await,
            Channel::Alertmanager(alertmanager) => alertmanager.tell(&[notice], now).await,
            Channel::Email(mail) => mail.tell(notice, &self.name).await,
            Channel::Exec(exec) => exec.tell(notice, &self.name).await,
        }
    }

    /// How often it must be told again of what fires, if it must.
    fn reminded_every(&self) -> Option<Duration> {
        match &self.channel {
            Channel::Alertmanager(alertmanager) => Some(alertmanager.every()),
            _ => None,
        }
    }

    /// Tells again of what fires.
    async fn remind(&self, standing: &[&Notice], now: Timestamp) -> Result<(), Failure> {
        if let Channel::Alertmanager(alertmanager) = &self.channel {
            alertmanager.tell(standing, now).await?;
        }
        Ok(())
    }
}
