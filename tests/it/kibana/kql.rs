//! The part of KQL that the dashboards use, as Elasticsearch's query language: `a.b: "x" and not (c: * or d > 1)`.

use serde_json::{Value, json};

/// A query, and the fields it asks for.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) dsl: Value,
    pub(super) fields: Vec<String>,
}

/// Reads KQL to its end; nothing matches everything.
pub(super) fn parse(text: &str) -> Result<Query, String> {
    if text.trim().is_empty() {
        return Ok(Query {
            dsl: json!({ "match_all": {} }),
            fields: Vec::new(),
        });
    }
    let mut reader = Reader {
        rest: text,
        fields: Vec::new(),
    };
    let dsl = reader.any()?;
    match reader.rest.trim_start() {
        "" => Ok(Query {
            dsl,
            fields: reader.fields,
        }),
        rest => Err(format!("`{rest}` is left over in `{text}`")),
    }
}

struct Reader<'t> {
    rest: &'t str,
    fields: Vec<String>,
}

impl Reader<'_> {
    fn any(&mut self) -> Result<Value, String> {
        let mut all = vec![self.all()?];
        while self.keyword("or") {
            all.push(self.all()?);
        }
        Ok(match all.len() {
            1 => all.remove(0),
            _ => json!({ "bool": { "should": all, "minimum_should_match": 1 } }),
        })
    }

    fn all(&mut self) -> Result<Value, String> {
        let mut all = vec![self.one()?];
        while self.keyword("and") {
            all.push(self.one()?);
        }
        Ok(json!({ "bool": { "filter": all } }))
    }

    fn one(&mut self) -> Result<Value, String> {
        if self.keyword("not") {
            return Ok(json!({ "bool": { "must_not": [self.one()?] } }));
        }
        if self.sign("(") {
            let inner = self.any()?;
            return if self.sign(")") {
                Ok(inner)
            } else {
                Err("`)` is missing".to_owned())
            };
        }
        let field = self.word();
        self.fields.push(field.clone());
        for (sign, name) in [(">=", "gte"), ("<=", "lte"), (">", "gt"), ("<", "lt")] {
            if self.sign(sign) {
                let number: f64 = self
                    .word()
                    .parse()
                    .map_err(|_| format!("{field} {sign} what?"))?;
                return Ok(json!({ "range": { field: { name: number } } }));
            }
        }
        if !self.sign(":") {
            return Err(format!("`{field}` is compared with nothing"));
        }
        if self.sign("*") {
            return Ok(json!({ "exists": { "field": field } }));
        }
        if self.sign("\"") {
            let (value, rest) = self.rest.split_once('"').ok_or("a text without an end")?;
            self.rest = rest;
            return Ok(json!({ "match_phrase": { field: value } }));
        }
        match self.word() {
            word if word.is_empty() => Err(format!("`{field}:` what?")),
            word => Ok(json!({ "match": { field: word } })),
        }
    }

    fn word(&mut self) -> String {
        let rest = self.rest.trim_start();
        let is_inside = |c: char| c.is_ascii_alphanumeric() || "_.@-".contains(c);
        let (word, rest) = rest.split_at(rest.find(|c| !is_inside(c)).unwrap_or(rest.len()));
        self.rest = rest;
        word.to_owned()
    }

    fn keyword(&mut self, word: &str) -> bool {
        let before = self.rest;
        let is_it = self.word() == word;
        if !is_it {
            self.rest = before;
        }
        is_it
    }

    fn sign(&mut self, sign: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

#[test]
fn and_binds_tighter_than_or_and_not_tightest() {
    let query = parse(r#"a: "x y" and not b.c: * or (d > 1.5 and e: true)"#).expect("KQL");
    assert_eq!(query.fields, ["a", "b.c", "d", "e"]);
    let expected = json!({ "bool": { "minimum_should_match": 1, "should": [
        { "bool": { "filter": [
            { "match_phrase": { "a": "x y" } },
            { "bool": { "must_not": [{ "exists": { "field": "b.c" } }] } },
        ] } },
        { "bool": { "filter": [{ "bool": { "filter": [
            { "range": { "d": { "gt": 1.5 } } },
            { "match": { "e": "true" } },
        ] } }] } },
    ] } });
    assert_eq!(query.dsl, expected);
    for broken in ["a", "a:", "a: \"x", "(a: 1", "a: 1 b: 2", "a: 1 and"] {
        assert!(parse(broken).is_err(), "{broken}");
    }
}
