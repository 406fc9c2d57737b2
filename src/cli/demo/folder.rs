//! The demo's folder: made anew, never taken from somebody, and left for a look. It holds a pipeline file that is an example
//! of one, what the simulated server wrote and sent, and what modelbeat made of it.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::json;

/// What it is called, unless the command line says otherwise.
const NAME: &str = "modelbeat-demo";

/// Demos beside each other in one place; then somebody should tidy up.
const FOLDERS_MAX: usize = 100;

/// The folder, and what is where in it.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    /// As it was asked for, for messages.
    pub(super) shown: PathBuf,
    path: PathBuf,
}

/// What the pipeline file says that differs from demo to demo.
#[derive(Debug)]
pub(super) struct Wishes<'w> {
    pub(super) agent_id: &'w str,
    /// Where labels are received.
    pub(super) port: u16,
    /// How long five days of the month take.
    pub(super) five_days_ms: i64,
    pub(super) elasticsearch: Option<Elasticsearch<'w>>,
}

/// Where to ship to.
#[derive(Debug)]
pub(super) struct Elasticsearch<'w> {
    pub(super) url: &'w str,
    pub(super) ca: Option<&'w Path>,
    pub(super) index_prefix: &'w str,
    pub(super) sign_in: SignIn,
}

/// Which variables of the environment sign in: their values stay out of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignIn {
    Nobody,
    ApiKey,
    User,
}

