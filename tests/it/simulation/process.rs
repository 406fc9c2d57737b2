//! One life of the process: what it knows dies with it. Readers, the engine behind its channel, shipping behind the next.

use std::collections::VecDeque;
use std::sync::Arc;

use modelbeat::flow::document::Documents;
use modelbeat::flow::engine::{Checkpoint, Engine, Intake, Settings};
use modelbeat::flow::event::{Batch, Head, InputId, SourceKey, Timestamp};
use modelbeat::flow::lines::{Framing, Run, Splitter};

use super::disk::{Disk, Written};
use super::shipping::{CARGO_MAX, Cargo, Shipping};
use super::story::{LogKind, RECORD_BYTES_MAX, Story};

/// Batches that may wait for the engine.
const INTAKE_MAX: usize = 4;

/// How far a log has been read.
#[derive(Debug)]
pub(super) enum Reader {
    /// A file, in whatever pieces it comes; true before its first batch.
    File(Splitter, bool),
    /// A journal, record by record.
    Journal(usize),
    Gone,
}

/// The process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) engine: Engine,
    /// One entry a log of the story.
    pub(super) readers: Vec<Reader>,
    pub(super) intake: VecDeque<Intake>,
    pub(super) shipping: Shipping,
    /// Something happened that no checkpoint knows of.
    pub(super) changed: bool,
    /// Number of the checkpoint that is on its way.
    pub(super) under_way: Option<u64>,
    /// The sources have ended; true: all data has.
    pub(super) ending: Option<bool>,
    /// The last checkpoint is made.
    pub(super) cut: bool,
    /// Records handed to the engine, per input, counted by their facts.
    pub(super) records: [u64; 3],
}

impl Process {
    /// Starts from what the disk holds, and saves where it begins; dying in between if `dies`.
    pub(super) fn start(
        story: &Story,
        disk: &mut Disk,
        bulk_bytes: usize,
        now: i64,
        dies: bool,
    ) -> Option<Self> {
        let mut process = Self::resume(story, story.setting.engine(), disk, bulk_bytes);
        let first = process.engine.start(Timestamp(now)).expect("no fault");
        disk.saved = Some(first.clone());
        if dies {
            return None;
        }
        disk.store.apply(&first);
        process.engine.committed(first.cold.edges.number);
        Some(process)
    }

    fn resume(story: &Story, settings: Settings, disk: &Disk, bulk_bytes: usize) -> Self {
        let saved = disk.saved.as_ref();
        disk.store.recover(saved);
        let mut engine = match saved {
            Some(checkpoint) => Engine::resume(settings, checkpoint).expect("its own checkpoint"),
            None => Engine::new(settings).expect("the settings work"),
        };
        engine.spill_to(Box::new(disk.store.clone()));
        engine.spill_windows_to(Box::new(disk.store.clone()));
        let mut intake = VecDeque::new();
        let mut readers = Vec::new();
        for (log, written) in story.logs.iter().zip(&disk.logs) {
            let key = SourceKey(log.name.into());
            let head = saved.and_then(|checkpoint| checkpoint.heads.get(&key));
            let offset = head.map_or(0, |head| head.offset);
            readers.push(match log.kind {
                _ if written.deleted => {
                    intake.extend(head.map(|_| Intake::Gone(key)));
                    Reader::Gone
                }
                LogKind::Http => Reader::Journal(usize::try_from(offset).unwrap()),
                kind => Reader::File(
                    Splitter::new(framing(kind), RECORD_BYTES_MAX, offset),
                    offset == 0,
                ),
            });
        }
        Self {
            engine,
            readers,
            intake,
            shipping: Shipping::new(bulk_bytes),
            changed: false,
            under_way: None,
            ending: None,
            cut: false,
            records: [0; 3],
        }
    }

    /// Everything that is written has been read, and is past the engine.
    pub(super) fn has_read(&self, disk: &Disk) -> bool {
        self.intake.is_empty()
            && (0..self.readers.len()).all(|log| self.unread(log, &disk.logs[log]) == 0)
    }

    /// Bytes of a log that are there to be read.
    pub(super) fn unread(&self, log: usize, written: &Written) -> usize {
        match &self.readers[log] {
            Reader::File(splitter, _) => {
                written.bytes - usize::try_from(splitter.read_offset()).unwrap()
            }
            Reader::Journal(offset) => written.bytes - offset,
            Reader::Gone => 0,
        }
    }

    pub(super) fn may_read(&self) -> bool {
        self.intake.len() < INTAKE_MAX && self.ending.is_none()
    }

    pub(super) fn may_step(&self) -> bool {
        self.shipping.cargo.len() < CARGO_MAX && self.ending.is_none()
    }

