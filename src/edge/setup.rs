//! Prepares a cluster: component and index templates, and a lifecycle policy where the cluster has lifecycles.
//!
//! Driven by `modelbeat setup`. Idempotent: what is there already, as this version would write it, is left alone, and a
//! lifecycle policy that exists is never overwritten, for people add their own phases. What a cluster lacks is skipped, with
//! a word about it. Setup needs the cluster privileges `manage_index_templates` and, where there are lifecycles,
//! `manage_ilm`; shipping needs neither. What people look at is [`kibana`]'s.

pub mod kibana;

use std::fmt;

use serde_json::{Value, json};

use crate::edge::elastic::{Elastic, Error, Method};
use crate::flow::bulk::explain;

/// What was done, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One entry a thing.
    pub steps: Vec<Step>,
}

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// `index template modelbeat-predictions`
    pub what: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was missing, or of another version, and is there now.
    Installed,
    /// It is there.
    Unchanged,
    /// It is not there, for this reason, and we can do without.
    Skipped(String),
    /// It was refused, for this reason, though it is wanted.
    Failed(String),
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Installed => write!(formatter, "installed  {}", self.what),
            Outcome::Unchanged => write!(formatter, "unchanged  {}", self.what),
            Outcome::Skipped(why) => write!(formatter, "skipped    {}: {why}", self.what),
            Outcome::Failed(why) => write!(formatter, "failed     {}: {why}", self.what),
        }
    }
}

/// Prepares the cluster for indices that begin with `prefix`. Stops at the first refusal; running it again goes on.
pub async fn run(elastic: &Elastic, prefix: &str) -> Result<Report, Error> {
    let mut report = Report::default();
    let lifecycle = install_lifecycle(elastic, prefix).await?;
    let has_lifecycle = !matches!(lifecycle.outcome, Outcome::Skipped(_));
    report.steps.push(lifecycle);
    let mut common = rendered(COMMON, prefix);
    if has_lifecycle {
        common["template"]["settings"]["index"]["lifecycle"] = json!({"name": prefix});
    }
    let name = format!("{prefix}-common");
    let step = install(elastic, Kind::Component, &name, common).await?;
    report.steps.push(step);
    for (kind, template) in TEMPLATES {
        let name = format!("{prefix}-{kind}");
        let step = install(elastic, Kind::Index, &name, rendered(template, prefix)).await?;
        report.steps.push(step);
    }
    Ok(report)
}

/// Whether the templates for `prefix` are there, of whatever version; `None` where we may not see or got no answer.
pub async fn is_installed(elastic: &Elastic, prefix: &str) -> Option<bool> {
    let path = format!("/_index_template/{prefix}-predictions");
    let reply = elastic.request(Method::Get, &path, None).await.ok()?;
    match reply.status {
        200 => Some(true),
        404 => Some(false),
        _ => None,
    }
}

/// Settings and fields that all indices share.
const COMMON: &str = include_str!("../../kibana/templates/common.json");

/// One kind of document, one template.
const TEMPLATES: [(&str, &str); 6] = [
    (
        "predictions",
        include_str!("../../kibana/templates/predictions.json"),
    ),
    (
        "quality",
        include_str!("../../kibana/templates/quality.json"),
    ),
    ("host", include_str!("../../kibana/templates/host.json")),
    ("labels", include_str!("../../kibana/templates/labels.json")),
    ("alerts", include_str!("../../kibana/templates/alerts.json")),
    (
        "operations",
        include_str!("../../kibana/templates/operations.json"),
    ),
];

const LIFECYCLE: &str = include_str!("../../kibana/lifecycle.json");

#[derive(Clone, Copy)]
enum Kind {
    Component,
    Index,
}

async fn install(
    elastic: &Elastic,
    kind: Kind,
    name: &str,
    mut template: Value,
) -> Result<Step, Error> {
    let (path, noun) = match kind {
        Kind::Component => ("_component_template", "component template"),
        Kind::Index => ("_index_template", "index template"),
    };
    let path = format!("/{path}/{name}");
    let what = format!("{noun} {name}");
    // The cluster hands templates back in its own words; the checksum says whether they are ours.
    let checksum = blake3::hash(template.to_string().as_bytes())
        .to_hex()
        .to_string();
    template["_meta"]["checksum"] = Value::from(checksum.as_str());
    let found = elastic.request(Method::Get, &path, None).await?;
    let outcome = match found.status {
        200..=299 if memchr::memmem::find(&found.body, checksum.as_bytes()).is_some() => {
            Outcome::Unchanged
        }
        200..=299 | 404 => {
            put(
                elastic,
                &path,
                &template,
                &format!("install the {what}"),
                "manage_index_templates",
            )
            .await?;
            Outcome::Installed
        }
        _ => {
            return Err(Error::refused(
                needing(&format!("look for the {what}"), "manage_index_templates"),
                &found,
            ));
        }
    };
    Ok(Step { what, outcome })
}

async fn install_lifecycle(elastic: &Elastic, prefix: &str) -> Result<Step, Error> {
    let path = format!("/_ilm/policy/{prefix}");
    let what = format!("lifecycle policy {prefix}");
    let found = elastic.request(Method::Get, &path, None).await?;
    let why = explain(&found.body);
    let outcome = match found.status {
        200..=299 => Outcome::Unchanged,
        404 if why.kind == "resource_not_found_exception" => {
            put(
                elastic,
                &path,
                &rendered(LIFECYCLE, prefix),
                &format!("install the {what}"),
                "manage_ilm",
            )
            .await?;
            Outcome::Installed
        }
        // 400, 404, 405, 410: no such thing here (a build without x-pack, serverless, OpenSearch).
        400 | 404 | 405 | 410 => Outcome::Skipped(format!(
            "this cluster has no index lifecycle management ({why}); delete old indices by other means"
        )),
        _ => {
            return Err(Error::refused(
                needing(&format!("look for the {what}"), "manage_ilm"),
                &found,
            ));
        }
    };
    Ok(Step { what, outcome })
}

async fn put(
    elastic: &Elastic,
    path: &str,
    body: &Value,
    doing: &str,
    privilege: &str,
) -> Result<(), Error> {
    let reply = elastic
        .request(Method::Put, path, Some(body.to_string()))
        .await?;
    match reply.status {
        200..=299 => Ok(()),
        403 => Err(Error::refused(needing(doing, privilege), &reply)),
        _ => Err(Error::refused(doing, &reply)),
    }
}

fn needing(doing: &str, privilege: &str) -> String {
    format!("{doing}, which needs the cluster privilege `{privilege}`")
}

/// The file with the prefix in it. The files are part of the program, and a test reads each.
fn rendered(template: &str, prefix: &str) -> Value {
    serde_json::from_str(&template.replace("{prefix}", prefix)).unwrap_or_default()
}

#[cfg(test)]
mod fields;
#[cfg(test)]
mod tests;
