//! A small agent with a hostile log: two hours of a classifier whose names are markup.

use serde_json::json;

use crate::agent::{Agent, Home, Modelbeat};
use crate::browser::Page;
use crate::status::scrape;

const PIPELINE: &str = "
pipeline: small
inputs: [{type: file, paths: [logs/*.jsonl], format: json}]
mapping:
  prediction: {when: {event: prediction}, id: id, time: ts, model: model, version: version, predicted: predicted, slices: {channel: channel}}
  label: {when: {event: label}, id: id, time: ts, actual: actual}
task: {kind: multiclass}
windows: [1h]
quality: {min_support: 5}
publish_every: 1s
join: {hold: 0s}
alerts:
  rules:
    - {name: accuracy-low, metric: quality.accuracy, window: 1h, below: 0.95, on: value, wait: 1s, slices: [channel], severity: critical}
output: {file: {path: out}}
";

/// Model, version, class, slice value, and the time that a dead letter's reason quotes.
pub(super) const HOSTILE: [&str; 5] = [
    "<img src=x onerror=\"window.owned='model'\">",
    "\"><script>window.owned='version'</script>",
    "<img src=x onerror=window.owned='class'>",
    "</td></table><svg onload=window.owned='slice'>",
    "<b onclick=window.owned='time'>",
];

/// 2026-01-02T03:00:00Z, in seconds.
const START: u64 = 1_767_322_800;
const PREDICTIONS: u64 = 60;

pub(super) struct Small {
    pub(super) address: String,
    _agent: Agent,
}

impl Small {
    pub(super) fn start(home: &Home) -> Self {
        Self::start_with_token(home, "")
    }

    /// No token: nobody is asked for one.
    pub(super) fn start_with_token(home: &Home, token: &str) -> Self {
        home.write("logs/events.jsonl", &events());
        let pipeline = home.write("pipeline.yml", PIPELINE);
        let mut agent = Modelbeat::run(home, &pipeline)
            .argument("--status-listen")
            .argument("0")
            .env("MODELBEAT_STATUS_TOKEN", token)
            .start();
        let line = agent.wait_for_log("status is listening");
        let address = line["address"].as_str().expect("an address");
        Self {
            address: format!("http://{address}/"),
            _agent: agent,
        }
    }

    /// How many alerts `/metrics` counts.
    pub(super) fn alerts_in_metrics(&self, phase: &str, severity: &str) -> String {
        let address = self.address.trim_start_matches("http://");
        let scrape = scrape(address.trim_end_matches('/'));
        let labels = [
            ("pipeline", "small"),
            ("phase", phase),
            ("severity", severity),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let series = ("modelbeat_alerts".to_owned(), labels.into());
        let found = scrape.samples().find(|(of, _)| **of == series);
        found.expect("a sample").1.to_string()
    }

    /// The page, once it shows all of the log.
    #[track_caller]
    pub(super) fn open(&self) -> Page {
        let mut page = Page::blank();
        page.size(1280, 1000);
        page.go(&self.address);
        page.until(
            "all labels and the dead letter to be shown",
            &format!(
                "document.querySelector('#totals [data-total=\"labels\"]')?.dataset.value === '{PREDICTIONS}' \
                 && document.querySelectorAll('#dead-letters tbody tr').length === 1 \
                 && document.querySelectorAll('#series tbody tr').length === 3 \
                 && [...document.querySelectorAll('#series tbody td[data-metric=\"accuracy\"]')].every(cell => cell.dataset.value)"
            ),
        );
        page
    }
}

/// An hour two days later in which no answer in this slice is right.
pub(super) fn bad_hour(channel: &str) -> String {
    let [model, version, ..] = HOSTILE;
    let lines = (0..10).flat_map(|at| {
        let (id, time) = (1_000 + at, START + 172_800 + at);
        [
            json!({ "event": "prediction", "id": id, "ts": time, "model": model, "version": version, "channel": channel, "predicted": "plain" }),
            json!({ "event": "label", "id": id, "ts": time, "actual": "other" }),
        ]
    });
    lines.map(|line| format!("{line}\n")).collect()
}

fn events() -> String {
    let [model, version, class, slice, time] = HOSTILE;
    let channel = |id: u64| if id.is_multiple_of(3) { slice } else { "mail" };
    let kind = |is_class| if is_class { class } else { "plain" };
    let prediction = |id: u64, time: serde_json::Value| {
        json!({
            "event": "prediction", "id": id, "ts": time, "model": model, "version": version,
            "channel": channel(id), "predicted": kind(id.is_multiple_of(2)),
        })
    };
    let mut lines = Vec::new();
    for id in 0..PREDICTIONS {
        let at = START + id * 110;
        lines.push(prediction(id, json!(at)));
        // A seventh is mistaken.
        let is_class = id.is_multiple_of(2) != id.is_multiple_of(7);
        lines.push(json!({ "event": "label", "id": id, "ts": at + 9, "actual": kind(is_class) }));
    }
    lines.push(prediction(PREDICTIONS, json!(time)));
    lines.iter().map(|line| format!("{line}\n")).collect()
}
