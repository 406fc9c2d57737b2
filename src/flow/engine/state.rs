//! The tables behind the small integers, and the engine's state as bytes: what a checkpoint keeps.

use std::borrow::Cow;
use std::collections::BTreeMap;

use hashbrown::DefaultHashBuilder;
use indexmap::IndexSet;
use serde::{Deserialize, Serialize};

use crate::flow::alert::{self, Book};
use crate::flow::decode::SourceState;
use crate::flow::document::Tag;
use crate::flow::engine::beaten::Beaten;
use crate::flow::engine::stamps::Stamps;
use crate::flow::engine::versions::Versions;
use crate::flow::engine::{Checkpoint, Engine, Settings, State, Totals, held, publish};
use crate::flow::event::{SourceKey, Timestamp, Value};
use crate::flow::host::History;
use crate::flow::join::{Address, Cold, Early, Join, Opens, OpensState};
use crate::flow::names::Names;
use crate::flow::quality::{Outcome, Task, TaskKind};
use crate::flow::slices::{Cuts, OTHER, Slices};
use crate::flow::windows::{Rows, Windows, WindowsState};

/// Classes a pipeline may have. A mapping that takes an id for a class would otherwise fill the memory.
const CLASSES_MAX: usize = 10_000;

/// Bytes set aside for the small parts of a state, so that its buffer need not grow: growing doubles it.
const STATE_ROOM: usize = 1 << 20;

/// Names as numbers.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) models: Names,
    pub(super) slices: Slices,
    /// The task, with its classes as numbers.
    pub(super) task: TaskKind,
    versions: Names,
    /// (model, version) of series 0, 1, …
    series: IndexSet<(u32, u32), DefaultHashBuilder>,
    tags: Vec<Tag>,
    /// Which of its model's versions each series is, in the order of first sight.
    orders: Vec<u32>,
    /// Versions of each model.
    per_model: BTreeMap<u32, u32>,
    classes: Names,
    /// Binary: every class that is not positive is judged as this one.
    negative: Option<u32>,
    /// Slice names and crosses of the pipeline.
    pub(super) cuts: Cuts,
    /// Values of labels that lost.
    pub(super) beaten: Beaten,
}

/// Everything a checkpoint keeps of the engine, borrowed or owned. Behind it stand its counts (`Totals`) and the book of alerts:
/// states of before there were any end here, and whoever reads one without knowing of them finds all it looks for.
#[derive(Serialize, Deserialize)]
struct Kept<'e> {
    pipeline: String,
    sources: BTreeMap<SourceKey, SourceState>,
    models: Names,
    versions: Names,
    series: Vec<(u32, u32)>,
    classes: Names,
    slices: Slices,
    beaten: Beaten,
    /// Where the lease of versions begins.
    version: i64,
    opens: OpensState,
    earlies: Vec<(Address, Cow<'e, Early>)>,
    windows: WindowsState<'e>,
    /// Borrowed when it is written: it is the largest part, and a copy of it would count against the memory bound.
    held: Cow<'e, held::Held>,
    history: History,
    hosts: publish::HostWindows,
    rivals: Versions,
}

/// No checkpoint can be made.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The state cannot be written as bytes.
    #[error("the engine state cannot be encoded: {0}")]
    Encoding(#[from] postcard::Error),
    /// The store of open predictions failed.
    #[error("the store of open predictions failed: {0}")]
    Store(String),
}

