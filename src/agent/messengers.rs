//! Those who tell people of alerts: the outbox, and a courier for each notifier of the pipeline file.

use std::path::Path;
use std::sync::Arc;

use crate::agent::Error;
use crate::edge::dead_letters::DeadLetters;
use crate::edge::notify::outbox::Outbox;
use crate::edge::notify::{Couriers, Notifier, Settings, start};

/// Opened, nobody on the way.
pub(super) struct Messengers {
    notifiers: Vec<Notifier>,
    pub(super) outbox: Arc<Outbox>,
}

impl Messengers {
    pub(super) fn open(
        folder: &Path,
        settings: &[Settings],
        dead_letters: DeadLetters,
    ) -> Result<Self, Error> {
        let addressees: Vec<_> = settings.iter().map(Settings::addressee).collect();
        let notifiers = settings.iter().map(Notifier::open);
        Ok(Self {
            notifiers: notifiers.collect::<Result<_, _>>()?,
            outbox: Arc::new(Outbox::open(folder, &addressees, dead_letters)?),
        })
    }

    pub(super) fn start(self) -> Couriers {
        start(self.notifiers, &self.outbox)
    }
}
