//! What Kibana answers, in words that say what to do, and as steps of a report.
//!
//! The import answers 200 also where some objects failed: what became of each is in the body. Read by [`super`].

use serde::Deserialize;
use serde_json::Value;

use super::{Error, Outcome, Report, Step};

/// As much of an unknown error page as goes into a message.
const EXCERPT: usize = 300;

/// What a request came to.
pub(super) struct Answer {
    pub(super) status: u16,
    /// Where it would rather have us go.
    pub(super) location: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Kibana's message, or whatever came instead.
    pub(super) fn words(&self) -> String {
        if let Some(location) = &self.location {
            return format!("it sends us to {location}");
        }
        serde_json::from_slice::<Value>(&self.body)
            .ok()
            .and_then(|answer| Some(answer["message"].as_str()?.to_owned()))
            .unwrap_or_else(|| excerpt(&self.body))
    }

    /// A refusal, and what to do about it.
    pub(super) fn refused(&self, doing: &'static str) -> Error {
        Error::Refused {
            doing,
            status: self.status,
            why: self.words(),
            hint: match self.status {
                300..=399 => "; give --kibana the whole address, with its base path",
                401 => {
                    "; check --kibana-api-key, or --kibana-user and --kibana-password (without them those of \
                     output.elasticsearch are used), and that the key is neither expired nor invalidated"
                }
                403 => {
                    "; in this space the user or API key needs the kibana privilege \"Saved Objects Management: All\""
                }
                404 => {
                    "; does --kibana name a kibana, with its base path, and does the space of --kibana-space exist?"
                }
                413 => "; raise savedObjects.maxImportPayloadBytes in kibana.yml",
                422 => "; this kibana is older than the objects: upgrade it",
                503 => {
                    "; it is starting, or has no elasticsearch: look at its log, and run setup again"
                }
                _ => "",
            },
        }
    }

    /// An answer that no Kibana gives.
    pub(super) fn of_another(&self, doing: &'static str) -> Error {
        Error::Refused {
            doing,
            status: self.status,
            why: excerpt(&self.body),
            hint: "; this is not the answer of a kibana: does --kibana name one, with its base path?",
        }
    }
}

/// The answer of the import.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Imported {
    success: bool,
    #[serde(default)]
    success_results: Vec<Object>,
    #[serde(default)]
    errors: Vec<Object>,
}

/// One object of it; with an error where it was not imported.
#[derive(Deserialize)]
struct Object {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    #[serde(default)]
    meta: Value,
    #[serde(default)]
    error: Value,
}

impl Imported {
    /// False: something went wrong, and it does not say what.
    pub(super) fn is_explained(&self) -> bool {
        self.success || !self.errors.is_empty()
    }

    /// A step for each object.
    pub(super) fn report(&self) -> Report {
        let installed = self.success_results.iter().map(|object| Step {
            what: object.what(),
            outcome: Outcome::Installed,
        });
        let failed = self.errors.iter().map(|object| Step {
            what: object.what(),
            outcome: Outcome::Failed(object.why()),
        });
        Report {
            steps: installed.chain(failed).collect(),
        }
    }
}

impl Object {
    /// `dashboard [modelbeat] Labels`
    fn what(&self) -> String {
        let kind = match self.kind.as_str() {
            "index-pattern" => "data view",
            kind => kind,
        };
        let title = self.meta["title"].as_str().unwrap_or(&self.id);
        format!("{kind} {title}")
    }

    fn why(&self) -> String {
        let text = |name: &str| self.error[name].as_str();
        match (text("type"), text("message")) {
            (Some("missing_references"), _) => {
                let missing = self.error["references"].as_array().into_iter().flatten();
                let names: Vec<String> = missing
                    .map(|missing| {
                        let part = |name: &str| missing[name].as_str().unwrap_or_default();
                        format!("{} {}", part("type"), part("id"))
                    })
                    .collect();
                format!("it needs what is not there: {}", names.join(", "))
            }
            (Some("conflict" | "ambiguous_conflict"), _) => {
                "another object has its id: in another space? delete or rename that one, and run setup again".to_owned()
            }
            (Some("unsupported_type"), _) => {
                "this kibana has no such objects; is its plugin switched off?".to_owned()
            }
            (_, Some(message)) => message.to_owned(),
            (kind, None) => kind.unwrap_or("no reason given").to_owned(),
        }
    }
}

fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..EXCERPT).unwrap_or(body));
    match text.trim() {
        "" => "no reason given".to_owned(),
        text => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            location: None,
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn every_way_an_object_can_fail_is_said_in_words() {
        let body = r#"{"success":false,"successCount":1,"successResults":[{"type":"dashboard","id":"a","meta":{"title":"A"}}],
            "errors":[
            {"type":"index-pattern","id":"b","meta":{"title":"b-*"},"error":{"type":"conflict"}},
            {"type":"dashboard","id":"c","error":{"type":"missing_references","references":[{"type":"search","id":"s"},{"type":"lens","id":"l"}]}},
            {"type":"search","id":"d","error":{"type":"unsupported_type"}},
            {"type":"search","id":"e","error":{"type":"unknown","message":"it broke","statusCode":500}},
            {"type":"search","id":"f","error":{}}]}"#;
        let imported: Imported = serde_json::from_str(body).unwrap();
        assert!(imported.is_explained());
        let steps: Vec<String> = imported
            .report()
            .steps
            .iter()
            .map(ToString::to_string)
            .collect();
        let begin = [
            "installed  dashboard A",
            "failed     data view b-*: another object has its id",
            "failed     dashboard c: it needs what is not there: search s, lens l",
            "failed     search d: this kibana has no such objects",
            "failed     search e: it broke",
            "failed     search f: no reason given",
        ];
        assert_eq!(steps.len(), begin.len());
        for (step, begin) in steps.iter().zip(begin) {
            assert!(step.starts_with(begin), "{step}");
        }
    }

    #[test]
    fn a_failure_without_a_reason_and_an_answer_of_somebody_else_are_no_success() {
        let imported: Imported =
            serde_json::from_str(r#"{"success":false,"successCount":0}"#).unwrap();
        assert!(!imported.is_explained());
        assert!(serde_json::from_str::<Imported>("{}").is_err());
        let error = answer(200, "<html>Welcome</html>").of_another("say its version");
        assert!(
            error
                .to_string()
                .contains("<html>Welcome</html>; this is not the answer of a kibana"),
            "{error}"
        );
    }

    #[test]
    fn a_refusal_says_what_kibana_said_and_what_to_do() {
        let body = r#"{"statusCode":403,"error":"Forbidden","message":"Unable to get status"}"#;
        let error = answer(403, body).refused("say its version").to_string();
        let begin =
            "kibana refused to say its version (status 403): Unable to get status; in this space";
        assert!(error.starts_with(begin), "{error}");
        let elsewhere = Answer {
            location: Some("/login".into()),
            ..answer(302, "")
        };
        let error = elsewhere.refused("say its version").to_string();
        assert!(
            error.contains("it sends us to /login; give --kibana the whole address"),
            "{error}"
        );
    }
}
