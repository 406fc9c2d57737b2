//! One request to its end: sent, and what must be sent again sent again, until every document is stored, superseded or refused.

use std::hash::{BuildHasher, RandomState};

use super::gate::Gate;
use super::progress::{Grade, Progress, Suffering};
use super::transport::{Transport, Unanswered};
use crate::flow::bulk::{Pause, Request, Trouble, backoff};
use crate::flow::document::DeadLetter;

/// A request whose every document is settled.
#[must_use = "refused documents go to the dead-letter log"]
#[derive(Debug)]
pub(super) struct Delivered {
    /// The request's name in the lane.
    pub(super) first: u64,
    /// What Elasticsearch will not take.
    pub(super) refused: Vec<DeadLetter>,
}

/// A cluster that is busy now and then is no news: it is after so many tries in vain.
const TRIES_BEFORE_WORD: u32 = 3;

/// Cancel safe in the sense of [`Transport::bulk`]: dropped, its documents may be stored or not.
pub(super) async fn deliver<T: Transport>(
    request: Request,
    transport: &T,
    gate: &Gate,
    progress: &Progress,
) -> Delivered {
    let mut delivered = Delivered {
        first: request.first(),
        refused: Vec::new(),
    };
    let mut suffering = Suffering::new(progress);
    // Halves of what was too large wait here, the earlier on top.
    let mut left = vec![request];
    let mut tries_in_vain = 0;
    let mut conflicts = 0;
    while let Some(request) = left.pop() {
        let pass = gate.enter().await;
        let bytes = request.body().len();
        progress.sent(bytes);
        let waiting = progress.answers().wait();
        let answer = transport.bulk(request.body()).await;
        drop(waiting);
        let failure = match answer {
            Err(unanswered) => {
                let failure = Failure::of_silence(&unanswered);
                pass.failed(failure.trouble, None);
                progress.again(request.documents());
                left.push(request);
                Some(failure)
            }
            Ok(reply) => {
                let settled = request.settle(reply.status, &reply.body);
                progress.settled(settled.stored, settled.superseded);
                progress.again(settled.again.iter().map(Request::documents).sum());
                if settled.stored + settled.superseded > 0 {
                    tries_in_vain = 0;
                    pass.answered(bytes);
                }
                let failure = settled.pause.map(|pause| Failure::of_reply(&pause));
                if let Some(failure) = &failure {
                    pass.failed(failure.trouble, reply.retry_after);
                } else if settled.split {
                    pass.too_large(bytes);
                } else if settled.again.is_empty() {
                    conflicts = 0;
                } else {
                    conflicts += 1;
                }
                delivered.refused.extend(settled.refused);
                left.extend(settled.again.into_iter().rev());
                failure
            }
        };
        drop(pass);
        progress.paces(|| gate.pacing());
        if let Some(failure) = failure {
            tries_in_vain += 1;
            if failure.grade == Grade::NeedsAPerson || tries_in_vain >= TRIES_BEFORE_WORD {
                suffering.because(failure.grade, &failure.reason);
            }
            continue;
        }
        tries_in_vain = 0;
        suffering.is_over();
        if conflicts > 0 {
            // Another writer was there between read and write of an update: the pace is not to blame.
            tokio::time::sleep(backoff(conflicts - 1, random(), None)).await;
        }
    }
    delivered
}

/// Why documents are sent again: for the pace, and for people.
struct Failure {
    trouble: Trouble,
    grade: Grade,
    reason: String,
}

impl Failure {
    fn of_silence(unanswered: &Unanswered) -> Self {
        let trouble = match unanswered {
            Unanswered::Late(_) => Trouble::Busy,
            Unanswered::Unreachable(_) => Trouble::Away,
            Unanswered::Distrusted(_) => Trouble::Broken,
        };
        Self::new(trouble, unanswered.to_string())
    }

    fn of_reply(pause: &Pause) -> Self {
        let trouble = if pause.needs_a_person() {
            Trouble::Broken
        } else {
            Trouble::Busy
        };
        Self::new(trouble, pause.to_string())
    }

    fn new(trouble: Trouble, reason: String) -> Self {
        let grade = match trouble {
            Trouble::Busy | Trouble::Away => Grade::Passing,
            Trouble::Broken => Grade::NeedsAPerson,
        };
        Self {
            trouble,
            grade,
            reason,
        }
    }
}

/// Enough chance for jitter: the standard library's hasher is seeded anew each time.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(0)
}
