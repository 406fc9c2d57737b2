//! `privacy:`: what must not be told. What it would take away from `mapping` is found here, not in the records.

use std::sync::Arc;

use crate::config::item::Item;
use crate::config::mapping::path;
use crate::config::section::Section;
use crate::config::values::Complaint;
use crate::flow::mapping::{ScoreSource, Settings as Mapping, Source};
use crate::flow::privacy::{Builtin, Cleaning, Patterns, REGEXES_MAX, Settings, regex};

/// Each is looked for at every member of every record.
const PATHS_MAX: usize = 256;

/// HMAC with a key that can be guessed hides nothing that can be guessed.
const KEY_CHARS_MIN: usize = 16;

/// A slice of more predictions tells of no one; a greater number is a mistake.
const GROUP_MAX: u64 = 1_000_000;

/// True if the original record goes into the document, and the rest of the section.
pub(super) fn read(mut section: Section<'_>, mapping: Option<&Mapping>) -> (bool, Settings) {
    let keep_record = section.get("keep_record").and_then(Item::boolean);
    let mapped = mapping.map(mapped).unwrap_or_default();
    let drop = section
        .get("drop")
        .map(|item| paths(item, |item, path| dropped(item, path, &mapped)))
        .unwrap_or_default();
    let (hash, key) = section
        .get("hash")
        .and_then(Item::section)
        .and_then(|section| hashed(section, &mapped))
        .unwrap_or_default();
    let patterns = section
        .get("redact")
        .and_then(Item::section)
        .map(redacted)
        .unwrap_or_default();
    let min_group = section
        .get("min_group")
        .and_then(|item| item.integer(1..=GROUP_MAX));
    section.finish();
    let nothing = drop.is_empty() && hash.is_empty() && patterns.is_empty();
    let cleaning = (!nothing).then(|| Arc::new(Cleaning::new(&drop, &hash, &key, patterns)));
    let settings = Settings {
        cleaning,
        min_group: min_group.unwrap_or(1),
    };
    (keep_record.unwrap_or(true), settings)
}

/// A file without the section.
pub(super) fn none() -> Settings {
    Settings::default()
}

fn hashed(mut section: Section<'_>, mapped: &[Mapped]) -> Option<(Vec<String>, String)> {
    let fields = section
        .require("fields")
        .map(|item| paths(item, |item, path| hashed_away(item, path, mapped)));
    let key = section.require("key");
    section.finish();
    let item = key?;
    let key = item.clone().secret()?;
    if key.chars().count() < KEY_CHARS_MIN {
        item.fault(
            format!("`key` has fewer than {KEY_CHARS_MIN} characters: whoever guesses it can guess what was hashed"),
            "make one with `openssl rand -hex 32`, and give it by a variable",
        );
    }
    Some((fields?, key))
}

fn redacted(mut section: Section<'_>) -> Patterns {
    let words = Builtin::ALL.map(|builtin| (builtin.token().trim_matches(['[', ']']), builtin));
    let builtins = section
        .get("patterns")
        .and_then(|item| item.list(words.len()));
    let regexes = section.get("regex").and_then(|item| item.list(REGEXES_MAX));
    if builtins.is_none()
        && regexes.is_none()
        && !section.is_faulty("patterns")
        && !section.is_faulty("regex")
    {
        section.fault(
            "`redact` says nothing to look for",
            "add `patterns: [email, card, iban, ip]`, or `regex:`",
        );
    }
    section.finish();
    let builtins = builtins.unwrap_or_default().into_iter();
    let builtins: Vec<Builtin> = builtins.filter_map(|item| item.one_of(&words)).collect();
    let regexes = regexes.unwrap_or_default().into_iter().filter_map(|item| {
        item.parse("a regular expression", |text| {
            regex(text).map_err(|what| {
                Complaint::new(what, "write what it must match, such as 'EMP-[0-9]{6}'")
            })
        })
    });
    Patterns::new(&builtins, regexes.collect())
}

fn paths(item: Item<'_>, check: impl Fn(&Item<'_>, &str)) -> Vec<String> {
    let items = item.list(PATHS_MAX).unwrap_or_default();
    let read = |item: Item<'_>| {
        let path = path(item.clone())?;
        check(&item, &path);
        Some(path)
    };
    items.into_iter().filter_map(read).collect()
}

/// A path of `mapping`.
struct Mapped {
    path: String,
    /// Any text will do, as long as it is always the same: an id, a slice, a model.
    is_name: bool,
}

fn dropped(item: &Item<'_>, path: &str, mapped: &[Mapped]) {
    if let Some(lost) = mapped.iter().find(|mapped| covers(path, &mapped.path)) {
        item.fault(
            format!("`mapping` reads `{}`, which is dropped here", lost.path),
            "leave it out here or there; an id is hidden and still joins if it is hashed",
        );
    }
}

fn hashed_away(item: &Item<'_>, path: &str, mapped: &[Mapped]) {
    let mut needed = mapped.iter().filter(|mapped| !mapped.is_name);
    if let Some(lost) = needed.find(|mapped| covers(path, &mapped.path)) {
        item.fault(
            format!(
                "`mapping` reads `{}`, which must not be hashed: it is a time, a number or a class",
                lost.path
            ),
            "hash only ids, slices, models and what is not mapped",
        );
    }
}

/// True if `path` is that of `other` or leads to it.
fn covers(path: &str, other: &str) -> bool {
    other
        .strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn mapped(mapping: &Mapping) -> Vec<Mapped> {
    let (mut names, mut values) = (Vec::new(), Vec::new());
    let of_source = |source: &Source| match source {
        Source::Path(path) => Some(path.clone()),
        Source::Const(_) => None,
    };
    if let Some(paths) = &mapping.prediction {
        names.push(paths.id.clone());
        names.extend(of_source(&paths.model));
        names.extend(paths.version.as_ref().and_then(of_source));
        names.extend(paths.slices.iter().map(|(_, path)| path.clone()));
        values.push(paths.time.clone());
        values.extend(paths.when.keys().cloned());
        values.extend(paths.predicted.clone());
        values.extend(paths.latency_ms.clone());
        match &paths.score {
            Some(ScoreSource::Path(path)) => values.push(path.clone()),
            Some(ScoreSource::PerClass(classes)) => values.extend(classes.values().cloned()),
            None => {}
        }
    }
    if let Some(paths) = &mapping.label {
        names.push(paths.id.clone());
        names.extend(paths.model.as_ref().and_then(of_source));
        values.extend(paths.time.clone());
        values.extend(paths.when.keys().cloned());
        values.push(paths.actual.clone());
    }
    let names = names.into_iter().map(|path| (path, true));
    let all = names.chain(values.into_iter().map(|path| (path, false)));
    all.map(|(path, is_name)| Mapped { path, is_name })
        .collect()
}
