//! Two verdicts on a pipeline, from what is on the board. *Healthy*: it lives; a restart would not help. *Ready*: what it
//! takes in gets through.
//!
//! A cluster that is away makes a pipeline not ready, but not unhealthy: killing the agent for it would mend nothing. While a
//! spool takes the documents, it is ready all the same: what it takes in is safe, and gets through later.

use std::time::Duration;

use super::board::{Doing, Input, Stage, Vitals};
use crate::edge::journal::AppendError;
use crate::edge::ship::SpoolHealth;
use crate::edge::tail::Unread;

/// The engine takes a batch in milliseconds, and closes a month's windows in seconds: longer than this, it is stuck.
const STEP_MAX: Duration = Duration::from_mins(5);

/// A request without an answer is given up on after a minute and repeated, which counts: longer than this without any
/// change, and without a trouble that explains it, shipping is stuck.
const STILL_MAX: Duration = Duration::from_mins(5);

/// A journal whose disk was full when it last took nothing may have room by now, and only a post tells: whoever sends posts
/// only to what is ready must get to send one.
const REFUSED_FOR: Duration = Duration::from_mins(1);

/// What is wrong with a pipeline: empty if all is well.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Why it does not live.
    pub(super) unhealthy: Vec<String>,
    /// Why its data does not get through.
    pub(super) not_ready: Vec<String>,
    /// What is no reason for either, but good to know.
    pub(super) notes: Vec<String>,
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
    /// The same, if it is the local disk's.
    disk_trouble: Option<String>,
    /// Documents go there while the cluster is away.
    spool: Option<SpoolHealth>,
    /// Why the cluster has not answered, ever.
    unanswered: Option<String>,
    /// Names of inputs whose journal has no room for the largest body.
    full: Vec<String>,
    /// Names of inputs whose journal takes nothing, and why.
    refusing: Vec<(String, AppendError)>,
    /// What the tail cannot read.
    unread: Vec<Unread>,
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
    let shipping = wiring.map(|wiring| &wiring.shipping);
    verdict(&Facts {
        stage: vitals.stage(),
        doing: vitals.doing(),
        in_flight: totals.in_flight(),
        still_for: vitals.still_for(),
        trouble: shipping.and_then(|shipping| shipping.trouble()),
        disk_trouble: shipping.and_then(|shipping| shipping.disk_trouble()),
        spool: shipping.and_then(|shipping| shipping.spool()),
        unanswered: vitals.unanswered().filter(|_| !has_stored),
        full: inputs.iter().filter(is_full).map(Input::name).collect(),
        refusing: inputs.iter().filter_map(refusal).collect(),
        unread: wiring.map_or_else(Vec::new, |wiring| wiring.files.snapshot().unread.clone()),
    })
}

/// The input's name, and why its journal takes nothing. That it is full is seen before it says so.
fn refusal(input: &Input) -> Option<(String, AppendError)> {
    let Input::Http { journal, .. } = input else {
        return None;
    };
    let (error, ago) = journal.size.refused()?;
    stands(&error, ago).then(|| (input.name(), error))
}

fn stands(error: &AppendError, ago: Duration) -> bool {
    match error {
        AppendError::Poisoned { .. } => true,
        AppendError::NoSpace => ago < REFUSED_FOR,
        AppendError::Full { .. } | AppendError::Closed => false,
    }
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
    judge_shipping(facts, &mut verdict);
    for input in &facts.full {
        verdict.not_ready.push(format!(
            "the journal of {input} is full, or nearly: posts are answered 429 until the output catches up"
        ));
    }
    for (input, error) in &facts.refusing {
        verdict
            .not_ready
            .push(format!("{input} accepts nothing: {error}"));
    }
    if let Some((Unread { path, reason }, others)) = facts.unread.split_first() {
        let more = match others.len() {
            0 => String::new(),
            count => format!("; and {count} more, see the log"),
        };
        let path = path.display();
        verdict
            .not_ready
            .push(format!("cannot read {path}: {reason}{more}"));
    }
    verdict
}

/// Whether documents get to the cluster, or at least to a disk.
fn judge_shipping(facts: &Facts, verdict: &mut Verdict) {
    let spool_trouble = facts.spool.as_ref().and_then(|spool| spool.trouble.clone());
    let takes = facts.spool.is_some() && spool_trouble.is_none();
    verdict.not_ready.extend(spool_trouble);
    if let Some(trouble) = &facts.disk_trouble {
        verdict
            .not_ready
            .push(format!("documents are held up: {trouble}"));
        return;
    }
    let trouble = facts.trouble.as_ref();
    let held_up = trouble.map(|trouble| format!("documents are held up: {trouble}"));
    match held_up.or_else(|| facts.unanswered.clone()) {
        Some(reason) if takes => verdict
            .notes
            .push(format!("{reason}; the spool takes them meanwhile")),
        reason => verdict.not_ready.extend(reason),
    }
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
            disk_trouble: None,
            spool: None,
            unanswered: None,
            full: Vec::new(),
            refusing: Vec::new(),
            unread: Vec::new(),
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
    fn a_cluster_that_is_away_is_a_note_while_the_spool_takes_documents() {
        let spool = |trouble: Option<&str>| {
            Some(SpoolHealth {
                bytes_max: 1 << 30,
                trouble: trouble.map(str::to_owned),
            })
        };
        let away = Facts {
            trouble: Some("connection refused".to_owned()),
            spool: spool(None),
            ..well()
        };
        let never_there = Facts {
            trouble: None,
            unanswered: Some("no answer yet".to_owned()),
            ..away.clone()
        };
        for (facts, word) in [(&away, "connection refused"), (&never_there, "no answer")] {
            check(facts, &[], &[]);
            let notes = verdict(facts).notes;
            assert!(notes.len() == 1 && notes[0].contains(word), "{notes:?}");
        }
        let full = Facts {
            spool: spool(Some("the spool is full")),
            ..away.clone()
        };
        check(&full, &[], &["the spool is full", "connection refused"]);
        assert_eq!(verdict(&full).notes, Vec::<String>::new());
        let disk = Facts {
            disk_trouble: Some("no space left".to_owned()),
            ..away
        };
        check(&disk, &[], &["no space left"]);
    }

    #[test]
    fn a_journal_that_stopped_is_a_reason_until_a_restart_and_a_full_disk_for_a_while() {
        let stopped = AppendError::Poisoned {
            reason: "cannot sync".into(),
        };
        let full = AppendError::Full { bytes_max: 1 };
        assert!(stands(&stopped, Duration::from_hours(99)));
        assert!(stands(&AppendError::NoSpace, Duration::from_secs(59)));
        assert!(!stands(&AppendError::NoSpace, REFUSED_FOR));
        assert!(!stands(&full, Duration::ZERO), "judged by its size");
        let refusing = Facts {
            refusing: vec![("http-1".to_owned(), stopped)],
            ..well()
        };
        check(&refusing, &[], &["http-1 accepts nothing"]);
    }

    #[test]
    fn paths_that_cannot_be_read_are_one_reason() {
        let unread = |path: &str| Unread {
            path: path.into(),
            reason: "permission denied".to_owned(),
        };
        let one = Facts {
            unread: vec![unread("/a")],
            ..well()
        };
        check(&one, &[], &["cannot read /a: permission denied"]);
        let three = Facts {
            unread: vec![unread("/a"), unread("/b"), unread("/c")],
            ..well()
        };
        check(&three, &[], &["and 2 more"]);
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
