//! `modelbeat notify test`: tells one notifier of a pipeline file something, and says what its receiver answered.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::{check, log};
use crate::edge::notify::{Notifier, Settings};
use crate::edge::now::now;
use crate::flow::alert::{Change, Notice, Severity};

/// `modelbeat notify`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send a test notice by one notifier, and say what its receiver answered.
    ///
    /// Alertmanager is told that the test alert fires, and then that it is over; the others get one message.
    Test {
        /// The pipeline file.
        file: PathBuf,
        /// The notifier's name, as under `notify`.
        name: String,
    },
}

/// Runs it.
pub fn run(command: &Command) -> ExitCode {
    let Command::Test { file, name } = command;
    let config = match check::load(std::slice::from_ref(file)) {
        Ok(mut configs) => configs.pop(),
        Err(code) => return code,
    };
    let Some(config) = config else {
        return ExitCode::FAILURE;
    };
    let known = || {
        let names: Vec<&str> = config
            .notifiers
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        if names.is_empty() {
            "there is no `notify` in it".to_owned()
        } else {
            format!("there are: {}", names.join(", "))
        }
    };
    let Some(settings) = config.notifiers.iter().find(|one| one.name == *name) else {
        return log::fail(
            &format!("{}: no notifier `{name}`; {}", file.display(), known()),
            2,
        );
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return log::fail(&format!("cannot start: {error}"), 1),
    };
    match runtime.block_on(test(settings, &config.engine.pipeline)) {
        Ok(said) => match writeln!(stdout(), "{name}: told: {said}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(why) => log::fail(&format!("{name} was not told: {why}"), 1),
    }
}

async fn test(settings: &Settings, pipeline: &str) -> Result<String, String> {
    let notifier = Notifier::open(settings).map_err(|error| error.to_string())?;
    let tell = async |change| {
        let said = notifier.tell(&notice(pipeline, change), now()).await;
        said.map_err(|failure| failure.why().to_owned())
    };
    let said = tell(Change::Firing).await?;
    if settings.addressee().is_reminded {
        tell(Change::Resolved).await?;
    }
    Ok(said)
}

fn notice(pipeline: &str, change: Change) -> Notice {
    let at = now();
    Notice {
        id: format!("test-{}.{}", at.0, change.name()),
        alert_id: "test".to_owned(),
        pipeline: pipeline.to_owned(),
        rule: "test".to_owned(),
        change,
        severity: Severity::Info,
        model: String::new(),
        version: String::new(),
        slice: None,
        window_start: None,
        window_end: None,
        value: None,
        threshold: String::new(),
        reason: "this is a test by `modelbeat notify test`: no alert fires".to_owned(),
        at,
        starts_at: at,
        notify: Vec::new(),
    }
}
