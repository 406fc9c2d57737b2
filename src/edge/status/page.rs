//! One scrape: families of metrics and their samples, written by the Prometheus client library in the format asked for.
//!
//! Whoever fills a page names a metric as it is called without `_total`: the library adds that to counters. Samples of one
//! family stand together, as the formats want it, however they came.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use indexmap::IndexMap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::ledger::Series;
pub(super) use crate::edge::ship::Durations;

/// Names and values of a sample's labels.
pub(super) type Labels = Vec<(&'static str, String)>;

/// The two text formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus' own, version 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// What a client takes, by its `Accept` header.
    pub(super) fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(types) if types.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The page being filled.
#[derive(Debug, Default)]
pub(super) struct Page(IndexMap<String, Family>);

#[derive(Debug)]
struct Family {
    help: String,
    kind: MetricType,
    samples: Vec<(Labels, Value)>,
}

#[derive(Debug)]
enum Value {
    Count(u64),
    Seconds(ConstCounter<f64>),
    Level(ConstGauge<f64>),
    Histogram(Durations),
}

impl Page {
    /// Something that only grows.
    pub(super) fn counter(&mut self, name: &str, help: &str, labels: &Labels, value: u64) {
        self.add(name, help, MetricType::Counter, labels, Value::Count(value));
    }

    /// Time that only grows.
    pub(super) fn seconds(&mut self, name: &str, help: &str, labels: &Labels, value: f64) {
        let value = Value::Seconds(ConstCounter::new(value));
        self.add(name, help, MetricType::Counter, labels, value);
    }

    /// Something that goes up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str, labels: &Labels, value: f64) {
        let value = Value::Level(ConstGauge::new(value));
        self.add(name, help, MetricType::Gauge, labels, value);
    }

    /// Observations by size.
    pub(super) fn histogram(&mut self, name: &str, help: &str, labels: &Labels, value: Durations) {
        let value = Value::Histogram(value);
        self.add(name, help, MetricType::Histogram, labels, value);
    }

    /// Adds the counters of a pipeline that are not here, of a family that is and of an input that is, so that what was
    /// shown of them can be shown again.
    pub(super) fn recall(&mut self, pipeline: &str, shown: &BTreeMap<Series, u64>) {
        let mut present = BTreeSet::new();
        self.visit_counts(pipeline, |series, _| {
            present.insert(series);
        });
        for series in shown.keys().filter(|series| !present.contains(series)) {
            let Some(family) = self.0.get_mut(&series.name) else {
                continue;
            };
            let is_alike = |(labels, _): &&(Labels, Value)| {
                labels.len() == series.labels.len()
                    && labels.iter().all(|(label, value)| match *label {
                        "pipeline" => value == pipeline && series.labels.get(*label) == Some(value),
                        "input" => series.labels.get(*label) == Some(value),
                        _ => series.labels.contains_key(*label),
                    })
            };
            let Some((alike, Value::Count(_))) = family.samples.iter().find(is_alike) else {
                continue;
            };
            let labels = alike.iter().map(|(label, _)| {
                let value = series.labels.get(*label);
                (*label, value.cloned().unwrap_or_default())
            });
            // This process has counted none: what was shown comes on top.
            family.samples.push((labels.collect(), Value::Count(0)));
        }
    }

    /// Shows each count of a pipeline's samples: counters, and the parts of histograms.
    pub(super) fn visit_counts(&mut self, pipeline: &str, mut visit: impl FnMut(Series, &mut u64)) {
        for (name, family) in &mut self.0 {
            for (labels, value) in &mut family.samples {
                if !labels
                    .iter()
                    .any(|label| *label == ("pipeline", pipeline.to_owned()))
                {
                    continue;
                }
                match value {
                    Value::Count(count) => visit(Series::new(name, labels), count),
                    Value::Histogram(durations) => {
                        visit(
                            Series::new(&format!("{name}_sum"), labels),
                            &mut durations.sum_us,
                        );
                        let bounds = durations.bounds.iter().map(ToString::to_string);
                        let bounds = bounds.chain(["+Inf".to_owned()]);
                        for (bound, count) in bounds.zip(&mut durations.counts) {
                            let labels = with(labels, "le", bound);
                            visit(Series::new(&format!("{name}_bucket"), &labels), count);
                        }
                    }
                    Value::Seconds(_) | Value::Level(_) => {}
                }
            }
        }
    }

    fn add(&mut self, name: &str, help: &str, kind: MetricType, labels: &Labels, value: Value) {
        let sample = (labels.clone(), value);
        if let Some(family) = self.0.get_mut(name) {
            family.samples.push(sample);
            return;
        }
        let family = Family {
            help: help.to_owned(),
            kind,
            samples: vec![sample],
        };
        self.0.insert(name.to_owned(), family);
    }

    /// The page as text.
    ///
    /// # Errors
    /// The library's; a string takes all.
    pub(super) fn write(self, format: Format) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut out = String::new();
        match format {
            Format::Prometheus => prometheus_text::encode(&mut out, &registry)?,
            Format::OpenMetrics => text::encode(&mut out, &registry)?,
        }
        Ok(out)
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, family) in &self.0 {
            let mut metric = encoder.encode_descriptor(name, &family.help, None, family.kind)?;
            for (labels, value) in &family.samples {
                let sample = metric.encode_family(labels)?;
                match value {
                    Value::Count(count) => ConstCounter::new(*count).encode(sample)?,
                    Value::Seconds(seconds) => seconds.encode(sample)?,
                    Value::Level(level) => level.encode(sample)?,
                    Value::Histogram(durations) => encode_histogram(durations, sample)?,
                }
            }
        }
        Ok(())
    }
}

