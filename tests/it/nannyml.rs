//! Real data, not ours: the sets of the `nannyml` wheel, the pipelines that read them, and the numbers scikit-learn computes
//! from them (`tests/reference/expected.py`; committed, so that the tests need no scikit-learn).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

use crate::agent::{Home, Modelbeat};
use crate::cluster::{Cluster, Prefix};
use crate::documents::Documents;

/// Rows of `mc_analysis.csv`.
pub(crate) const MULTICLASS_PREDICTIONS: u64 = 60_000;

/// The multiclass set, read from its two files in one go: what other ways to the same result are compared with.
pub(crate) struct Backfill {
    pub(crate) prefix: Prefix,
    pub(crate) documents: Documents,
}

/// The folder with the CSV files.
#[track_caller]
pub(crate) fn data() -> PathBuf {
    let folder = std::env::var_os("NANNYML_DATA")
        .expect("NANNYML_DATA is not set: this test reads real data; run it by `tests/run`");
    folder.into()
}

/// `binary` → the text of `pipelines/nannyml-binary.yml`.
pub(crate) fn pipeline_text(set: &str) -> String {
    let path = pipelines().join(format!("nannyml-{set}.yml"));
    fs::read_to_string(path).expect("committed")
}

/// The folder of pipeline files that come with modelbeat.
pub(crate) fn pipelines() -> PathBuf {
    repository().join("pipelines")
}

/// `binary` → `tests/reference/expected/binary.json`.
pub(crate) fn expected(set: &str) -> Value {
    let path = repository().join(format!("tests/reference/expected/{set}.json"));
    let text = fs::read_to_string(path).expect("committed");
    serde_json::from_str(&text).expect("JSON")
}

/// Writes a pipeline of ours into `home`, with an agent of its own name: without one, an agent is named after its host and
/// data folder, and the windows of another folder are another agent's.
pub(crate) fn write_pipeline(home: &Home, text: &str) -> PathBuf {
    home.write("pipeline.yml", &format!("{text}agent: {{id: the-same}}\n"))
}

/// Gives a pipeline of ours the variables it asks for.
pub(crate) fn with_variables(command: Modelbeat, prefix: &Prefix) -> Modelbeat {
    command.env("NANNYML_DATA", data()).shipping_to(prefix)
}

/// Installs templates, then reads a set to its end, as its pipeline file's head tells a user to.
#[track_caller]
pub(crate) fn backfill(set: &str, prefix: &Prefix) {
    let home = Home::new();
    let pipeline = write_pipeline(&home, &pipeline_text(set));
    set_up(&home, &pipeline, prefix);
    with_variables(Modelbeat::once(&home, &pipeline), prefix)
        .finish()
        .expect_code(0);
}

#[track_caller]
pub(crate) fn set_up(home: &Home, pipeline: &Path, prefix: &Prefix) {
    with_variables(Modelbeat::new(home, &["setup"]).argument(pipeline), prefix)
        .finish()
        .expect_code(0);
}

/// Made once, by the first story that asks: it is the most expensive thing here. Its indices stay until the node goes.
pub(crate) fn multiclass_backfill() -> &'static Backfill {
    static MADE: OnceLock<Backfill> = OnceLock::new();
    MADE.get_or_init(|| {
        let prefix = Prefix::new(Cluster::plain(), "multiclass");
        backfill("multiclass", &prefix);
        let documents = Documents::of(&prefix);
        Backfill { prefix, documents }
    })
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_expected_numbers_were_computed_from_the_data_sets_at_hand() {
    for set in ["binary", "multiclass", "regression"] {
        let expected = expected(set);
        for (name, hash) in expected["inputs"].as_object().expect("file → hash") {
            let bytes = fs::read(data().join(name)).expect("fetched by tests/run");
            let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
            let at_hand: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(
                *hash, at_hand,
                "{name} is not the file that expected/{set}.json was computed from: run tests/reference/expected.py"
            );
        }
    }
}
