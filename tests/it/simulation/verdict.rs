//! The verdict: index and dead letters of a run against the oracle, and against those of a run that nothing disturbed. It
//! names the first difference.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::cluster::{Index, documents};
use super::oracle::{Expected, Place, judged, said};
use super::story::{CLASSES, COUNTRIES, HOUR, NINE, Setting, Story};
use super::world::World;

/// `index/_id` → document.
type Documents<'i> = BTreeMap<&'i str, Json>;

/// Compares a run's end with what must be.
///
/// # Errors
/// The first difference.
pub(super) fn judge(world: &World<'_>, story: &Story, expected: &Expected) -> Result<(), String> {
    let index = with_letters(world)?;
    let stored = index.documents(counts_of);
    let of = |dataset: &str| {
        let is_it = |document: &&Json| document["event"]["dataset"] == dataset;
        stored.values().filter(is_it).collect::<Vec<_>>()
    };
    letters(world, expected)?;
    predictions(&of("modelbeat.prediction"), story.setting, expected)?;
    windows(&of("modelbeat.quality"), story.setting, expected)?;
    cells(&of("modelbeat.confusion"), expected)?;
    classes(&of("modelbeat.quality.class"), expected)?;
    orphans(&stored, expected)?;
    for host in of("modelbeat.host") {
        let is_taken = |time: &i64| host["@timestamp"] == iso(*time);
        if !world.snapshots.iter().any(is_taken) {
            return Err(format!("nobody took this snapshot: {host}"));
        }
    }
    Ok(())
}

/// Compares with a run that nothing disturbed.
///
/// # Errors
/// The first difference.
pub(super) fn compare(ours: &World<'_>, calm: &World<'_>) -> Result<(), String> {
    let [ours, calm] = [lasting(ours)?, lasting(calm)?];
    for (id, document) in &calm {
        match ours.get(id) {
            None => return Err(format!("undisturbed there is also {id}:\n{document}")),
            Some(other) if other != document => {
                return Err(format!(
                    "{id} is\n{other}\nand undisturbed it is\n{document}"
                ));
            }
            Some(_) => {}
        }
    }
    match ours.iter().find(|(id, _)| !calm.contains_key(*id)) {
        Some((id, document)) => Err(format!("undisturbed there is no {id}:\n{document}")),
        None => Ok(()),
    }
}

/// A window's ratios follow from its counts, stand behind them, and are most of the document: they are not read.
fn counts_of(source: &str) -> Json {
    let head = source
        .split_once(",\"quality\":{")
        .map(|(head, _)| format!("{head}}}"));
    serde_json::from_str(head.as_deref().unwrap_or(source)).expect("a document is JSON")
}

/// The index as it is once all dead letters have been sent after all. Only what the cluster never takes may be among them.
fn with_letters(world: &World<'_>) -> Result<Index, String> {
    let mut index = world.cluster.index.clone();
    let mut dead = BTreeSet::new();
    for letter in &world.disk.letters {
        let Some(action) = &letter.action else {
            continue;
        };
        let lines = format!("{action}\n{}\n", letter.text);
        let document = documents(&lines).remove(0);
        let is_change_of_dead = document.verb == "update" && dead.contains(&document.id);
        if !is_change_of_dead && !world.cluster.never_takes(&document.id, lines.len()) {
            return Err(format!("a dead letter that is none: {letter:?}"));
        }
        dead.insert(document.id);
    }
    index.retry(&world.disk.letters);
    Ok(index)
}

fn letters(world: &World<'_>, expected: &Expected) -> Result<(), String> {
    let positions = world
        .disk
        .letters
        .iter()
        .filter_map(|letter| letter.position.as_ref());
    let found: BTreeSet<(String, u64)> = positions
        .map(|position| (position.source.to_string(), position.offset))
        .collect();
    same("records among the dead letters", &found, &expected.letters)
}

