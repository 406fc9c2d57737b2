//! The world of one run: a clock, a disk, a cluster, a process that may die, and chance, which picks the next step among
//! those that are possible. After each step the conservation equation must hold, and the process may be killed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use modelbeat::flow::document::Documents;
use modelbeat::flow::engine::Intake;
use modelbeat::flow::event::{SourceKey, Timestamp};
use modelbeat::flow::host::{HostSnapshot, Metric};

use super::chance::Chance;
use super::cluster::{Cluster, Mood, Temper};
use super::disk::{Disk, Written};
use super::process::{Process, Reader};
use super::shipping::{CARGO_MAX, Cargo};
use super::story::{HOUR, LogKind, Means, NINE, Story};

/// Steps after which a run does not end by itself any more.
const STEPS_MAX: usize = 20_000;

/// What happened, a line a step; kept only where somebody will read it.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail(Option<Rc<RefCell<Vec<String>>>>);

impl Trail {
    pub(super) fn kept() -> Self {
        Self(Some(Rc::default()))
    }

    pub(super) fn say(&self, line: impl FnOnce() -> String) {
        if let Some(lines) = &self.0 {
            lines.borrow_mut().push(line());
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0
            .as_ref()
            .map_or_else(Vec::new, |lines| lines.borrow().clone())
    }
}

/// One thing that can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Write(usize),
    Delete(usize),
    Read(usize),
    Push,
    Observe,
    Advance,
    Checkpoint,
    Take,
    Pack,
    Send(usize),
    Hear(usize),
    Obey,
    Wait,
    SetBack,
    Stop,
    Finish,
}

/// What may still go wrong: bounds that make every run end.
#[derive(Clone, Copy, Debug)]
struct Budget {
    crashes: usize,
    stops: usize,
    moods: usize,
    set_backs: usize,
    snapshots: usize,
}

/// Everything.
#[derive(Debug)]
pub(super) struct World<'s> {
    story: &'s Story,
    pub(super) disk: Disk,
    pub(super) cluster: Cluster,
    process: Process,
    /// Milliseconds, as the agent's clock has them.
    now: i64,
    era: usize,
    chance: Chance,
    budget: Budget,
    /// A request holds at most so much.
    bulk_bytes: usize,
    /// Ids and the highest version that any life gave them.
    versions: BTreeMap<String, i64>,
    /// Times of host snapshots.
    pub(super) snapshots: Vec<i64>,
    trail: Trail,
}

impl<'s> World<'s> {
    /// A world in which the story will be told, with the means it is given.
    pub(super) fn new(seed: u64, story: &'s Story, means: Means, trail: Trail) -> Self {
        let mut chance = Chance::new(seed, 2);
        let [refuses, chokes, limit] =
            [15, 10, 15].map(|times| means.trouble && chance.percent(times));
        let temper = Temper {
            refuses: refuses.then(|| chance.number()),
            chokes: chokes.then(|| chance.number()),
            has_limit: limit,
        };
        let bulk_bytes = *chance.pick(&[1_000, 4_000, 20_000, 4 << 20]);
        let mut disk = Disk::default();
        disk.logs.resize_with(story.logs.len(), Written::default);
        let now = NINE + 10 * HOUR;
        let process = Process::start(story, &mut disk, bulk_bytes, now, false).expect("it lives");
        let so_many = |is_on: bool, most: usize, chance: &mut Chance| {
            if is_on { chance.below(most) } else { 0 }
        };
        let budget = Budget {
            crashes: so_many(means.crashes, 5, &mut chance),
            stops: so_many(means.crashes, 2, &mut chance),
            moods: so_many(means.trouble, 12, &mut chance),
            set_backs: so_many(means.clock, 3, &mut chance),
            snapshots: chance.below(3),
        };
        let cluster = Cluster {
            temper,
            ..Cluster::default()
        };
        Self {
            story,
            disk,
            cluster,
            process,
            now,
            era: 0,
            chance,
            budget,
            bulk_bytes,
            versions: BTreeMap::new(),
            snapshots: Vec::new(),
            trail,
        }
    }

