//! Which path is what: from a record's fields to events, classes and times in canonical form.
//!
//! Compiled once from the pipeline file; reading a row then only looks into slots.

mod settings;
mod time;

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::flow::canonical;
use crate::flow::decode::{Row, Slot, Wanted};
use crate::flow::event::{Event, Field, Kind, Label, Prediction, Value};
use crate::flow::quality::Task;

pub use settings::{LabelPaths, PredictionPaths, ScoreSource, Settings, Source};
pub use time::{TimeFormat, Zone};

/// The compiled mapping of a pipeline.
#[derive(Debug)]
pub struct Mapping {
    task: Task,
    prediction: Option<PredictionSlots>,
    label: Option<LabelSlots>,
}

/// Why a row is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmapped {
    /// Nobody wants it; counted under this reason.
    Ignored(&'static str),
    /// It should have been an event: a dead letter with this reason.
    Faulty(String),
}

/// No `when` of the mapping matches the record.
pub const NO_MATCH: &str = "no `when` matches";

#[derive(Debug)]
struct PredictionSlots {
    when: Vec<(Slot, String)>,
    id: Path,
    time: Path,
    time_format: TimeFormat,
    model: Text,
    version: Option<Text>,
    predicted: Option<Path>,
    score: Option<Score>,
    latency_ms: Option<Path>,
    slices: Vec<Slot>,
}

#[derive(Debug)]
struct LabelSlots {
    when: Vec<(Slot, String)>,
    id: Path,
    time: Option<Path>,
    time_format: TimeFormat,
    model: Option<Text>,
    actual: Path,
}

/// A slot, and the path it stands for in messages.
#[derive(Debug)]
struct Path {
    slot: Slot,
    text: String,
}

#[derive(Debug)]
enum Text {
    Const(String),
    Path(Path),
}

#[derive(Debug)]
enum Score {
    One(Path),
    PerClass(Vec<(String, Slot)>),
}

impl Mapping {
    /// Compiles a mapping, and says which paths a decoder must look for.
    ///
    /// # Errors
    /// An unknown time zone or an impossible time format, in words.
    pub fn compile(settings: &Settings, task: &Task) -> Result<(Self, Wanted), String> {
        let mut wanted = Wanted::default();
        let zone = Zone::named(settings.timezone.as_deref())?;
        let prediction = settings
            .prediction
            .as_ref()
            .map(|paths| PredictionSlots::compile(paths, &zone, &mut wanted));
        let label = settings
            .label
            .as_ref()
            .map(|paths| LabelSlots::compile(paths, &zone, &mut wanted));
        Ok((
            Self {
                task: task.clone(),
                prediction,
                label,
            },
            wanted,
        ))
    }

    /// True if the pipeline knows how to read labels.
    pub fn reads_labels(&self) -> bool {
        self.label.is_some()
    }

    /// Calls `each` with every event that the row holds: one, or a prediction and its label where a record has both.
    ///
    /// `kind` says what the row is, where its source does; otherwise each side's `when` decides, and without a `when`
    /// the presence of a prediction (predicted, score) or of an actual value.
    ///
    /// # Errors
    /// Why the row is no event.
    pub fn events<'a>(
        &self,
        row: &Row<'_, 'a>,
        kind: Option<Kind>,
        mut each: impl FnMut(Event<'a>),
    ) -> Result<(), Unmapped> {
        let mut found = false;
        if let Some(slots) = self
            .prediction
            .as_ref()
            .filter(|slots| slots.applies(row, kind))
        {
            found = true;
            each(Event::Prediction(
                slots.read(row, &self.task).map_err(Unmapped::Faulty)?,
            ));
        }
        if let Some(slots) = self.label.as_ref().filter(|slots| slots.applies(row, kind)) {
            found = true;
            each(Event::Label(
                slots.read(row, &self.task).map_err(Unmapped::Faulty)?,
            ));
        }
        match (found, kind) {
            (true, _) => Ok(()),
            (false, None) => Err(Unmapped::Ignored(NO_MATCH)),
            (false, Some(Kind::Prediction)) => Err(Unmapped::Faulty(
                "a prediction came in, but the pipeline has no mapping.prediction".into(),
            )),
            (false, Some(Kind::Label)) => Err(Unmapped::Faulty(
                "a label came in, but the pipeline has no mapping.label".into(),
            )),
        }
    }
}

