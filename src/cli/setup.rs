//! `modelbeat setup`: prepares the cluster that a pipeline file names.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::{check, log};
use crate::edge::elastic::{Elastic, Error};
use crate::edge::setup::{self, Report};

/// Installs templates, and prints a line for each thing: installed, unchanged, or skipped and why.
pub fn setup(file: &Path) -> ExitCode {
    let config = match check::load(&[file.to_path_buf()]) {
        Ok(mut configs) => configs.pop(),
        Err(code) => return code,
    };
    let Some((settings, prefix)) =
        config.and_then(|config| Some((config.elasticsearch?.0, config.engine.index_prefix)))
    else {
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
    let asked: Result<Report, Error> =
        runtime.block_on(async { setup::run(&Elastic::open(&settings)?, &prefix).await });
    match asked {
        Ok(report) => {
            let mut out = std::io::stdout();
            let printed = report
                .steps
                .iter()
                .try_for_each(|step| writeln!(out, "{step}"));
            printed.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        Err(error) => log::fail(&error.to_string(), 1),
    }
}