/// A checkpoint that this engine cannot go on from.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The bytes are not what this version writes.
    #[error("the engine state in the checkpoint cannot be read: {0}")]
    Unreadable(#[from] postcard::Error),
    /// The data folder belongs to another pipeline.
    #[error("the data folder belongs to pipeline `{0}`: give each pipeline its own --data-dir")]
    OtherPipeline(String),
    /// The alerts in it.
    #[error("the engine state in the checkpoint cannot be read: {0}")]
    Alerts(#[from] alert::Unreadable),
    /// The settings cannot work.
    #[error("{0}")]
    Settings(String),
}

impl Tables {
    pub(super) fn new(settings: &Settings, slice_names: &[String]) -> Self {
        let (mut classes, mut slices) = (Names::default(), Slices::default());
        let (task, negative) = intern_task(&settings.task, &mut classes);
        let cuts = slices.cuts(
            slice_names,
            &settings.slice_crosses,
            settings.slice_values_max,
        );
        Self {
            models: Names::default(),
            slices,
            task,
            versions: Names::default(),
            series: IndexSet::default(),
            tags: Vec::new(),
            orders: Vec::new(),
            per_model: BTreeMap::new(),
            classes,
            negative,
            cuts,
            beaten: Beaten::default(),
        }
    }

    /// The number of a model version.
    pub(super) fn series(&mut self, pipeline: &str, model: u32, version: &str) -> u32 {
        let version_number = self.versions.intern(version);
        let (series, new) = self.series.insert_full((model, version_number));
        if new {
            self.introduce(pipeline, model, version);
        }
        u32::try_from(series).unwrap_or(u32::MAX)
    }

    /// Writes down what follows from a new series' place among the others.
    fn introduce(&mut self, pipeline: &str, model: u32, version: &str) {
        self.tags
            .push(Tag::of(pipeline, self.models.text(model), version));
        let order = self.per_model.entry(model).or_default();
        self.orders.push(*order);
        *order += 1;
    }

    /// True if there is more than one model version.
    pub(super) fn has_versions(&self) -> bool {
        self.series.len() > 1
    }

    /// How many versions of the same model apart two series were first seen; `None` if they are of different models.
    pub(super) fn apart(&self, one: u32, other: u32) -> Option<u32> {
        let order = |series: u32| self.orders.get(series as usize).copied();
        let same = self.model_of(one) == self.model_of(other);
        order(one)
            .zip(order(other))
            .filter(|_| same)
            .map(|(one, other)| one.abs_diff(other))
    }

    pub(super) fn model_of(&self, series: u32) -> u32 {
        self.series
            .get_index(series as usize)
            .map_or(u32::MAX, |(model, _)| *model)
    }

    /// The versions of a model, as series, in the order of first sight.
    pub(super) fn series_of(&self, model: u32) -> impl Iterator<Item = u32> {
        (0..)
            .zip(&self.series)
            .filter(move |(_, (of, _))| *of == model)
            .map(|(series, _)| series)
    }

    /// Model and version of a series.
    pub(super) fn series_text(&self, series: u32) -> (&str, &str) {
        let (model, version) = self
            .series
            .get_index(series as usize)
            .copied()
            .unwrap_or((u32::MAX, u32::MAX));
        (self.models.text(model), self.versions.text(version))
    }

    pub(super) fn tag(&self, series: u32) -> Tag {
        self.tags.get(series as usize).copied().unwrap_or(Tag(0))
    }

    pub(super) fn slice_set(&mut self, values: &[Option<Cow<'_, str>>]) -> u32 {
        self.slices.set(&self.cuts, values)
    }

    /// The number of a class.
    pub(super) fn class(&mut self, class: &str) -> u32 {
        match self.classes.find(class) {
            Some(number) => number,
            None if self.classes.len() < CLASSES_MAX => self.classes.intern(class),
            None => self.classes.intern(OTHER),
        }
    }

    pub(super) fn class_text(&self, class: u32) -> &str {
        self.classes.text(class)
    }

    pub(super) fn outcome(&mut self, value: Option<&Value<'_>>) -> Outcome {
        match value {
            None => Outcome::None,
            Some(Value::Class(class)) => Outcome::Class(self.class(class)),
            Some(Value::Number(number)) => Outcome::Number(*number),
        }
    }

    pub(super) fn value(&self, outcome: Outcome) -> Value<'static> {
        match outcome {
            Outcome::None => Value::Class(Cow::Borrowed("")),
            Outcome::Class(class) => Value::Class(Cow::Owned(self.class_text(class).to_owned())),
            Outcome::Number(number) => Value::Number(number),
        }
    }

    /// An outcome as the tallies count it: for a binary task, whatever is not positive is negative.
    pub(super) fn judged(&self, outcome: Outcome) -> Outcome {
        match (&self.task, self.negative, outcome) {
            (TaskKind::Binary { positive }, Some(negative), Outcome::Class(class))
                if class != *positive =>
            {
                Outcome::Class(negative)
            }
            _ => outcome,
        }
    }
}

/// The task with its classes as numbers, and for a binary one the number of what is not positive.
fn intern_task(task: &Task, classes: &mut Names) -> (TaskKind, Option<u32>) {
    let negative = if let Task::Binary { negative, .. } = task {
        Some(classes.intern(negative))
    } else {
        None
    };
    (task.interned(|class| classes.intern(class)), negative)
}

impl Engine {
    /// Where every source goes on, and the state that belongs to exactly that point; with it what the store of open
    /// predictions must learn. Say [`committed`](Self::committed) when it is saved.
    ///
    /// # Errors
    /// The store could not be read, so that the state is wrong: end, and go on from the last checkpoint. Or the encoder
    /// fails, which it has no reason to.
    pub fn checkpoint(&mut self) -> Result<Checkpoint, CheckpointError> {
        if let Some(fault) = self.fault() {
            return Err(CheckpointError::Store(fault.to_owned()));
        }
        let State {
            heads,
            sources,
            tables,
            join,
            windows,
            held,
            history,
            hosts,
            versions,
            stamps,
            alerts,
            checkpoints,
        } = &mut self.state;
        *checkpoints += 1;
        let (opens, cold) = join.opens.cut(*checkpoints, held.first())?;
        let (windows_state, rows) = windows.cut(*checkpoints)?;
        let kept = Kept {
            pipeline: self.settings.pipeline.clone(),
            sources: sources.clone(),
            models: tables.models.clone(),
            versions: tables.versions.clone(),
            series: tables.series.iter().copied().collect(),
            classes: tables.classes.clone(),
            slices: tables.slices.clone(),
            beaten: tables.beaten.clone(),
            version: stamps.cut(*checkpoints),
            opens,
            earlies: join.earlies.iter().collect(),
            windows: windows_state,
            held: Cow::Borrowed(held),
            history: history.clone(),
            hosts: hosts.clone(),
            rivals: versions.clone(),
        };
        let room = kept.opens.bytes() + held.bytes() + kept.windows.bytes() + STATE_ROOM;
        let state = postcard::to_extend(&kept, Vec::with_capacity(room))?;
        let state = postcard::to_extend(&self.totals.after(&self.earlier), state)?;
        let state = alerts.cut(*checkpoints, state)?;
        Ok(Checkpoint {
            heads: heads.clone(),
            state,
            cold,
            rows,
        })
    }

    /// The checkpoint to be saved before the first document of a new or resumed engine is shipped, and to be told of as
    /// [`committed`](Self::committed): it makes sure that no version is given twice, even if the clock is set back and the
    /// process dies before its next checkpoint.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn start(&mut self, now: Timestamp) -> Result<Checkpoint, CheckpointError> {
        self.state.stamps.start(now);
        self.state.alerts.start(now);
        self.checkpoint()
    }

    /// Checkpoint `number` is saved and its delta applied to the store: memory it needed until then is let go.
    pub fn committed(&mut self, number: u64) {
        self.state.join.opens.committed(number);
        self.state.windows.committed(number);
        self.state.stamps.committed(number);
        self.state.alerts.committed(number);
    }

    /// The open predictions that do not fit in memory lie in this store, as the checkpoint resumed from left it.
    pub fn spill_to(&mut self, cold: Box<dyn Cold>) {
        self.state.join.opens.spill_to(cold);
    }

    /// Windows that do not fit in memory lie in this store, as the checkpoint resumed from left it.
    pub fn spill_windows_to(&mut self, rows: Box<dyn Rows>) {
        self.state.windows.spill_to(rows);
    }

    /// Why this engine cannot go on: the store of open predictions could not be read. The last checkpoint is good.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        let opens = self.state.join.opens.fault();
        opens.or_else(|| self.state.windows.fault())
    }

    /// A checkpoint is wanted before its time, for the memory bound's sake.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.state.join.opens.is_crowded()
    }

    /// A checkpoint is wanted soon: with it, windows leave memory.
    #[must_use]
    pub fn is_heavy(&self) -> bool {
        self.state.windows.are_heavy()
    }

    /// An engine that goes on from a checkpoint. Windows and slices may have been added to the pipeline file since.
    ///
    /// # Errors
    /// The state is of another pipeline or cannot be read.
    pub fn resume(settings: Settings, checkpoint: &Checkpoint) -> Result<Self, ResumeError> {
        // Behind it lie the totals, and the book of alerts, if there was one.
        let (kept, rest): (Kept<'_>, _) = postcard::take_from_bytes(&checkpoint.state)?;
        let (earlier, book) = match rest {
            [] => (Totals::default(), rest),
            rest => postcard::take_from_bytes(rest)?,
        };
        if kept.pipeline != settings.pipeline {
            return Err(ResumeError::OtherPipeline(kept.pipeline));
        }
        let mut engine = Self::new(settings).map_err(ResumeError::Settings)?;
        engine.earlier = earlier;
        let tables = &mut engine.state.tables;
        tables.models = kept.models;
        tables.versions = kept.versions;
        tables.classes = kept.classes;
        tables.slices = kept.slices;
        tables.beaten = kept.beaten;
        for (model, version) in &kept.series {
            let version = tables.versions.text(*version).to_owned();
            tables.introduce(&engine.settings.pipeline, *model, &version);
        }
        tables.series = kept.series.into_iter().collect();
        (tables.task, tables.negative) = intern_task(&engine.settings.task, &mut tables.classes);
        let settings = &engine.settings;
        tables.cuts = tables.slices.cuts(
            &engine.compiled.slice_names,
            &settings.slice_crosses,
            settings.slice_values_max,
        );
        engine.state.heads = checkpoint.heads.clone();
        engine.state.sources = kept.sources;
        let opens = Opens::resume(engine.settings.join.state_bytes_max, &kept.opens)?;
        engine.state.join = Join {
            opens,
            earlies: kept
                .earlies
                .into_iter()
                .map(|(address, early)| (address, early.into_owned()))
                .collect(),
        };
        engine.state.held = kept.held.into_owned();
        engine.state.checkpoints = checkpoint.cold.edges.number;
        engine.state.windows = Windows::resume(
            &engine.settings.windows,
            engine.settings.window_bytes_max,
            kept.windows,
            checkpoint.cold.edges.number,
        );
        engine.state.history = kept.history;
        engine.state.hosts = kept.hosts;
        engine.state.versions = kept.rivals;
        engine.state.stamps = Stamps::resume(kept.version);
        engine.state.alerts = Book::resume(
            engine.settings.alerts.clone(),
            &engine.settings.pipeline,
            &engine.settings.agent.id,
            book,
        )?;
        // Time has passed: look at once what there is to publish and to close.
        if engine.state.windows.any_dirty() {
            engine.publish_at = Some(Timestamp(0));
        }
        engine.close_at = (!engine.state.windows.is_empty()).then_some(Timestamp(0));
        Ok(engine)
    }
}
