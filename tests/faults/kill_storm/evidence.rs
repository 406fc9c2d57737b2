//! What a storm leaves for a person to look into, when it fails: a chronicle, the output of every life, all that was told and
//! all that is stored, and what differs.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use super::Storm;
use crate::agent::Home;
use crate::published::Published;

/// One part of it.
type Writing = fn(&Storm, &Path);

/// What happened, as it happens.
pub(super) struct Chronicle {
    began: Instant,
    file: File,
    outputs: PathBuf,
}

impl Chronicle {
    pub(super) fn new(home: &Home) -> Self {
        let outputs = home.path("lives");
        fs::create_dir_all(&outputs).expect("a folder");
        Self {
            began: Instant::now(),
            file: home.open_to_append("chronicle.log"),
            outputs,
        }
    }

    pub(super) fn note(&mut self, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        writeln!(self.file, "{at:9.3} s  {what}").expect("append");
    }

    /// What an agent said in a life of this name.
    pub(super) fn keep_output(&self, life: impl Display, output: &str) {
        fs::write(self.outputs.join(format!("{life}.log")), output).expect("a file");
    }
}

impl Storm {
    /// Called when it failed: writes all of it into the storm's folder, and keeps that.
    pub(super) fn keep_evidence(&mut self) {
        let folder = self.home.keep().to_owned();
        eprintln!(
            "kill storm: failed with {:?}; everything is kept in {}: chronicle.log, lives/, node/, logs/, data/, told.ndjson, \
             stored.ndjson and differences.txt",
            self.weather,
            folder.display()
        );
        // Who is still bringing the node back keeps it from being cleared away, and what is stored from being read.
        if catch_unwind(AssertUnwindSafe(|| self.end_outage())).is_err() {
            eprintln!("kill storm: the node did not come back, see above");
        }
        // The agent's output is kept like that of those before it.
        if let Some(agent) = self.agent.take() {
            let kept = catch_unwind(AssertUnwindSafe(|| agent.killed()));
            if let Ok(ended) = kept {
                self.chronicle.keep_output("last", &ended.output);
            }
        }
        let parts: [(&str, Writing); 4] = [
            ("told.ndjson", Self::write_told),
            ("node/", Self::copy_node_logs),
            ("stored.ndjson", Self::write_stored),
            ("differences.txt", Self::write_differences),
        ];
        for (name, write) in parts {
            // The node may be down: what can be had is kept.
            let path = folder.join(name);
            if catch_unwind(AssertUnwindSafe(|| write(self, &path))).is_err() {
                eprintln!("kill storm: no {name}, see above");
            }
        }
    }

    fn write_told(&self, path: &Path) {
        let mut file = BufWriter::new(File::create(path).expect("a file"));
        for (chapter, told) in self.story.chapters.iter().enumerate() {
            for (way, event) in told {
                writeln!(file, "chapter {chapter} {way:?} {}", event.line(*way)).expect("written");
            }
        }
    }

    fn copy_node_logs(&self, folder: &Path) {
        fs::create_dir_all(folder).expect("a folder");
        for entry in fs::read_dir(self.node.logs()).expect("the node's logs") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), folder.join(entry.file_name())).expect("a copy");
        }
    }

    fn write_stored(&self, path: &Path) {
        let mut file = BufWriter::new(File::create(path).expect("a file"));
        let everything = json!({ "match_all": {} });
        let indices = format!("{}-*", self.prefix.name);
        self.prefix.cluster().search(&indices, &everything, |hit| {
            writeln!(file, "{hit}").expect("written");
        });
    }

    fn write_differences(&self, path: &Path) {
        let mut told = self.story.told(self.pace.opened());
        told.perhaps_again = self.pace.perhaps_again();
        let mut differences = told.differences_of_predictions(&self.prefix);
        differences.extend(told.differences_of_quality(&Published::under(&self.prefix)));
        fs::write(path, differences.join("\n")).expect("a file");
    }
}
