//! Lens formulas: a parser of their text, the tree that must be stored for them, and their value.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A formula.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Formula {
    Number(f64),
    /// An aggregation.
    Part(Part),
    /// An operator or function of numbers.
    Call(&'static str, Vec<Formula>),
}

/// `sum(counts.tp)`, `count(kql='outcome.correct: true')`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    pub(super) operation: String,
    /// `___records___` for `count`.
    pub(super) field: String,
    /// Empty where there is none.
    pub(super) kql: String,
}

/// Functions of numbers that Lens has, and how many they take; the others are aggregations.
const FUNCTIONS: [(&str, usize); 4] = [("sqrt", 1), ("clamp", 3), ("eq", 2), ("ifelse", 3)];

const AGGREGATIONS: [&str; 5] = ["sum", "count", "average", "max", "min"];

impl Formula {
    /// Reads a formula's text to its end.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text };
        let formula = reader.sum()?;
        match reader.rest.trim_start() {
            "" => Ok(formula),
            rest => Err(format!("`{rest}` is left over")),
        }
    }

    /// Its aggregations, in order, each once.
    pub(super) fn parts(&self) -> Vec<&Part> {
        let mut parts = Vec::new();
        self.collect(&mut parts);
        parts
    }

    fn collect<'f>(&'f self, parts: &mut Vec<&'f Part>) {
        match self {
            Self::Number(_) => {}
            Self::Part(part) if parts.contains(&part) => {}
            Self::Part(part) => parts.push(part),
            Self::Call(_, inner) => inner.iter().for_each(|each| each.collect(parts)),
        }
    }

    /// The tree that Kibana evaluates; `names` says which column holds which part.
    pub(super) fn tree(&self, names: &BTreeMap<&Part, String>) -> Value {
        match self {
            Self::Number(number) => json!(number),
            Self::Part(part) => json!(names[part]),
            Self::Call(name, inner) => {
                let inner: Vec<Value> = inner.iter().map(|each| each.tree(names)).collect();
                json!({ "type": "function", "name": name, "args": inner })
            }
        }
    }

    /// Its value, as Kibana computes it: `None` where something is missing or divided by zero.
    pub(super) fn value(&self, of: &dyn Fn(&Part) -> Option<f64>) -> Option<f64> {
        let value = match self {
            Self::Number(number) => *number,
            Self::Part(part) => of(part)?,
            Self::Call(name, inner) => {
                let inner: Option<Vec<f64>> = inner.iter().map(|each| each.value(of)).collect();
                match (*name, inner?.as_slice()) {
                    ("add", [a, b]) => a + b,
                    ("subtract", [a, b]) => a - b,
                    ("multiply", [a, b]) => a * b,
                    ("divide", [a, b]) => a / b,
                    ("sqrt", [a]) => a.sqrt(),
                    ("eq", [a, b]) => f64::from(u8::from((a - b).abs() < f64::EPSILON)),
                    ("ifelse", [is_so, then, otherwise]) => {
                        if *is_so > 0.0 {
                            *then
                        } else {
                            *otherwise
                        }
                    }
                    ("clamp", [a, low, high]) => a.clamp(*low, *high),
                    _ => return None,
                }
            }
        };
        value.is_finite().then_some(value)
    }
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn sum(&mut self) -> Result<Formula, String> {
        let mut left = self.product()?;
        while let Some(name) = self.operator(&[('+', "add"), ('-', "subtract")]) {
            left = Formula::Call(name, vec![left, self.product()?]);
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Formula, String> {
        let mut left = self.atom()?;
        while let Some(name) = self.operator(&[('*', "multiply"), ('/', "divide")]) {
            left = Formula::Call(name, vec![left, self.atom()?]);
        }
        Ok(left)
    }

    fn operator(&mut self, known: &[(char, &'static str)]) -> Option<&'static str> {
        known
            .iter()
            .find(|(sign, _)| self.take(*sign))
            .map(|(_, name)| *name)
    }

    fn atom(&mut self) -> Result<Formula, String> {
        if self.take('(') {
            let inner = self.sum()?;
            self.demand(')')?;
            return Ok(inner);
        }
        let word = self.word();
        if let Ok(number) = word.parse() {
            return Ok(Formula::Number(number));
        }
        self.demand('(')?;
        if let Some((name, arity)) = FUNCTIONS.into_iter().find(|(name, _)| *name == word) {
            let mut inner = vec![self.sum()?];
            while self.take(',') {
                inner.push(self.sum()?);
            }
            self.demand(')')?;
            if inner.len() != arity {
                return Err(format!("{name} takes {arity}, not {}", inner.len()));
            }
            return Ok(Formula::Call(name, inner));
        }
        self.part(word)
    }

    fn part(&mut self, operation: String) -> Result<Formula, String> {
        if !AGGREGATIONS.contains(&operation.as_str()) {
            return Err(format!("there is no function `{operation}`"));
        }
        let is_count = operation == "count";
        let mut part = Part {
            operation,
            field: "___records___".to_owned(),
            kql: String::new(),
        };
        let mut first = self.word();
        if !is_count {
            part.field = std::mem::take(&mut first);
            if part.field.is_empty() {
                return Err(format!("{} of which field?", part.operation));
            }
            if self.take(',') {
                first = self.word();
            }
        }
        match first.as_str() {
            "" => {}
            "kql" => {
                self.demand('=')?;
                self.demand('\'')?;
                let (kql, rest) = self.rest.split_once('\'').ok_or("a text without an end")?;
                kql.clone_into(&mut part.kql);
                self.rest = rest;
            }
            other => return Err(format!("`{other}` is no argument")),
        }
        self.demand(')')?;
        Ok(Formula::Part(part))
    }

    /// A number, a name or a field; perhaps nothing.
    fn word(&mut self) -> String {
        let rest = self.rest.trim_start();
        let is_inside = |c: char| c.is_ascii_alphanumeric() || "_.@".contains(c);
        let end = rest.find(|c| !is_inside(c)).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn take(&mut self, sign: char) -> bool {
        let rest = self.rest.trim_start().strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn demand(&mut self, sign: char) -> Result<(), String> {
        if self.take(sign) {
            Ok(())
        } else {
            Err(format!("`{sign}` expected before `{}`", self.rest))
        }
    }
}

#[test]
fn precedence_functions_and_filters_are_read_as_lens_reads_them() {
    let value = |text: &str| {
        Formula::parse(text)
            .expect("a formula")
            .value(&|_| Some(3.0))
    };
    assert_eq!(value("1 + 2 * 3 - 4 / 2"), Some(5.0));
    assert_eq!(value("(1 + 2) * sum(a.b)"), Some(9.0));
    assert_eq!(value("clamp(sqrt(16), 0, 1)"), Some(1.0));
    assert_eq!(value("ifelse(eq(count(), 3), 7, 8)"), Some(7.0));
    assert_eq!(value("ifelse(eq(count(), 4), 7, 8)"), Some(8.0));
    assert_eq!(
        value("ifelse(eq(count(), 4), 1 / 0, 8)"),
        None,
        "both are worked out"
    );
    assert_eq!(value("count() / 0"), None);
    let filtered = Formula::parse("count(kql='a: true') / count()").expect("a formula");
    assert_eq!(filtered.parts()[0].kql, "a: true");
    for broken in [
        "",
        "1 +",
        "sum()",
        "median(a)",
        "sum(a",
        "clamp(1, 2)",
        "1 2",
        "sum(a, shift='1d')",
    ] {
        assert!(Formula::parse(broken).is_err(), "{broken}");
    }
}
