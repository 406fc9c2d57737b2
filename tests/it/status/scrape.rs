//! One scrape of `/metrics`, read strictly: anything that the text format (0.0.4) or Prometheus' naming rules do not allow
//! is a failure.

use std::collections::{BTreeMap, BTreeSet};

/// Name and labels.
pub(crate) type Series = (String, BTreeMap<String, String>);

#[derive(Clone, Debug)]
pub(crate) struct Scrape {
    samples: BTreeMap<Series, String>,
    /// Those that may only grow: counters, and the parts of histograms.
    growing: BTreeSet<Series>,
}

impl Scrape {
    #[track_caller]
    pub(crate) fn read(text: &str) -> Self {
        let (mut samples, mut growing) = (BTreeMap::new(), BTreeSet::new());
        let mut seen = BTreeSet::new();
        let (mut family, mut kind) = (String::new(), String::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a name and a text");
                assert!(seen.insert(name.to_owned()), "{name} comes in two pieces");
                assert!(!help.is_empty(), "{line}");
                (family, kind) = (name.to_owned(), String::new());
            } else if let Some(kinds) = line.strip_prefix("# TYPE ") {
                let (name, of) = kinds.split_once(' ').expect("a name and a type");
                assert_eq!(name, family, "TYPE follows HELP");
                of.clone_into(&mut kind);
                check_name(name, of);
            } else {
                let (key, value) = sample(line);
                let base = match kind.as_str() {
                    "histogram" => ["_bucket", "_sum", "_count"]
                        .iter()
                        .find_map(|end| key.0.strip_suffix(end))
                        .expect("a histogram's part"),
                    _ => &key.0,
                };
                assert_eq!(base, family, "{line}");
                value.parse::<f64>().expect("a number");
                if kind != "gauge" {
                    growing.insert(key.clone());
                }
                let twice = samples.insert(key, value);
                assert!(twice.is_none(), "twice: {line}");
            }
        }
        Self { samples, growing }
    }

    /// Every sample, and its value.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (&Series, f64)> {
        let number = |text: &String| text.parse().expect("a number");
        self.samples
            .iter()
            .map(move |(series, value)| (series, number(value)))
    }

    /// The same of what may only grow.
    pub(crate) fn growing(&self) -> impl Iterator<Item = (&Series, f64)> {
        self.samples()
            .filter(|(series, _)| self.growing.contains(series))
    }

    /// The value of one series.
    pub(crate) fn of(&self, series: &Series) -> Option<f64> {
        Some(self.samples.get(series)?.parse().expect("a number"))
    }

    /// The one sample of this name with these labels among its own, as it was written; `None` if there is none.
    #[track_caller]
    pub(crate) fn text(&self, name: &str, labels: &[(&str, &str)]) -> Option<&str> {
        let found = self.all(name, labels);
        assert!(found.len() < 2, "several {name} with {labels:?}");
        found.first().copied()
    }

    /// The same as a number.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        Some(self.text(name, labels)?.parse().expect("a number"))
    }

    /// Sum of all samples of this name with these labels among their own; 0 of none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let number = |text: &str| text.parse::<f64>().expect("a number");
        let all = self.all(name, labels).into_iter().map(number);
        // Not `sum`: that of nothing is -0.
        let sum = all.fold(0.0, |sum, number| sum + number);
        format!("{sum}").parse().expect("a whole number")
    }

    fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&str> {
        let is_asked_for = |of: &str, own: &BTreeMap<String, String>| {
            let has =
                |(label, value): &(&str, &str)| own.get(*label).is_some_and(|own| own == value);
            of == name && labels.iter().all(has)
        };
        self.samples
            .iter()
            .filter(|((of, own), _)| is_asked_for(of, own))
            .map(|(_, value)| value.as_str())
            .collect()
    }
}

/// <https://prometheus.io/docs/practices/naming/>
fn check_name(name: &str, kind: &str) {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    assert!(name.chars().all(allowed), "{name}");
    assert!(
        name.starts_with("modelbeat_") || name.starts_with("process_"),
        "{name}"
    );
    assert_eq!(
        name.ends_with("_total"),
        kind == "counter",
        "{name} is a {kind}"
    );
    assert!(
        ["counter", "gauge", "histogram"].contains(&kind),
        "{name} is a {kind}"
    );
    for wrong in ["_ms", "_millis", "_kb", "_mb", "_percent"] {
        assert!(!name.ends_with(wrong), "{name} is not in a base unit");
    }
    for histograms in ["_count", "_sum", "_bucket"] {
        assert!(
            !name.ends_with(histograms),
            "{name} looks like a histogram's part"
        );
    }
}

/// `name{label="value",…} number`
#[track_caller]
fn sample(line: &str) -> ((String, BTreeMap<String, String>), String) {
    let end = line.find(['{', ' ']).expect("a name");
    let (name, rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    let mut rest = rest;
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, behind) = rest.split_once("=\"").expect("a label");
            let (value, behind) = quoted(behind);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = behind;
            if let Some(next) = rest.strip_prefix(',') {
                rest = next;
                continue;
            }
            rest = rest.strip_prefix('}').expect("the end of the labels");
            break;
        }
    }
    let value = rest.strip_prefix(' ').expect("a blank before the number");
    ((name.to_owned(), labels), value.to_owned())
}

/// What is before the closing quote, unescaped, and what is behind it.
#[track_caller]
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &text[at + 1..]),
            '\\' => match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                other => panic!("unknown escape {other:?}"),
            },
            _ => value.push(letter),
        }
    }
    panic!("no closing quote in {text}")
}
