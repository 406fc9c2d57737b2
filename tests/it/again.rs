//! Whatever is done again gives the same result: a second run, a run without its data folder, a stop in the middle.

use serde_json::json;

use crate::agent::{Home, Modelbeat};
use crate::cluster::{Cluster, Prefix};
use crate::documents::Documents;
use crate::nannyml;
use crate::wait;

/// How often the agent is stopped in the middle of the files.
const STOPS: u64 = 3;

#[test]
fn reading_the_files_again_changes_nothing() {
    let made = nannyml::multiclass_backfill();
    // A new home: the data folder is lost, so every record is read and every document written again.
    nannyml::backfill("multiclass", &made.prefix);
    Documents::of(&made.prefix).assert_same(&made.documents);
}

#[test]
fn stopping_in_the_middle_and_going_on_gives_the_documents_of_one_run() {
    let prefix = Prefix::new(Cluster::plain(), "stops");
    let home = Home::new();
    let pipeline = nannyml::write_pipeline(&home, &nannyml::pipeline_text("multiclass"));
    nannyml::set_up(&home, &pipeline, &prefix);
    let stored = || {
        let everything = json!({ "match_all": {} });
        let indices = prefix.indices("predictions");
        prefix.cluster().count(&indices, &everything)
    };
    for _ in 0..STOPS {
        let before = stored();
        let mut agent = nannyml::with_variables(Modelbeat::run(&home, &pipeline), &prefix).start();
        // Some more are stored, or the agent was so quick that there are no more: it need not be in the middle.
        wait::until("more predictions to be stored", || {
            assert!(agent.is_running());
            let now = stored();
            (now > before || now == nannyml::MULTICLASS_PREDICTIONS)
                .then_some(())
                .ok_or_else(|| format!("{now} are stored"))
        });
        agent.stop().expect_code(0);
    }
    // Twice: the second finds nothing left to do.
    for _ in 0..2 {
        nannyml::with_variables(Modelbeat::once(&home, &pipeline), &prefix)
            .finish()
            .expect_code(0);
    }
    Documents::of(&prefix).assert_same(&nannyml::multiclass_backfill().documents);
}
