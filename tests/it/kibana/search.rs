//! What Kibana asks Elasticsearch for a chart, and the chart's numbers from the answer.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::formula::{Formula, Part};
use super::kql;
use super::objects::{Chart, inner, text};
use crate::cluster::Prefix;

/// More than any story has.
const MAX_BUCKETS: u64 = 10_000;

/// The numbers of one leaf bucket, or of all documents: shown column → value, `None` where the chart shows a gap.
pub(super) type Row = BTreeMap<String, Option<f64>>;

/// A data view, asked under a story's prefix.
pub(super) struct View<'p> {
    prefix: &'p Prefix,
    pattern: String,
    runtime: Value,
}

impl<'p> View<'p> {
    pub(super) fn new(objects: &[Value], id: &str, prefix: &'p Prefix) -> Self {
        let view = objects
            .iter()
            .find(|object| object["type"] == "index-pattern" && object["id"] == id);
        let attributes = &view.expect("a data view")["attributes"];
        Self {
            prefix,
            pattern: text(&attributes["title"]).replace("modelbeat-", &format!("{}-", prefix.name)),
            runtime: inner(&attributes["runtimeFieldMap"]),
        }
    }

    /// A search over the view, its runtime fields included.
    pub(super) fn search(&self, mut body: Value) -> Value {
        body["runtime_mappings"] = self.runtime.clone();
        let path = format!("{}/_search", self.pattern);
        self.prefix.cluster().ask(&Method::POST, &path, Some(&body))
    }

    /// The rows of a chart under the filters that controls would add.
    pub(super) fn rows(&self, chart: &Chart, filters: &[Value]) -> Vec<Row> {
        let mut rows = Vec::new();
        collect(chart, 0, &self.buckets(chart, filters), &mut rows);
        rows
    }

    /// The numbers that a chart gets from Elasticsearch, before formulas: keys of the buckets → column → value.
    pub(super) fn parts(&self, chart: &Chart, filters: &[Value]) -> BTreeMap<Vec<String>, Row> {
        let mut parts = BTreeMap::new();
        collect_parts(
            chart,
            &mut Vec::new(),
            &self.buckets(chart, filters),
            &mut parts,
        );
        parts
    }

    /// The answer, as if all of it were one bucket.
    fn buckets(&self, chart: &Chart, filters: &[Value]) -> Value {
        let query = kql::parse(&chart.query).expect("KQL").dsl;
        let mut all = vec![query];
        all.extend_from_slice(filters);
        let body = json!({
            "size": 0, "query": { "bool": { "filter": all } }, "aggs": aggregations(chart, 0), "track_total_hits": true,
        });
        let answer = self.search(body);
        let mut whole = answer["aggregations"].clone();
        if !whole.is_object() {
            whole = json!({});
        }
        whole["doc_count"] = answer["hits"]["total"]["value"].clone();
        whole
    }
}

pub(super) fn buckets(chart: &Chart) -> Vec<&str> {
    let ids = chart.order.iter().map(String::as_str);
    ids.filter(|id| chart.column(id)["isBucketed"] == true)
        .collect()
}

/// The aggregations from the `depth`th bucket column inwards.
fn aggregations(chart: &Chart, depth: usize) -> Value {
    let mut all = json!({});
    for id in metrics(chart) {
        if let Some(aggregation) = metric(chart.column(id)) {
            all[id] = aggregation;
        }
    }
    if let Some(&id) = buckets(chart).get(depth) {
        let column = chart.column(id);
        let field = &column["sourceField"];
        let kind = match column["operationType"].as_str() {
            Some("date_histogram") => {
                json!({ "date_histogram": { "field": field, "fixed_interval": "1h", "min_doc_count": 1 } })
            }
            Some("range") => json!({ "histogram": { "field": field, "interval": 0.1 } }),
            Some("terms") => {
                json!({ "terms": { "field": field, "size": column["params"]["size"], "order": order(chart, column) } })
            }
            other => panic!("{}: a bucket of {other:?}", chart.name),
        };
        // What a bucket is ordered by stands in it, as well as in the innermost.
        all[id] = kind;
        all[id]["aggs"] = aggregations(chart, depth + 1);
    }
    all
}

fn order(chart: &Chart, terms: &Value) -> Value {
    let order_by = &terms["params"]["orderBy"];
    let direction = &terms["params"]["orderDirection"];
    if order_by["type"] == "alphabetical" {
        return json!({ "_key": direction });
    }
    let id = order_by["columnId"].as_str().expect("a column");
    let column = chart.column(id);
    assert!(
        column["filter"].is_null(),
        "{}: ordered by a filtered column",
        chart.name
    );
    match column["operationType"].as_str() {
        Some("count") => json!({ "_count": direction }),
        Some("sum" | "average" | "max") => json!({ id: direction }),
        other => panic!("{}: ordered by {other:?}", chart.name),
    }
}

