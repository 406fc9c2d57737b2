//! `modelbeat demo`: a month of a simulated fraud model, told in a minute or two, and what modelbeat makes of it.
//!
//! The month is simulated (`month`, `server`); the agent is the one that `modelbeat run` runs, with a pipeline file that
//! is left in the demo's folder. The host's figures are measured while the demo runs. When the month is over, the agent stops,
//! a second one drains what is left as `modelbeat run --once` does, and the table is read from the documents.

mod chance;
mod findings;
mod folder;
mod load;
mod month;
mod server;
mod stage;
mod table;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::{KibanaArguments, address, log, run};
use crate::edge::status;
use stage::Stage;

/// Where the page is, if nobody else is there.
const STATUS_PORT: u16 = 9702;

/// `modelbeat demo`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Seconds that the month takes.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(2..=86_400))]
    seconds: u32,
    /// The same seed tells the same month, but for its date and what the host does meanwhile.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for all that the demo writes, some 100 MB; must be new or empty [default: modelbeat-demo, or with a number
    /// behind it]
    #[arg(long, value_name = "PATH")]
    folder: Option<PathBuf>,
    /// Where the page is served; a port alone means 127.0.0.1 [default: 9702, or another port if that is taken]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    status_listen: Option<SocketAddr>,
    /// End when the month is over, also on a terminal.
    #[arg(long, conflicts_with = "keep_open")]
    exit: bool,
    /// Keep the page open until Ctrl-C, also where there is no terminal.
    #[arg(long)]
    keep_open: bool,
    /// Ship to the Elasticsearch at this URL, too, after installing the index templates there. Signs in with `ES_API_KEY`, or
    /// `ES_USERNAME` and `ES_PASSWORD`, of the environment.
    #[arg(long, value_name = "URL")]
    elasticsearch: Option<String>,
    /// PEM file of the authority that signed Elasticsearch's certificate.
    #[arg(long, value_name = "PATH", requires = "elasticsearch")]
    elasticsearch_ca: Option<PathBuf>,
    /// First part of all index names, so that `DELETE PREFIX-*` removes what the demo shipped.
    #[arg(
        long,
        value_name = "PREFIX",
        requires = "elasticsearch",
        default_value = "modelbeat-demo"
    )]
    index_prefix: String,
    #[command(flatten)]
    kibana: KibanaArguments,
}

/// Tells the month, and says what was found.
pub fn demo(arguments: &Arguments) -> ExitCode {
    if arguments.kibana.kibana.is_some() && arguments.elasticsearch.is_none() {
        return log::fail("--kibana needs --elasticsearch: it shows what is there", 2);
    }
    let runtime = match run::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return log::fail(&format!("cannot start: {error}"), 1),
    };
    let bound = match runtime.block_on(bind(arguments.status_listen)) {
        Ok(bound) => bound,
        Err(error) => return log::fail(&error.to_string(), 1),
    };
    let (stage, config) = match Stage::set_up(arguments) {
        Ok(set_up) => set_up,
        Err(code) => return code,
    };
    let code = runtime
        .block_on(stage.play(config, bound))
        .unwrap_or_else(|error| log::fail(&error, 1));
    runtime.shutdown_background();
    code
}

/// The wished address; or the usual one, or any.
async fn bind(wished: Option<SocketAddr>) -> Result<status::Bound, status::Error> {
    let at = |listen| {
        status::bind(status::Settings {
            listen,
            token: None,
        })
    };
    if let Some(listen) = wished {
        return at(listen).await;
    }
    match at((Ipv4Addr::LOCALHOST, STATUS_PORT).into()).await {
        Err(_) => at((Ipv4Addr::LOCALHOST, 0).into()).await,
        bound => bound,
    }
}
