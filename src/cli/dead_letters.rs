//! `modelbeat dead-letters list|retry|drop`: what was refused, and what a person does about it. All three work beside a
//! running agent, and may be killed at any moment: [`edge::dead_letters`](crate::edge::dead_letters) says why no letter is
//! then lost or there twice.

mod drop;
mod list;
mod retry;
mod select;
mod summary;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::log;
use crate::edge::dead_letters::Busy;
use select::Filter;

/// `modelbeat dead-letters`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what was refused, by reason, and the newest letters with their places.
    List(ListArguments),
    /// Try again what was refused, once the cause is mended: documents are sent again, records are read again, notices are
    /// told again.
    ///
    /// What is refused again stays. A running agent reads records by the pipeline file it was started with: restart it
    /// first if you have mended that file.
    Retry(RetryArguments),
    /// Remove letters for good, after a question.
    Drop(DropArguments),
}

/// Where the letters are.
#[derive(Debug, Args)]
struct Where {
    /// Pipeline files whose letters are meant; none: all under the data folder.
    files: Vec<PathBuf>,
    /// The data folder of the agent.
    #[arg(long, default_value = "modelbeat-data", env = "MODELBEAT_DATA_DIR")]
    data_dir: PathBuf,
}

/// `modelbeat dead-letters list`
#[derive(Debug, Args)]
pub struct ListArguments {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    filter: Filter,
    /// Letters shown of each pipeline, the newest; 0: all.
    #[arg(long, default_value_t = 20)]
    limit: u64,
    /// For people, or one JSON object a letter.
    #[arg(long, value_enum, default_value_t = list::Form::Text)]
    format: list::Form,
}

/// `modelbeat dead-letters retry`
#[derive(Debug, Args)]
pub struct RetryArguments {
    /// The pipeline file.
    file: PathBuf,
    /// The data folder of the agent.
    #[arg(long, default_value = "modelbeat-data", env = "MODELBEAT_DATA_DIR")]
    data_dir: PathBuf,
    #[command(flatten)]
    filter: Filter,
}

/// `modelbeat dead-letters drop`
#[derive(Debug, Args)]
pub struct DropArguments {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    filter: Filter,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

/// Runs one of the three.
pub fn run(command: Command) -> ExitCode {
    let outcome = match command {
        Command::List(arguments) => list::list(&arguments),
        Command::Retry(arguments) => retry::retry(&arguments),
        Command::Drop(arguments) => drop::drop(&arguments),
    };
    match outcome {
        Ok(code) | Err(Error::Told(code)) => code,
        // Whoever read our output (`head`, a pager) has seen enough.
        Err(Error::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => log::fail(&error.to_string(), error.code()),
    }
}

/// Why a command cannot do it, or not all of it.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error("cannot read or write the dead-letter log in {folder}: {source}", folder = folder.display())]
    Log { folder: PathBuf, source: io::Error },
    #[error("{folder} is no data folder: give the agent's with --data-dir", folder = .0.display())]
    NoData(PathBuf),
    #[error("{0}")]
    Usage(String),
    #[error("{0}; nothing was lost: what is not done stays in the log")]
    Undone(String),
    #[error("cannot print: {0}")]
    Print(io::Error),
    #[error("told already")]
    Told(ExitCode),
}

impl Error {
    fn log(folder: &std::path::Path) -> impl Fn(io::Error) -> Self + use<'_> {
        |source| Self::Log {
            folder: folder.to_owned(),
            source,
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            _ => 1,
        }
    }
}
