//! `alerts test`: runs the pipeline once over its files, in a folder of its own that goes again, and prints the alert documents.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value as Json;

use super::TestArguments;
use crate::agent::{self, Options};
use crate::cli::{check, log, run};
use crate::config::Config;
use crate::edge::tail::{self, StartAt, WatchMode};
use crate::edge::{status, write};
use crate::flow::alert::{self, Check, Rule, Watch};
use crate::flow::event::InputId;
use crate::flow::lines::Framing;

pub(super) fn test(arguments: &TestArguments) -> ExitCode {
    let configs = match check::load(std::slice::from_ref(&arguments.file)) {
        Ok(configs) => configs,
        Err(code) => return code,
    };
    let Some(config) = configs.into_iter().next() else {
        return ExitCode::FAILURE;
    };
    let folder = std::env::temp_dir().join(format!("modelbeat-alerts-test-{}", std::process::id()));
    let code = match trial(config, arguments, &folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => log::fail(&error, 1),
    };
    // What cannot be removed is in the folder that the system clears.
    fs::remove_dir_all(&folder).ok();
    code
}

fn trial(mut config: Config, arguments: &TestArguments, folder: &Path) -> Result<(), String> {
    if config.engine.alerts.rules.is_empty() {
        return Err("this pipeline file has no alert rules: add `alerts: {rules: [...]}`".into());
    }
    let output = folder.join("out");
    config.elasticsearch = None;
    config.file_output = Some(write::Settings {
        path: output.clone(),
    });
    config.receivers.clear();
    config.host = None;
    // Nobody is paged by a trial.
    config.notifiers.clear();
    config.ships_operations = false;
    for rule in &mut config.engine.alerts.rules {
        rule.notify.clear();
    }
    if !arguments.data.is_empty() {
        config.files.truncate(1);
        let given = config.files.pop().unwrap_or_else(json_lines);
        config.files = vec![tail::Settings {
            paths: arguments.data.clone(),
            ..given
        }];
    }
    if config.files.is_empty() {
        return Err("this pipeline reads no files: give some with --data".into());
    }
    for file in &mut config.files {
        file.start_at = StartAt::Beginning;
        file.ignore_older = None;
    }
    let rules = config.engine.alerts.clone();
    once(config, folder)?;
    let events = read(&output)?;
    print(&events, &rules).map_err(|error| format!("cannot print: {error}"))
}

/// Why recorded data cannot show what a rule would say of it; `None` where it can.
fn untried(rule: &Rule) -> Option<&'static str> {
    match &rule.watch {
        Watch::Silence(_) => Some("silence goes by the agent's clock, and data is read at once"),
        Watch::Health(_) => Some("it is about an agent that runs, and data says nothing of one"),
        Watch::Windows(on) => match &on.check {
            Check::Threshold(_) if on.open => {
                Some("it looks into windows that fill up, and here all are full")
            }
            Check::Threshold(_)
            | Check::Change(_)
            | Check::Detection(_)
            | Check::Distribution(_)
            | Check::Comparison(_) => None,
        },
    }
}

/// What the trial leaves out of all rules.
fn left_out(rules: &alert::Settings) -> Vec<&'static str> {
    let mut left_out = Vec::new();
    let waits = |rule: &Rule| rule.windows().is_some_and(|on| on.wait_ms > 0);
    if rules.rules.iter().any(waits) {
        left_out.push(
            "`wait` is not tried: windows are judged once, with all the labels that the data has",
        );
    }
    if !rules.mutes.is_empty() {
        left_out.push("mute times are not tried: they go by the clock, and nobody is told here");
    }
    left_out
}

/// Where a pipeline has no file input: records as it takes them over HTTP.
fn json_lines() -> tail::Settings {
    tail::Settings {
        input: InputId(0),
        paths: Vec::new(),
        framing: Framing::Lines,
        start_at: StartAt::Beginning,
        record_bytes_max: 16 << 20,
        ignore_older: None,
        close_inactive: Duration::from_mins(5),
        watch: WatchMode::Auto,
        poll: Duration::from_secs(1),
    }
}

fn once(config: Config, folder: &Path) -> Result<(), String> {
    let options = Options {
        data_dir: folder.join("data"),
        once: true,
        letters_only: false,
        grace: Duration::from_secs(10),
    };
    let runtime = run::runtime().map_err(|error| format!("cannot start: {error}"))?;
    let vitals = status::Board::new(false).enter(&config.engine.pipeline);
    let ran = runtime.block_on(Box::pin(agent::run(
        config,
        options,
        vitals,
        std::future::pending(),
    )));
    runtime.shutdown_background();
    ran.map_err(|error| error.to_string())
}

/// The alert documents, in the order in which they were made.
fn read(output: &Path) -> Result<Vec<Json>, String> {
    let cannot = |error: io::Error| format!("cannot read {}: {error}", output.display());
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(output).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.contains("-alerts-") {
            files.push(path);
        }
    }
    files.sort_unstable();
    let mut events = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(cannot)?;
        let sources = text.lines().skip(1).step_by(2);
        events.extend(sources.filter_map(|line| serde_json::from_str::<Json>(line).ok()));
    }
    Ok(events)
}

fn print(events: &[Json], rules: &alert::Settings) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let word = |event: &Json, path: &str| {
        let text = event.pointer(path).and_then(Json::as_str);
        text.unwrap_or_default().to_owned()
    };
    for event in events {
        writeln!(
            out,
            "{}  {:4} {:8} {}",
            word(event, "/window/start"),
            word(event, "/window/length"),
            word(event, "/alert/severity"),
            word(event, "/message"),
        )?;
    }
    for rule in &rules.rules {
        let name = &rule.name;
        if let Some(reason) = untried(rule) {
            writeln!(out, "{name}: not tried: {reason}")?;
            continue;
        }
        let of = |state: &str| {
            let is_of = |event: &&Json| {
                word(event, "/rule/name") == *name && word(event, "/alert/state") == state
            };
            events.iter().filter(is_of).count()
        };
        let (pending, firing, resolved) = (of("pending"), of("firing"), of("resolved"));
        writeln!(
            out,
            "{name}: pending {pending}, fired {firing}, over {resolved} times"
        )?;
    }
    for line in left_out(rules) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}
