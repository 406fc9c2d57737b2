//! What the simulation (`tests/it/simulation`) has found, each on the smallest input that shows it.

use super::tests::{Index, NINE, batch, label, prediction, run, settings};
use super::*;

#[test]
fn an_empty_array_is_counted_as_ignored() {
    let mut engine = Engine::new(settings()).unwrap();
    let lines = ["[]".to_owned(), label(1, "fraud", 1)];
    engine.push(&batch(&lines), Timestamp(NINE), &mut Documents::default());
    let counts = &engine.totals().inputs[0];
    assert_eq!((counts.records, counts.ignored.values().sum()), (2, 1));
    assert!(engine.totals().is_balanced());
}

/// As if the process had slept for a month, and a batch waits: the horizon is over before it is looked at.
#[test]
fn what_is_over_is_over_before_a_batch_that_comes_then() {
    let (mut engine, mut index) = (Engine::new(settings()).unwrap(), Index::default());
    run(
        &mut engine,
        &mut index,
        &[prediction(1, "fraud", "DE")],
        NINE,
    );
    let later = NINE + 31 * 86_400_000;
    let lines = [label(1, "fraud", 5), prediction(2, "fraud", "DE")];
    let mut out = Documents::default();
    engine.push(&batch(&lines), Timestamp(later), &mut out);
    index.store(&out);
    let window = index.window("_all");
    assert_eq!(
        (&window["counts"]["labelled"], &window["window"]["final"]),
        (&0.into(), &true.into())
    );
    assert_eq!(engine.totals().too_old, 1);
}

/// One key for all documents of a prediction, or two of them fly beside one another.
#[test]
fn an_expired_prediction_keeps_the_key_of_its_document() {
    let mut settings = settings();
    settings.join.mark_expired = true;
    let mut engine = Engine::new(settings).unwrap();
    let mut out = Documents::default();
    engine.push(
        &batch(&[prediction(1, "fraud", "DE")]),
        Timestamp(NINE),
        &mut out,
    );
    engine.advance(Timestamp(NINE + 31 * 86_400_000), &mut out);
    let keys: Vec<u64> = out
        .items
        .iter()
        .filter(|item| out.index_of(item).contains("predictions"))
        .map(|item| item.key)
        .collect();
    assert!(
        matches!(keys[..], [created, expired] if created == expired),
        "{keys:?}"
    );
}

/// The labels of an id hold for a version that scores it later, and so do the cells they left.
#[test]
fn a_version_that_comes_later_lists_the_cells_of_labels_that_lost() {
    let (mut engine, mut index) = (Engine::new(settings()).unwrap(), Index::default());
    let other = prediction(1, "legit", "DE").replace("v7", "v8");
    let lines = [
        prediction(1, "fraud", "DE"),
        label(1, "legit", 5),
        label(1, "fraud", 9),
        other,
    ];
    run(&mut engine, &mut index, &lines, NINE);
    run(&mut engine, &mut index, &[], NINE + 10_000);
    let cells = index.of("modelbeat.confusion");
    let of_later = cells
        .iter()
        .filter(|cell| cell["model"]["version"] == "v8" && cell["slice"]["name"] == "_all");
    let counts: Vec<_> = of_later
        .map(|cell| (&cell["confusion"]["actual"], &cell["confusion"]["count"]))
        .collect();
    assert!(
        counts.contains(&(&"legit".into(), &0.into()))
            && counts.contains(&(&"fraud".into(), &1.into())),
        "{counts:?}"
    );
}
