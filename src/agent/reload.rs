//! A pipeline whose file may change while it runs: it stops as it would for good, and goes on from its checkpoint with the new
//! settings, as a restart would. So a reload loses and doubles nothing for the reasons for which a restart does not; addresses
//! stay taken, and connections wait.
//!
//! What a restart could not go on from is refused before anything stops. A start that fails after all falls back to the
//! settings before.

use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, info};

use crate::agent::listeners::Listeners;
use crate::agent::opened::Opened;
use crate::agent::{Error, Options, run_opened};
use crate::config::Config;
use crate::edge::operations::Operations;
use crate::edge::{checkpoint, journal, status};
use crate::flow::operation::{Action, Operation};

/// Threads of the run before may hold its locks a moment longer: they are asked for so often …
const TRIES: u32 = 200;

/// … and so far apart.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// Runs one pipeline until `stopped`, with whatever settings come by `changed` meanwhile; of several, the last. Its place on
/// the board is its own until then, and a new one with each change.
///
/// # Errors
/// As [`run`](crate::agent::run).
pub async fn run_reloading(
    config: Config,
    options: Options,
    (board, mut vitals): (status::Board, Arc<status::Vitals>),
    mut stopped: watch::Receiver<bool>,
    mut changed: watch::Receiver<Option<Arc<Config>>>,
) -> Result<(), Error> {
    let pipeline = config.engine.pipeline.clone();
    let mut listeners = Listeners::default();
    let mut current = Arc::new(config);
    let mut opened =
        Opened::open(current.as_ref().clone(), &options, &vitals, &mut listeners).await?;
    loop {
        let mut next = None;
        let operations = opened.sources.operations.clone();
        let stop = async {
            // An error means that nobody is left who could say stop: the same.
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => {}
                config = acceptable(&current, &mut changed, &operations) => next = Some(config),
            }
        };
        run_opened(opened, &options, vitals, stop).await?;
        let Some(new) = next else { return Ok(()) };
        vitals = board.enter(&pipeline);
        let open = open_again(&new, &options, &vitals, &mut listeners).await;
        opened = match open {
            Ok(opened) => {
                current = new;
                opened
            }
            Err(error) => {
                error!(%pipeline, %error, "the changed pipeline file cannot be started, going on with the one before");
                open_again(&current, &options, &vitals, &mut listeners).await?
            }
        };
        listeners.keep(&current.receivers);
        info!(%pipeline, "pipeline was reloaded");
    }
}

/// Waits for settings that the pipeline can go on with. Cancel safe: what was seen is not asked for again, and what was not
/// returned is told in the log.
async fn acceptable(
    current: &Config,
    changed: &mut watch::Receiver<Option<Arc<Config>>>,
    operations: &Operations,
) -> Arc<Config> {
    loop {
        if changed.changed().await.is_err() {
            // Nobody is left who could change them.
            std::future::pending::<()>().await;
        }
        let new = changed.borrow_and_update().clone();
        let Some(new) = new else { continue };
        match objection(current, &new) {
            None => return new,
            Some(reason) => {
                let pipeline = &current.engine.pipeline;
                error!(%pipeline, reason, "the changed pipeline file cannot be applied while running, nothing is changed");
                operations.record(Operation::failure(Action::ConfigurationRefused, reason));
            }
        }
    }
}

