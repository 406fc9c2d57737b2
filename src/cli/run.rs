//! `modelbeat run`: one agent a pipeline file, all stopped by the first signal or the first failure.

mod reload;

use std::io;
use std::process::ExitCode;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::agent::{self, Options};
use crate::cli::{RunArguments, check, log};
use crate::config::Config;
use crate::edge::{receive, status};

/// Runs pipeline files until a signal, or to their end.
pub fn run(arguments: &RunArguments) -> ExitCode {
    let mut configs = match check::load(&arguments.files) {
        Ok(configs) => configs,
        Err(code) => return code,
    };
    for config in &mut configs {
        overrule(config, arguments);
    }
    if let Some(name) = twice(&configs) {
        return log::fail(
            &format!(
                "two pipeline files are both named `{name}`: a pipeline's name is part of every document's id"
            ),
            1,
        );
    }
    let options = Options {
        data_dir: arguments.data_dir.clone(),
        once: arguments.once,
        letters_only: false,
        grace: arguments.grace,
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return log::fail(&format!("cannot start: {error}"), 1),
    };
    let listen = arguments.status_listen.map(|listen| status::Settings {
        listen,
        token: (arguments.status_token.clone())
            .filter(|token| !token.is_empty())
            .map(receive::Token),
    });
    let code = runtime.block_on(run_all(configs, arguments, options, listen));
    // A reader of a hung file system must not keep the process from ending.
    runtime.shutdown_background();
    code
}

/// What agents run on: the engine and the tailer have threads of their own.
pub(super) fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
}

/// What the command line says goes before what the file says.
fn overrule(config: &mut Config, arguments: &RunArguments) {
    if let (Some(bytes), Some((_, ship))) = (arguments.spool, &mut config.elasticsearch) {
        ship.spool_bytes_max = bytes;
    }
}

/// Shows the status from now on, beside the pipelines.
pub(super) fn serve(bound: status::Bound, board: status::Board, close: watch::Receiver<bool>) {
    info!(address = %bound.address(), "status is listening");
    if bound.is_exposed() {
        warn!(
            address = %bound.address(),
            "whoever reaches this address can read how good the models are: set MODELBEAT_STATUS_TOKEN, or listen on 127.0.0.1"
        );
    }
    tokio::spawn(async move {
        if let Err(error) = status::run(bound, board, close).await {
            // The pipelines are worth more than their looking glass.
            error!(%error, "the status is not shown any more");
        }
    });
}

fn twice(configs: &[Config]) -> Option<&str> {
    let names = || configs.iter().map(|config| config.engine.pipeline.as_str());
    names()
        .enumerate()
        .find(|(index, name)| names().take(*index).any(|before| before == *name))
        .map(|(_, name)| name)
}

async fn run_all(
    configs: Vec<Config>,
    arguments: &RunArguments,
    options: Options,
    listen: Option<status::Settings>,
) -> ExitCode {
    let (stopping, stopped) = watch::channel(false);
    let board = status::Board::new(listen.is_some());
    let bound = match listen {
        Some(settings) => match status::bind(settings).await {
            Ok(bound) => Some(bound),
            Err(error) => return log::fail(&error.to_string(), 1),
        },
        None => None,
    };
    let (mut interrupt, mut terminate, mut hangup) = match (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) {
        (Ok(interrupt), Ok(terminate), Ok(hangup)) => (interrupt, terminate, hangup),
        (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => {
            return log::fail(&format!("cannot listen for signals: {error}"), 1);
        }
    };
    let mut agents = JoinSet::new();
    let (mut files, changes) = reload::Files::new(arguments, &configs);
    for (config, changed) in configs.into_iter().zip(changes) {
        let (pipeline, options) = (config.engine.pipeline.clone(), options.clone());
        let place = (board.clone(), board.enter(&pipeline));
        let stopped = stopped.clone();
        // Boxed: the future of a whole agent is too large for a task's stack of moves.
        agents.spawn(async move {
            let running = agent::run_reloading(config, options, place, stopped, changed);
            (pipeline, Box::pin(running).await)
        });
    }
    // It outlives the pipelines, so that their last numbers can be read while others go on.
    let (_open, close) = watch::channel(false);
    if let Some(bound) = bound {
        serve(bound, board, close);
    }
    let mut code = ExitCode::SUCCESS;
    loop {
        tokio::select! {
            _ = interrupt.recv() => { stopping.send_replace(true); }
            _ = terminate.recv() => { stopping.send_replace(true); }
            _ = hangup.recv() => files.reload_all(),
            () = files.wait() => files.reload_changed(),
            ended = agents.join_next() => match ended {
                None => return code,
                Some(Ok((_, Ok(())))) => {}
                Some(Ok((pipeline, Err(error)))) => {
                    code = log::fail(&format!("pipeline {pipeline}: {error}"), 1);
                    stopping.send_replace(true);
                }
                Some(Err(error)) => {
                    code = log::fail(&format!("a pipeline broke off: {error}; this is a bug, please report it"), 1);
                    stopping.send_replace(true);
                }
            }
        }
    }
}
