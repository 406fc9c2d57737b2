//! Good files are read field by field; every bad file has its sentence under `tests/golden/config/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::{Config, Severity, read_text, schema};
use crate::edge::elastic::Credentials;
use crate::edge::sample::ProcessSelector;
use crate::edge::tail::{StartAt, WatchMode};
use crate::flow::decode::Format;
use crate::flow::event::Kind;
use crate::flow::lines::Framing;
use crate::flow::mapping::{ScoreSource, Source};
use crate::flow::quality::Task;
use crate::flow::windows::Length;

const NOTHING: &dyn Fn(&str) -> Option<String> = &|_| None;

/// What a variable holds in the golden cases: nothing of it may come out again.
const SECRET: &str = "hunter2-s3cret";

fn environment(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some(SECRET.to_owned()),
        "BAD_URL" => Some(format!("https://elastic:{SECRET}@es:9200")),
        "FOLDER" => Some(env!("CARGO_MANIFEST_DIR").to_owned()),
        _ => None,
    }
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let listed = fs::read_dir(root(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = listed
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no {folder}/*{ending}");
    files
}

fn good(text: &str) -> Config {
    Config::parse("test.yml", text, &environment).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The faults of a text, as `line:column message`.
fn bad(text: &str) -> Vec<String> {
    let faults = Config::parse("test.yml", text, &environment).expect_err("no fault found");
    faults
        .iter()
        .map(|fault| format!("{}:{} {}", fault.line(), fault.column(), fault.message))
        .collect()
}

const SMALLEST: &str = "
pipeline: p
inputs: [{type: file, paths: [a.log]}]
mapping:
  prediction: {id: id, time: t, model: {const: m}, predicted: y}
task: {kind: regression}
output: {file: {path: out/}}
";

#[test]
fn the_example_of_the_design_is_meant_as_written() {
    let config = Config::load(&root("pipelines/fraud.yml"), NOTHING)
        .unwrap_or_else(|faults| panic!("{faults}"));
    assert!(config.warnings.is_empty(), "{}", config.warnings);
    let engine = &config.engine;
    assert_eq!(
        (engine.pipeline.as_str(), engine.index_prefix.as_str()),
        ("fraud", "modelbeat")
    );
    assert_eq!((engine.agent.id.as_str(), &*engine.agent.name), ("", ""));
    assert_eq!(engine.inputs.len(), 2);
    assert!(
        engine
            .inputs
            .iter()
            .all(|input| input.format == Format::Json && input.kind.is_none())
    );

    let [file] = config.files.as_slice() else {
        panic!("{:?}", config.files)
    };
    assert_eq!(
        (file.input.0, file.framing, file.start_at),
        (0, Framing::Lines, StartAt::Beginning)
    );
    assert_eq!(
        file.paths,
        ["logs/predictions-*.jsonl", "logs/labels-*.jsonl"]
    );
    assert_eq!(file.record_bytes_max, 16 << 20);

    let [http] = config.receivers.as_slice() else {
        panic!("{:?}", config.receivers)
    };
    assert_eq!(
        (http.input.0, http.listen.to_string().as_str()),
        (1, "127.0.0.1:9701")
    );
    assert_eq!((&http.token, &http.tls), (&None, &None));
    assert_eq!(
        (http.body_bytes_max, http.journal_bytes_max),
        (16 << 20, 1 << 30)
    );

    let prediction = engine.mapping.prediction.as_ref().unwrap();
    assert_eq!(
        prediction.when.iter().collect::<Vec<_>>(),
        [(&"event".to_owned(), &"prediction".to_owned())]
    );
    assert_eq!(
        (prediction.id.as_str(), prediction.time.as_str()),
        ("prediction_id", "ts")
    );
    assert_eq!(prediction.time_format, None);
    assert_eq!(prediction.model, Source::Path("model".into()));
    assert_eq!(
        prediction.version,
        Some(Source::Path("model_version".into()))
    );
    assert_eq!(prediction.predicted.as_deref(), Some("predicted"));
    assert_eq!(prediction.score, Some(ScoreSource::Path("score".into())));
    assert_eq!(prediction.latency_ms.as_deref(), Some("latency_ms"));
    let slices = [("country", "segment.country"), ("device", "segment.device")]
        .map(|(n, p)| (n.into(), p.into()));
    assert_eq!(prediction.slices, slices);
    let label = engine.mapping.label.as_ref().unwrap();
    assert_eq!(
        label.when.iter().collect::<Vec<_>>(),
        [(&"event".to_owned(), &"label".to_owned())]
    );
    assert_eq!(
        (
            label.id.as_str(),
            label.time.as_deref(),
            label.actual.as_str()
        ),
        ("prediction_id", Some("ts"), "label")
    );
    assert_eq!(
        (&label.time_format, &label.model, &engine.mapping.timezone),
        (&None, &None, &None)
    );

    assert_eq!(
        engine.task,
        Task::Binary {
            positive: "fraud".into(),
            negative: "not fraud".into(),
            threshold: 0.5
        }
    );
    assert_eq!(
        engine.windows,
        [60_000, 3_600_000, 86_400_000].map(Length::Fixed)
    );
    assert_eq!(engine.join.label_horizon_ms, 2_592_000_000);
    assert_eq!(
        (engine.join.early_label_ttl_ms, engine.join.hold_ms),
        (3_600_000, 5_000)
    );
    assert_eq!((engine.slice_values_max, engine.keep_record), (200, true));

    assert_eq!((engine.publish_every_ms, engine.min_support), (10_000, 30));
    assert_eq!(engine.window_bytes_max, 16 << 20);

    let host = config.host.unwrap();
    assert_eq!(host.every, Duration::from_secs(10));
    assert_eq!(
        host.process,
        Some(ProcessSelector::PidFile("/run/model.pid".into()))
    );
    let (elastic, ship) = config.elasticsearch.unwrap();
    assert_eq!(elastic.hosts, ["http://127.0.0.1:9200"]);
    assert_eq!(
        (elastic.credentials, elastic.ca, elastic.compress),
        (Credentials::None, None, true)
    );
    assert_eq!(ship, crate::edge::ship::Settings::default());
    assert_eq!(config.file_output, None);
}

#[test]
fn every_pipeline_we_ship_is_good() {
    // Example data lies wherever it was unpacked: NANNYML_DATA and the like have no default.
    let data = |name: &str| name.ends_with("_DATA").then(|| "data".to_owned());
    for path in files("pipelines", ".yml") {
        if let Err(faults) = Config::load(&path, &data) {
            panic!("{faults}");
        }
    }
}

#[test]
fn the_smallest_file_gets_defaults() {
    let config = good(SMALLEST);
    assert!(config.warnings.is_empty());
    assert_eq!(config.engine.task, Task::Regression);
    assert_eq!(
        config.engine.windows,
        [60_000, 3_600_000, 86_400_000].map(Length::Fixed)
    );
    assert_eq!(config.engine.join, crate::flow::join::Settings::default());
    assert!(config.engine.keep_record && config.host.is_some() && config.elasticsearch.is_none());
    assert_eq!(config.file_output.unwrap().path, Path::new("out/"));
}

/// Every key there is, none with its default.
#[test]
fn every_key_is_read() {
    let text = fs::read_to_string(root("tests/golden/config/every-key.yml")).unwrap();
    let config = good(&text);
    let engine = &config.engine;
    assert_eq!(
        (engine.agent.id.as_str(), &*engine.agent.name),
        ("agent-7", "scorer")
    );
    assert_eq!(engine.index_prefix, "ml");
    assert_eq!(
        engine.inputs.iter().map(|i| i.format).collect::<Vec<_>>(),
        [Format::Csv, Format::Json]
    );
    assert_eq!(
        engine.inputs.iter().map(|i| i.kind).collect::<Vec<_>>(),
        [Some(Kind::Label), Some(Kind::Prediction)]
    );
    let file = &config.files[0];
    assert_eq!(
        (file.framing, file.start_at, file.record_bytes_max),
        (Framing::Csv, StartAt::End, 1 << 20)
    );
    assert_eq!(file.ignore_older, Some(Duration::from_hours(7 * 24)));
    assert_eq!(file.close_inactive, Duration::from_mins(10));
    assert_eq!(
        (file.watch, file.poll),
        (WatchMode::Poll, Duration::from_secs(5))
    );
    let http = &config.receivers[0];
    assert_eq!(
        (
            http.token.as_ref().map(|token| token.0.as_str()),
            http.body_bytes_max,
            http.journal_bytes_max
        ),
        (Some(SECRET), 1 << 20, 64 << 20)
    );
    let tls = http.tls.as_ref().unwrap();
    assert!(tls.certificate.ends_with("Cargo.toml") && tls.key.ends_with("Cargo.lock"));
    assert!(tls.client_ca.as_ref().unwrap().ends_with("Cargo.toml"));
    assert_eq!(engine.mapping.timezone.as_deref(), Some("Europe/Berlin"));
    let prediction = engine.mapping.prediction.as_ref().unwrap();
    assert_eq!(prediction.time_format.as_deref(), Some("%d.%m.%Y %H:%M:%S"));
    assert_eq!(prediction.model, Source::Const("digits".into()));
    assert_eq!(
        prediction.when.get("version").map(String::as_str),
        Some("2")
    );
    let Some(ScoreSource::PerClass(classes)) = &prediction.score else {
        panic!("{prediction:?}")
    };
    assert_eq!(
        classes
            .iter()
            .map(|(c, p)| format!("{c}={p}"))
            .collect::<Vec<_>>(),
        ["0=p0", "1=p1"]
    );
    let label = engine.mapping.label.as_ref().unwrap();
    assert_eq!(label.model, Some(Source::Const("digits".into())));
    assert_eq!(label.time_format.as_deref(), Some("%Y-%m-%d %H:%M"));
    assert_eq!(
        engine.task,
        Task::Multiclass {
            classes: vec!["0".into(), "1".into()]
        }
    );
    let week = Length::Hopping {
        length: 7 * Length::DAY,
        every: Length::DAY,
    };
    let windows = [
        Length::Fixed(10_000),
        Length::Month,
        week,
        Length::Cumulative,
    ];
    assert_eq!(engine.windows, windows);
    assert_eq!(engine.slice_crosses, [["country", "plan"]]);
    let join = engine.join;
    assert_eq!(
        (join.label_horizon_ms, join.early_label_ttl_ms, join.hold_ms),
        (7_200_000, 0, 250)
    );
    assert_eq!(
        (join.hold_bytes_max, join.state_bytes_max, join.mark_expired),
        (1 << 20, 64 << 20, true)
    );
    assert_eq!((engine.slice_values_max, engine.keep_record), (5, false));
    assert_eq!(engine.privacy.min_group, 10);
    assert!(engine.privacy.cleaning.is_some());
    assert!(
        !format!("{config:?}").contains(SECRET),
        "no debug output shows a key"
    );
    assert_eq!(
        config.host.unwrap().process,
        Some(ProcessSelector::Name("tritonserver".into()))
    );
    let (elastic, ship) = config.elasticsearch.unwrap();
    assert_eq!(
        elastic.hosts,
        ["https://es-1:9200", "https://es-2:9200/path"]
    );
    assert_eq!(
        elastic.credentials,
        Credentials::Basic("elastic".into(), SECRET.into())
    );
    assert!(elastic.ca.unwrap().ends_with("Cargo.toml") && !elastic.compress);
    assert_eq!(elastic.timeout, Duration::from_secs(90));
    assert_eq!(
        (ship.bulk_bytes, ship.flush_after, ship.requests_max),
        (8 << 20, Duration::from_millis(200), 6)
    );
    assert_eq!(ship.spool_bytes_max, 2 << 30);
    assert_eq!(config.file_output.unwrap().path, Path::new("out"));
}

/// `UPDATE_GOLDEN=1 cargo test` writes the sentences anew: read the difference before committing it.
#[test]
fn every_bad_file_has_its_sentence() {
    for path in files("tests/golden/config", ".bad.yml") {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        let report = match Config::parse(&name, &text, &environment) {
            Err(faults) => faults.to_string(),
            Ok(_) => panic!("{name} is good"),
        };
        assert!(
            !report.contains(SECRET),
            "{name} gives a secret away:\n{report}"
        );
        assert!(
            !report.contains("literal"),
            "{name} gives a secret away:\n{report}"
        );
        let expected = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&expected, &report).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(
            report, expected,
            "{name}: UPDATE_GOLDEN=1 accepts the first of the two"
        );
    }
}

#[test]
fn six_different_mistakes_are_told_in_one_go() {
    let text = fs::read_to_string(root("tests/golden/config/six-mistakes.bad.yml")).unwrap();
    assert_eq!(
        bad(&text),
        [
            "3:12 `tcp` is not one of file, http",
            "5:3 unknown key `lable` in `mapping`",
            "9:46 `1.5` is too large",
            "10:15 `7m` does not divide a day",
            "11:23 `30x` is not a duration",
            "13:27 the variable NO_SUCH_URL is not set",
        ]
    );
}

#[test]
fn the_negative_side_has_a_name() {
    let negative = |task: &str| {
        let text = SMALLEST.replace("{kind: regression}", &format!("{{kind: binary, {task}}}"));
        match good(&text).engine.task {
            Task::Binary { negative, .. } => negative,
            task => panic!("{task:?}"),
        }
    };
    assert_eq!(negative("positive: 1.0"), "0");
    assert_eq!(negative("positive: true"), "false");
    assert_eq!(negative("positive: fraud"), "not fraud");
    assert_eq!(negative("positive: fraud, negative: 0.0"), "0");
}

#[test]
fn warnings_do_not_keep_a_file_from_running() {
    let text = SMALLEST.replace(
        "{file: {path: out/}}",
        "{elasticsearch: {hosts: ['http://es:9200'], api_key: abc}}",
    );
    let config = good(&text);
    let warnings: Vec<_> = config
        .warnings
        .iter()
        .map(|fault| (fault.severity, fault.line(), fault.message.as_str()))
        .collect();
    assert_eq!(
        warnings,
        [(
            Severity::Warning,
            7,
            "the password or API key travels unencrypted"
        )]
    );
}

#[test]
fn empty_variables_count_as_absent() {
    let config = good(&SMALLEST.replace(
        "[{type: file, paths: [a.log]}]",
        "[{type: http, listen: '127.0.0.1:1', token: ${NONE:-}}, {type: http, listen: '[::1]:1', token: \"${NONE:-}\"}]",
    ));
    assert!(
        config
            .receivers
            .iter()
            .all(|receiver| receiver.token.is_none())
    );
}

#[test]
fn a_missing_file_is_told_without_a_place() {
    let faults = Config::load(Path::new("no/such.yml"), NOTHING).unwrap_err();
    let report = faults.to_string();
    assert!(
        report.starts_with("no/such.yml: error: cannot be read: "),
        "{report}"
    );
    assert_eq!(
        (faults.errors(), faults.iter().next().unwrap().line()),
        (1, 0)
    );
}

#[test]
fn an_endless_file_is_not_read_to_its_end() {
    let faults = Config::load(Path::new("/dev/zero"), NOTHING).unwrap_err();
    assert!(faults.to_string().contains("larger than 1 MiB"), "{faults}");
}

#[test]
fn the_schema_knows_every_key_that_is_read_and_no_other() {
    let text = fs::read_to_string(root("tests/golden/config/every-key.yml")).unwrap();
    let mut asked = read_text("every-key.yml", &text, &environment).2;
    asked.extend(
        read_text(
            "fraud.yml",
            &fs::read_to_string(root("pipelines/fraud.yml")).unwrap(),
            NOTHING,
        )
        .2,
    );
    let schema: Value = serde_json::from_str(schema::TEXT).unwrap();
    let mut described = BTreeSet::new();
    collect_keys(&schema, &schema, "", &mut described);
    let only_asked: Vec<_> = asked.difference(&described).collect();
    let only_described: Vec<_> = described.difference(&asked).collect();
    assert!(
        only_asked.is_empty(),
        "describe in pipeline.schema.json: {only_asked:?}"
    );
    assert!(
        only_described.is_empty(),
        "nobody reads: {only_described:?}"
    );
}

/// Paths of all `properties`, as the readers name them; each has a description, and no map takes unknown keys.
fn collect_keys(schema: &Value, at: &Value, path: &str, into: &mut BTreeSet<String>) {
    if let Some(name) = at["$ref"].as_str() {
        let target = schema
            .pointer(name.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("{name} is not there"));
        return collect_keys(schema, target, path, into);
    }
    for (key, property) in at["properties"].as_object().into_iter().flatten() {
        assert_eq!(
            at["additionalProperties"], false,
            "{path} takes unknown keys"
        );
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        assert!(
            property["description"].is_string(),
            "{path} has no description"
        );
        collect_keys(schema, property, &path, into);
        into.insert(path);
    }
    for variant in ["oneOf", "anyOf"]
        .iter()
        .filter_map(|word| at[word].as_array())
        .flatten()
    {
        // An input's shapes are told apart by `type`.
        match variant["properties"]["type"]["const"].as_str() {
            Some(name) => collect_keys(schema, variant, &format!("{path}.{name}"), into),
            None => collect_keys(schema, variant, path, into),
        }
    }
    if at["items"].is_object() {
        collect_keys(schema, &at["items"], path, into);
    }
}

/// Reading ends without panic, its places are in the text, and nothing of what a variable holds comes out.
fn survives(text: &str) {
    let held = |_: &str| Some(SECRET.to_owned());
    let (_, faults, _) = read_text("x", text, &held);
    let lines = text.lines().count().max(1);
    for fault in faults.iter() {
        assert!((1..=lines + 1).contains(&fault.line()), "{faults}");
        assert!((1..=text.len() + 1).contains(&fault.column()), "{faults}");
    }
    let report = faults.to_string();
    assert!(!report.contains(SECRET), "{report}");
    assert!(
        !report.contains(|c: char| c.is_control() && c != '\n'),
        "{report:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_survived(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn any_yaml_like_text_is_survived(
        text in "([a-z]{1,3}|[:\\-?,\\[\\]{}&*!|>'\"%@#$ \n\t\r]|\\$\\{|\\$\\{A\\}|: |\n  |- |é|\u{feff}|\u{e000}){0,60}",
    ) {
        survives(&text);
    }

    /// Any cut of a good file, any of its characters exchanged, any of its lines left out.
    #[test]
    fn any_broken_file_is_survived(
        at in 0_usize..4_000,
        with in any::<Option<char>>(),
        without in 0_usize..70,
        text in prop_oneof![
            Just(include_str!("../../pipelines/fraud.yml")),
            Just(include_str!("../../tests/golden/config/every-key.yml")),
            Just(include_str!("../../tests/golden/config/secrets.bad.yml")),
        ],
    ) {
        let mut broken: String = match with {
            None => text.chars().take(at).collect(),
            Some(with) => text.chars().enumerate().map(|(i, c)| if i == at { with } else { c }).collect(),
        };
        survives(&broken);
        let left: Vec<&str> = text.lines().enumerate().filter(|(i, _)| *i != without).map(|(_, line)| line).collect();
        broken = left.join("\n");
        survives(&broken);
    }

    /// A value put where another kind of value belongs.
    #[test]
    fn any_value_anywhere_is_survived(
        which in 0_usize..60,
        value in prop_oneof![Just("${A}"), Just("[${A}]"), Just("{a: ${A}}"), Just("~"), Just("-1"), Just("1e999"), Just("\"${A}x@\""), Just("9999999999999999999999d")],
    ) {
        let text = include_str!("../../tests/golden/config/every-key.yml");
        let exchange = |(i, line): (usize, &str)| match line.split_once(": ") {
            Some((key, _)) if i == which => format!("{key}: {value}\n"),
            _ => format!("{line}\n"),
        };
        let exchanged: Vec<String> = text.lines().enumerate().map(exchange).collect();
        survives(&exchanged.concat());
    }
}
