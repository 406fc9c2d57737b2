//! The engine from records to documents, on small inputs whose counts are done by hand.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::*;
use crate::flow::mapping;
use crate::flow::quality::Task;
use crate::flow::windows::Length;
use crate::flow::{decode, join};

pub(super) const NINE: i64 = 1_795_510_800_000; // 2026-11-24T09:00:00Z

pub(super) fn settings() -> Settings {
    let when = |event: &str| BTreeMap::from([("event".to_owned(), event.to_owned())]);
    let prediction = mapping::PredictionPaths {
        when: when("prediction"),
        id: "id".into(),
        time: "ts".into(),
        time_format: None,
        model: mapping::Source::Const("fraud".into()),
        version: Some(mapping::Source::Path("version".into())),
        predicted: Some("predicted".into()),
        score: Some(mapping::ScoreSource::Path("score".into())),
        latency_ms: None,
        slices: vec![("country".into(), "segment.country".into())],
    };
    let label = mapping::LabelPaths {
        when: when("label"),
        id: "id".into(),
        time: Some("ts".into()),
        time_format: None,
        model: None,
        actual: "label".into(),
    };
    Settings {
        pipeline: "fraud".into(),
        agent: Agent {
            id: "agent-1".into(),
            name: "host-1".into(),
        },
        index_prefix: "modelbeat".into(),
        inputs: vec![Input {
            format: decode::Format::Json,
            kind: None,
        }],
        mapping: mapping::Settings {
            prediction: Some(prediction),
            label: Some(label),
            timezone: None,
        },
        task: Task::Binary {
            positive: "fraud".into(),
            negative: "legit".into(),
            threshold: 0.5,
        },
        windows: vec![Length::Fixed(3_600_000)],
        join: join::Settings::default(),
        slice_values_max: 200,
        slice_crosses: Vec::new(),
        keep_record: true,
        privacy: crate::flow::privacy::Settings::default(),
        publish_every_ms: 10_000,
        min_support: 1,
        window_bytes_max: 64 << 20,
        host_tolerance_ms: 60_000,
        alerts: crate::flow::alert::Settings::default(),
        expires: true,
    }
}

pub(super) fn batch(lines: &[String]) -> Batch {
    let bytes = lines.join("\n") + "\n";
    Batch {
        input: InputId(0),
        source: SourceKey("file-1".into()),
        origin: "predictions.jsonl".into(),
        kind: None,
        head: Head {
            input: 0,
            offset: bytes.len() as u64,
            evidence: String::new(),
        },
        bytes: bytes.into(),
        base: 0,
        faults: Vec::new(),
        restart: false,
    }
}

pub(super) fn prediction(id: u32, predicted: &str, country: &str) -> String {
    format!(
        r#"{{"event":"prediction","id":"p-{id}","ts":{NINE},"version":"v7","predicted":"{predicted}","segment":{{"country":"{country}"}}}}"#
    )
}

pub(super) fn label(id: u32, actual: &str, minutes: i64) -> String {
    format!(
        r#"{{"event":"label","id":"p-{id}","ts":{},"label":"{actual}"}}"#,
        NINE + minutes * 60_000
    )
}

/// What Elasticsearch would hold: the rules of create, external versions and update, in a map.
#[derive(Debug, Default)]
pub(super) struct Index(BTreeMap<String, (i64, Json)>);

impl Index {
    pub(super) fn store(&mut self, documents: &Documents) {
        for item in &documents.items {
            let lines = std::str::from_utf8(&documents.bytes[item.lines.clone()]).unwrap();
            let (action, source) = lines.split_at(item.action_length);
            assert!(
                source.ends_with('\n') && source.matches('\n').count() == 1,
                "one line: {source}"
            );
            let (action, mut source): (Json, Json) = (
                serde_json::from_str(action).unwrap(),
                serde_json::from_str(source).unwrap(),
            );
            let (verb, meta) = action.as_object().unwrap().iter().next().unwrap();
            let id = format!(
                "{}/{}",
                meta["_index"].as_str().unwrap(),
                meta["_id"].as_str().unwrap()
            );
            match verb.as_str() {
                "create" => {
                    self.0.entry(id).or_insert((0, source));
                }
                "index" => {
                    let version = meta["version"].as_i64().unwrap();
                    if self.0.get(&id).is_none_or(|(stored, _)| *stored < version) {
                        self.0.insert(id, (version, source));
                    }
                }
                _ => {
                    if let Some((_, stored)) = self.0.get_mut(&id) {
                        merge(stored, &source["script"]["params"]);
                    } else {
                        assert!(source.get("upsert").is_some(), "update of nothing: {id}");
                        self.0.insert(id, (0, source["upsert"].take()));
                    }
                }
            }
        }
    }

