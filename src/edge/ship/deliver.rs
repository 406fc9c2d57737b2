//! One request to its end: sent, and what must be sent again sent again, until every document is stored, superseded or refused.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::progress::{Grade, Progress, Suffering};
use super::transport::{Transport, Unanswered};
use crate::flow::bulk::{Pause, Request, backoff};
use crate::flow::document::DeadLetter;

/// A request whose every document is settled.
#[must_use = "refused documents go to the dead-letter log"]
#[derive(Debug)]
pub(super) struct Delivered {
    /// The request's name in the lane.
    pub(super) first: u64,
    /// What Elasticsearch will not take.
    pub(super) refused: Vec<DeadLetter>,
    /// The smallest body that was too large.
    pub(super) too_large: Option<usize>,
}

/// A cluster that is busy now and then is no news: it is after so many tries in vain.
const TRIES_BEFORE_WORD: u32 = 3;

/// Cancel safe in the sense of [`Transport::bulk`]: dropped, its documents may be stored or not.
pub(super) async fn deliver<T: Transport>(
    request: Request,
    transport: &T,
    progress: &Progress,
) -> Delivered {
    let mut delivered = Delivered {
        first: request.first(),
        refused: Vec::new(),
        too_large: None,
    };
    let mut suffering = Suffering::new(progress);
    // Halves of what was too large wait here, the earlier on top.
    let mut left = vec![request];
    let mut attempt = 0;
    while let Some(request) = left.pop() {
        let body = request.body();
        let bytes = body.len();
        progress.sent(bytes);
        let waiting = progress.answers().wait();
        let answer = transport.bulk(body).await;
        drop(waiting);
        let (wait, trouble) = match answer {
            Err(unanswered) => {
                progress.again(request.documents());
                left.push(request);
                (Wait::Backoff(None), Some(grade(&unanswered)))
            }
            Ok(reply) => {
                let settled = request.settle(reply.status, &reply.body);
                progress.settled(settled.stored, settled.superseded);
                delivered.refused.extend(settled.refused);
                if settled.split {
                    let smallest = delivered.too_large.unwrap_or(usize::MAX);
                    delivered.too_large = Some(bytes.min(smallest));
                }
                if settled.stored + settled.superseded > 0 {
                    attempt = 0;
                }
                let wait = if settled.split || settled.again.is_empty() {
                    Wait::No
                } else {
                    Wait::Backoff(reply.retry_after)
                };
                progress.again(settled.again.iter().map(Request::documents).sum());
                left.extend(settled.again.into_iter().rev());
                (wait, settled.pause.map(|pause| said(&pause)))
            }
        };
        match wait {
            Wait::No => {
                attempt = 0;
                suffering.is_over();
            }
            Wait::Backoff(retry_after) => {
                if let Some((grade, reason)) = trouble
                    && (grade == Grade::NeedsAPerson || attempt + 1 >= TRIES_BEFORE_WORD)
                {
                    suffering.because(grade, &reason);
                }
                tokio::time::sleep(backoff(attempt, random(), retry_after)).await;
                attempt = attempt.saturating_add(1);
            }
        }
    }
    delivered
}

enum Wait {
    No,
    Backoff(Option<Duration>),
}

fn grade(unanswered: &Unanswered) -> (Grade, String) {
    let grade = match unanswered {
        Unanswered::Unreachable(_) => Grade::Passing,
        Unanswered::Distrusted(_) => Grade::NeedsAPerson,
    };
    (grade, unanswered.to_string())
}

fn said(pause: &Pause) -> (Grade, String) {
    let grade = if pause.needs_a_person() {
        Grade::NeedsAPerson
    } else {
        Grade::Passing
    };
    (grade, pause.to_string())
}

/// Enough chance for jitter: the standard library's hasher is seeded anew each time.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(0)
}