fn predictions(found: &[&Json], setting: Setting, expected: &Expected) -> Result<(), String> {
    let key = |document: &Json| (text(&document["prediction"]["id"]), version(document));
    let found: BTreeMap<_, _> = found
        .iter()
        .map(|document| (key(document), *document))
        .collect();
    let keys = found.keys().cloned().collect();
    same(
        "predictions",
        &keys,
        &expected.predictions.keys().cloned().collect(),
    )?;
    for (key, outcome) in &expected.predictions {
        let (document, prediction) = (found[key], &outcome.prediction);
        let label = outcome.label.as_ref();
        let state = match label {
            Some(_) => "joined",
            None if outcome.expired && setting.mark_expired => "expired",
            None => "pending",
        };
        let answer = said(setting, prediction);
        let actual = label.map(|label| CLASSES[label.class]);
        let is_right = |(answer, actual)| judged(setting, answer) == judged(setting, actual);
        let country = prediction.country.filter(|_| setting.slices);
        let (is, must) = (
            [
                &document["@timestamp"],
                &document["prediction"]["value"],
                &document["slice"]["country"],
                &document["label"]["state"],
                &document["label"]["value"],
                &document["label"]["time"],
                &document["outcome"]["correct"],
            ],
            [
                iso(prediction.time),
                answer.into(),
                country.map(|country| COUNTRIES[country]).into(),
                state.into(),
                actual.into(),
                label.and_then(|label| label.time).map_or(Json::Null, iso),
                answer.zip(actual).map(is_right).into(),
            ],
        );
        if is != must.each_ref() {
            return Err(format!(
                "prediction {key:?} must say\n{must:?}\nand says\n{document}"
            ));
        }
    }
    Ok(())
}

fn windows(found: &[&Json], setting: Setting, expected: &Expected) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for document in found {
        let place = place(document);
        let Some(window) = expected.windows.get(&place) else {
            return Err(format!("there must be no window {place:?}: {document}"));
        };
        let mut names = vec![
            "predictions",
            "labelled",
            "judged",
            "correct",
            "unanswered",
            "duplicates",
            "late_labels",
            "corrected_labels",
        ];
        if !setting.multiclass {
            names.extend(["tp", "fp", "fn", "tn"]);
        }
        for name in names {
            let must = window.counts.get(name).copied().unwrap_or(0);
            if document["counts"][name] != must {
                return Err(format!(
                    "window {place:?} must count {must} {name}: {document}"
                ));
            }
        }
        if document["window"]["final"] != window.is_final {
            return Err(format!(
                "window {place:?} must say final: {}: {document}",
                window.is_final
            ));
        }
        if !seen.insert(place.clone()) {
            return Err(format!("two documents of window {place:?}"));
        }
    }
    same(
        "windows",
        &seen,
        &expected.windows.keys().cloned().collect(),
    )
}

/// Each non-empty cell is there, and each that is there says what it holds: one that labels have left says zero.
fn cells(found: &[&Json], expected: &Expected) -> Result<(), String> {
    let mut left: BTreeSet<_> = expected
        .windows
        .iter()
        .flat_map(|(place, window)| {
            window
                .cells
                .keys()
                .map(move |cell| (place.clone(), cell.clone()))
        })
        .collect();
    for document in found {
        let place = place(document);
        let cell = &document["confusion"];
        let key = (text(&cell["actual"]), text(&cell["predicted"]));
        let must = expected
            .windows
            .get(&place)
            .and_then(|window| window.cells.get(&key))
            .copied()
            .unwrap_or(0);
        if cell["count"] != must {
            return Err(format!("a stale cell, which must hold {must}: {document}"));
        }
        left.remove(&(place, key));
    }
    left.first()
        .map_or(Ok(()), |cell| Err(format!("there must be a cell {cell:?}")))
}