    pub(super) fn of(&self, dataset: &str) -> Vec<&Json> {
        self.0
            .values()
            .map(|(_, document)| document)
            .filter(|document| document["event"]["dataset"] == dataset)
            .collect()
    }

    pub(super) fn window(&self, slice: &str) -> &Json {
        self.of("modelbeat.quality")
            .into_iter()
            .find(|window| window["slice"]["name"] == slice)
            .unwrap()
    }
}

fn merge(stored: &mut Json, change: &Json) {
    match (stored, change) {
        (Json::Object(stored), Json::Object(change)) => {
            for (name, value) in change {
                merge(stored.entry(name).or_insert(Json::Null), value);
            }
        }
        (stored, change) => *stored = change.clone(),
    }
}

pub(super) fn run(engine: &mut Engine, index: &mut Index, lines: &[String], now: i64) {
    let mut out = Documents::default();
    engine.push(&batch(lines), Timestamp(now), &mut out);
    engine.advance(Timestamp(now), &mut out);
    index.store(&out);
    assert_eq!(out.dead_letters, []);
}

#[test]
fn a_late_label_a_correction_and_an_orphan() {
    let (mut engine, mut index) = (Engine::new(settings()).unwrap(), Index::default());
    let lines = [
        prediction(1, "fraud", "DE"),
        prediction(2, "legit", "DE"),
        prediction(1, "legit", "DE"),
        label(3, "fraud", 1),
    ];
    run(&mut engine, &mut index, &lines, NINE);
    assert!(index.of("modelbeat.prediction").is_empty(), "held back");
    run(&mut engine, &mut index, &[], NINE + 5_000);
    assert_eq!(
        index.of("modelbeat.prediction")[0]["label"]["state"],
        "pending"
    );
    run(
        &mut engine,
        &mut index,
        &[label(1, "legit", 90), label(2, "legit", 5)],
        NINE + 5_400_000,
    );
    run(
        &mut engine,
        &mut index,
        &[label(1, "fraud", 95)],
        NINE + 5_700_000,
    );
    run(&mut engine, &mut index, &[], NINE + 5_800_000);
    let window = index.window("_all");
    insta::assert_json_snapshot!(window);
    let counts = &window["counts"];
    // By hand: ids 1 and 2; 1 was right after its correction, 2 was right at once; the second line of id 1 is a duplicate.
    for (count, expected) in [
        ("predictions", 2),
        ("labelled", 2),
        ("correct", 2),
        ("tp", 1),
        ("tn", 1),
        ("duplicates", 1),
        ("late_labels", 1),
        ("corrected_labels", 1),
    ] {
        assert_eq!(counts[count], expected, "{count}");
    }
    assert_eq!(window["window"]["final"], false);
    assert_eq!(index.window("country")["slice"]["value"], "DE");
    let joined = index
        .of("modelbeat.prediction")
        .into_iter()
        .find(|document| document["prediction"]["id"] == "p-1")
        .unwrap();
    insta::assert_json_snapshot!(joined);
    assert_eq!(index.of("modelbeat.label")[0]["label"]["state"], "orphan");
    run(
        &mut engine,
        &mut index,
        &[prediction(4, "fraud", "DE")],
        NINE + 31 * 86_400_000,
    );
    assert_eq!(engine.totals().inputs[0].events(), 8);
}

#[test]
fn windows_become_final_after_the_horizon() {
    let (mut engine, mut index) = (Engine::new(settings()).unwrap(), Index::default());
    run(
        &mut engine,
        &mut index,
        &[prediction(1, "fraud", "DE")],
        NINE,
    );
    run(&mut engine, &mut index, &[], NINE + 10_000);
    let later = NINE + 31 * 86_400_000;
    let next_month = prediction(2, "fraud", "FR").replace(&NINE.to_string(), &later.to_string());
    run(&mut engine, &mut index, &[next_month], later);
    run(&mut engine, &mut index, &[], later + 10_000);
    let finals: Vec<_> = index
        .of("modelbeat.quality")
        .iter()
        .map(|window| window["window"]["final"].clone())
        .collect();
    assert_eq!(
        finals.iter().filter(|last| **last == true).count(),
        2,
        "the whole and DE"
    );
    assert_eq!(engine.totals().expired, 1);
}

