//! A webhook's body: JSON in which texts may hold `{{field}}`.
//!
//! Invariant: what comes out is JSON, whatever a notice says, because fields are put into texts that are parsed already. A
//! text that is nothing but one field becomes that field's value, a number or an object where it is one.

use serde_json::{Map, Value};

use super::message::{json, text};
use crate::flow::alert::Notice;

/// What a template may name: the members of a notice's JSON, and three more.
pub const FIELDS: [&str; 22] = [
    "id",
    "alert_id",
    "pipeline",
    "rule",
    "change",
    "severity",
    "model",
    "version",
    "slice",
    "slice.name",
    "slice.value",
    "window_start",
    "window_end",
    "value",
    "threshold",
    "reason",
    "at",
    "starts_at",
    "title",
    "text",
    "notice",
    "key",
];

/// A body to be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Value);

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateFault {
    /// Not JSON: what the parser says.
    NotJson(String),
    /// There is no such field.
    NoField(String),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// It is not JSON, or names what is not there.
    pub fn parse(text: &str) -> Result<Self, TemplateFault> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| TemplateFault::NotJson(error.to_string()))?;
        let template = Self(value);
        let mut unknown = None;
        template.fill(&mut |name| {
            if !FIELDS.contains(&name) {
                unknown.get_or_insert_with(|| name.to_owned());
            }
            Value::Null
        });
        unknown.map_or(Ok(template), |name| Err(TemplateFault::NoField(name)))
    }

    /// The body for a notice; `key` is what the receiver knows this telling by.
    #[must_use]
    pub fn render(&self, notice: &Notice, key: &str) -> Value {
        let notice_json = json(notice);
        self.fill(&mut |name| match name {
            "notice" => notice_json.clone(),
            "key" => key.into(),
            "text" => text(notice).into(),
            name => {
                let mut value = &notice_json;
                for part in name.split('.') {
                    value = value.get(part).unwrap_or(&Value::Null);
                }
                value.clone()
            }
        })
    }

    fn fill(&self, field: &mut impl FnMut(&str) -> Value) -> Value {
        fill(&self.0, field)
    }
}

fn fill(value: &Value, field: &mut impl FnMut(&str) -> Value) -> Value {
    match value {
        Value::String(text) => fill_text(text, field),
        Value::Array(items) => items.iter().map(|item| fill(item, field)).collect(),
        Value::Object(members) => {
            let filled = members
                .iter()
                .map(|(name, value)| (name.clone(), fill(value, field)));
            Value::Object(filled.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

fn fill_text(text: &str, field: &mut impl FnMut(&str) -> Value) -> Value {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, (name, behind))) = rest
        .split_once("{{")
        .and_then(|(before, inside)| Some((before, inside.split_once("}}")?)))
    {
        let value = field(name.trim());
        if before.is_empty() && behind.is_empty() && filled.is_empty() {
            return value;
        }
        filled.push_str(before);
        match value {
            Value::Null => {}
            Value::String(text) => filled.push_str(&text),
            other => filled.push_str(&other.to_string()),
        }
        rest = behind;
    }
    filled.push_str(rest);
    Value::String(filled)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::message::tests::notice;
    use super::*;

    #[track_caller]
    fn check(template: &str, notice: &Notice, expect: &Value) {
        let template = Template::parse(template).unwrap();
        assert_eq!(template.render(notice, "abc.1.ops"), *expect);
    }

    #[test]
    fn fields_are_put_into_texts_and_stay_numbers_where_they_stand_alone() {
        check(
            r#"{"summary": "{{ rule }} on {{model}}: {{value}}", "value": "{{value}}", "n": 7,
                "of": ["{{slice.value}}", "{{slice}}"], "key": "{{key}}", "plain": "a {{ b"}"#,
            &notice(),
            &json!({
                "summary": "recall-low on fraud: 0.8125", "value": 0.8125, "n": 7,
                "of": ["DE", {"name": "country", "value": "DE"}], "key": "abc.1.ops", "plain": "a {{ b"
            }),
        );
    }

    #[test]
    fn a_notice_cannot_break_out_of_its_text() {
        let hostile = Notice {
            reason: "\"}, {{id}} \\ \n".into(),
            slice: None,
            value: None,
            ..notice()
        };
        check(
            r#"{"why": "so: {{reason}}", "slice": "[{{slice.value}}]", "value": "{{value}}"}"#,
            &hostile,
            &json!({ "why": "so: \"}, {{id}} \\ \n", "slice": "[]", "value": null }),
        );
    }

    #[test]
    fn every_field_of_a_notice_can_be_named() {
        let rendered = Template::parse("\"{{notice}}\"")
            .unwrap()
            .render(&notice(), "");
        for name in rendered.as_object().unwrap().keys() {
            assert!(FIELDS.contains(&name.as_str()), "{name}");
        }
    }

    #[test]
    fn what_is_no_template_is_told() {
        assert!(matches!(
            Template::parse("{\"a\": {{id}}}"),
            Err(TemplateFault::NotJson(_))
        ));
        assert_eq!(
            Template::parse("[\"{{rul}}\"]"),
            Err(TemplateFault::NoField("rul".into()))
        );
    }
}