impl PredictionSlots {
    fn compile(paths: &PredictionPaths, zone: &Zone, wanted: &mut Wanted) -> Self {
        Self {
            when: when(&paths.when, wanted),
            id: Path::new(&paths.id, wanted),
            time: Path::new(&paths.time, wanted),
            time_format: TimeFormat::new(paths.time_format.as_deref(), zone),
            model: Text::new(&paths.model, wanted),
            version: paths
                .version
                .as_ref()
                .map(|source| Text::new(source, wanted)),
            predicted: paths.predicted.as_ref().map(|path| Path::new(path, wanted)),
            score: paths.score.as_ref().map(|source| match source {
                ScoreSource::Path(path) => Score::One(Path::new(path, wanted)),
                ScoreSource::PerClass(classes) => Score::PerClass(
                    classes
                        .iter()
                        .map(|(class, path)| (class.clone(), wanted.slot(path)))
                        .collect(),
                ),
            }),
            latency_ms: paths
                .latency_ms
                .as_ref()
                .map(|path| Path::new(path, wanted)),
            slices: paths
                .slices
                .iter()
                .map(|(_, path)| wanted.slot(path))
                .collect(),
        }
    }

    fn applies(&self, row: &Row<'_, '_>, kind: Option<Kind>) -> bool {
        match kind {
            Some(kind) => kind == Kind::Prediction,
            None if self.when.is_empty() => {
                let scored = self.score.as_ref().is_some_and(|score| match score {
                    Score::One(path) => present(row.get(path.slot)),
                    Score::PerClass(classes) => {
                        classes.iter().any(|(_, slot)| present(row.get(*slot)))
                    }
                });
                scored
                    || self
                        .predicted
                        .as_ref()
                        .is_some_and(|path| present(row.get(path.slot)))
            }
            None => matches(&self.when, row),
        }
    }

    fn read<'a>(&self, row: &Row<'_, 'a>, task: &Task) -> Result<Prediction<'a>, String> {
        let id = self
            .id
            .text(row)?
            .ok_or_else(|| self.id.missing("the prediction's id"))?;
        let time = self
            .time_format
            .read(row.get(self.time.slot))
            .map_err(|why| self.time.fault(&why))?;
        let time = time.ok_or_else(|| self.time.missing("the prediction's time"))?;
        let mut prediction = Prediction {
            id,
            row: None,
            time,
            model: self.model.read(row)?.unwrap_or(Cow::Borrowed("unnamed")),
            version: self
                .version
                .as_ref()
                .map_or(Ok(None), |version| version.read(row))?
                .unwrap_or_default(),
            predicted: None,
            score: None,
            scores: Vec::new(),
            latency_ms: self
                .latency_ms
                .as_ref()
                .map_or(Ok(None), |path| path.number(row))?
                .filter(|latency| *latency >= 0.0),
            slices: SmallVec::new(),
        };
        match &self.score {
            Some(Score::One(path)) => read_scores(path, row, &mut prediction)?,
            Some(Score::PerClass(classes)) => {
                for (class, slot) in classes {
                    if let Some(score) = number(row.get(*slot)) {
                        prediction.scores.push((Cow::Owned(class.clone()), score));
                    }
                }
            }
            None => {}
        }
        prediction.predicted = match &self.predicted {
            Some(path) => path.value(row, task)?,
            None => None,
        };
        if let Task::Binary { positive, .. } = task
            && prediction.score.is_none()
        {
            prediction.score = prediction
                .scores
                .iter()
                .find(|(class, _)| class == positive.as_str())
                .map(|(_, score)| *score);
        }
        if prediction.predicted.is_none() {
            prediction.predicted = follow_from_scores(&prediction, task);
        }
        if *task != Task::Regression {
            check_scores(&prediction)?;
        }
        prediction
            .slices
            .extend(self.slices.iter().map(|slot| text(row.get(*slot))));
        Ok(prediction)
    }
}