    /// Tells the whole story.
    ///
    /// # Errors
    /// An invariant is broken, or it does not come to an end.
    pub(super) fn tell(&mut self) -> Result<(), String> {
        let mut steps = 0;
        loop {
            if self.era_is_over() {
                let Some(silence) = self.story.silences.get(self.era) else {
                    self.cluster.take_what_waits(usize::MAX);
                    return Ok(());
                };
                self.era += 1;
                self.now += silence.milliseconds();
                self.trail.say(|| format!("silence: {silence:?}"));
            }
            let step = self.choose();
            self.take(step)?;
            self.process.conserves()?;
            steps += 1;
            if steps > STEPS_MAX {
                return Err("the run does not come to its end".into());
            }
            if self.budget.crashes > 0 && self.chance.percent(2) {
                self.budget.crashes -= 1;
                self.crash();
            } else if self.process.cut && self.process.shipping.is_idle() && !self.is_last_end() {
                self.restart();
            }
        }
    }

    /// Nothing is left to do in this era: all is written, read, shipped and saved, and nothing is due.
    fn era_is_over(&self) -> bool {
        let process = &self.process;
        let is_settled = process.shipping.is_idle() && !process.changed;
        if self.era < self.story.silences.len() {
            let is_saved = process
                .under_way
                .is_none_or(|number| number <= process.shipping.saved);
            is_settled
                && is_saved
                && process.ending.is_none()
                && self.has_written()
                && process.has_read(&self.disk)
                && !process.is_due(self.now)
        } else {
            is_settled && process.cut && self.is_last_end()
        }
    }

    fn is_last_end(&self) -> bool {
        self.process.ending == Some(true)
    }

    fn has_written(&self) -> bool {
        (0..self.story.logs.len()).all(|log| self.unwritten(log) == 0)
    }

    /// Bytes of a log that belong to this era and are not written yet.
    fn unwritten(&self, log: usize) -> usize {
        self.story.logs[log].layout.eras[self.era] - self.disk.logs[log].bytes
    }

    /// One of the steps that are possible.
    fn choose(&mut self) -> Step {
        let mut steps = self.possible();
        if steps.is_empty() || self.chance.percent(6) {
            return Step::Wait;
        }
        if self.budget.snapshots > 0 {
            steps.push(Step::Observe);
        }
        if self.budget.set_backs > 0 && self.chance.percent(5) {
            return Step::SetBack;
        }
        *self.chance.pick(&steps)
    }

    fn possible(&self) -> Vec<Step> {
        let process = &self.process;
        let mut steps = Vec::new();
        for (log, written) in self.disk.logs.iter().enumerate() {
            if self.unwritten(log) > 0 {
                steps.push(Step::Write(log));
            }
            if process.may_read() && process.unread(log, written) > 0 {
                steps.push(Step::Read(log));
            }
            if self.may_delete(log) {
                steps.push(Step::Delete(log));
            }
        }
        if process.may_step() {
            if !process.intake.is_empty() {
                steps.extend([Step::Push; 2]);
            }
            if process.is_due(self.now) {
                steps.push(Step::Advance);
            }
            if process.changed
                && process
                    .under_way
                    .is_none_or(|number| number <= process.shipping.saved)
            {
                steps.push(Step::Checkpoint);
            }
            let is_last_era = self.era == self.story.silences.len();
            let has_read = process.has_read(&self.disk) && self.has_written();
            if is_last_era && has_read && !process.is_due(self.now) {
                steps.push(Step::Finish);
            }
            if process.intake.is_empty() && self.budget.stops > 0 {
                steps.push(Step::Stop);
            }
        }
        if process.ending.is_some() && !process.cut && process.shipping.cargo.len() < CARGO_MAX {
            steps.push(Step::Checkpoint);
        }
        if process.shipping.may_take() {
            steps.push(Step::Take);
        }
        if process.shipping.may_pack() {
            steps.push(Step::Pack);
        }
        if !process.shipping.orders.is_empty() {
            steps.push(Step::Obey);
        }
        for (index, flight) in process.shipping.flights.iter().enumerate() {
            if flight.answer.is_some() {
                steps.push(Step::Hear(index));
            } else if flight.wakes <= self.now {
                steps.push(Step::Send(index));
            }
        }
        steps
    }

