//! A Slack-compatible webhook. At least once: it knows no key, so a kill between its answer and our fsync posts twice.

use reqwest::header::HeaderMap;

use super::Failure;
use super::http::{Receiver, Target};
use crate::flow::alert::Notice;

/// `type: slack`
#[derive(Clone, Debug, PartialEq)]
pub struct SlackSettings {
    /// Where to: the URL is the secret.
    pub target: Target,
}

#[derive(Debug)]
pub(super) struct Slack {
    receiver: Receiver,
}

impl Slack {
    pub(super) fn open(settings: &SlackSettings) -> Result<Self, String> {
        let receiver = Receiver::open(&settings.target, "")?;
        Ok(Self { receiver })
    }

    pub(super) async fn tell(&self, notice: &Notice) -> Result<String, Failure> {
        let body = crate::flow::notify::slack(notice).to_string();
        self.receiver
            .post(HeaderMap::new(), body.into_bytes())
            .await
    }
}