/// Nobody writes any more: the engine is only woken when it asked to be.
#[test]
fn an_idle_pipeline_still_closes_its_windows() {
    let mut settings = settings();
    settings.windows = vec![
        Length::Fixed(60_000),
        Length::Fixed(86_400_000),
        Length::Hopping {
            length: 7_200_000,
            every: 3_600_000,
        },
        Length::Cumulative,
    ];
    settings.join.label_horizon_ms = 1_000;
    let mut engine = Engine::new(settings.clone()).unwrap();
    let mut index = Index::default();
    run(
        &mut engine,
        &mut index,
        &[prediction(1, "fraud", "DE")],
        NINE,
    );
    let mut wakes = 0;
    while let Some(at) = engine.deadline() {
        if wakes == 3 {
            engine = Engine::resume(settings.clone(), &engine.checkpoint().unwrap()).unwrap();
        }
        run(&mut engine, &mut index, &[], at.0);
        wakes += 1;
        assert!(wakes < 30, "{at:?} again and again");
    }
    let open: Vec<_> = index
        .of("modelbeat.quality")
        .into_iter()
        .filter(|window| window["window"]["final"] == false)
        .map(|window| window["window"]["length"].clone())
        .collect();
    assert_eq!(open, ["cumulative", "cumulative"]);
}

/// Two orders of the same records, one of them with a stop and a start in the middle, end in the same index.
#[test]
fn order_and_restarts_do_not_show() {
    let records = [
        prediction(1, "fraud", "DE"),
        prediction(2, "fraud", "FR"),
        prediction(3, "legit", "FR"),
    ];
    let labels = [
        label(1, "legit", 3),
        label(1, "fraud", 4),
        label(2, "legit", 100),
        label(3, "legit", 5),
    ];
    let mut forward = Index::default();
    let mut engine = Engine::new(settings()).unwrap();
    for line in records.iter().chain(&labels) {
        run(
            &mut engine,
            &mut forward,
            std::slice::from_ref(line),
            NINE + 7_200_000,
        );
        let checkpoint = engine.checkpoint().unwrap();
        engine = Engine::resume(settings(), &checkpoint).unwrap();
        assert_eq!(engine.checkpoint().unwrap().state, checkpoint.state);
    }
    let mut out = Documents::default();
    engine.finish(Timestamp(NINE + 7_200_001), &mut out);
    forward.store(&out);
    let mut backward = Index::default();
    let mut engine = Engine::new(settings()).unwrap();
    run(
        &mut engine,
        &mut backward,
        &labels
            .iter()
            .rev()
            .chain(&records)
            .cloned()
            .collect::<Vec<_>>(),
        NINE + 7_200_000,
    );
    let mut out = Documents::default();
    engine.finish(Timestamp(NINE + 7_200_001), &mut out);
    backward.store(&out);
    let without_history = |index: &Index| {
        let mut documents = index.0.clone();
        for (version, document) in documents.values_mut() {
            *version = 0;
            for (part, name) in [
                ("event", "ingested"),
                ("window", "revision"),
                ("label", "revision"),
            ] {
                if let Some(part) = document.get_mut(part).and_then(Json::as_object_mut) {
                    part.remove(name);
                }
            }
        }
        documents
    };
    assert_eq!(without_history(&forward), without_history(&backward));
}

#[test]
fn bad_records_are_dead_letters_with_their_place() {
    let mut engine = Engine::new(settings()).unwrap();
    let lines = [
        "{\"event\":\"prediction\"".to_owned(),
        r#"{"event":"prediction","id":"p","predicted":"fraud"}"#.into(),
        prediction(1, "fraud", "DE").replace(&NINE.to_string(), "\"tomorrow\""),
        r#"{"event":"other"}"#.into(),
        format!(
            "[{},{}]",
            prediction(5, "fraud", "DE"),
            prediction(6, "fraud", "DE")
        ),
        prediction(7, "fraud", "DE").replace(&NINE.to_string(), &(NINE + 3_600_001).to_string()),
    ];
    let mut out = Documents::default();
    engine.push(&batch(&lines), Timestamp(NINE), &mut out);
    let letters: Vec<_> = out
        .dead_letters
        .iter()
        .map(|letter| format!("{} {}", letter.origin, letter.reason))
        .collect();
    insta::assert_json_snapshot!(letters);
    let totals = &engine.totals().inputs[0];
    assert_eq!(
        (totals.events(), totals.predictions, totals.dead_letters),
        (7, 2, 4)
    );
    assert_eq!(
        totals.ignored,
        BTreeMap::from([(mapping::NO_MATCH.into(), 1)])
    );
}

