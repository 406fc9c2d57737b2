//! `alerts acknowledge`: puts a word for the agent into its data folder.

use std::process::ExitCode;

use super::AcknowledgeArguments;
use crate::cli::{check, log};
use crate::edge::acknowledged::{self, Word};

pub(super) fn acknowledge(arguments: &AcknowledgeArguments) -> ExitCode {
    let configs = match check::load(std::slice::from_ref(&arguments.file)) {
        Ok(configs) => configs,
        Err(code) => return code,
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if arguments.alert.is_empty() || !arguments.alert.chars().all(is_plain) {
        let message =
            "this is no alert's id: take `alert.id` of its document, or `alert` of its log line";
        return log::fail(message, 2);
    }
    for config in configs {
        let folder = arguments.data_dir.join(&config.engine.pipeline);
        let word = if arguments.relearn {
            Word::Normal
        } else {
            Word::Seen
        };
        if let Err(error) = acknowledged::put(&folder, word, &arguments.alert) {
            let message = format!(
                "cannot tell the agent in {}: {error}; is it the agent's --data-dir?",
                folder.display()
            );
            return log::fail(&message, 1);
        }
    }
    ExitCode::SUCCESS
}
