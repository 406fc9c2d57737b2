//! The channel between the sources and the engine, bounded in number and in bytes.
//!
//! Sources send as into any channel; a task of ours weighs what comes out of it, waits for its share of the budget, and
//! passes it on. The engine's thread gives the share back when it has taken the batch in.

use tokio::sync::mpsc;

use crate::edge::budget::{Budget, Share};
use crate::edge::status::Queue;
use crate::flow::engine::Intake;

/// Batches between the sources and the engine: what it takes in while a source waits for its turn on a busy core. As many read
/// buffers are kept for reuse ([`crate::flow::pool::Pool`]).
const INTAKE_MAX: usize = 8;

/// Bytes of them. One record may be 16 MiB long; batches are usually 256 KiB, and all of them fit.
const INTAKE_BYTES_MAX: usize = 16 << 20;

/// A batch keeps its read buffer alive, however little is in it.
const BATCH_BYTES_MIN: usize = 256 << 10;

/// What comes out for the engine.
pub(super) type Weighed = (Intake, Share);

/// Tells how full the channel is, and keeps nothing alive.
type Gauge = Queue<Weighed>;

/// The sources' end, the engine's end, and how full it is. What was sent is there for the engine even when all senders are gone.
pub(super) fn channel() -> (mpsc::Sender<Intake>, mpsc::Receiver<Weighed>, Gauge) {
    // One waits to be weighed: the sources feel at once when there is no more room.
    let (sender, mut sent) = mpsc::channel(1);
    let (weighed, receiver) = mpsc::channel(INTAKE_MAX);
    let budget = Budget::new(INTAKE_BYTES_MAX);
    let gauge = Queue {
        sender: weighed.downgrade(),
        budget: budget.clone(),
    };
    tokio::spawn(async move {
        while let Some(intake) = sent.recv().await {
            let share = budget.take(weight(&intake)).await;
            if weighed.send((intake, share)).await.is_err() {
                return;
            }
        }
    });
    (sender, receiver, gauge)
}

fn weight(intake: &Intake) -> usize {
    match intake {
        Intake::Batch(batch) => batch.bytes.len().max(BATCH_BYTES_MIN),
        Intake::Again(again) => {
            let texts = again.letters.iter().map(|letter| letter.text.len());
            texts.sum::<usize>().max(BATCH_BYTES_MIN)
        }
        Intake::Host(_)
        | Intake::Operations(_)
        | Intake::Gone(_)
        | Intake::Acknowledged(_)
        | Intake::Accepted(_)
        | Intake::Pulse(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::flow::event::{Batch, Head, InputId, SourceKey};

    /// How many batches of this size go in while the engine takes none out.
    async fn sent(bytes: usize) -> usize {
        let (sender, receiver, _) = channel();
        let mut sent = 0;
        let wait = Duration::from_secs(1);
        while tokio::time::timeout(wait, sender.send(batch(bytes)))
            .await
            .is_ok()
        {
            sent += 1;
        }
        drop(receiver);
        sent
    }

    /// One more is being weighed, and one waits for that: they are the source's, which has no more in its hands.
    #[tokio::test(start_paused = true)]
    async fn both_number_and_bytes_are_bounded_exactly() {
        assert_eq!(sent(100).await, INTAKE_MAX + 2);
        assert_eq!(sent(4 << 20).await, 4 + 2);
        assert_eq!(sent(16 << 20).await, 1 + 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_sent_comes_out_when_the_sources_are_gone() {
        let (sender, mut receiver, _) = channel();
        sender.send(batch(20 << 20)).await.unwrap();
        sender.send(batch(20 << 20)).await.unwrap();
        drop(sender);
        assert!(receiver.recv().await.is_some());
        assert!(receiver.recv().await.is_some());
        assert!(receiver.recv().await.is_none());
    }

    fn batch(bytes: usize) -> Intake {
        Intake::Batch(Batch {
            input: InputId(0),
            source: SourceKey("s".into()),
            origin: "s".into(),
            kind: None,
            bytes: vec![b'\n'; bytes].into(),
            base: 0,
            faults: Vec::new(),
            restart: false,
            head: Head::default(),
        })
    }
}
