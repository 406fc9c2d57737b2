//! Two verdicts on a pipeline, from what is on the board. *Healthy*: it lives; a restart would not help. *Ready*: what it
//! takes in gets through.
//!
//! A cluster that is away makes a pipeline not ready, but not unhealthy: killing the agent for it would mend nothing.

use std::time::Duration;

use super::board::{Doing, Input, Stage, Vitals};

/// The engine takes a batch in milliseconds, and closes a month's windows in seconds: longer than this, it is stuck.
const STEP_MAX: Duration = Duration::from_mins(5);

/// A request without an answer is given up on after a minute and repeated, which counts: longer than this without any
/// change, and without a trouble that explains it, shipping is stuck.
const STILL_MAX: Duration = Duration::from_mins(5);

/// What is wrong with a pipeline: empty if all is well.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Why it does not live.
    pub(super) unhealthy: Vec<String>,
    /// Why its data does not get through.
    pub(super) not_ready: Vec<String>,
}

/// What the verdict depends on.
#[derive(Clone, Debug)]
struct Facts {
    stage: Stage,
    doing: (Doing, Duration),
    /// Documents under way, and for how long none has moved.
    in_flight: u64,
    still_for: Duration,
    trouble: Option<String>,
    /// Why the cluster has not answered, ever.
    unanswered: Option<String>,
    /// Names of inputs whose journal has no room for the largest body.
    full: Vec<String>,
}

/// Judges a pipeline.
pub(super) fn judge(vitals: &Vitals) -> Verdict {
    let wiring = vitals.wiring();
    let totals = wiring.map(|wiring| wiring.shipping.totals());
    let totals = totals.unwrap_or_default();
    let has_stored = totals.stored + totals.superseded > 0;
    let (inputs, durable) = (
        wiring.map_or(&[][..], |wiring| &wiring.inputs),
        vitals.durable(),
    );
    let is_full = |input: &&Input| match input {
        Input::Files(_) => false,
        Input::Http { journal, .. } => journal.is_full(durable.as_deref()),
    };
    verdict(&Facts {
        stage: vitals.stage(),
        doing: vitals.doing(),
        in_flight: totals.in_flight(),
        still_for: vitals.still_for(),
        trouble: wiring.and_then(|wiring| wiring.shipping.trouble()),
        unanswered: vitals.unanswered().filter(|_| !has_stored),
        full: inputs.iter().filter(is_full).map(Input::name).collect(),
    })
}

fn verdict(facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    match facts.stage {
        Stage::Running => {}
        Stage::Opening => verdict
            .not_ready
            .push("its state is being read and its inputs are being opened".to_owned()),
        Stage::Stopping => verdict.not_ready.push("it is stopping".to_owned()),
        // An ended pipeline does nothing any more, as it should.
        Stage::Ended => {
            verdict.not_ready.push("it has ended".to_owned());
            return verdict;
        }
    }
    let (doing, since) = facts.doing;
    if doing == Doing::Working && since > STEP_MAX {
        let seconds = since.as_secs();
        verdict
            .unhealthy
            .push(format!("the engine has been at one step for {seconds} s"));
    }
    if facts.in_flight > 0 && facts.trouble.is_none() && facts.still_for > STILL_MAX {
        let (count, seconds) = (facts.in_flight, facts.still_for.as_secs());
        verdict.unhealthy.push(format!(
            "{count} documents are under way, and nothing has moved for {seconds} s"
        ));
    }
    if let Some(trouble) = &facts.trouble {
        verdict
            .not_ready
            .push(format!("documents are held up: {trouble}"));
    } else if let Some(unanswered) = &facts.unanswered {
        verdict.not_ready.push(unanswered.clone());
    }
    for input in &facts.full {
        verdict.not_ready.push(format!(
            "the journal of {input} is full, or nearly: posts are answered 429 until the output catches up"
        ));
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Facts {
        Facts {
            stage: Stage::Running,
            doing: (Doing::Waiting, Duration::from_hours(1)),
            in_flight: 7,
            still_for: Duration::from_secs(1),
            trouble: None,
            unanswered: None,
            full: Vec::new(),
        }
    }

    /// Words of the reasons why it does not live, and why it is not ready.
    fn check(facts: &Facts, unhealthy: &[&str], not_ready: &[&str]) {
        let verdict = verdict(facts);
        for (reasons, words) in [
            (&verdict.unhealthy, unhealthy),
            (&verdict.not_ready, not_ready),
        ] {
            assert_eq!(reasons.len(), words.len(), "{verdict:?}");
            for (reason, word) in reasons.iter().zip(words) {
                assert!(reason.contains(word), "`{reason}` should say `{word}`");
            }
        }
    }

    #[test]
    fn a_pipeline_that_runs_is_ready() {
        check(&well(), &[], &[]);
        let idle = Facts {
            in_flight: 0,
            still_for: Duration::from_hours(9),
            ..well()
        };
        check(&idle, &[], &[]);
    }

    #[test]
    fn a_pipeline_that_opens_stops_or_has_ended_is_not_ready_and_lives() {
        for (stage, word) in [
            (Stage::Opening, "opened"),
            (Stage::Stopping, "stopping"),
            (Stage::Ended, "ended"),
        ] {
            check(&Facts { stage, ..well() }, &[], &[word]);
        }
    }

    #[test]
    fn a_cluster_that_is_away_holds_documents_up_and_is_no_reason_to_kill_the_agent() {
        let away = Facts {
            doing: (Doing::HandingOver, Duration::from_hours(9)),
            still_for: Duration::from_hours(9),
            trouble: Some("connection refused".to_owned()),
            ..well()
        };
        check(&away, &[], &["connection refused"]);
        let never_there = Facts {
            unanswered: Some("no answer yet".to_owned()),
            ..well()
        };
        check(&never_there, &[], &["no answer yet"]);
    }

    #[test]
    fn a_step_without_end_and_shipping_that_does_not_move_are_unhealthy() {
        let stuck = Facts {
            doing: (Doing::Working, Duration::from_mins(6)),
            ..well()
        };
        check(&stuck, &["engine"], &[]);
        let still = Facts {
            still_for: Duration::from_mins(6),
            ..well()
        };
        check(&still, &["nothing has moved"], &[]);
    }

    #[test]
    fn a_full_journal_is_said() {
        let full = Facts {
            full: vec!["http-1".to_owned()],
            ..well()
        };
        check(&full, &[], &["http-1"]);
    }
}
