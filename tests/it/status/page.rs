//! The page: what its API says is what is written, window for window, also after labels that came late; and the page itself
//! is there, with nothing in it that a browser would fetch from elsewhere.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{LABELS, PREDICTIONS, Watched, client, events, fetch, get, label, time};
use crate::agent::{Agent, Home, Modelbeat};
use crate::documents::field;
use crate::faults::written::Written;

const PIPELINE: &str = r#"
pipeline: shown
inputs:
  - {type: file, paths: [logs/*.jsonl], format: json}
  - {type: http, listen: 127.0.0.1:0, kind: label}
mapping:
  prediction: {when: {event: prediction}, id: id, time: ts, model: {const: m}, version: version, predicted: predicted, slices: {country: country}}
  label: {when: {event: label}, id: id, time: ts, actual: actual}
task: {kind: binary, positive: "1"}
windows: [1h, 1d]
publish_every: 1s
quality: {min_support: 10}
host: off
output: {file: {path: out/}}
"#;

#[test]
fn what_the_page_shows_is_what_is_written_also_after_late_labels() {
    let home = Home::new();
    let mut shown = start(&home);
    let on_time: Vec<String> = (0..LABELS).map(label).collect();
    shown.post(&on_time.join("\n"));
    let address = shown.address.clone();
    assert_shown_is_written(&mut shown.agent, &address, &home, LABELS);

    // Corrections of the first hour, two days later.
    let late: Vec<String> = (0..10)
        .map(|id| json!({ "event": "label", "id": id, "ts": time(id) + 172_800, "actual": 1 }))
        .map(|label| label.to_string())
        .collect();
    shown.post(&late.join("\n"));
    assert_shown_is_written(&mut shown.agent, &address, &home, LABELS + 10);

    let (_, told) = get(&address, "api/v1/status");
    let pipeline = &told["pipelines"][0];
    let corrected = series(pipeline, "1h", "_all", &Value::Null)["history"][0]["corrected_labels"]
        .as_u64()
        .unwrap();
    // Of ids 0 to 9, three divide by four: their labels said 1 already.
    assert_eq!(corrected, 7);
    assert_eq!(pipeline["waiting"]["open_predictions"], PREDICTIONS);
    assert_eq!(pipeline["totals"]["balanced"], true);
    let letters = &pipeline["dead_letters"]["newest"];
    assert_eq!(letters.as_array().map(Vec::len), Some(1), "{letters}");
    assert!(
        letters[0]["origin"]
            .as_str()
            .unwrap()
            .contains("events.jsonl")
    );
}

#[test]
fn the_page_is_served_with_a_policy_that_lets_nothing_else_in() {
    let home = Home::new();
    let shown = start(&home);
    let request = client().get(format!("http://{}/", shown.address));
    let answer = Runtime::new().unwrap().block_on(request.send()).unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert!(
        header("content-security-policy").starts_with("default-src 'none'; script-src 'self';")
    );
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert_eq!(header("x-content-type-options"), "nosniff");
    for path in ["page/page.js", "page/uplot.js", "page/page.css"] {
        assert_eq!(
            fetch(&shown.address, path, "*/*").0,
            StatusCode::OK,
            "{path}"
        );
    }
}

fn start(home: &Home) -> Watched {
    home.write("logs/events.jsonl", &events());
    let pipeline = home.write("pipeline.yml", PIPELINE);
    let mut agent = Modelbeat::run(home, &pipeline)
        .argument("--status-listen")
        .argument("0")
        .start();
    let line = agent.wait_for_log("status is listening");
    let address = line["address"].as_str().expect("an address").to_owned();
    let labels = agent.http_address();
    Watched {
        agent,
        address,
        labels,
    }
}

/// Once all labels are in, and the windows published.
#[track_caller]
fn assert_shown_is_written(agent: &mut Agent, address: &str, home: &Home, labels: u64) {
    let agree = || {
        let (_, told) = get(address, "api/v1/status");
        let pipeline = &told["pipelines"][0];
        let totals = &pipeline["totals"];
        if totals["labels"] != labels || totals["predictions"] != PREDICTIONS {
            return format!("not all is in: {totals}");
        }
        let written = Written::read_of(&home.path("out"), "quality");
        let documents: Vec<&Value> = written.of("modelbeat.quality").collect();
        let mut compared = 0;
        for document in &documents {
            let (length, name) = (
                document["window"]["length"].as_str().unwrap(),
                document["slice"]["name"].as_str().unwrap(),
            );
            let series = series(pipeline, length, name, &document["slice"]["value"]);
            let start: jiff::Timestamp = field(document, "window.start")
                .as_str()
                .unwrap()
                .parse()
                .unwrap();
            let is_it = |window: &&Value| window["start"] == start.as_millisecond();
            let window = series["history"]
                .as_array()
                .and_then(|all| all.iter().find(is_it));
            let Some(window) = window else {
                return format!("{length} of {name} at {start} is not shown");
            };
            if let Some(difference) = difference(document, window) {
                return format!("{length} of {name} at {start}: {difference}");
            }
            compared += 1;
        }
        format!("{compared} windows agree")
    };
    // Two hours and one day, of the whole and of two countries.
    agent.wait_until_equal("the page", &"9 windows agree".to_owned(), agree);
}

fn series<'p>(pipeline: &'p Value, length: &str, slice: &str, value: &Value) -> &'p Value {
    let is_it = |series: &&Value| {
        series["window"] == length && series["slice"] == slice && series["slice_value"] == *value
    };
    let all = pipeline["series"].as_array().expect("series");
    all.iter().find(is_it).unwrap_or(&Value::Null)
}

/// Where a shown window is not the document's.
fn difference(document: &Value, window: &Value) -> Option<String> {
    for name in [
        "predictions",
        "labelled",
        "judged",
        "late_labels",
        "corrected_labels",
    ] {
        if field(document, &format!("counts.{name}")) != &window[name] {
            return Some(format!(
                "{name}: {} and {}",
                document["counts"], window[name]
            ));
        }
    }
    for name in ["coverage", "accuracy", "precision", "recall", "f1"] {
        let shown = &window["metrics"][name];
        for (part, path) in [
            ("value", format!("quality.{name}")),
            ("low", format!("interval.{name}.low")),
            ("high", format!("interval.{name}.high")),
        ] {
            let same = match (shown[part].as_f64(), field(document, &path).as_f64()) {
                // Read back from JSON, a number may be off by its last bit.
                (Some(shown), Some(written)) => (shown - written).abs() < 1e-15,
                (shown, written) => shown == written,
            };
            if !same {
                return Some(format!("{path}: {} and {shown}", field(document, &path)));
            }
        }
    }
    None
}