impl Folder {
    /// Makes the folder that was asked for, or the first of `modelbeat-demo`, `modelbeat-demo-2` … that is free.
    ///
    /// # Errors
    /// In words: it cannot be made, or there is something in it.
    pub(super) fn make(wished: Option<&Path>) -> Result<Self, String> {
        match wished {
            Some(path) => Self::make_at(path).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => format!(
                    "--folder: {} is there already and not empty: name another, or remove it first",
                    path.display()
                ),
                _ => format!("--folder: cannot make {}: {error}", path.display()),
            }),
            None => Self::make_free(),
        }
    }

    fn make_free() -> Result<Self, String> {
        for number in 1..=FOLDERS_MAX {
            let path = match number {
                1 => PathBuf::from(NAME),
                _ => PathBuf::from(format!("{NAME}-{number}")),
            };
            match Self::make_at(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Ok(folder) => return Ok(folder),
                Err(error) => {
                    return Err(format!(
                        "cannot make the folder {}: {error}; name another place with --folder",
                        path.display()
                    ));
                }
            }
        }
        Err(format!(
            "there are {NAME} to {NAME}-{FOLDERS_MAX} already: remove some, or name a folder with --folder"
        ))
    }

    fn make_at(path: &Path) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_empty(path)? => {}
            made => made?,
        }
        let folder = Self {
            shown: path.to_owned(),
            path: path.canonicalize()?,
        };
        std::fs::create_dir(folder.logs())?;
        Ok(folder)
    }

    /// Takes away what was made, as long as that is all there is.
    pub(super) fn undo(&self) {
        // What cannot be removed stays, and the next demo goes elsewhere.
        std::fs::remove_file(self.pipeline()).ok();
        std::fs::remove_dir(self.logs()).ok();
        std::fs::remove_dir(&self.path).ok();
    }

    pub(super) fn pipeline(&self) -> PathBuf {
        self.path.join("pipeline.yml")
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    pub(super) fn labels(&self) -> PathBuf {
        self.path.join("labels.ndjson")
    }

    pub(super) fn documents(&self) -> PathBuf {
        self.path.join("documents")
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Writes the pipeline file.
    pub(super) fn write_pipeline(&self, wishes: &Wishes<'_>) -> io::Result<()> {
        let mut file = File::create_new(self.pipeline())?;
        file.write_all(self.pipeline_text(wishes).as_bytes())
    }

    fn pipeline_text(&self, wishes: &Wishes<'_>) -> String {
        let logs = self.logs();
        let logs = glob::Pattern::escape(&logs.to_string_lossy());
        let logs = quoted(&format!("{logs}/predictions*.jsonl"));
        let documents = quoted(&self.documents().to_string_lossy());
        let Wishes { agent_id, port, .. } = wishes;
        let agent_id = quoted(agent_id);
        let elasticsearch = (wishes.elasticsearch.as_ref()).map_or_else(String::new, cluster_text);
        format!(
            "\
# The pipeline of `modelbeat demo`. `modelbeat run --data-dir data pipeline.yml`, here, goes on where the demo ended.
pipeline: demo
agent: {{id: {agent_id}}}
inputs:
  # What the model server logs; the log is rotated every three days.
  - {{type: file, paths: [{logs}], format: json}}
  # Labels, hours to days later.
  - {{type: http, listen: \"127.0.0.1:{port}\", kind: label}}
mapping:
  prediction: {{when: {{event: prediction}}, id: prediction_id, time: ts, model: model, version: model_version,
               predicted: predicted, score: score, latency_ms: latency_ms, slices: {{country: segment.country}}}}
  label: {{when: {{event: label}}, id: prediction_id, time: ts, actual: label}}
task: {{kind: binary, positive: fraud, negative: legit}}
# Times are a month's, told in a minute or two: six hours pass in less than a second.
windows: [6h, 1d, cumulative]
# These run on the agent's clock, by which the whole month is a minute: nothing expires while it is told.
join: {{label_horizon: 30d, early_label_ttl: 1h, hold: 1s}}
publish_every: 5s
# Measured on this host while the demo runs (the simulated server, which is this very process, really computes while it
# has its incident), and stamped with the time of the month by `modelbeat demo` alone.
host: {{every: 1s, process: {{pid: {pid}}}}}
# A day is looked at when its labels have had five days of the month to come, and one bad day is not enough.
alerts:
  rules:
    - {{name: recall-low-somewhere, metric: quality.recall, window: 1d, below: 0.65, for: 2, slices: [country],
       min_support: 15, wait: {wait_ms}ms, severity: critical}}
output:
  file: {{path: {documents}}}
{elasticsearch}",
            pid = std::process::id(),
            wait_ms = wishes.five_days_ms,
        )
    }
}

fn cluster_text(cluster: &Elasticsearch<'_>) -> String {
    let ca = cluster.ca.map(|path| quoted(&path.to_string_lossy()));
    let ca = ca.map_or_else(String::new, |path| format!("    ca: {path}\n"));
    let sign_in = match cluster.sign_in {
        SignIn::Nobody => "",
        SignIn::ApiKey => "    api_key: ${ES_API_KEY}\n",
        SignIn::User => "    username: ${ES_USERNAME}\n    password: ${ES_PASSWORD}\n",
    };
    format!(
        "  elasticsearch:\n    hosts: [{}]\n    index_prefix: {}\n{ca}{sign_in}",
        quoted(cluster.url),
        quoted(cluster.index_prefix)
    )
}

/// A text as YAML reads it back: JSON is YAML, and two dollar signs are one.
fn quoted(text: &str) -> String {
    json!(text).to_string().replace('$', "$$")
}

fn is_empty(path: &Path) -> io::Result<bool> {
    match std::fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn nothing_is_taken_from_anybody() {
        let home = tempfile::tempdir().unwrap();
        let wished = home.path().join("demo");
        let folder = Folder::make(Some(&wished)).unwrap();
        assert!(folder.logs().is_dir());
        let error = Folder::make(Some(&wished)).unwrap_err();
        assert!(error.contains("is there already"), "{error}");
        let file = home.path().join("file");
        std::fs::write(&file, "mine").unwrap();
        assert!(Folder::make(Some(&file)).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
        assert!(Folder::make(Some(&home.path().join("no/such"))).is_err());
    }

    #[test]
    fn the_pipeline_file_holds_whatever_the_folder_is_called() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::make(Some(&home.path().join("it's [a] $tr{ange} \"one\""))).unwrap();
        for sign_in in [SignIn::Nobody, SignIn::ApiKey, SignIn::User] {
            let wishes = Wishes {
                agent_id: "demo-7",
                port: 9701,
                five_days_ms: 15_000,
                elasticsearch: Some(Elasticsearch {
                    url: "http://127.0.0.1:9200",
                    ca: None,
                    index_prefix: "modelbeat-demo",
                    sign_in,
                }),
            };
            let text = folder.pipeline_text(&wishes);
            let environment = |name: &str| Some(format!("the {name}"));
            let config = Config::parse("pipeline.yml", &text, &environment)
                .unwrap_or_else(|faults| panic!("{faults}"));
            assert!(config.warnings.is_empty(), "{}", config.warnings);
            assert_eq!(config.file_output.unwrap().path, folder.documents());
            let log = folder.logs().join("predictions-2026-11-04.jsonl");
            let pattern = glob::Pattern::new(&config.files[0].paths[0]).unwrap();
            assert!(pattern.matches_path(&log));
            let signs_in = format!("{:?}", config.elasticsearch.unwrap().0.credentials);
            assert_eq!(signs_in == "None", sign_in == SignIn::Nobody, "{signs_in}");
        }
    }
}
