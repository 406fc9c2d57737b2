//! What the file output holds, by the rules of `_bulk`: of one id, `create` and `upsert` keep the first and `index` the newest.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// The documents that Elasticsearch would hold, had it been given the files.
#[derive(Default)]
pub(crate) struct Written(BTreeMap<String, (u64, Value)>);

impl Written {
    /// Reads every file in the output's folder. A line that is no document of its file's fails the story.
    pub(crate) fn read(folder: &Path) -> Self {
        Self::read_of(folder, "")
    }

    /// Reads those whose names hold `part`: who asks again and again need not read what it does not ask for.
    pub(crate) fn read_of(folder: &Path, part: &str) -> Self {
        let mut written = Self::default();
        for file in fs::read_dir(folder).into_iter().flatten() {
            let path = file.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with(".ndjson") && name.contains(part) {
                written.read_file(&path);
            }
        }
        written
    }

    /// Identifiers of the predictions, sorted.
    pub(crate) fn predictions(&self) -> Vec<String> {
        let mut ids: Vec<String> = self
            .of("modelbeat.prediction")
            .filter_map(|document| Some(document["prediction"]["id"].as_str()?.to_owned()))
            .collect();
        ids.sort();
        ids
    }

    /// A count, summed over the newest document of every window of this length.
    pub(crate) fn windows(&self, length: &str, count: &str) -> u64 {
        self.of("modelbeat.quality")
            .filter(|document| document["window"]["length"] == length)
            .map(|document| document["counts"][count].as_u64().unwrap_or(0))
            .sum()
    }

    /// The documents of a kind, each as it was written last.
    pub(crate) fn of(&self, dataset: &str) -> impl Iterator<Item = &Value> {
        self.0
            .values()
            .map(|(_, document)| document)
            .filter(move |document| document["event"]["dataset"] == dataset)
    }

    fn read_file(&mut self, path: &Path) {
        let text = fs::read_to_string(path).expect("UTF-8");
        let mut lines = whole_lines(&text).lines();
        while let (Some(action), Some(document)) = (lines.next(), lines.next()) {
            let parse = |line| {
                serde_json::from_str::<Value>(line)
                    .unwrap_or_else(|error| panic!("{}: {error}: {line}", path.display()))
            };
            let (action, mut document) = (parse(action), parse(document));
            // A prediction that came with its label: the whole document, if there is none yet.
            if !document["upsert"].is_null() {
                document = document["upsert"].take();
            }
            let (verb, meta) = action
                .as_object()
                .and_then(|action| action.iter().next())
                .expect("an action");
            let version = meta["version"].as_u64().unwrap_or(0);
            let id = format!("{} {}", path.display(), meta["_id"]);
            let held = self.0.get(&id).map(|(version, _)| *version);
            if held.is_none_or(|held| verb == "index" && held < version) {
                self.0.insert(id, (version, document));
            }
        }
    }
}

/// Somebody may be writing: what stands behind the last line feed is not there yet.
pub(crate) fn whole_lines(text: &str) -> &str {
    &text[..text.rfind('\n').map_or(0, |end| end + 1)]
}