fn encode_histogram(
    durations: &Durations,
    mut sample: MetricEncoder<'_>,
) -> Result<(), fmt::Error> {
    let bounds = durations.bounds.iter().copied();
    let bounds = bounds.chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(durations.counts.iter().copied()).collect();
    let sum = durations.sum_us as f64 / 1e6;
    let count = durations.counts.iter().sum();
    sample.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}

/// These labels and one more.
pub(super) fn with(labels: &Labels, name: &'static str, value: impl Into<String>) -> Labels {
    let mut more = labels.clone();
    more.push((name, value.into()));
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pipelines that name the same metrics in turn.
    fn page() -> Page {
        let mut page = Page::default();
        for pipeline in ["a", "b\"\\\n"] {
            let labels = vec![("pipeline", pipeline.to_owned())];
            page.counter("requests", "Sent", &labels, 1 << 53 | 1);
            page.gauge("ratio", "A share", &labels, 0.25);
            page.seconds("cpu_seconds", "Time", &labels, 1.5);
        }
        let durations = Durations {
            bounds: vec![0.5],
            counts: vec![1, 0],
            sum_us: 100_000,
        };
        page.histogram("duration_seconds", "Time", &Labels::new(), durations);
        page
    }

    /// By hand, from <https://prometheus.io/docs/instrumenting/exposition_formats/>.
    #[test]
    fn a_page_is_written_in_the_prometheus_format() {
        let expected = r#"# HELP requests_total Sent
# TYPE requests_total counter
requests_total{pipeline="a"} 9007199254740993
requests_total{pipeline="b\"\\\n"} 9007199254740993
# HELP ratio A share
# TYPE ratio gauge
ratio{pipeline="a"} 0.25
ratio{pipeline="b\"\\\n"} 0.25
# HELP cpu_seconds_total Time
# TYPE cpu_seconds_total counter
cpu_seconds_total{pipeline="a"} 1.5
cpu_seconds_total{pipeline="b\"\\\n"} 1.5
# HELP duration_seconds Time
# TYPE duration_seconds histogram
duration_seconds_bucket{le="0.5"} 1
duration_seconds_bucket{le="+Inf"} 1
duration_seconds_sum 0.1
duration_seconds_count 1
"#;
        assert_eq!(page().write(Format::Prometheus).unwrap(), expected);
    }

    #[test]
    fn a_page_is_written_in_the_open_metrics_format() {
        let text = page().write(Format::OpenMetrics).unwrap();
        assert!(
            text.contains(
                "# TYPE requests counter\nrequests_total{pipeline=\"a\"} 9007199254740993\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn the_accept_header_chooses_the_format() {
        // What Prometheus 2.42 sends, and what curl does.
        let scraper = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::accepted(Some(scraper)), Format::OpenMetrics);
        assert_eq!(Format::accepted(Some("*/*")), Format::Prometheus);
        assert_eq!(Format::accepted(None), Format::Prometheus);
    }
}
