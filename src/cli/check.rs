//! `modelbeat check FILE…`: validate without running. Faults go to stderr, one `FILE: ok` a good file to stdout.
//!
//! What needs the network (`--connect`) is handed in: this room only decides whom to ask, and what to print.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{Config, Environment, schema};
use crate::edge::elastic::Elastic;

/// Tries what a good file names (Elasticsearch), and says what does not work, a line each.
pub type Connect<'a> = &'a dyn Fn(&Config) -> Vec<String>;

/// `modelbeat check FILE…`
pub fn check(files: &[PathBuf], connect: bool) -> ExitCode {
    let connect: Option<Connect<'_>> = connect.then_some(&probe as Connect<'_>);
    let environment = |name: &str| std::env::var(name).ok();
    run(
        files,
        &environment,
        connect,
        &mut io::stdout(),
        &mut io::stderr(),
    )
    .unwrap_or(ExitCode::FAILURE)
}

/// `modelbeat check --print-schema`
pub fn schema() -> ExitCode {
    print_schema(&mut io::stdout()).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// Loads pipeline files for a command that works with them. Faults and warnings go to stderr.
///
/// # Errors
/// The exit code, once every fault of every file has been told.
pub fn load(files: &[PathBuf]) -> Result<Vec<Config>, ExitCode> {
    let mut configs = Vec::with_capacity(files.len());
    let mut good = true;
    let mut err = io::stderr();
    for file in files {
        let said = match Config::load(file, &|name| std::env::var(name).ok()) {
            Ok(config) => {
                let warnings = config.warnings.to_string();
                configs.push(config);
                warnings
            }
            Err(faults) => {
                good = false;
                faults.to_string()
            }
        };
        if !said.is_empty() && writeln!(err, "{said}").is_err() {
            return Err(ExitCode::FAILURE);
        }
    }
    if good {
        Ok(configs)
    } else {
        Err(ExitCode::FAILURE)
    }
}

/// Asks the Elasticsearch that a file names who it is.
fn probe(config: &Config) -> Vec<String> {
    let Some((settings, _)) = &config.elasticsearch else {
        return Vec::new();
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return vec![format!("cannot start: {error}")],
    };
    let asked = runtime.block_on(async { Elastic::open(settings)?.probe().await });
    asked
        .err()
        .map(|error| error.to_string())
        .into_iter()
        .collect()
}

/// Checks files, and says how they are. `connect` is asked about every file without errors.
///
/// # Errors
/// `out` or `err` cannot be written to.
pub fn run(
    files: &[PathBuf],
    environment: Environment<'_>,
    connect: Option<Connect<'_>>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<ExitCode> {
    let mut good = true;
    let mut names: BTreeMap<String, &PathBuf> = BTreeMap::new();
    for file in files {
        let shown = file.display();
        match Config::load(file, environment) {
            Err(faults) => {
                good = false;
                writeln!(err, "{faults}")?;
                let errors = faults.errors();
                writeln!(
                    err,
                    "{shown}: {errors} error{}\n",
                    if errors == 1 { "" } else { "s" }
                )?;
            }
            Ok(config) => {
                if !config.warnings.is_empty() {
                    writeln!(err, "{}", config.warnings)?;
                }
                let mut troubles = connect.map(|connect| connect(&config)).unwrap_or_default();
                if let Some(first) = names.insert(config.engine.pipeline.clone(), file) {
                    let name = &config.engine.pipeline;
                    troubles.push(format!(
                        "the pipeline `{name}` is in {}, too: two cannot share a name",
                        first.display()
                    ));
                }
                for trouble in &troubles {
                    writeln!(err, "{shown}: error: {trouble}")?;
                }
                if troubles.is_empty() {
                    writeln!(out, "{shown}: ok")?;
                }
                good &= troubles.is_empty();
            }
        }
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// `--print-schema`.
///
/// # Errors
/// `out` cannot be written to.
pub fn print_schema(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(schema::TEXT.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::process::ExitCode;

    use super::{Connect, print_schema, run};

    const GOOD: &str = "{pipeline: p, inputs: [{type: file, paths: [a.log]}], task: {kind: regression}, \
                        mapping: {prediction: {id: id, time: t, model: m, predicted: y}}, output: {file: {path: out}}}";

    /// Exit code, stdout and stderr, with the folder's name taken out.
    fn check(texts: &[&str], connect: Option<Connect<'_>>) -> (ExitCode, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = (1..=texts.len())
            .map(|n| folder.path().join(format!("{n}.yml")))
            .collect();
        for (file, text) in files.iter().zip(texts) {
            fs::write(file, text).unwrap();
        }
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&files, &|_| None, connect, &mut out, &mut err).unwrap();
        let folder = format!("{}/", folder.path().display());
        let shown = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&folder, "");
        (code, shown(out), shown(err))
    }

    #[test]
    fn a_good_file_is_ok() {
        assert_eq!(
            check(&[GOOD], None),
            (ExitCode::SUCCESS, "1.yml: ok\n".into(), String::new())
        );
    }

    #[test]
    fn one_bad_file_does_not_hide_another() {
        let (code, out, err) = check(&["pipeline: p", GOOD, "windows: 1h"], None);
        assert_eq!((code, out.as_str()), (ExitCode::FAILURE, "2.yml: ok\n"));
        assert!(
            err.contains("1.yml:1:1: error: `inputs` is missing\n"),
            "{err}"
        );
        assert!(err.contains("1.yml: 4 errors\n"), "{err}");
        assert!(
            err.contains("3.yml:1:10: error: `windows` must be a list, but is a single value\n"),
            "{err}"
        );
    }

    #[test]
    fn two_pipelines_cannot_share_a_name() {
        let (code, out, err) = check(&[GOOD, GOOD], None);
        assert_eq!((code, out.as_str()), (ExitCode::FAILURE, "1.yml: ok\n"));
        assert_eq!(
            err,
            "2.yml: error: the pipeline `p` is in 1.yml, too: two cannot share a name\n"
        );
    }

    #[test]
    fn what_does_not_connect_is_not_ok() {
        let (code, out, err) = check(
            &[GOOD, "{}"],
            Some(&|config| vec![format!("{} is down", config.engine.pipeline)]),
        );
        assert_eq!((code, out.as_str()), (ExitCode::FAILURE, ""));
        assert!(err.starts_with("1.yml: error: p is down\n"), "{err}");
        assert!(
            !err.contains("2.yml: error: p"),
            "a bad file is not connected: {err}"
        );
    }

    #[test]
    fn the_schema_is_json() {
        let mut out = Vec::new();
        print_schema(&mut out).unwrap();
        let schema: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            schema["$schema"],
            "https://json-schema.org/draft/2020-12/schema"
        );
    }
}
