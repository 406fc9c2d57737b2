//! Which documents there are depends on what was said, not on the order: inputs are read side by side, and a replay after a
//! crash mixes them otherwise. A document that only one order makes would stay behind, with counts that no longer hold.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tests::{Index, NINE, batch, settings};
use super::*;
use crate::flow::quality::Task;

const CLASSES: [&str; 4] = ["fraud", "legit", "chargeback", "mistake"];

/// Documents of classes and cells: window, version and what each is about → its counts.
type Companions = BTreeMap<String, String>;

fn prediction(id: u8, version: u8) -> String {
    format!(
        r#"{{"event":"prediction","id":"p-{id}","ts":{NINE},"version":"v{version}","predicted":"{}","segment":{{"country":"DE"}}}}"#,
        CLASSES[usize::from(id + version) % 3]
    )
}

fn label(id: u8, class: usize, minute: usize) -> String {
    let time = NINE + 60_000 * i64::try_from(minute).unwrap();
    format!(
        r#"{{"event":"label","id":"p-{id}","ts":{time},"label":"{}"}}"#,
        CLASSES[class]
    )
}

fn told(lines: &[String]) -> Companions {
    let mut settings = settings();
    settings.task = Task::Multiclass {
        classes: Vec::new(),
    };
    let (mut engine, mut index) = (Engine::new(settings).unwrap(), Index::default());
    let mut out = Documents::default();
    engine.push(&batch(lines), Timestamp(NINE), &mut out);
    engine.finish(Timestamp(NINE + 60_000), &mut out);
    index.store(&out);
    let datasets = ["modelbeat.quality.class", "modelbeat.confusion"];
    let documents = datasets.iter().flat_map(|dataset| index.of(dataset));
    let about = |document: &serde_json::Value| {
        let parts = ["window", "slice", "model", "class", "confusion", "counts"];
        let mut about = parts.map(|part| document[part].clone());
        for part in &mut about {
            if let Some(part) = part.as_object_mut() {
                part.remove("revision");
            }
        }
        let [window, slice, model, class, confusion, counts] = about;
        let mut cell = confusion.clone();
        if let Some(cell) = cell.as_object_mut() {
            cell.remove("count");
        }
        (
            format!("{window} {slice} {model} {class} {cell}"),
            format!("{counts} {confusion}"),
        )
    };
    documents.map(about).collect()
}

proptest! {
    #[test]
    fn any_order_makes_the_same_documents(
        labels in prop::collection::vec((0..2_u8, 0..4_usize), 0..6),
        order in Just((0..10_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut lines: Vec<String> = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(id, version)| prediction(id, version)).into();
        // At a minute of its own each: of equal times the last to come wins, and there order decides.
        lines.extend(labels.iter().enumerate().map(|(minute, (id, class))| label(*id, *class, minute)));
        let in_order = told(&lines);
        let shuffled: Vec<String> = order.iter().filter_map(|place| lines.get(*place).cloned()).collect();
        prop_assert_eq!(told(&shuffled), in_order);
    }
}
