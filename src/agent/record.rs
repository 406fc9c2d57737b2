//! What the agent enters in the operation log: starts, recoveries, configurations, ends.

use crate::agent::{Error, Options};
use crate::edge::operations::{Configuration, Operations};
use crate::flow::engine::{Checkpoint, Engine};
use crate::flow::operation::{Action, Operation};

/// A start that is refused leaves the folder as it was: it is entered once nothing can refuse it any more.
pub(super) fn started(
    operations: &Operations,
    pipeline: &str,
    configuration: &Configuration,
    options: &Options,
) {
    operations.record(
        Operation::success(Action::Start, format!("pipeline {pipeline} was started"))
            .with("version", env!("CARGO_PKG_VERSION"))
            .with("process", std::process::id())
            .with("once", options.once)
            .with("letters_only", options.letters_only),
    );
    operations.configured(configuration);
}

pub(super) fn recovered(operations: &Operations, checkpoint: &Checkpoint, engine: &Engine) {
    let (open, early, windows) = engine.waiting();
    let number = checkpoint.cold.edges.number;
    operations.record(
        Operation::success(
            Action::Recovery,
            format!("went on from checkpoint {number}"),
        )
        .with("checkpoint", number)
        .with("open_predictions", open)
        .with("early_labels", early)
        .with("windows", windows),
    );
}

pub(super) fn ended(operations: &Operations, pipeline: &str, outcome: &Result<(), Error>) {
    operations.record(match outcome {
        Ok(()) => Operation::success(Action::Stop, format!("pipeline {pipeline} ended")),
        Err(error) => {
            Operation::failure(Action::Stop, format!("pipeline {pipeline} ended: {error}"))
        }
    });
    operations.close();
}
