//! `modelbeat setup`: prepares the cluster that a pipeline file names, and the Kibana that the command line names.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::{KibanaArguments, SetupArguments, check, log};
use crate::config::Config;
use crate::edge::elastic::{self, Elastic};
use crate::edge::operations::Operations;
use crate::edge::setup::{self, Outcome, Report, kibana};
use crate::flow::operation::{Action, Operation};
use crate::flow::windows::Length;

/// Installs templates and dashboards, and prints a line for each thing: installed, unchanged, skipped or failed, and why.
pub fn setup(arguments: &SetupArguments) -> ExitCode {
    let file = &arguments.file;
    let config = match check::load(std::slice::from_ref(file)) {
        Ok(mut configs) => configs.pop(),
        Err(code) => return code,
    };
    let Some((config, settings)) = config.and_then(|config| {
        let settings = config.elasticsearch.clone()?.0;
        Some((config, settings))
    }) else {
        return log::fail(
            &format!(
                "{}: there is no output.elasticsearch to set up",
                file.display()
            ),
            1,
        );
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return log::fail(&format!("cannot start: {error}"), 1),
    };
    let prefix = &config.engine.index_prefix;
    let cluster = runtime.block_on(async { setup::run(&Elastic::open(&settings)?, prefix).await });
    let folder = arguments.data_dir.join(&config.engine.pipeline);
    enter("the cluster was set up", &cluster, &folder);
    let done = print(cluster);
    let Some(settings) = kibana_settings(&arguments.kibana, settings) else {
        return done;
    };
    if done != ExitCode::SUCCESS {
        return done;
    }
    let window = shortest_window(&config);
    let kibana = runtime.block_on(kibana::run(&settings, prefix, window.as_deref()));
    enter("kibana was set up", &kibana, &folder);
    print(kibana)
}

/// In the operation log, where the pipeline has a data folder on this machine: its agent ships the entry.
fn enter(what: &str, report: &Result<Report, impl std::error::Error>, folder: &Path) {
    if !folder.is_dir() {
        return;
    }
    let operation = match report {
        Ok(report) => {
            let of = |wanted: fn(&Outcome) -> bool| {
                let steps = report.steps.iter().filter(|step| wanted(&step.outcome));
                steps.map(|step| step.what.clone()).collect::<Vec<_>>()
            };
            let failed = of(|outcome| matches!(outcome, Outcome::Failed(_)));
            let operation = if failed.is_empty() {
                Operation::success(Action::Setup, what)
            } else {
                Operation::failure(Action::Setup, format!("{what}, but not all of it"))
            };
            operation
                .with(
                    "installed",
                    of(|outcome| matches!(outcome, Outcome::Installed)),
                )
                .with(
                    "unchanged",
                    of(|outcome| matches!(outcome, Outcome::Unchanged)),
                )
                .with(
                    "skipped",
                    of(|outcome| matches!(outcome, Outcome::Skipped(_))),
                )
                .with("failed", failed)
        }
        Err(error) => Operation::failure(Action::Setup, format!("setting up failed: {error}")),
    };
    Operations::new(folder).record(operation);
}

/// The exit code: 0 if all is as it should be.
fn print(report: Result<Report, impl std::error::Error>) -> ExitCode {
    let report = match report {
        Ok(report) => report,
        Err(error) => return log::fail(&error.to_string(), 1),
    };
    let mut out = std::io::stdout();
    let mut steps = report.steps.iter();
    if steps.try_for_each(|step| writeln!(out, "{step}")).is_err() {
        return ExitCode::FAILURE;
    }
    let is_failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed(_));
    match report
        .steps
        .iter()
        .filter(|step| is_failed(&step.outcome))
        .count()
    {
        0 => ExitCode::SUCCESS,
        failed => log::fail(
            &format!(
                "{failed} of {} could not be installed: see above",
                report.steps.len()
            ),
            1,
        ),
    }
}

/// Kibana's users and keys are the cluster's, and so is often the authority: what the command line leaves open, the pipeline
/// file says.
fn kibana_settings(
    arguments: &KibanaArguments,
    elastic: elastic::Settings,
) -> Option<kibana::Settings> {
    let user = arguments
        .kibana_user
        .clone()
        .zip(arguments.kibana_password.clone());
    let credentials = match (&arguments.kibana_api_key, user) {
        (Some(key), _) => elastic::Credentials::ApiKey(key.clone()),
        (None, Some((user, password))) => elastic::Credentials::Basic(user, password),
        (None, None) => elastic.credentials,
    };
    Some(kibana::Settings {
        url: arguments.kibana.clone()?,
        space: arguments.kibana_space.clone(),
        credentials,
        ca: arguments.kibana_ca.clone().or(elastic.ca),
    })
}

/// What the dashboards show at first: the shortest of the windows that do not overlap, for it follows a time range best.
fn shortest_window(config: &Config) -> Option<String> {
    let is_apart = |length: &&Length| !matches!(length, Length::Hopping { .. });
    let shortest = config.engine.windows.iter().filter(is_apart).min();
    shortest.map(ToString::to_string)
}
