//! The store against a model of it, closed and opened at any point, and what it refuses.

use std::collections::BTreeMap;

use proptest::prelude::*;

mod damage;
mod log;
mod made;

use super::*;
use crate::flow::event::Timestamp;
use crate::flow::join::{Open, Opens, OpensState};
use crate::flow::windows::{Length, RowKey, Rows, RowsDelta};

fn key(id: u8) -> Key {
    Key::of(&id.to_string(), None)
}

static NO_ROWS: RowsDelta = RowsDelta {
    kept: Vec::new(),
    gone: Vec::new(),
};

/// A checkpoint's state and delta, and what the model held then.
type Saved = (OpensState, Delta, BTreeMap<Ticket, (u8, u32)>);

/// The queue of open predictions over a real store, with nearly everything on disk.
struct Bench {
    folder: tempfile::TempDir,
    state: State,
    opens: Opens,
    /// By ticket: id, how often it was changed.
    list: BTreeMap<Ticket, (u8, u32)>,
    number: u64,
    saved: Option<Saved>,
}

#[derive(Clone, Debug)]
enum Step {
    Push(u8),
    Pop(u8),
    Change(u8),
    Save,
    /// The checkpoint's file is in place, and the process dies before the store has heard of it, or after.
    SaveAndDie {
        applied: bool,
    },
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..40_u8).prop_map(Step::Push),
        1 => (1..10_u8).prop_map(Step::Pop),
        4 => (0..40_u8).prop_map(Step::Change),
        2 => Just(Step::Save),
        1 => any::<bool>().prop_map(|applied| Step::SaveAndDie { applied }),
        1 => Just(Step::Die),
    ]
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path());
        let mut opens = Opens::new(0);
        opens.spill_to(Box::new(state.clone()));
        Self {
            folder,
            state,
            opens,
            list: BTreeMap::new(),
            number: 0,
            saved: None,
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Push(id) => {
                let ticket = self
                    .opens
                    .push(Open::new(key(id), Timestamp(0), Timestamp(0), 0, 0));
                self.list.insert(ticket, (id, 0));
            }
            Step::Pop(times) => {
                for _ in 0..times {
                    let popped = self.opens.pop().map(|open| (open.key, open.revision));
                    assert_eq!(
                        popped,
                        self.list
                            .pop_first()
                            .map(|(_, (id, revision))| (key(id), revision))
                    );
                }
            }
            Step::Change(id) => {
                for ticket in self.opens.find(key(id)) {
                    self.opens.get_mut(ticket).unwrap().revision += 1;
                    self.list.get_mut(&ticket).unwrap().1 += 1;
                }
            }
            Step::Save => {
                let delta = self.save();
                self.state.apply(&delta, &RowsDelta::default()).unwrap();
                self.opens.committed(self.number);
            }
            Step::SaveAndDie { applied } => {
                let delta = self.save();
                if applied {
                    self.state.apply(&delta, &RowsDelta::default()).unwrap();
                }
                self.die();
            }
            Step::Die => self.die(),
        }
        assert_eq!(self.opens.fault(), None);
    }

    fn save(&mut self) -> Delta {
        self.number += 1;
        let (state, delta) = self.opens.cut(self.number, None).unwrap();
        self.saved = Some((state, delta.clone(), self.list.clone()));
        delta
    }

    fn die(&mut self) {
        // Both handles go: the store is closed.
        self.opens = Opens::default();
        self.state = State::new(self.folder.path());
        self.state
            .recover(self.saved.as_ref().map(|(_, delta, _)| (delta, &NO_ROWS)))
            .unwrap();
        let (state, delta, list) = self.saved.clone().unwrap_or_default();
        self.opens = Opens::resume(0, &state).unwrap();
        self.opens.spill_to(Box::new(self.state.clone()));
        (self.number, self.list) = (delta.edges.number, list);
    }

    fn check(&mut self) {
        for id in 0..40 {
            let found = self.opens.find(key(id));
            let found: Vec<_> = found
                .iter()
                .map(|ticket| (*ticket, self.opens.get(*ticket).unwrap().revision))
                .collect();
            let expected = self.list.iter().filter(|(_, (of, _))| *of == id);
            assert_eq!(
                found,
                expected
                    .map(|(ticket, (_, revision))| (*ticket, *revision))
                    .collect::<Vec<_>>()
            );
        }
    }
}

