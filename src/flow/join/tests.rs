//! The queue of open predictions against a plain list, and the rule of the winning label.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Push {
        id: u8,
        series: u8,
    },
    Pop,
    Find(u8),
    /// A label for every prediction with this id.
    Change(u8),
    /// A checkpoint is made; the newest so many are held.
    Cut {
        held: u64,
    },
    /// The latest checkpoint is saved; the engine hears of it, or not yet.
    Save {
        heard: bool,
    },
    Hear,
    /// The process dies: on with the last saved checkpoint.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..20_u8, 0..3_u8).prop_map(|(id, series)| Step::Push { id, series }),
        2 => Just(Step::Pop),
        2 => (0..20_u8).prop_map(Step::Find),
        3 => (0..20_u8).prop_map(Step::Change),
        2 => (0..3_u64).prop_map(|held| Step::Cut { held }),
        2 => any::<bool>().prop_map(|heard| Step::Save { heard }),
        1 => Just(Step::Hear),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 0..200)
}

fn open(id: u8, series: u8) -> Open {
    Open::new(
        Key::of(&id.to_string(), None),
        Timestamp(0),
        Timestamp(0),
        u32::from(series),
        0,
    )
}

/// What there is, by ticket: key, series, how often it was changed.
type List = std::collections::BTreeMap<Ticket, (Key, u32, u32)>;

/// The queue, its store and its checkpoints, beside a plain list of what should be there.
struct Bench {
    bytes_max: usize,
    shelf: shelf::Shelf,
    opens: Opens,
    list: List,
    number: u64,
    made: Option<(OpensState, Delta, List)>,
    saved: (OpensState, u64, List),
}

impl Bench {
    fn new(bytes_max: usize) -> Self {
        let shelf = shelf::Shelf::default();
        let mut opens = Opens::new(bytes_max);
        opens.spill_to(Box::new(shelf.clone()));
        Self {
            bytes_max,
            shelf,
            opens,
            list: List::new(),
            number: 0,
            made: None,
            saved: Default::default(),
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Push { id, series } => {
                let ticket = self.opens.push(open(id, series));
                self.list
                    .insert(ticket, (open(id, series).key, u32::from(series), 0));
            }
            Step::Pop => {
                let popped = self
                    .opens
                    .pop()
                    .map(|open| (open.key, open.series, open.revision));
                assert_eq!(popped, self.list.pop_first().map(|(_, entry)| entry));
            }
            Step::Find(id) => {
                let key = open(id, 0).key;
                for ticket in self.opens.find(key) {
                    let open = self.opens.get(ticket).unwrap();
                    assert_eq!((open.key, open.series, open.revision), self.list[&ticket]);
                }
                let expected = self
                    .list
                    .iter()
                    .filter(|(_, (of, ..))| *of == key)
                    .map(|(ticket, _)| *ticket);
                assert_eq!(self.opens.find(key).to_vec(), expected.collect::<Vec<_>>());
            }
            Step::Change(id) => {
                for ticket in self.opens.find(open(id, 0).key) {
                    self.opens.get_mut(ticket).unwrap().revision += 1;
                    self.list.get_mut(&ticket).unwrap().2 += 1;
                }
            }
            Step::Cut { held } => {
                self.number += 1;
                let end = self.list.last_key_value().map_or(0, |(last, _)| last + 1);
                let (state, delta) = self
                    .opens
                    .cut(self.number, Some(end.saturating_sub(held)))
                    .unwrap();
                self.made = Some((state, delta, self.list.clone()));
            }
            Step::Save { heard } => {
                if let Some((state, delta, list)) = self.made.take() {
                    self.shelf.apply(&delta);
                    // A crash before the engine hears of it applies it once more.
                    self.shelf.apply(&delta);
                    self.saved = (state, delta.edges.number, list);
                    if heard {
                        self.opens.committed(self.saved.1);
                    }
                }
            }
            Step::Hear => self.opens.committed(self.saved.1),
            Step::Crash => {
                self.opens = Opens::resume(self.bytes_max, &self.saved.0).unwrap();
                self.opens.spill_to(Box::new(self.shelf.clone()));
                self.number = self.saved.1;
                self.list = self.saved.2.clone();
                self.made = None;
            }
        }
        assert_eq!(self.opens.fault(), None);
        assert_eq!(
            (self.opens.len(), self.opens.is_empty()),
            (self.list.len(), self.list.is_empty())
        );
        assert_eq!(self.opens.oldest().is_some(), !self.list.is_empty());
    }
}

proptest! {
    /// The oracle is a list searched from its start, and a copy of it for every checkpoint.
    #[test]
    fn the_queue_finds_what_a_list_finds(steps in steps(), bytes_max in prop_oneof![Just(0), 0..20_000_usize, Just(1 << 30)]) {
        let mut bench = Bench::new(bytes_max);
        for step in steps {
            bench.take(&step);
        }
        while !bench.list.is_empty() {
            bench.take(&Step::Pop);
        }
    }

    /// Labels with distinct times, in any order: the one with the latest time wins.
    #[test]
    fn the_latest_label_wins_in_any_order(labels in prop::collection::vec((0..4_u32, prop::option::of(0..50_i64)), 1..8)) {
        let truth = |(class, time): (u32, Option<i64>)| Truth { actual: Outcome::Class(class), time: time.map(Timestamp), shared: true };
        let mut winner: Option<Truth> = None;
        for label in labels.iter().copied().map(truth) {
            let wins = winner.is_none_or(|old| matches!(label.against(&old), Verdict::Moves | Verdict::Corrects));
            if wins {
                winner = Some(label);
            }
        }
        let latest = labels.iter().map(|label| label.1).max().unwrap();
        let last_of_latest = labels.iter().rev().find(|label| label.1 == latest).unwrap();
        let winner = winner.unwrap();
        prop_assert_eq!((winner.actual, winner.time), (Outcome::Class(last_of_latest.0), latest.map(Timestamp)));
    }
}

