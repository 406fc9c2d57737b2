//! Nothing comes in: an alert by the agent's clock, not by windows.
//!
//! A stop of the agent is no silence: the clock starts anew with it.

use serde::{Deserialize, Serialize};

use crate::flow::alert::book::{Book, alert_id, is_maintained, is_muted, words};
use crate::flow::alert::event::{Event, Subject};
use crate::flow::alert::life::{Alert, Phase};
use crate::flow::alert::rule::{Missing, Rule, SilenceRule, Watch};
use crate::flow::event::Timestamp;

/// What a rule by the clock knows: on silence, or on the agent's health.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Clocked {
    /// When something came last, or the agent started; of health, since when it has been bad. `None` before that.
    pub(super) since: Option<Timestamp>,
    pub(super) alert: Option<Alert>,
}

impl Book {
    /// The agent has started.
    pub fn start(&mut self, now: Timestamp) {
        for (rule, watched) in self.settings.rules.iter().zip(&mut self.watched) {
            watched.clocked.since = silence(rule).map(|_| now);
        }
        self.bury(now);
    }

    /// Records came in: predictions, labels, or both.
    pub fn hear(&mut self, predictions: bool, labels: bool, now: Timestamp) {
        if !(predictions || labels) {
            return;
        }
        for (rule, watched) in self.settings.rules.iter().zip(&mut self.watched) {
            let Some(silence) = silence(rule) else {
                continue;
            };
            let came = match silence.of {
                Missing::Events => true,
                Missing::Predictions => predictions,
                Missing::Labels => labels,
            };
            if !came {
                continue;
            }
            watched.clocked.since = Some(now);
            if let Some(mut alert) = watched.clocked.alert.take() {
                let reason = format!("{} come in again", silence.of.name());
                let event = alert.becomes(Phase::Resolved, reason, now);
                self.outbox.put(event, alert.told);
            }
        }
    }

    pub(super) fn silence_deadline(&self) -> Option<Timestamp> {
        let rules = self.settings.rules.iter().zip(&self.watched);
        let moments = rules.filter_map(|(rule, watched)| {
            let silence = silence(rule).filter(|_| watched.clocked.alert.is_none())?;
            Some(watched.clocked.since?.plus(silence.after_ms))
        });
        moments.min()
    }

    pub(super) fn look_at_silence(&mut self, now: Timestamp) {
        let settings = &self.settings;
        let maintained = is_maintained(&settings.maintenance, now, now.plus(1));
        for (rule, watched) in settings.rules.iter().zip(&mut self.watched) {
            let (Some(silence), Some(since)) = (silence(rule), watched.clocked.since) else {
                continue;
            };
            if watched.clocked.alert.is_some() || since.plus(silence.after_ms) > now {
                continue;
            }
            if maintained {
                watched.clocked.since = Some(now);
                continue;
            }
            let muted = is_muted(settings, rule, now);
            let event = Event {
                at: now,
                began: since,
                muted,
                ..words::silence(rule, silence, since, now)
            };
            let owner = [self.pipeline.as_str(), self.agent.as_str()];
            let id = alert_id(&owner, &rule.name, &Subject::default(), since, 0);
            let mut alert = Alert::new(id, since, event.clone());
            let event = alert.turns(Phase::Firing, event);
            alert.told = !muted;
            self.outbox.put(event, !muted);
            watched.clocked.alert = Some(alert);
        }
    }
}

fn silence(rule: &Rule) -> Option<SilenceRule> {
    match rule.watch {
        Watch::Silence(silence) => Some(silence),
        Watch::Windows(_) | Watch::Health(_) => None,
    }
}
