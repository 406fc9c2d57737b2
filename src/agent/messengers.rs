//! Those who tell people of alerts: the outbox, and a courier for each notifier of the pipeline file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::Error;
use crate::edge::notify::outbox::Outbox;
use crate::edge::notify::{Couriers, Notifier, Settings, start};

/// Opened, nobody on the way.
pub(super) struct Messengers {
    notifiers: Vec<Notifier>,
    /// `None`: there is nobody to tell, and nothing was left by an earlier run that had.
    pub(super) outbox: Option<Arc<Outbox>>,
}

impl Messengers {
    pub(super) fn open(folder: &Path, settings: &[Settings]) -> Result<Self, Error> {
        let is_there = || {
            Outbox::is_there(folder).map_err(|error| {
                Error::Settings(format!("cannot look into {}: {error}", folder.display()))
            })
        };
        let outbox = if settings.is_empty() && !is_there()? {
            None
        } else {
            let addressees: Vec<_> = settings.iter().map(Settings::addressee).collect();
            Some(Arc::new(Outbox::open(folder, &addressees)?))
        };
        let notifiers = settings.iter().map(Notifier::open);
        Ok(Self {
            notifiers: notifiers.collect::<Result<_, _>>()?,
            outbox,
        })
    }

    pub(super) fn start(self) -> Option<Couriers> {
        self.outbox
            .map(|outbox| start(self.notifiers, &outbox))
    }
}

/// Lets what is due be told, for as long as stopping may take.
pub(super) async fn stop(couriers: Option<Couriers>, grace: Duration) {
    if let Some(couriers) = couriers {
        couriers.stop(grace).await;
    }
}
