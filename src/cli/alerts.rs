//! `modelbeat alerts test|acknowledge`: what a pipeline file's rules would have said of recorded data, and that somebody has
//! seen what they say now.

mod acknowledge;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

/// `modelbeat alerts`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read recorded data through a pipeline file and its alert rules, and print what would have become pending, fired and been
    /// over, window by window. Nothing is shipped, nobody is told, and no data folder is touched.
    ///
    /// Windows are judged with all the labels that the data has, so what late labels repaired does not show. What goes by the
    /// clock is not tried: silence, the agent's health, mute times, `wait`. The output says so where a file has it.
    Test(TestArguments),
    /// Tell the running agent that somebody has seen an alert: it stays until it is over, and nobody is told of it anew.
    Acknowledge(AcknowledgeArguments),
}

/// `modelbeat alerts acknowledge`
#[derive(Debug, Args)]
pub struct AcknowledgeArguments {
    /// The pipeline file.
    file: PathBuf,
    /// The alert's id, as its document (`alert.id`) and its log lines say it.
    alert: String,
    /// And take what it is about for the new normal: the control chart of an `anomaly` rule learns anew from the next windows, and
    /// the alert is over. (Each version of a model has a chart of its own, which begins with it.)
    #[arg(long)]
    relearn: bool,
    /// The data folder of the agent.
    #[arg(long, default_value = "modelbeat-data", env = "MODELBEAT_DATA_DIR")]
    data_dir: PathBuf,
}

/// `modelbeat alerts test`
#[derive(Debug, Args)]
pub struct TestArguments {
    /// The pipeline file.
    file: PathBuf,
    /// Files or globs to read instead of what the pipeline's first file input names (its other inputs are not read); in that
    /// input's format, or JSON lines where there is none.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    data: Vec<String>,
}

/// Runs `modelbeat alerts`.
pub fn run(command: Command) -> ExitCode {
    match command {
        Command::Test(arguments) => test::test(&arguments),
        Command::Acknowledge(arguments) => acknowledge::acknowledge(&arguments),
    }
}