/// Columns that are numbers from Elasticsearch: those of one aggregation, and the parts of formulas.
pub(super) fn metrics(chart: &Chart) -> impl Iterator<Item = &str> {
    let is_computed = |id: &&str| {
        let column = chart.column(id);
        column["isBucketed"] == false
            && !["formula", "math"].contains(&column["operationType"].as_str().unwrap_or(""))
    };
    chart.order.iter().map(String::as_str).filter(is_computed)
}

/// `None`: the bucket's own count of documents.
fn metric(column: &Value) -> Option<Value> {
    let field = &column["sourceField"];
    let aggregation = match column["operationType"].as_str().expect("an operation") {
        "count" => None,
        "sum" => Some(json!({ "sum": { "field": field } })),
        "average" => Some(json!({ "avg": { "field": field } })),
        "max" => Some(json!({ "max": { "field": field } })),
        "percentile" => Some(
            json!({ "percentiles": { "field": field, "percents": [column["params"]["percentile"]] } }),
        ),
        other => panic!("no aggregation for {other}"),
    };
    let filter = &column["filter"]["query"];
    let Some(query) = filter.as_str() else {
        return aggregation;
    };
    let query = kql::parse(query).expect("KQL").dsl;
    Some(match aggregation {
        Some(inner) => json!({ "filter": query, "aggs": { "inner": inner } }),
        None => json!({ "filter": query }),
    })
}

fn collect(chart: &Chart, depth: usize, bucket: &Value, rows: &mut Vec<Row>) {
    if let Some(&id) = buckets(chart).get(depth) {
        for inner in bucket[id]["buckets"].as_array().expect("buckets") {
            collect(chart, depth + 1, inner, rows);
        }
        return;
    }
    let shown = chart.shown().into_iter();
    let numbers = shown.filter(|id| chart.column(id)["isBucketed"] == false);
    rows.push(
        numbers
            .map(|id| (id.to_owned(), number(chart, id, bucket)))
            .collect(),
    );
}

fn collect_parts(
    chart: &Chart,
    keys: &mut Vec<String>,
    bucket: &Value,
    parts: &mut BTreeMap<Vec<String>, Row>,
) {
    if let Some(&id) = buckets(chart).get(keys.len()) {
        for inner in bucket[id]["buckets"].as_array().expect("buckets") {
            keys.push(key(&inner["key"]));
            collect_parts(chart, keys, inner, parts);
            keys.pop();
        }
        return;
    }
    let row = metrics(chart).map(|id| (id.to_owned(), number(chart, id, bucket)));
    parts.insert(keys.clone(), row.collect());
}

/// A bucket's key as text: numbers as floats.
pub(super) fn key(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value
            .as_f64()
            .map_or_else(|| value.to_string(), |number| number.to_string()),
    }
}

fn number(chart: &Chart, id: &str, bucket: &Value) -> Option<f64> {
    let column = chart.column(id);
    if column["operationType"] == "formula" {
        let formula =
            Formula::parse(column["params"]["formula"].as_str().expect("text")).expect("a formula");
        let parts: Vec<Part> = formula.parts().into_iter().cloned().collect();
        let of = |part: &Part| {
            let index = parts.iter().position(|each| each == part)?;
            number(chart, &format!("{id}X{index}"), bucket)
        };
        return formula.value(&of);
    }
    let aggregation = &bucket[id];
    let found = match (column["operationType"].as_str(), column["filter"].is_null()) {
        (Some("count"), true) => &bucket["doc_count"],
        (Some("count"), false) => &aggregation["doc_count"],
        (Some("percentile"), _) => {
            let values = aggregation["values"].as_object().expect("percentiles");
            values.values().next().unwrap_or(&Value::Null)
        }
        (_, true) => &aggregation["value"],
        (_, false) => &aggregation["inner"]["value"],
    };
    found.as_f64()
}

/// How many buckets a control's list would have.
pub(super) fn options(view: &View<'_>, field: &str) -> usize {
    let body = json!({ "size": 0, "aggs": { "options": { "terms": { "field": field, "size": MAX_BUCKETS } } } });
    let answer = view.search(body);
    answer["aggregations"]["options"]["buckets"]
        .as_array()
        .expect("buckets")
        .len()
}