impl LabelSlots {
    fn compile(paths: &LabelPaths, zone: &Zone, wanted: &mut Wanted) -> Self {
        Self {
            when: when(&paths.when, wanted),
            id: Path::new(&paths.id, wanted),
            time: paths.time.as_ref().map(|path| Path::new(path, wanted)),
            time_format: TimeFormat::new(paths.time_format.as_deref(), zone),
            model: paths.model.as_ref().map(|source| Text::new(source, wanted)),
            actual: Path::new(&paths.actual, wanted),
        }
    }

    fn applies(&self, row: &Row<'_, '_>, kind: Option<Kind>) -> bool {
        match kind {
            Some(kind) => kind == Kind::Label,
            None if self.when.is_empty() => present(row.get(self.actual.slot)),
            None => matches(&self.when, row),
        }
    }

    fn read<'a>(&self, row: &Row<'_, 'a>, task: &Task) -> Result<Label<'a>, String> {
        let time = match &self.time {
            Some(path) => self
                .time_format
                .read(row.get(path.slot))
                .map_err(|why| path.fault(&why))?,
            None => None,
        };
        Ok(Label {
            id: self
                .id
                .text(row)?
                .ok_or_else(|| self.id.missing("the id of the label's prediction"))?,
            row: None,
            time,
            model: self
                .model
                .as_ref()
                .map_or(Ok(None), |model| model.read(row))?,
            actual: self
                .actual
                .value(row, task)?
                .ok_or_else(|| self.actual.missing("the actual value"))?,
        })
    }
}

impl Path {
    fn new(path: &str, wanted: &mut Wanted) -> Self {
        Self {
            slot: wanted.slot(path),
            text: path.into(),
        }
    }

    fn text<'a>(&self, row: &Row<'_, 'a>) -> Result<Option<Cow<'a, str>>, String> {
        match row.get(self.slot) {
            Field::Object(_) | Field::Array(_) => {
                Err(self.fault("an object or array stands where one value is wanted"))
            }
            field @ (Field::Absent
            | Field::Null
            | Field::Bool(_)
            | Field::Int(_)
            | Field::UInt(_)
            | Field::Float(_)
            | Field::Text(_)) => Ok(text(field)),
        }
    }

    fn number(&self, row: &Row<'_, '_>) -> Result<Option<f64>, String> {
        let field = row.get(self.slot);
        match number(field) {
            None if present(field) => Err(self.fault("not a finite number")),
            found => Ok(found),
        }
    }

    fn value<'a>(&self, row: &Row<'_, 'a>, task: &Task) -> Result<Option<Value<'a>>, String> {
        match task {
            Task::Regression => Ok(self.number(row)?.map(Value::Number)),
            Task::Binary { .. } | Task::Multiclass { .. } => Ok(self.text(row)?.map(Value::Class)),
        }
    }

    fn missing(&self, what: &str) -> String {
        format!("`{}` is missing or empty: it is {what}", self.text)
    }

    fn fault(&self, why: &str) -> String {
        format!("`{}`: {why}", self.text)
    }
}

impl Text {
    fn new(source: &Source, wanted: &mut Wanted) -> Self {
        match source {
            Source::Const(text) => Self::Const(text.clone()),
            Source::Path(path) => Self::Path(Path::new(path, wanted)),
        }
    }

    fn read<'a>(&self, row: &Row<'_, 'a>) -> Result<Option<Cow<'a, str>>, String> {
        match self {
            // A short text a record; interned right after.
            Self::Const(text) => Ok(Some(Cow::Owned(text.clone()))),
            Self::Path(path) => path.text(row),
        }
    }
}

fn when(
    pairs: &std::collections::BTreeMap<String, String>,
    wanted: &mut Wanted,
) -> Vec<(Slot, String)> {
    pairs
        .iter()
        .map(|(path, expected)| (wanted.slot(path), expected.clone()))
        .collect()
}

