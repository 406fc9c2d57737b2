//! Logs: to standard error, as text for people or JSON for machines.

use std::io::{IsTerminal, Write, stderr};
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

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
pub fn start(format: Format, filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    // A client library's every retry is told by us, with what to do about it.
    let filter = EnvFilter::builder().parse(format!(
        "{filter},hyper_util=warn,rustls=warn,reqwest=warn,fjall=warn,lsm_tree=warn"
    ))?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    match format {
        Format::Text => logs
            .with_ansi(stderr().is_terminal())
            .with_target(false)
            .init(),
        Format::Json => logs
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .init(),
    }
    Ok(())
}

/// Prints `modelbeat: error: …` and gives the exit code.
pub fn fail(message: &str, code: u8) -> ExitCode {
    // Standard error may be closed; there is nobody left to tell.
    writeln!(stderr(), "modelbeat: error: {message}").ok();
    ExitCode::from(code)
}
