//! Fields: what the index templates map, and whether its type fits what a chart does with it.

use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::kql;
use super::objects::{Chart, charts, controls, inner, of_type, text};

/// What is done with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Sums, averages, percentiles, histograms.
    Number,
    /// `terms`: anything with doc values.
    Group,
    Time,
    /// Filters, columns of a listing.
    Any,
}

impl Use {
    /// Whether a field of this Elasticsearch type serves.
    pub(super) fn takes(self, kind: &str) -> bool {
        let is_number = ["long", "double", "float", "integer"].contains(&kind);
        match self {
            Self::Number => is_number,
            Self::Group => is_number || ["keyword", "boolean", "date"].contains(&kind),
            Self::Time => kind == "date",
            Self::Any => true,
        }
    }
}

/// A use of a field: where, in which data view, which, for what.
pub(super) struct Used {
    pub(super) place: String,
    pub(super) view: String,
    pub(super) field: String,
    pub(super) purpose: Use,
}

impl fmt::Display for Used {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            view,
            field,
            purpose,
        } = self;
        write!(formatter, "{place}: {field} of {view} as {purpose:?}")
    }
}

/// Every use of every field.
pub(super) fn used(objects: &[Value]) -> Vec<Used> {
    let mut all = Vec::new();
    for chart in charts(objects) {
        in_chart(&chart, &mut all);
    }
    for dashboard in of_type(objects, "dashboard") {
        for (view, field, _) in controls(dashboard) {
            let place = format!("a control of {}", dashboard["id"]);
            all.push(Used {
                place,
                view,
                field,
                purpose: Use::Group,
            });
        }
    }
    for search in of_type(objects, "search") {
        let attributes = &search["attributes"];
        let source = inner(&attributes["kibanaSavedObjectMeta"]["searchSourceJSON"]);
        let columns = attributes["columns"]
            .as_array()
            .expect("columns")
            .iter()
            .map(text);
        let sorts = attributes["sort"]
            .as_array()
            .expect("sort")
            .iter()
            .map(|pair| text(&pair[0]));
        let asked = kql::parse(source["query"]["query"].as_str().expect("KQL"))
            .expect("KQL")
            .fields;
        let view = text(&search["references"][0]["id"]);
        for field in columns.chain(asked) {
            all.push(Used {
                place: text(&search["id"]),
                view: view.clone(),
                field,
                purpose: Use::Any,
            });
        }
        for field in sorts {
            all.push(Used {
                place: text(&search["id"]),
                view: view.clone(),
                field,
                purpose: Use::Group,
            });
        }
    }
    all
}

fn in_chart(chart: &Chart, all: &mut Vec<Used>) {
    let mut push = |field: String, purpose| {
        all.push(Used {
            place: chart.name.clone(),
            view: chart.view.clone(),
            field,
            purpose,
        });
    };
    let mut queries = vec![chart.query.clone()];
    for column in chart.columns.values() {
        queries.extend(column["filter"]["query"].as_str().map(str::to_owned));
        let purpose = match column["operationType"].as_str().expect("an operation") {
            "date_histogram" => Use::Time,
            "terms" => Use::Group,
            "count" | "formula" | "math" => continue,
            _ => Use::Number,
        };
        push(text(&column["sourceField"]), purpose);
    }
    for query in queries {
        let parsed = kql::parse(&query).unwrap_or_else(|why| panic!("{}: {why}", chart.name));
        parsed
            .fields
            .into_iter()
            .for_each(|field| push(field, Use::Any));
    }
}

/// The type that the templates give a field of an index family; `dynamic` where its object takes what comes.
pub(super) fn mapped(objects: &[Value], view: &str, field: &str) -> Option<String> {
    let found = objects
        .iter()
        .find(|object| object["id"] == view && object["type"] == "index-pattern");
    let runtime = inner(&found?["attributes"]["runtimeFieldMap"]);
    if let Some(kind) = runtime[field]["type"].as_str() {
        return Some(kind.to_owned());
    }
    let family = view.strip_prefix("modelbeat-")?;
    [family, "common"].iter().find_map(|name| {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("kibana/templates/{name}.json"));
        let template: Value =
            serde_json::from_str(&fs::read_to_string(path).expect("committed")).expect("JSON");
        let mut at = &template["template"]["mappings"];
        for part in field.split('.') {
            match at["properties"].get(part) {
                Some(inner) => at = inner,
                None if at["dynamic"] == true => return Some("dynamic".to_owned()),
                None => return None,
            }
        }
        at["type"]
            .as_str()
            .filter(|&kind| kind != "object")
            .map(str::to_owned)
    })
}