proptest! {
    // Each case makes stores, which costs some files and fsyncs.
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_store_keeps_what_a_model_of_it_keeps(steps in prop::collection::vec(step(), 0..120)) {
        let mut bench = Bench::new();
        for step in &steps {
            bench.take(step);
        }
        bench.check();
        bench.die();
        bench.check();
        bench.take(&Step::Pop(u8::MAX));
    }
}

#[test]
fn a_store_of_another_time_is_refused() {
    let mut bench = Bench::new();
    bench.take(&Step::Push(1));
    bench.take(&Step::Save);
    let (_, first, _) = bench.saved.clone().unwrap();
    bench.take(&Step::Push(2));
    bench.take(&Step::Save);
    let (_, second, _) = bench.saved.clone().unwrap();
    bench.opens = Opens::default();
    bench.state = State::new(bench.folder.path());
    let refused = bench
        .state
        .recover(Some((&first, &RowsDelta::default())))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("has seen checkpoint 2, and the newest whole checkpoint is 1"),
        "{refused}"
    );
    bench
        .state
        .recover(Some((&second, &RowsDelta::default())))
        .unwrap();

    let elsewhere = tempfile::tempdir().unwrap();
    let refused = State::new(elsewhere.path())
        .recover(Some((&second, &RowsDelta::default())))
        .unwrap_err()
        .to_string();
    assert!(refused.contains("has seen checkpoint 0"), "{refused}");
}

/// Emptying it would look like a first start, and everything would be counted again from what is left of the inputs.
#[test]
fn a_store_without_a_checkpoint_is_refused_and_kept() {
    let mut bench = Bench::new();
    bench.take(&Step::Push(1));
    bench.take(&Step::Save);
    bench.opens = Opens::default();
    bench.state = State::new(bench.folder.path());
    let refused = bench.state.recover(None).unwrap_err().to_string();
    assert!(refused.contains("no checkpoint beside it"), "{refused}");
    assert!(bench.folder.path().join(FOLDER).is_dir());
}

#[test]
fn a_store_of_a_newer_modelbeat_says_so() {
    let mut bench = Bench::new();
    bench.take(&Step::Push(1));
    bench.take(&Step::Save);
    let (_, delta, _) = bench.saved.clone().unwrap();
    bench.opens = Opens::default();
    bench.state = State::new(bench.folder.path());
    let segment = bench
        .folder
        .path()
        .join(FOLDER)
        .join("00000000000000000001.rows");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[8] += 1;
    let sum = crc32fast::hash(&bytes[..12]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(&segment, bytes).unwrap();
    let refused = bench.state.recover(Some((&delta, &NO_ROWS))).unwrap_err();
    assert!(
        refused.to_string().contains("a newer modelbeat wrote"),
        "{refused}"
    );
}

#[test]
fn a_store_of_a_version_under_development_says_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(FOLDER)).unwrap();
    std::fs::write(folder.path().join(FOLDER).join("version"), b"FJL\x03").unwrap();
    let delta = Delta::default();
    let state = State::new(folder.path());
    let refused = state.recover(Some((&delta, &NO_ROWS))).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("move the whole data folder away"),
        "{refused}"
    );
}

#[test]
fn an_empty_delta_needs_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::new(folder.path());
    state
        .recover(Some((&Delta::default(), &RowsDelta::default())))
        .unwrap();
    state
        .apply(&Delta::default(), &RowsDelta::default())
        .unwrap();
    assert!(!folder.path().join(FOLDER).try_exists().unwrap());
}

#[test]
fn a_window_that_rests_is_given_back_until_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let key = |start| RowKey {
        length: Length::Fixed(60_000),
        start: Timestamp(start),
        series: 1,
    };
    let state = State::new(folder.path());
    let kept = RowsDelta {
        kept: vec![
            (key(0), b"first".to_vec()),
            (key(60_000), b"second".to_vec()),
        ],
        gone: Vec::new(),
    };
    let mut delta = Delta::default();
    delta.edges.number = 1;
    state.apply(&delta, &kept).unwrap();
    drop(state);
    // Reopened, and the same applied again: a crash between the checkpoint and the store.
    let state = State::new(folder.path());
    state.recover(Some((&delta, &kept))).unwrap();
    assert_eq!(state.row(&key(0)).unwrap(), Some(b"first".to_vec()));
    let gone = RowsDelta {
        kept: Vec::new(),
        gone: vec![key(0)],
    };
    delta.edges.number = 2;
    state.apply(&delta, &gone).unwrap();
    assert_eq!(state.row(&key(0)).unwrap(), None);
    assert_eq!(state.row(&key(60_000)).unwrap(), Some(b"second".to_vec()));
}