fn matches(when: &[(Slot, String)], row: &Row<'_, '_>) -> bool {
    when.iter().all(|(slot, expected)| {
        text(row.get(*slot)).is_some_and(|found| found == expected.as_str())
    })
}

fn present(field: &Field<'_>) -> bool {
    match field {
        Field::Absent | Field::Null => false,
        Field::Text(text) => !text.is_empty(),
        Field::Bool(_)
        | Field::Int(_)
        | Field::UInt(_)
        | Field::Float(_)
        | Field::Object(_)
        | Field::Array(_) => true,
    }
}

/// A scalar in canonical text form; `None` if absent, null, empty or no scalar.
fn text<'a>(field: &Field<'a>) -> Option<Cow<'a, str>> {
    match field {
        Field::Absent | Field::Null | Field::Object(_) | Field::Array(_) => None,
        Field::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
        Field::Int(value) => Some(canonical::integer(*value)),
        Field::UInt(value) => Some(canonical::unsigned(*value)),
        Field::Float(value) => Some(canonical::number(*value)),
        Field::Text(Cow::Borrowed(value)) => Some(canonical::text(value)),
        Field::Text(Cow::Owned(value)) => Some(Cow::Owned(canonical::text(value).into_owned())),
    }
    .filter(|text| !text.is_empty())
}

fn number(field: &Field<'_>) -> Option<f64> {
    match field {
        Field::Absent | Field::Null | Field::Object(_) | Field::Array(_) => None,
        Field::Bool(value) => Some(f64::from(u8::from(*value))),
        Field::Int(value) => Some(*value as f64),
        Field::UInt(value) => Some(*value as f64),
        Field::Float(value) => Some(*value),
        Field::Text(value) => value.trim_ascii().parse().ok(),
    }
    .filter(|number: &f64| number.is_finite())
}

/// One path holds a number, an object class → probability, or (declared classes only) nothing else.
fn read_scores<'a>(
    path: &Path,
    row: &Row<'_, 'a>,
    prediction: &mut Prediction<'a>,
) -> Result<(), String> {
    match row.get(path.slot) {
        Field::Object(members) => {
            for (class, member) in members {
                let score = number(member).ok_or_else(|| path.fault(&format!("the score of class `{class}` is no finite number")))?;
                let class = match class {
                    Cow::Borrowed(class) => canonical::text(class),
                    Cow::Owned(class) => Cow::Owned(canonical::text(class).into_owned()),
                };
                prediction.scores.push((class, score));
            }
        }
        Field::Array(_) => return Err(path.fault("an array of scores names no classes: give an object class → score, or a path for each class")),
        Field::Absent | Field::Null | Field::Bool(_) | Field::Int(_) | Field::UInt(_) | Field::Float(_) | Field::Text(_) => {
            prediction.score = path.number(row)?;
        }
    }
    Ok(())
}

/// The class that the scores say, where the record names none.
fn follow_from_scores<'a>(prediction: &Prediction<'a>, task: &Task) -> Option<Value<'a>> {
    match task {
        Task::Binary {
            positive,
            negative,
            threshold,
        } => {
            let score = prediction.score?;
            Some(Value::Class(Cow::Owned(if score >= *threshold {
                positive.clone()
            } else {
                negative.clone()
            })))
        }
        // The first of equal scores wins, as numpy's argmax does.
        Task::Multiclass { .. } => {
            let mut best: Option<&(Cow<'a, str>, f64)> = None;
            for candidate in &prediction.scores {
                if best.is_none_or(|best| candidate.1 > best.1) {
                    best = Some(candidate);
                }
            }
            best.map(|(class, _)| Value::Class(class.clone()))
        }
        Task::Regression => None,
    }
}

fn check_scores(prediction: &Prediction<'_>) -> Result<(), String> {
    let scores = prediction
        .scores
        .iter()
        .map(|(_, score)| *score)
        .chain(prediction.score);
    match scores
        .into_iter()
        .find(|score| !(0.0..=1.0).contains(score))
    {
        Some(score) => Err(format!(
            "the score {score} is not a probability between 0 and 1"
        )),
        None => Ok(()),
    }
}
