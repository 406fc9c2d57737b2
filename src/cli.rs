//! The command line: one file a command.

pub mod alerts;
pub mod check;
pub mod dead_letters;
pub mod demo;
pub mod log;
pub mod notify;
pub mod run;
pub mod setup;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// The beat of your models in Elasticsearch.
///
/// modelbeat sits beside a model server, tails its prediction logs, receives predictions and labels over HTTP, joins
/// them whenever the label arrives, keeps windowed accuracy, precision, recall and F1 right as labels come in late or are
/// corrected, and ships it all to Elasticsearch.
#[derive(Debug, Parser)]
#[command(name = "modelbeat", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Form of the log lines on standard error.
    #[arg(long, global = true, value_enum, default_value_t = log::Format::Text, env = "MODELBEAT_LOG_FORMAT")]
    log_format: log::Format,
    /// What to log: error, warn, info, debug, trace, or a filter such as `modelbeat::edge=debug`.
    /// Default: info, and for `demo` warn.
    #[arg(long, global = true, value_name = "FILTER", env = "MODELBEAT_LOG")]
    log_level: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one or more pipeline files.
    Run(RunArguments),
    /// Validate pipeline files without running them: every error at once, with line and column.
    Check {
        /// Pipeline files.
        #[arg(required_unless_present = "print_schema")]
        files: Vec<PathBuf>,
        /// Also try to reach Elasticsearch.
        #[arg(long)]
        connect: bool,
        /// Print the JSON Schema of the pipeline file, for editors, and exit.
        #[arg(long)]
        print_schema: bool,
    },
    /// Try alert rules on recorded data, or say that somebody has seen an alert.
    Alerts {
        #[command(subcommand)]
        command: alerts::Command,
    },
    /// Look into what was refused (records that cannot be read, documents that Elasticsearch does not take, notices that
    /// somebody could not be told of), try it again, or drop it.
    DeadLetters {
        #[command(subcommand)]
        command: dead_letters::Command,
    },
    /// Try out those who are told of alerts.
    Notify {
        #[command(subcommand)]
        command: notify::Command,
    },
    /// Install index templates, a lifecycle policy where the cluster has ILM, and Kibana dashboards. Can be repeated.
    Setup(SetupArguments),
    /// See it at work, without anything else: a simulated fraud model, a month in a minute and a half.
    Demo(demo::Arguments),
}

/// `modelbeat setup`
#[derive(Debug, clap::Args)]
pub struct SetupArguments {
    /// A pipeline file: where its Elasticsearch is, and the index prefix.
    file: PathBuf,
    /// The data folder of the agent: what is done is entered in its operation log, where there is one.
    #[arg(long, default_value = "modelbeat-data", env = "MODELBEAT_DATA_DIR")]
    data_dir: PathBuf,
    #[command(flatten)]
    kibana: KibanaArguments,
}

/// Where Kibana is, and who asks.
#[derive(Clone, Debug, clap::Args)]
pub struct KibanaArguments {
    /// Also import data views, dashboards and alert rules (switched off) into the Kibana at this URL.
    #[arg(long, value_name = "URL", env = "MODELBEAT_KIBANA")]
    kibana: Option<String>,
    /// The Kibana space to import into.
    #[arg(long, value_name = "SPACE", requires = "kibana")]
    kibana_space: Option<String>,
    /// `id:api_key` or its base64, if Kibana's is not that of `output.elasticsearch`.
    #[arg(
        long,
        value_name = "KEY",
        conflicts_with = "kibana_user",
        env = "MODELBEAT_KIBANA_API_KEY",
        hide_env_values = true
    )]
    kibana_api_key: Option<String>,
    /// User, if Kibana's is not that of `output.elasticsearch`.
    #[arg(
        long,
        value_name = "USER",
        requires = "kibana_password",
        env = "MODELBEAT_KIBANA_USER"
    )]
    kibana_user: Option<String>,
    /// The user's password; better in the environment than on the command line.
    #[arg(
        long,
        value_name = "PASSWORD",
        requires = "kibana_user",
        env = "MODELBEAT_KIBANA_PASSWORD",
        hide_env_values = true
    )]
    kibana_password: Option<String>,
    /// PEM file of the authority that signed Kibana's certificate, if it is not that of `output.elasticsearch`.
    #[arg(long, value_name = "PATH", requires = "kibana")]
    kibana_ca: Option<PathBuf>,
}

/// `modelbeat run`
#[derive(Debug, clap::Args)]
pub struct RunArguments {
    /// Pipeline files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Folder for journals, checkpoints and dead letters; one folder a pipeline below it.
    #[arg(long, default_value = "modelbeat-data", env = "MODELBEAT_DATA_DIR")]
    data_dir: PathBuf,
    /// Drain the files that exist, wait for all acknowledgements, publish all windows, exit 0.
    #[arg(long)]
    once: bool,
    /// Read a pipeline file anew when it has changed. (SIGHUP does so for all of them.) One with mistakes changes nothing.
    #[arg(long, conflicts_with = "once", env = "MODELBEAT_WATCH")]
    watch: bool,
    /// Seconds that stopping may take before documents in flight are left to the next start.
    #[arg(long, default_value = "10", value_parser = seconds, env = "MODELBEAT_GRACE")]
    grace: Duration,
    /// While Elasticsearch is away, documents go to a spool of this size in the data folder (such as 8GiB; 0 for none)
    /// instead of what the pipeline files say (`output.elasticsearch.spool`).
    #[arg(long, value_name = "SIZE", value_parser = crate::config::spool_bytes, env = "MODELBEAT_SPOOL")]
    spool: Option<u64>,
    /// Serve the status page (/), /api/v1/status, /metrics, /healthz and /readyz on this address; a port alone means 127.0.0.1. Off unless given.
    #[arg(long, value_name = "ADDR", value_parser = address, env = "MODELBEAT_STATUS_LISTEN")]
    status_listen: Option<SocketAddr>,
    /// Bearer token wanted for /metrics, and for the reasons behind /healthz and /readyz. Best given by the environment.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "MODELBEAT_STATUS_TOKEN",
        hide_env_values = true
    )]
    status_token: Option<String>,
}

/// Runs the command line; the exit code is 0 (ok), 1 (failed) or 2 (wrong usage).
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let usual = match &arguments.command {
        Command::Demo(_) => "warn",
        _ => "info",
    };
    let level = arguments.log_level.as_deref().unwrap_or(usual);
    let _logs = match log::start(arguments.log_format, level) {
        Ok(logs) => logs,
        Err(error) => return log::fail(&format!("--log-level: {error}"), 2),
    };
    match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check {
            print_schema: true, ..
        } => check::schema(),
        Command::Check { files, connect, .. } => check::check(&files, connect),
        Command::Alerts { command } => alerts::run(command),
        Command::DeadLetters { command } => dead_letters::run(command),
        Command::Notify { command } => notify::run(&command),
        Command::Setup(arguments) => setup::setup(&arguments),
        Command::Demo(arguments) => demo::demo(&arguments),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse()
        .map_err(|_| "expected an address and a port such as 127.0.0.1:9702, or a port".into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.trim_end_matches('s').parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected seconds, at most 86400".into()),
    }
}