    /// A file goes once a saved checkpoint has all of it.
    fn may_delete(&self, log: usize) -> bool {
        let (told, written) = (&self.story.logs[log], &self.disk.logs[log]);
        let is_whole = told.goes
            && !written.deleted
            && written.bytes > 0
            && written.bytes == told.layout.text.len();
        let is_read = self.process.may_read() && self.process.unread(log, written) == 0;
        let head = || {
            let saved = self.disk.saved.as_ref()?;
            saved.heads.get(&SourceKey(told.name.into()))
        };
        is_whole && is_read && head().is_some_and(|head| head.offset == written.bytes as u64)
    }

    fn take(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Write(log) => self.write(log),
            Step::Delete(log) => {
                self.disk.logs[log].deleted = true;
                self.process.readers[log] = Reader::Gone;
                let key = SourceKey(self.story.logs[log].name.into());
                self.process.intake.push_back(Intake::Gone(key));
                self.trail
                    .say(|| format!("{} is deleted", self.story.logs[log].name));
            }
            Step::Read(log) => {
                let bytes = match self.story.logs[log].kind {
                    LogKind::Http => 1 + self.chance.below(3),
                    LogKind::Json | LogKind::Csv => *self.chance.pick(&[7, 60, 200, 100_000]),
                };
                self.process
                    .read(self.story, log, &self.disk.logs[log], bytes);
            }
            Step::Push => {
                self.trail.say(|| match self.process.intake.front() {
                    Some(Intake::Batch(batch)) => format!(
                        "the engine takes {} from {} on: {} and {} faults",
                        batch.source,
                        batch.base,
                        String::from_utf8_lossy(batch.bytes.get(..2_000).unwrap_or(&batch.bytes))
                            .trim_end(),
                        batch.faults.len()
                    ),
                    other => format!("the engine takes {other:?}"),
                });
                let out = self.process.push(self.story, self.now)?;
                self.hand_on(out)?;
            }
            Step::Observe => {
                self.budget.snapshots -= 1;
                if self.process.may_read() {
                    let mut snapshot = HostSnapshot::new(Timestamp(self.now));
                    snapshot.set(Metric::CpuTotal, 0.5);
                    self.snapshots.push(self.now);
                    self.process.intake.push_back(Intake::Host(snapshot));
                }
            }
            Step::Advance => {
                let out = self.process.step(self.now, Documents::default())?;
                self.trail
                    .say(|| format!("time passes for the engine: {} documents", out.items.len()));
                self.hand_on(out)?;
            }
            Step::Checkpoint => {
                self.process.cut |= self.process.ending.is_some();
                let number = self.process.checkpoint();
                self.trail.say(|| format!("checkpoint {number} is made"));
            }
            Step::Stop | Step::Finish => self.end(step == Step::Finish)?,
            Step::Wait => self.wait(),
            Step::SetBack => {
                self.budget.set_backs -= 1;
                self.now -= self.chance.between(1, HOUR);
                self.trail.say(|| "the clock is set back".into());
            }
            Step::Take | Step::Pack | Step::Send(_) | Step::Hear(_) | Step::Obey => {
                self.ship(step)?;
            }
        }
        Ok(())
    }

    fn ship(&mut self, step: Step) -> Result<(), String> {
        let shipping = &mut self.process.shipping;
        match step {
            Step::Take => shipping.take(),
            Step::Pack => shipping.pack(self.now)?,
            Step::Send(flight) => {
                let mut mood = Mood::Fine;
                if self.budget.moods > 0 && self.chance.percent(40) {
                    self.budget.moods -= 1;
                    mood = Mood::bad(&mut self.chance);
                }
                let documents = shipping.flights[flight].documents();
                shipping.send(flight, &mut self.cluster, mood, &mut self.chance);
                self.trail.say(|| {
                    format!("a request of {documents} documents meets a cluster that is {mood:?}")
                });
            }
            Step::Hear(flight) => {
                shipping.hear(flight, self.now, &mut self.chance);
                self.trail.say(|| "its answer is heard".into());
            }
            _ => {
                let what = shipping.obey(&mut self.disk);
                self.trail.say(|| what.into());
                self.cut_journal();
            }
        }
        Ok(())
    }

    /// Journal segments go once a saved checkpoint is past them.
    fn cut_journal(&mut self) {
        let Some(saved) = &self.disk.saved else {
            return;
        };
        for (log, written) in self.story.logs.iter().zip(&mut self.disk.logs) {
            let head = saved.heads.get(&SourceKey(log.name.into()));
            if let (LogKind::Http, Some(head)) = (log.kind, head) {
                written.cut = usize::try_from(head.offset).unwrap();
            }
        }
    }

    /// Appends to a log: posts are written whole, files in pieces that end anywhere.
    fn write(&mut self, log: usize) {
        let layout = &self.story.logs[log].layout;
        let written = &mut self.disk.logs[log].bytes;
        let next = layout.entries.iter().find(|end| **end > *written);
        let most = match self.story.logs[log].kind {
            LogKind::Http => next.map_or(0, |end| end - *written),
            LogKind::Json | LogKind::Csv => *self.chance.pick(&[20, 300, usize::MAX]),
        };
        let left = layout.eras[self.era] - *written;
        *written += left.min(most);
    }

    /// Hands documents on to shipping. No id may ever get a version that it had.
    fn hand_on(&mut self, out: Documents) -> Result<(), String> {
        if out.is_empty() {
            return Ok(());
        }
        let text = std::str::from_utf8(&out.bytes).expect("UTF-8");
        for document in super::cluster::documents(text) {
            let Some(version) = document.version else {
                continue;
            };
            let last = self.versions.entry(document.id).or_insert(i64::MIN);
            if *last >= version {
                return Err(format!(
                    "a version goes backwards, from {last} to {version}: {}",
                    document.source
                ));
            }
            *last = version;
        }
        self.process.shipping.cargo.push_back(Cargo::Documents(out));
        Ok(())
    }

    fn end(&mut self, is_finish: bool) -> Result<(), String> {
        let mut out = Documents::default();
        let now = Timestamp(self.now);
        if is_finish && self.story.setting.once {
            self.process.engine.finish(now, &mut out);
        } else {
            self.process.engine.release(now, &mut out);
        }
        self.trail.say(|| {
            let what = if is_finish {
                "all is read"
            } else {
                "the process is told to stop"
            };
            format!("{what}: {} documents", out.items.len())
        });
        self.process.ending = Some(is_finish);
        self.budget.stops = self.budget.stops.saturating_sub(usize::from(!is_finish));
        let out = self.process.step(self.now, out)?;
        self.hand_on(out)
    }

    /// Until the next thing is due, or for a moment.
    fn wait(&mut self) {
        let wakes = self
            .process
            .shipping
            .flights
            .iter()
            .map(|flight| flight.wakes);
        let due = self.process.engine.deadline().map(|deadline| deadline.0);
        let next = wakes.chain(due).filter(|at| *at > self.now).min();
        match next {
            Some(next) if next - self.now < HOUR => self.now = next,
            _ => self.now += self.chance.between(1, 5_000),
        }
    }

    /// The process dies: kill -9, or the machine with it.
    fn crash(&mut self) {
        let unsynced = self.disk.letters.len() - self.disk.letters_synced;
        let lost = self.chance.below(unsynced + 1);
        self.disk.letters.truncate(self.disk.letters.len() - lost);
        self.trail.say(|| "KILLED".into());
        self.restart();
    }

    fn restart(&mut self) {
        self.disk.letters_synced = self.disk.letters.len();
        self.now += *self.chance.pick(&[0, 20, 1_000]);
        loop {
            let dies = self.budget.crashes > 0 && self.chance.percent(10);
            self.budget.crashes -= usize::from(dies);
            let process =
                Process::start(self.story, &mut self.disk, self.bulk_bytes, self.now, dies);
            if let Some(process) = process {
                self.process = process;
                break;
            }
            self.trail.say(|| "KILLED while starting".into());
        }
        self.trail.say(|| match &self.disk.saved {
            Some(saved) => format!("started from checkpoint {}", saved.cold.edges.number),
            None => "started from nothing".into(),
        });
    }
}