    /// Reads up to `bytes` of a file, or up to `bytes` records of a journal.
    pub(super) fn read(&mut self, story: &Story, log: usize, written: &Written, bytes: usize) {
        let told = &story.logs[log];
        match &mut self.readers[log] {
            Reader::File(splitter, fresh) => {
                let from = usize::try_from(splitter.read_offset()).unwrap();
                let until = written.bytes.min(from + bytes);
                splitter
                    .space(bytes)
                    .extend_from_slice(&told.layout.text[from..until]);
                while let Some(run) = splitter.take() {
                    let restart = std::mem::take(fresh);
                    let offset = splitter.offset();
                    let batch = batch(told.name, told.kind, run, restart, offset);
                    self.intake.push_back(Intake::Batch(batch));
                }
            }
            Reader::Journal(offset) => {
                assert!(*offset >= written.cut, "what was deleted is read again");
                let ends = &told.layout.entries;
                let next = ends.partition_point(|end| end <= offset);
                let kind_of = |entry: usize| told.entries[entry].1.kind;
                let is_like = |entry: &usize| {
                    ends[*entry] <= written.bytes && kind_of(*entry) == kind_of(next)
                };
                let end = ends[(next..ends.len())
                    .take(bytes)
                    .take_while(is_like)
                    .last()
                    .unwrap_or(next)];
                let run = Run {
                    base: *offset as u64,
                    bytes: told.layout.text[*offset..end].to_vec().into(),
                    faults: Vec::new(),
                };
                *offset = end;
                let mut batch = batch(told.name, told.kind, run, false, *offset as u64);
                batch.kind = kind_of(next);
                self.intake.push_back(Intake::Batch(batch));
            }
            Reader::Gone => {}
        }
    }

    /// The engine takes the next of what was read, as `agent::pump` lets it.
    ///
    /// # Errors
    /// An invariant is broken.
    pub(super) fn push(&mut self, story: &Story, now: i64) -> Result<Documents, String> {
        let mut out = Documents::default();
        match self.intake.pop_front() {
            Some(Intake::Batch(batch)) => {
                self.records[usize::from(batch.input.0)] += records_in(&batch, story);
                self.engine.push(&batch, Timestamp(now), &mut out);
                self.changed = true;
            }
            Some(Intake::Host(snapshot)) => self.engine.observe(snapshot, Timestamp(now), &mut out),
            Some(Intake::Gone(source)) => {
                self.engine.forget(&source);
                self.changed = true;
            }
            // No story hands letters back, and nobody says or asks anything of alerts.
            Some(
                Intake::Again(_)
                | Intake::Operations(_)
                | Intake::Acknowledged(_)
                | Intake::Accepted(_)
                | Intake::Pulse(_),
            )
            | None => {}
        }
        self.step(now, out)
    }

    /// What the engine does after everything, and whenever its time comes.
    ///
    /// # Errors
    /// An invariant is broken.
    pub(super) fn step(&mut self, now: i64, mut out: Documents) -> Result<Documents, String> {
        if self
            .under_way
            .take_if(|number| *number <= self.shipping.saved)
            .is_some()
        {
            self.engine.committed(self.shipping.saved);
        }
        if self.ending.is_none() && self.is_due(now) {
            self.engine.advance(Timestamp(now), &mut out);
        }
        if let Some(fault) = self.engine.fault() {
            return Err(format!("the engine has a fault: {fault}"));
        }
        self.changed |= !out.is_empty();
        self.shipping.ledger.made += out.items.len();
        Ok(out)
    }

    pub(super) fn is_due(&self, now: i64) -> bool {
        self.engine
            .deadline()
            .is_some_and(|deadline| deadline.0 <= now)
    }

    /// Makes a checkpoint, which rides behind the documents.
    pub(super) fn checkpoint(&mut self) -> u64 {
        let checkpoint: Checkpoint = self.engine.checkpoint().expect("no fault");
        let number = checkpoint.cold.edges.number;
        self.under_way = Some(number);
        self.changed = false;
        self.shipping.cargo.push_back(Cargo::Barrier(checkpoint));
        number
    }

    /// The conservation equation of DESIGN §7, both halves.
    ///
    /// # Errors
    /// It does not hold.
    pub(super) fn conserves(&self) -> Result<(), String> {
        let totals = self.engine.totals();
        for (input, (counted, handed)) in totals.inputs.iter().zip(self.records).enumerate() {
            if !counted.is_balanced() || counted.records != handed {
                return Err(format!(
                    "records are not conserved: input {input} was handed {handed}, and counts {counted:?}"
                ));
            }
        }
        let ledger = self.shipping.ledger;
        let in_flight = self.shipping.in_flight();
        if ledger.made != ledger.stored + ledger.superseded + ledger.dead + in_flight {
            return Err(format!(
                "documents are not conserved: {ledger:?}, in flight {in_flight}"
            ));
        }
        Ok(())
    }
}

/// Records of a batch, by what the story says of its stretch of the log.
fn records_in(batch: &Batch, story: &Story) -> u64 {
    let log = story.logs.iter().find(|log| log.name == &*batch.source.0);
    let log = log.expect("a log of the story");
    let stretch = batch.base..batch.base + batch.bytes.len() as u64;
    let is_inside = |offset: u64| {
        stretch.contains(&offset) || batch.faults.iter().any(|fault| fault.offset == offset)
    };
    let inside = log
        .layout
        .records
        .iter()
        .filter(|(start, _)| is_inside(*start as u64));
    inside.map(|(_, facts)| *facts as u64).sum()
}

fn batch(name: &str, kind: LogKind, run: Run, restart: bool, offset: u64) -> Batch {
    Batch {
        input: InputId(kind.input()),
        source: SourceKey(name.into()),
        origin: Arc::from(name),
        kind: None,
        bytes: run.bytes,
        base: run.base,
        faults: run.faults,
        restart,
        head: Head {
            input: kind.input(),
            offset,
            evidence: String::new(),
        },
    }
}

pub(super) fn framing(kind: LogKind) -> Framing {
    match kind {
        LogKind::Csv => Framing::Csv,
        LogKind::Json | LogKind::Http => Framing::Lines,
    }
}
