//! The demo's one performance: sets the stage, lets the server tell its month to an agent, and says what became of it.
//!
//! Stopping is the same at any moment: the server stops, the agent ships what it has read, and the table is made of that. Only
//! after a whole month are the inputs drained, too.

use std::hash::{BuildHasher, RandomState};
use std::io::{IsTerminal, Write, stderr, stdout};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::agent::{self, Options};
use crate::cli::demo::Arguments;
use crate::cli::demo::findings::Findings;
use crate::cli::demo::folder::{Elasticsearch, Folder, SignIn, Wishes};
use crate::cli::demo::month::{DAY_MS, DAYS, HOUR_MS, Month};
use crate::cli::demo::server::{Server, Told};
use crate::cli::demo::table::Table;
use crate::cli::{SetupArguments, check, log, run, setup};
use crate::config::Config;
use crate::edge::now::now;
use crate::edge::sample::Lapse;
use crate::edge::status;
use crate::flow::event::Timestamp;

/// The name in the pipeline file.
const PIPELINE: &str = "demo";

/// Time between snapshots of the host: of a month told in a minute and a half, two hours.
const SAMPLED_EVERY_MS: i64 = 250;

/// A snapshot says something of the time until the next, and a little beyond.
const SAMPLES_TOLERATED: i64 = 6;

/// How often is asked whether all has been read.
const POLL: Duration = Duration::from_millis(100);

const GRACE: Duration = Duration::from_secs(10);

/// Where a port for labels is looked for.
const PORTS: Range<u16> = 10_000..20_000;

/// All that a demo is made of.
pub(super) struct Stage<'s> {
    arguments: &'s Arguments,
    month: Month,
    began: Timestamp,
    run: String,
    folder: Folder,
    port: u16,
}

/// How an agent ended; outer: whether its task broke.
type Agent = JoinHandle<Result<(), agent::Error>>;

impl<'s> Stage<'s> {
    /// Makes the folder and the pipeline file, and sets the cluster up. What cannot begin leaves nothing behind.
    pub(super) fn set_up(arguments: &'s Arguments) -> Result<(Self, Config), ExitCode> {
        let failed = |error: String| log::fail(&error, 1);
        let today = now().0.div_euclid(DAY_MS) * DAY_MS;
        let began = Timestamp(today - DAYS * DAY_MS);
        let stage = Self {
            arguments,
            month: Month::draw(arguments.seed),
            began,
            run: format!("{}-{}", arguments.seed, day(began)),
            port: free_port().map_err(failed)?,
            folder: Folder::make(arguments.folder.as_deref()).map_err(failed)?,
        };
        match stage.configure() {
            Ok(config) => Ok((stage, config)),
            Err(code) => {
                stage.folder.undo();
                Err(code)
            }
        }
    }

    fn configure(&self) -> Result<Config, ExitCode> {
        let file = self.folder.pipeline();
        write_pipeline(self.arguments, &self.folder, &self.run, self.port)
            .map_err(|error| log::fail(&error, 1))?;
        let mut configs = check::load(std::slice::from_ref(&file))?;
        if self.arguments.elasticsearch.is_some() {
            let done = setup::setup(&SetupArguments {
                file,
                data_dir: self.folder.data(),
                kibana: self.arguments.kibana.clone(),
            });
            if done != ExitCode::SUCCESS {
                return Err(done);
            }
        }
        configs.pop().ok_or(ExitCode::FAILURE)
    }