/// Two versions score the same ids; twenty of them are labelled.
fn champion_and_challenger(engine: &mut Engine, index: &mut Index) {
    let both = |id: u32, version: &str, predicted: &str| {
        prediction(id, predicted, "DE").replace("\"v7\"", &format!("\"{version}\""))
    };
    // Of 20 frauds v7 finds 12; v8 finds 17, among them 10 of the 12.
    let (finds, misses) = ("fraud", "legit");
    let lines: Vec<_> = (0..20)
        .flat_map(|id| {
            let old = if id < 12 { finds } else { misses };
            let new = if (2..19).contains(&id) { finds } else { misses };
            [
                both(id, "v7", old),
                both(id, "v8", new),
                label(id, "fraud", 5),
            ]
        })
        .collect();
    // The challenger's first prediction is of a moment later.
    let later = |line: &String| {
        if line.contains("v8") {
            line.replace(&NINE.to_string(), &(NINE + 1).to_string())
        } else {
            line.clone()
        }
    };
    run(
        engine,
        index,
        &lines.iter().map(later).collect::<Vec<_>>(),
        NINE + 600_000,
    );
    run(engine, index, &[], NINE + 610_000);
}

/// Expected, for 12 of 20 and 17 of 20 with 2 and 7 discordant ids: statsmodels 0.15.0, `proportions_ztest([17, 12], [20, 20])`,
/// `confint_proportions_2indep(17, 20, 12, 20, method="newcomb")`, `mcnemar([[10, 2], [7, 1]], exact=True)`,
/// `multipletests([p, p], method="holm")`.
#[test]
fn versions_of_a_window_are_compared() {
    let (mut engine, mut index) = (Engine::new(settings()).unwrap(), Index::default());
    champion_and_challenger(&mut engine, &mut index);
    let comparisons = index.of("modelbeat.comparison");
    assert_eq!(comparisons.len(), 2, "the whole and DE");
    let whole = comparisons
        .into_iter()
        .find(|document| document["slice"]["name"] == "_all")
        .unwrap();
    let close = |found: &Json, expected: f64| {
        assert!(
            (found.as_f64().unwrap() - expected).abs() < 1e-9,
            "{found} {expected}"
        );
    };
    let recall = &whole["comparison"]["recall"];
    close(&recall["difference"], 0.25);
    close(&recall["low"], -0.027_681_780_730_302_863);
    close(&recall["high"], 0.484_689_832_746_903_8);
    close(&recall["z"], 1.770_535_579_491_277_8);
    close(&recall["p_value"], 0.076_637_962_761_527_29);
    close(&recall["p_adjusted"], 0.153_275_925_523_054_58);
    close(&whole["comparison"]["mcnemar"]["p_value"], 0.179_687_5);
    insta::assert_json_snapshot!(whole);
}

#[test]
fn a_comparison_is_final_with_its_windows() {
    let (mut engine, mut index) = (Engine::new(settings()).unwrap(), Index::default());
    champion_and_challenger(&mut engine, &mut index);
    let later = NINE + 31 * 86_400_000;
    let next_month = prediction(99, "fraud", "DE").replace(&NINE.to_string(), &later.to_string());
    run(&mut engine, &mut index, &[next_month], later);
    run(&mut engine, &mut index, &[], later + 10_000);
    let finals: Vec<_> = index
        .of("modelbeat.comparison")
        .iter()
        .map(|document| document["window"]["final"].clone())
        .collect();
    assert_eq!(finals, [true, true]);
    assert_eq!(
        engine.state.versions.waiting(),
        0,
        "nothing is left of windows that are gone"
    );
}

/// A window added to the pipeline file over a restart, and a cross with it.
#[test]
fn windows_may_be_added_over_a_restart() {
    let (mut engine, mut index) = (Engine::new(settings()).unwrap(), Index::default());
    run(
        &mut engine,
        &mut index,
        &[prediction(1, "fraud", "DE")],
        NINE,
    );
    let mut more = settings();
    more.windows.extend([
        Length::Cumulative,
        Length::Hopping {
            length: 7_200_000,
            every: 3_600_000,
        },
    ]);
    engine = Engine::resume(more, &engine.checkpoint().unwrap()).unwrap();
    run(
        &mut engine,
        &mut index,
        &[label(1, "fraud", 1), prediction(2, "legit", "FR")],
        NINE + 1_000,
    );
    run(&mut engine, &mut index, &[], NINE + 20_000);
    let lengths: std::collections::BTreeSet<_> = index
        .of("modelbeat.quality")
        .iter()
        .map(|window| window["window"]["length"].to_string())
        .collect();
    assert_eq!(
        lengths.into_iter().collect::<Vec<_>>(),
        ["\"1h\"", "\"2h\"", "\"cumulative\""]
    );
}
