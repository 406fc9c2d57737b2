//! The queue of open predictions against a plain list, and the rule of the winning label.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Push { id: u8, series: u8 },
    Pop,
    Find(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..20_u8, 0..3_u8).prop_map(|(id, series)| Step::Push { id, series }),
        3 => Just(Step::Pop),
        2 => (0..20_u8).prop_map(Step::Find),
    ];
    prop::collection::vec(step, 0..200)
}

fn open(id: u8, series: u8) -> Open {
    Open::new(Key::of(&id.to_string(), None), Timestamp(0), Timestamp(0), u32::from(series), 0)
}

proptest! {
    /// The oracle is a vector searched from its start.
    #[test]
    fn the_queue_finds_what_a_list_finds(steps in steps()) {
        let mut opens = Opens::default();
        let mut list: std::collections::VecDeque<(Ticket, Key, u32)> = std::collections::VecDeque::new();
        for step in steps {
            match step {
                Step::Push { id, series } => {
                    let ticket = opens.push(open(id, series));
                    list.push_back((ticket, Key::of(&id.to_string(), None), u32::from(series)));
                }
                Step::Pop => {
                    let popped = opens.pop().map(|open| (open.key, open.series));
                    prop_assert_eq!(popped, list.pop_front().map(|(_, key, series)| (key, series)));
                }
                Step::Find(id) => {
                    let key = Key::of(&id.to_string(), None);
                    let expected: Vec<Ticket> = list.iter().filter(|entry| entry.1 == key).map(|entry| entry.0).collect();
                    prop_assert_eq!(opens.find(key).collect::<Vec<_>>(), expected);
                }
            }
            prop_assert_eq!(opens.len(), list.len());
        }
        let again: Opens = opens.iter().cloned().collect();
        prop_assert_eq!(again.iter().map(|open| open.key).collect::<Vec<_>>(), list.iter().map(|entry| entry.1).collect::<Vec<_>>());
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
            assert_eq!(opens.find(key).collect::<Vec<_>>(), [ticket]);
        }
        for _ in 0..9_999 {
            assert!(opens.pop().is_some());
        }
    }
    assert_eq!(opens.len(), 3);
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
    let truth = Truth { actual: Outcome::Class(7), time: None, shared: true };
    join.earlies.put(Address { key, model: None }, "1", truth, Timestamp(5));
    let Met::New(first, Some(early)) = join.predict(Open::new(key, Timestamp(0), Timestamp(9), 0, 0), 0) else {
        panic!("the label waited for it");
    };
    join.opens.get_mut(first).unwrap().truth = Some(early.truth);
    let met = join.predict(Open::new(key, Timestamp(0), Timestamp(9), 1, 0), 0);
    assert!(matches!(met, Met::New(_, Some(early)) if early.truth == truth), "the second version takes the same label");
    assert!(matches!(join.predict(Open::new(key, Timestamp(0), Timestamp(9), 1, 0), 0), Met::Duplicate(_)));
    assert!(join.earlies.is_empty());
}