    /// Until the month is over, or Ctrl-C; then, if it is to stay, until Ctrl-C.
    ///
    /// # Errors
    /// In words: the agent, the server or the disk failed.
    pub(super) async fn play(
        &self,
        mut config: Config,
        bound: status::Bound,
    ) -> Result<ExitCode, String> {
        let stopped = stop_signal()?;
        let page = format!("http://{}/", bound.address());
        self.greet(&page);
        let lapse = Lapse {
            begins: now(),
            from: self.began,
            story_ms: DAYS * DAY_MS,
            telling_ms: i64::from(self.arguments.seconds) * 1_000,
        };
        if let Some(host) = &mut config.host {
            host.every = Duration::from_millis(SAMPLED_EVERY_MS.unsigned_abs());
            host.lapse = Some(lapse);
            let between_ms = SAMPLED_EVERY_MS * lapse.story_ms / lapse.telling_ms;
            config.engine.host_tolerance_ms = SAMPLES_TOLERATED * between_ms;
        }
        let board = status::Board::new(true);
        let vitals = board.enter(PIPELINE);
        let (end_agent, ending) = watch::channel(false);
        let mut agent = self.start(config.clone(), false, Arc::clone(&vitals), ending);
        let (_open, close) = watch::channel(false);
        run::serve(bound, board, close);

        let bar = bar();
        let server = Server {
            month: &self.month,
            lapse,
            run: &self.run,
            folder: &self.folder,
            port: self.port,
        };
        let telling = async {
            let told = server.run(&stopped, |told| show(&bar, told)).await;
            if let Ok(told) = told {
                bar.set_message("waiting until all is read");
                all_read(&vitals, told, &stopped).await;
            }
            told
        };
        let told = tokio::select! {
            told = telling => told,
            ended = &mut agent => return Err(how(ended).err().unwrap_or_else(|| "the agent ended".to_owned())),
        };
        bar.set_message("shipping the rest");
        end_agent.send_replace(true);
        how(agent.await)?;
        let told = told.map_err(|error| error.to_string())?;
        if !*stopped.borrow() {
            config.host = None;
            let vitals = status::Board::new(false).enter(PIPELINE);
            how(self.start(config, true, vitals, stopped.clone()).await)?;
        }
        bar.finish_and_clear();
        say(&self.result(told)?)?;
        let stays = !self.arguments.exit && (self.arguments.keep_open || stdout().is_terminal());
        if stays && !*stopped.borrow() {
            say(&format!("\nThe page stays at {page} until Ctrl-C."))?;
            until(stopped).await;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn start(
        &self,
        config: Config,
        once: bool,
        vitals: Arc<status::Vitals>,
        ending: watch::Receiver<bool>,
    ) -> Agent {
        let options = Options {
            data_dir: self.folder.data(),
            once,
            letters_only: false,
            grace: GRACE,
        };
        tokio::spawn(Box::pin(agent::run(config, options, vitals, until(ending))))
    }

    fn greet(&self, page: &str) {
        let text = format!(
            "A fraud model's month, told in {} seconds (seed {}), in the folder {}.\n\nWatch it live: {page}\n",
            self.arguments.seconds,
            self.arguments.seed,
            self.folder.shown.display(),
        );
        say(&text).ok();
    }

    /// The table, and where everything is.
    fn result(&self, told: Told) -> Result<String, String> {
        let documents = self.folder.documents();
        let findings = Findings::read(&documents)
            .map_err(|error| format!("cannot read {}: {error}", documents.display()))?;
        let mut text = String::new();
        if told.at_ms < DAYS * DAY_MS {
            text = format!("Stopped on day {} of {DAYS}. ", told.at_ms / DAY_MS + 1);
        }
        let began = jiff::Timestamp::from_millisecond(self.began.0)
            .map_err(|error| format!("the clock is far off: {error}"))?;
        let table = Table {
            findings: &findings,
            planted: self.month.incident,
            began,
            told_ms: told.at_ms,
        };
        text.push_str(&table.to_string());
        text.push_str(&self.places(&findings));
        Ok(text)
    }

    fn places(&self, findings: &Findings) -> String {
        let shipped = match &self.arguments.elasticsearch {
            Some(url) => format!(
                "\nShipped to {url} as {prefix}-*; `DELETE {prefix}-*` removes it.",
                prefix = self.arguments.index_prefix
            ),
            None => String::new(),
        };
        format!(
            "
In {folder}/ (remove it when you have seen enough):
  pipeline.yml    what modelbeat was told; a start for your own
  logs/           what the simulated server logged
  labels.ndjson   what was posted to http://127.0.0.1:{port}/v1/labels
  documents/      what modelbeat made of it: {files} indices as bulk NDJSON, {megabytes} MB
  data/           its checkpoint and journal
{shipped}",
            folder = self.folder.shown.display(),
            port = self.port,
            files = findings.files,
            megabytes = findings.bytes / 1_000_000,
        )
    }
}

/// To standard output.
fn say(text: &str) -> Result<(), String> {
    writeln!(stdout(), "{text}").map_err(|error| format!("cannot write the result: {error}"))
}

/// On a terminal only.
fn bar() -> ProgressBar {
    let target = if stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let hours = u64::try_from(DAYS * 24).unwrap_or_default();
    let bar = ProgressBar::with_draw_target(Some(hours), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, told: Told) {
    bar.set_position(u64::try_from(told.at_ms / HOUR_MS).unwrap_or_default());
    bar.set_message(format!(
        "day {} of {DAYS}: {} predictions, {} labels",
        (told.at_ms / DAY_MS + 1).min(DAYS),
        told.predictions,
        told.labels
    ));
}

/// Waits until the engine has taken in what was told.
async fn all_read(vitals: &status::Vitals, told: Told, stopped: &watch::Receiver<bool>) {
    let mut stopped = stopped.clone();
    while vitals.report().totals.events() < told.predictions + told.labels {
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

fn how(ended: Result<Result<(), agent::Error>, tokio::task::JoinError>) -> Result<(), String> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(format!(
            "the agent broke off: {error}; this is a bug, please report it"
        )),
    }
}

/// Becomes true at Ctrl-C or SIGTERM.
fn stop_signal() -> Result<watch::Receiver<bool>, String> {
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let (stopping, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stopping.send_replace(true);
        // Held for ever: a sender that is gone would be a stop, too.
        std::future::pending::<()>().await;
    });
    Ok(stopped)
}

async fn until(mut told: watch::Receiver<bool>) {
    told.wait_for(|told| *told).await.ok();
}

fn write_pipeline(
    arguments: &Arguments,
    folder: &Folder,
    run: &str,
    port: u16,
) -> Result<(), String> {
    let is_set = |name| std::env::var(name).is_ok_and(|value| !value.is_empty());
    let sign_in = if is_set("ES_API_KEY") {
        SignIn::ApiKey
    } else if is_set("ES_USERNAME") {
        SignIn::User
    } else {
        SignIn::Nobody
    };
    let elasticsearch = arguments.elasticsearch.as_deref();
    let written = folder.write_pipeline(&Wishes {
        agent_id: &format!("demo-{run}"),
        port,
        five_days_ms: i64::from(arguments.seconds) * 1_000 * 5 / DAYS,
        elasticsearch: elasticsearch.map(|url| Elasticsearch {
            url,
            ca: arguments.elasticsearch_ca.as_deref(),
            index_prefix: &arguments.index_prefix,
            sign_in,
        }),
    });
    written.map_err(|error| format!("cannot write {}: {error}", folder.pipeline().display()))
}

/// A port that is free, for the pipeline file. Should somebody take it before the agent does, the agent says so.
/// Below those that the kernel gives to outgoing connections: the agent takes it when the cluster is set up, and again for its
/// last run, and nobody's connection is to come in between.
fn free_port() -> Result<u16, String> {
    let listen = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let range = u64::from(PORTS.end - PORTS.start);
    let start = RandomState::new().hash_one(0) % range;
    let mut ports = (0..range).filter_map(|at| u16::try_from((start + at) % range).ok());
    let below = ports.find(|at| listen(PORTS.start + at).is_ok());
    // Where all are taken, any.
    let found = below.map_or_else(
        || listen(0).and_then(|listener| Ok(listener.local_addr()?.port())),
        |at| Ok(PORTS.start + at),
    );
    found.map_err(|error| format!("cannot find a free port on 127.0.0.1 for labels: {error}"))
}

/// The date of a day, `20261101`.
fn day(day: Timestamp) -> String {
    let mut text = Vec::new();
    crate::flow::json::Date::of(day).write(b'-', &mut text);
    String::from_utf8_lossy(&text).replace('-', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_for_labels_is_free_and_none_that_an_outgoing_connection_gets() {
        let port = free_port().unwrap();
        assert!(PORTS.contains(&port), "{port}");
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    }
}
