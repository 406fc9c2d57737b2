//! Whom a rule is about, and what its alerts are called.

use serde::{Deserialize, Serialize};

use crate::flow::alert::event::Subject;
use crate::flow::alert::rule::WindowRule;
use crate::flow::document::{WindowIdentity, window_id};
use crate::flow::event::Timestamp;

/// Makes sure that no two alerts of a subject have the same id, though a window may turn bad, be repaired, and turn bad again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Given {
    furthest: Option<Timestamp>,
    again: u32,
}

impl Given {
    pub(super) fn id(
        &mut self,
        owner: &[&str],
        rule: &str,
        subject: &Subject,
        first: Timestamp,
    ) -> String {
        let is_new = self.furthest.is_none_or(|furthest| first > furthest);
        let again = if is_new {
            self.furthest = Some(first);
            0
        } else {
            self.again += 1;
            self.again
        };
        alert_id(owner, rule, subject, first, again)
    }
}

pub(super) fn alert_id(
    owner: &[&str],
    rule: &str,
    subject: &Subject,
    first: Timestamp,
    again: u32,
) -> String {
    let (name, value) = subject.slice.clone().unwrap_or_default();
    let (first, again) = (first.0.to_string(), again.to_string());
    let mut parts = vec!["alert"];
    parts.extend(owner);
    parts.extend([
        rule,
        &subject.model,
        &subject.version,
        &name,
        &value,
        &first,
        &again,
    ]);
    window_id(&parts)
}

pub(super) fn is_watched(rule: &WindowRule, window: &WindowIdentity<'_>) -> bool {
    let is_of =
        |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    let is_cut = match window.slice_value {
        None => rule.slices.is_empty(),
        Some(_) => rule.slices.iter().any(|name| name == window.slice_name),
    };
    rule.window == window.length
        && is_cut
        && is_of(&rule.model, window.model)
        && is_of(&rule.version, window.version)
}

pub(super) fn subject_of(window: &WindowIdentity<'_>) -> Subject {
    Subject {
        model: window.model.to_owned(),
        version: window.version.to_owned(),
        slice: window
            .slice_value
            .map(|value| (window.slice_name.to_owned(), value.to_owned())),
    }
}
