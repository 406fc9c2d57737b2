//! Logs: to standard error, as text for people or JSON for machines; what repeats is left out and counted.

mod repeats;

use std::io::{IsTerminal, Write, stderr};
use std::process::ExitCode;

use tracing_subscriber::{EnvFilter, Layer, fmt, prelude::*, registry};

use repeats::Repeats;

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging.
///
/// # Errors
/// The filter cannot be parsed.
pub fn start(format: Format, filter: &str) -> Result<Logs, tracing_subscriber::filter::ParseError> {
    // A client library's every retry is told by us, with what to do about it.
    let filter =
        EnvFilter::builder().parse(format!("{filter},hyper_util=warn,rustls=warn,reqwest=warn"))?;
    let repeats = Repeats::default();
    let lines = match format {
        Format::Text => fmt::layer()
            .with_writer(stderr)
            .with_ansi(stderr().is_terminal())
            .with_target(false)
            .with_filter(repeats.clone())
            .boxed(),
        Format::Json => fmt::layer()
            .with_writer(stderr)
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_filter(repeats.clone())
            .boxed(),
    };
    registry().with(filter).with(lines).init();
    repeats.clone().report_for_ever();
    Ok(Logs(repeats))
}

/// Logging, under way. Dropped at the end, it says what was left out.
#[derive(Debug)]
pub struct Logs(Repeats);

impl Drop for Logs {
    fn drop(&mut self) {
        self.0.report();
    }
}

/// Prints `modelbeat: error: …` and gives the exit code.
pub fn fail(message: &str, code: u8) -> ExitCode {
    // Standard error may be closed; there is nobody left to tell.
    writeln!(stderr(), "modelbeat: error: {message}").ok();
    ExitCode::from(code)
}