#[test]
fn segments_come_and_go() {
    let mut opens = Opens::default();
    for round in 0..3_u32 {
        for number in 0..10_000_u32 {
            let key = Key::of(&format!("{round}-{number}"), None);
            let ticket = opens.push(Open::new(key, Timestamp(0), Timestamp(0), 0, 0));
            assert_eq!(opens.find(key).to_vec(), [ticket]);
        }
        for _ in 0..9_999 {
            assert!(opens.pop().is_some());
        }
    }
    assert_eq!(opens.len(), 3);
}

#[test]
fn the_bound_holds_and_nothing_is_lost() {
    const MOST: usize = 4 << 20;
    let mut bench = Bench::new(MOST);
    let keys: Vec<Key> = (0..100_000_u32)
        .map(|number| Key::of(&number.to_string(), None))
        .collect();
    let mut most = 0;
    for key in &keys {
        bench
            .opens
            .push_behind(Open::new(*key, Timestamp(1), Timestamp(2), 0, 0), None);
        if bench.opens.is_crowded() {
            let (_, delta) = bench.opens.cut(bench.number + 1, None).unwrap();
            bench.number += 1;
            bench.shelf.apply(&delta);
            bench.opens.committed(bench.number);
        }
        most = most.max(bench.opens.bytes());
    }
    assert!(most <= MOST, "{most}");
    assert!(bench.shelf.len() > 80_000, "{}", bench.shelf.len());
    for (ticket, key) in (0..).zip(&keys).step_by(997) {
        assert_eq!(bench.opens.find(*key).to_vec(), [ticket]);
        assert_eq!(bench.opens.get(ticket).unwrap().time, Timestamp(1));
    }
}

#[test]
fn who_never_spills_needs_no_store() {
    let mut bench = Bench::new(1 << 20);
    for _ in 0..3 {
        bench.take(&Step::Push { id: 1, series: 0 });
        bench.take(&Step::Pop);
        bench.take(&Step::Cut { held: 0 });
        let (_, delta, _) = bench.made.clone().unwrap();
        assert!(delta.is_empty(), "{delta:?}");
        bench.take(&Step::Save { heard: true });
        bench.take(&Step::Crash);
    }
}

#[test]
fn a_store_that_cannot_be_read_is_a_fault() {
    #[derive(Debug)]
    struct Broken;
    impl Cold for Broken {
        fn find(&self, _: Key, _: &mut dyn FnMut(Ticket, &[u8])) -> Result<(), ColdError> {
            Err(ColdError("the disk is gone".into()))
        }
        fn read(
            &self,
            _: Ticket,
            _: usize,
            _: &mut dyn FnMut(Ticket, &[u8]),
        ) -> Result<(), ColdError> {
            Err(ColdError("the disk is gone".into()))
        }
    }
    let mut opens = Opens::new(0);
    opens.spill_to(Box::new(Broken));
    opens.push(open(1, 0));
    opens.push(open(2, 0));
    opens.cut(1, None).unwrap();
    opens.committed(1);
    assert_eq!(opens.fault(), None);
    assert!(opens.find(open(1, 0).key).is_empty());
    assert_eq!(opens.fault(), Some("the disk is gone"));
    assert!(opens.pop().is_none());
}

#[test]
fn a_row_is_part_of_the_key() {
    assert_ne!(Key::of("a", None), Key::of("a", Some(0)));
    assert_ne!(Key::of("a", Some(1)), Key::of("a", Some(0)));
}

#[test]
fn a_label_may_come_first_and_a_shared_one_serves_every_version() {
    let mut join = Join::default();
    let key = Key::of("1", None);
    let truth = Truth {
        actual: Outcome::Class(7),
        time: None,
        shared: true,
    };
    join.earlies
        .put(Address { key, model: None }, "1", truth, Timestamp(5));
    let Met::New(first, Some(early)) =
        join.predict(Open::new(key, Timestamp(0), Timestamp(9), 0, 0), 0)
    else {
        panic!("the label waited for it");
    };
    join.opens.get_mut(first).unwrap().set_truth(early.truth);
    let met = join.predict(Open::new(key, Timestamp(0), Timestamp(9), 1, 0), 0);
    assert!(
        matches!(met, Met::New(_, Some(early)) if early.truth == truth),
        "the second version takes the same label"
    );
    assert!(matches!(
        join.predict(Open::new(key, Timestamp(0), Timestamp(9), 1, 0), 0),
        Met::Duplicate(_)
    ));
    assert!(join.earlies.is_empty());
}
