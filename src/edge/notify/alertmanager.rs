//! Prometheus Alertmanager, API v2. Exactly once for people: it knows an alert by its labels, whatever is posted again, and
//! tells its own receivers. While an alert fires it is posted again every [`AlertmanagerSettings::every`].

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::Failure;
use super::http::{Receiver, Target};
use crate::flow::alert::Notice;
use crate::flow::event::Timestamp;
use crate::flow::notify::post;

/// Alerts in one request.
const ALERTS_MAX: usize = 100;

/// `type: alertmanager`
#[derive(Clone, Debug, PartialEq)]
pub struct AlertmanagerSettings {
    /// Its base URL; `/api/v2/alerts` is put behind it.
    pub target: Target,
    /// Labels of the user's own.
    pub labels: BTreeMap<String, String>,
    /// How often what fires is posted again. Default 1 minute, as Prometheus has it.
    pub every: Duration,
}

#[derive(Debug)]
pub(super) struct Alertmanager {
    receiver: Receiver,
    labels: BTreeMap<String, String>,
    every: Duration,
}

impl Alertmanager {
    pub(super) fn open(settings: &AlertmanagerSettings) -> Result<Self, String> {
        Ok(Self {
            receiver: Receiver::open(&settings.target, "/api/v2/alerts")?,
            labels: settings.labels.clone(),
            every: settings.every,
        })
    }

    pub(super) const fn every(&self) -> Duration {
        self.every
    }

    pub(super) async fn tell(
        &self,
        notices: &[&Notice],
        now: Timestamp,
    ) -> Result<String, Failure> {
        let every_ms = i64::try_from(self.every.as_millis()).unwrap_or(i64::MAX);
        let mut said = String::new();
        for notices in notices.chunks(ALERTS_MAX) {
            let alerts: Value = notices
                .iter()
                .map(|notice| post(notice, &self.labels, now, every_ms))
                .collect();
            let body = alerts.to_string().into_bytes();
            said = self.receiver.post(HeaderMap::new(), body).await?;
        }
        Ok(said)
    }
}