/// Why the state that there is does not fit new settings; `None` if it does.
fn objection(current: &Config, new: &Config) -> Option<String> {
    let (old, now) = (&current.engine, &new.engine);
    if old.pipeline != now.pipeline {
        return Some(format!(
            "its name would be `{}`, which is another pipeline with other documents: start that one, and stop this one",
            now.pipeline
        ));
    }
    if discriminant(&old.task) != discriminant(&now.task) {
        return Some(
            "`task.kind` would be another one, and windows would hold both: give it another name"
                .to_owned(),
        );
    }
    for receiver in &current.receivers {
        if !new
            .receivers
            .iter()
            .any(|other| other.input == receiver.input)
        {
            return Some(format!(
                "input {} would be no http input any more, and what was posted there may not all be read: leave it at its \
                 place until modelbeat is stopped",
                receiver.input.0 + 1
            ));
        }
    }
    for file in &current.files {
        let moved = |other: &&crate::edge::tail::Settings| {
            other.input != file.input && other.paths == file.paths
        };
        if let Some(other) = new.files.iter().find(moved)
            && !new
                .files
                .iter()
                .any(|same| same.input == file.input && same.paths == file.paths)
        {
            return Some(format!(
                "input {} would be input {}, and its files be read again from their start: add inputs behind the others",
                file.input.0 + 1,
                other.input.0 + 1
            ));
        }
    }
    None
}

async fn open_again(
    config: &Config,
    options: &Options,
    vitals: &Arc<status::Vitals>,
    listeners: &mut Listeners,
) -> Result<Opened, Error> {
    let mut tries = 1;
    loop {
        match Opened::open(config.clone(), options, vitals, listeners).await {
            Err(error) if is_held(&error) && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(TRY_EVERY).await;
            }
            outcome => return outcome,
        }
    }
}

fn is_held(error: &Error) -> bool {
    matches!(
        error,
        Error::Journal(journal::Error::InUse { .. })
            | Error::Checkpoint(checkpoint::Error::Folder(
                checkpoint::FolderError::Held { .. }
            ))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
pipeline: p
inputs:
  - {type: file, paths: [a.log], format: json}
  - {type: http, listen: 127.0.0.1:0}
mapping:
  prediction: {id: id, time: t, model: {const: m}, predicted: y}
task: {kind: regression}
output: {file: {path: out/}}
";

    #[track_caller]
    fn check(from: &str, to: &str, expected: Option<&str>) {
        let read = |text: &str| {
            Config::parse("p.yml", text, &|_| None).unwrap_or_else(|faults| panic!("{faults}"))
        };
        assert!(FILE.contains(from));
        let objection = objection(&read(FILE), &read(&FILE.replace(from, to)));
        match (objection, expected) {
            (Some(reason), Some(expected)) => assert!(reason.contains(expected), "{reason}"),
            (reason, expected) => assert_eq!(reason.as_deref(), expected),
        }
    }

    #[test]
    fn what_a_restart_can_go_on_from_is_applied() {
        check("predicted: y", "predicted: z, slices: {a: b}", None);
        check("[a.log]", "[b.log]", None);
        check(
            "output:",
            "windows: [1d]\nprivacy: {keep_record: false}\noutput:",
            None,
        );
        check(
            "127.0.0.1:0}",
            "127.0.0.1:0}\n  - {type: file, paths: [b.log], format: csv}",
            None,
        );
    }

    #[test]
    fn what_it_could_not_is_refused_in_words() {
        check("pipeline: p", "pipeline: q", Some("its name would be `q`"));
        check("kind: regression", "kind: multiclass", Some("`task.kind`"));
        check(
            "  - {type: http, listen: 127.0.0.1:0}\n",
            "",
            Some("input 2 would be no http input"),
        );
        check(
            "  - {type: http, listen: 127.0.0.1:0}\n",
            "  - {type: file, paths: [c.log]}\n  - {type: http, listen: 127.0.0.1:0}\n",
            Some("input 2 would be no http input"),
        );
    }

    #[test]
    fn inputs_that_change_places_are_refused() {
        let two = FILE.replace(
            "  - {type: http",
            "  - {type: file, paths: [b.log], format: json}\n  - {type: http",
        );
        let other = two
            .replace("a.log", "x.log")
            .replace("b.log", "a.log")
            .replace("x.log", "b.log");
        let read = |text: &str| {
            Config::parse("p.yml", text, &|_| None).unwrap_or_else(|faults| panic!("{faults}"))
        };
        let reason = objection(&read(&two), &read(&other)).unwrap();
        assert!(reason.starts_with("input 1 would be input 2"), "{reason}");
    }
}