/// A class's predictions and labels.
fn classes(found: &[&Json], expected: &Expected) -> Result<(), String> {
    for document in found {
        let place = place(document);
        let class = text(&document["class"]["name"]);
        let cells = expected.windows.get(&place).map(|window| &window.cells);
        let sum = |of: &dyn Fn(&(String, String)) -> bool| {
            let cells = cells.into_iter().flatten().filter(|(cell, _)| of(cell));
            cells.map(|(_, count)| count).sum::<u64>()
        };
        let must = [
            sum(&|(actual, _)| *actual == class),
            sum(&|(_, predicted)| *predicted == class),
            sum(&|(actual, predicted)| *actual == class && *predicted == class),
        ];
        let is = ["support", "predicted", "tp"]
            .map(|name| document["counts"][name].as_u64().unwrap_or(0));
        if is != must {
            return Err(format!("class {class} must say {must:?}: {document}"));
        }
    }
    Ok(())
}

fn orphans(stored: &Documents<'_>, expected: &Expected) -> Result<(), String> {
    let mut found = BTreeMap::new();
    for (id, document) in stored {
        if document["event"]["dataset"] == "modelbeat.label" {
            let month = ["2026.11", "2026.12", "2027.01"]
                .iter()
                .position(|month| id.starts_with(&format!("modelbeat-labels-{month}/")));
            let key = (
                text(&document["prediction"]["id"]),
                month.ok_or_else(|| format!("an odd index: {id}"))?,
            );
            found.insert(key, document);
        }
    }
    same(
        "orphans",
        &found.keys().cloned().collect(),
        &expected.orphans.keys().cloned().collect(),
    )?;
    for (key, label) in &expected.orphans {
        let is = &found[key]["label"];
        let time = label.time.map_or(Json::Null, iso);
        if is["state"] != "orphan" || is["value"] != CLASSES[label.class] || is["time"] != time {
            return Err(format!("orphan {key:?} must say {label:?}: {}", found[key]));
        }
    }
    Ok(())
}

/// The documents without what depends on the way here: when they were written, how often they changed, what the host did.
fn lasting(world: &World<'_>) -> Result<BTreeMap<String, String>, String> {
    let index = with_letters(world)?;
    let mut lasting = BTreeMap::new();
    let whole = |source: &str| serde_json::from_str(source).expect("a document is JSON");
    for (id, mut document) in index.documents(whole) {
        let dataset = text(&document["event"]["dataset"]);
        if dataset == "modelbeat.host" {
            continue;
        }
        let is_timeless = dataset == "modelbeat.label" && document["label"].get("time").is_none();
        for (object, name) in [
            ("event", "ingested"),
            ("window", "revision"),
            ("label", "revision"),
        ] {
            if let Some(Json::Object(members)) = document.get_mut(object) {
                members.remove(name);
            }
        }
        if let Json::Object(members) = &mut document {
            members.remove("system");
            if is_timeless {
                members.remove("@timestamp");
            }
        }
        lasting.insert(id.to_owned(), document.to_string());
    }
    Ok(lasting)
}

fn same<K: Ord + std::fmt::Debug>(
    what: &str,
    found: &BTreeSet<K>,
    expected: &BTreeSet<K>,
) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let missing: Vec<_> = expected.difference(found).collect();
    let extra: Vec<_> = found.difference(expected).collect();
    Err(format!(
        "{what}: missing {missing:?}, and too many {extra:?}"
    ))
}

fn place(document: &Json) -> Place {
    let window = &document["window"];
    let length = match (window["length"].as_str(), window.get("every")) {
        (Some("1h"), None) => "1h",
        (Some("cumulative"), None) => "cumulative",
        _ => "2h/1h",
    };
    let start = if length == "cumulative" {
        0
    } else {
        let start: jiff::Timestamp = text(&window["start"]).parse().expect("a time");
        (start.as_millisecond() - NINE).div_euclid(HOUR)
    };
    let slice = document["slice"]
        .get("value")
        .unwrap_or(&document["slice"]["name"]);
    (version(document), length, start, text(slice))
}

fn version(document: &Json) -> u8 {
    let version = document["model"]["version"].as_str().expect("a version");
    version.trim_start_matches('v').parse().expect("a number")
}

fn text(value: &Json) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn iso(time: i64) -> Json {
    let time = jiff::Timestamp::from_millisecond(time).expect("in range");
    Json::String(format!("{time:.3}"))
}
