//! The agent's own health: alerts by its clock, from what each pulse says.
//!
//! A stop of the agent is no ill health: how long a figure has been bad counts from the start again.

use crate::flow::alert::book::{Book, alert_id, is_maintained, is_muted, words};
use crate::flow::alert::event::{Event, Subject};
use crate::flow::alert::life::{Alert, Phase};
use crate::flow::alert::pulse::{Counted, HealthRule, Pulse};
use crate::flow::alert::rule::{Rule, Watch};
use crate::flow::event::Timestamp;

impl Book {
    /// True if a rule asks how the agent fares.
    pub fn feels(&self) -> bool {
        self.settings
            .rules
            .iter()
            .any(|rule| health(rule).is_some())
    }

    /// The agent fares so, and has counted so much.
    pub fn feel(&mut self, pulse: &Pulse, counted: Counted, now: Timestamp) {
        self.recent.add(now, counted);
        let settings = &self.settings;
        let maintained = is_maintained(&settings.maintenance, now, now.plus(1));
        for (rule, watched) in settings.rules.iter().zip(&mut self.watched) {
            let Some(health) = health(rule) else {
                continue;
            };
            let clocked = &mut watched.clocked;
            let measured = health.measure(pulse, &self.recent);
            let Some(measured) = measured.filter(|_| !maintained) else {
                clocked.since = None;
                continue;
            };
            let (value, _) = measured;
            let alert = clocked.alert.as_ref().map(|alert| alert.phase);
            let step = if value > health.above {
                let since = *clocked.since.get_or_insert(now);
                let is_long = now.since(since) >= health.for_ms;
                match alert {
                    None | Some(Phase::Pending) if is_long => Some(Phase::Firing),
                    None => Some(Phase::Pending),
                    Some(_) => None,
                }
            } else {
                clocked.since = None;
                let is_over = alert == Some(Phase::Pending) || value <= health.clear;
                alert.filter(|_| is_over).map(|_| Phase::Resolved)
            };
            let Some(to) = step else { continue };
            let began = clocked.alert.as_ref().map(|alert| alert.first);
            let began = began.or(clocked.since).unwrap_or(now);
            let muted = is_muted(settings, rule, now);
            let event = Event {
                at: now,
                began,
                muted,
                ..words::health(rule, &health, measured, to, now.since(began))
            };
            let owner = [self.pipeline.as_str(), self.agent.as_str()];
            let mut alert = clocked.alert.take().unwrap_or_else(|| {
                let id = alert_id(&owner, &rule.name, &Subject::default(), began, 0);
                Alert::new(id, began, event.clone())
            });
            let event = alert.turns(to, event);
            if to == Phase::Firing {
                alert.told = !muted;
            }
            self.outbox.put(event, alert.told);
            if to != Phase::Resolved {
                clocked.alert = Some(alert);
            }
        }
    }
}

fn health(rule: &Rule) -> Option<HealthRule> {
    match rule.watch {
        Watch::Health(health) => Some(health),
        Watch::Windows(_) | Watch::Silence(_) => None,
    }
}
