//! What the host is doing: CPU, memory, load, disk, network; the model server's process; the cgroup.
//!
//! Reading the host blocks, and for long where a mounted file system does not answer. So it has a thread of its own,
//! which [`run`] asks for one snapshot at a time: neither the runtime nor the agent's end ever waits for it. What
//! cannot be read is absent from the snapshot; nothing here stops the agent.

mod cgroup;
mod counters;
mod disk;
mod host;
mod lapse;
mod process;
mod sampler;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{self, Instant, MissedTickBehavior};

use crate::flow::engine::Intake;
use crate::flow::host::HostSnapshot;
pub use counters::Counters;
pub use lapse::Lapse;
use sampler::Sampler;

/// From the agent's start to the first snapshot: long enough for a CPU figure (sysinfo wants 200 ms), short enough
/// that the first predictions have one.
const BASELINE: Duration = Duration::from_millis(250);

/// A snapshot takes about a millisecond; much more often than this it would be the load that it measures.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// A snapshot that takes longer than this is worth a line in the log.
const SLOW: Duration = Duration::from_secs(10);

/// `host:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Time between snapshots; less than a second is taken as a second, in a time lapse less than 250 ms as those.
    pub every: Duration,
    /// Stamp snapshots with the time of a story, and take none after its end.
    pub lapse: Option<Lapse>,
    /// The model server's process.
    pub process: Option<ProcessSelector>,
}

/// How to find the model server's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessSelector {
    /// By number.
    Pid(u32),
    /// By a file that holds the number; read anew at each snapshot.
    PidFile(PathBuf),
    /// By exact process name; of several the oldest. Linux knows the first 15 bytes of a name, so only these count.
    Name(String),
}

/// Sends a snapshot every `settings.every`, the first after 250 ms, until `stop` is true or its sender gone, or
/// nobody takes snapshots any more. Where `out` is full it waits, and skips the snapshots it missed.
///
/// Cancel safe: a snapshot may be lost, which a later one makes up for.
pub async fn run(
    settings: Settings,
    out: mpsc::Sender<Intake>,
    counters: Arc<Counters>,
    mut stop: watch::Receiver<bool>,
) {
    let mut stopped = pin!(stop.wait_for(|stop| *stop));
    tokio::select! {
        _ = &mut stopped => {}
        () = sample(&settings, &out, &counters) => {}
    }
}

/// Ends where nobody takes snapshots any more, or no thread can be had.
async fn sample(settings: &Settings, out: &mpsc::Sender<Intake>, counters: &Counters) {
    let least = settings.lapse.map_or(EVERY_MIN, |_| BASELINE);
    let every = settings.every.max(least);
    let mut ticks = time::interval_at(Instant::now() + BASELINE, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let requests = match start(settings) {
            Ok(requests) => requests,
            Err(error) => {
                tracing::error!(%error, "cannot start the host sampler: documents will carry no host figures");
                return;
            }
        };
        loop {
            ticks.tick().await;
            let Some(mut snapshot) = ask(&requests, counters).await else {
                tracing::error!("the host sampler ended unexpectedly, starting it again");
                break;
            };
            if let Some(lapse) = settings.lapse {
                let Some(time) = lapse.at(snapshot.time) else {
                    continue;
                };
                snapshot.time = time;
            }
            counters.took(settings.process.is_some(), &snapshot);
            if out.send(Intake::Host(snapshot)).await.is_err() {
                return;
            }
        }
    }
}

/// One request for one snapshot.
type Request = oneshot::Sender<HostSnapshot>;

/// Starts the thread. It ends when the last sender of requests is gone.
fn start(settings: &Settings) -> io::Result<mpsc::Sender<Request>> {
    // One request at a time: `ask` waits for its answer.
    let (sender, mut requests) = mpsc::channel::<Request>(1);
    let selector = settings.process.clone();
    std::thread::Builder::new()
        .name("sample".to_owned())
        .spawn(move || {
            let mut sampler = Sampler::new(selector);
            while let Some(request) = requests.blocking_recv() {
                if request.send(sampler.take()).is_err() {
                    break; // nobody waits any more: the agent stops
                }
            }
        })?;
    Ok(sender)
}

/// `None` if the thread is gone.
async fn ask(requests: &mpsc::Sender<Request>, counters: &Counters) -> Option<HostSnapshot> {
    let (request, mut answer) = oneshot::channel();
    requests.send(request).await.ok()?;
    if let Ok(answer) = time::timeout(SLOW, &mut answer).await {
        return answer.ok();
    }
    counters.slow();
    tracing::warn!(
        seconds = SLOW.as_secs(),
        "sampling the host takes long: is there a mounted file system that does not answer?"
    );
    let answer = answer.await.ok()?;
    tracing::info!("sampling the host goes on");
    Some(answer)
}
