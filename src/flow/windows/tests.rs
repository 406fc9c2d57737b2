//! Windows from events, and their ends.

use proptest::prelude::*;

use super::shelf::RowShelf;
use super::*;
use crate::flow::quality::{Judgement, Outcome, Scored, Tally, TaskKind};

const MINUTE: i64 = 60_000;
const PLACE: Place = Place {
    series: 3,
    slice_set: 0,
};
const TASK: TaskKind = TaskKind::Binary { positive: 1 };
const ANSWER: Scored<'static> = Scored {
    predicted: Outcome::Class(1),
    score: None,
    scores: &[],
    latency_ms: None,
};

#[test]
fn an_event_counts_in_every_length_and_slice() {
    let hopping = Length::Hopping {
        length: 3 * MINUTE,
        every: MINUTE,
    };
    let mut windows = Windows::new(
        &[
            Length::Fixed(MINUTE),
            Length::Month,
            hopping,
            Length::Cumulative,
        ],
        0,
    );
    let time = Timestamp(1_795_510_800_123);
    let mut gains = 0;
    assert_eq!(
        windows.change(PLACE, &[4, 5], time, Some(time), |_| gains += 1),
        0
    );
    assert_eq!(gains, 3, "the whole and its slices");
    windows.gather();
    let lengths = [
        Length::Fixed(MINUTE),
        Length::Month,
        hopping,
        Length::Cumulative,
    ];
    let mut expected: Vec<_> = lengths
        .into_iter()
        .flat_map(|length| [0, 4, 5].map(|slice| (length, slice)))
        .collect();
    expected.sort_unstable();
    let mut panes: Vec<_> = windows
        .panes
        .keys()
        .map(|key| (key.length, key.slice))
        .collect();
    panes.sort_unstable();
    assert_eq!(panes, expected, "one pane for all three hopping windows");
    let dirty = windows.take_dirty(usize::MAX);
    assert_eq!(dirty.len(), 3 * (1 + 1 + 3 + 1));
    assert!(
        dirty
            .iter()
            .filter(|key| key.length == hopping)
            .all(|key| windows.has(key))
    );
    assert!(!windows.any_dirty());
}

#[test]
fn what_changed_is_taken_in_parts_the_oldest_first() {
    let mut windows = Windows::new(&[Length::Fixed(MINUTE)], 0);
    for minute in [3, 1, 2] {
        let time = Timestamp(minute * MINUTE);
        windows.change(PLACE, &[4], time, Some(time), |_| {});
    }
    let mut parts = Vec::new();
    loop {
        let part = windows.take_dirty(1);
        let minutes: Vec<_> = part.iter().map(|key| key.start.0 / MINUTE).collect();
        parts.push(minutes);
        if !windows.any_dirty() {
            break;
        }
    }
    // The whole and its slice go together.
    assert_eq!(parts, [[1, 1], [2, 2], [3, 3]]);
}

#[test]
fn a_straggler_does_not_reopen_a_final_window() {
    let lengths = [Length::Fixed(MINUTE)];
    let mut windows = Windows::new(&lengths, 0);
    windows.change(
        PLACE,
        &[],
        Timestamp(30_000),
        Some(Timestamp(40_000)),
        |_| {},
    );
    windows.take_dirty(usize::MAX);
    assert!(
        windows.settled(Timestamp(59_999), 10_000).is_empty(),
        "the window has not ended"
    );
    let closed = windows.settled(Timestamp(60_000), 10_000);
    assert_eq!(closed.len(), 1);
    assert!(windows.close(&closed));
    let mut touched = 0;
    assert_eq!(
        windows.change(
            PLACE,
            &[7],
            Timestamp(30_001),
            Some(Timestamp(99_000)),
            |_| touched += 1
        ),
        2
    );
    assert_eq!(touched, 0);
    let (state, _) = windows.cut(1).unwrap();
    let mut resumed = Windows::resume(&lengths, 0, state, 1);
    assert_eq!(resumed.cut(2).unwrap(), windows.cut(2).unwrap());
    assert!(!resumed.has(&closed[0]));
}

#[test]
fn a_cumulative_window_never_ends() {
    let mut windows = Windows::new(&[Length::Cumulative], 0);
    for time in [500, 100, 900] {
        windows.change(
            PLACE,
            &[],
            Timestamp(time),
            Some(Timestamp(1_000)),
            |gain| gain.tally.predict(&TASK, &ANSWER),
        );
    }
    let keys = windows.take_dirty(usize::MAX);
    let mut found = Vec::new();
    windows.fold(&keys, Tally::merge, |_, tally, span| {
        found.push((tally.counts().predictions, span.unwrap()));
    });
    assert_eq!(
        found,
        [(
            3,
            Span {
                first: Timestamp(100),
                last: Timestamp(900)
            }
        )]
    );
    assert!(windows.settled(Timestamp(i64::MAX - 1), 0).is_empty());
}

/// A prediction in the minute `at`, labelled `delay` minutes after its start, or taken in only.
#[derive(Clone, Debug)]
struct Event {
    at: i64,
    delay: Option<i64>,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (
        prop_oneof![0..12_i64, 30..34_i64, 900..902_i64],
        prop::option::of(-3..9_i64),
    );
    prop::collection::vec(event.prop_map(|(at, delay)| Event { at, delay }), 1..40)
}

proptest! {
    /// The oracle counts, for each window, the events that lie in it.
    #[test]
    fn hopping_windows_are_what_lies_in_them(events in events(), panes in 2..6_i64) {
        let length = Length::Hopping { length: panes * MINUTE, every: MINUTE };
        let mut windows = Windows::new(&[length], 0);
        for event in &events {
            let time = Timestamp(event.at * MINUTE + 17);
            windows.change(PLACE, &[], time, Some(time), |gain| gain.tally.predict(&TASK, &ANSWER));
            if let Some(delay) = event.delay {
                let label = Timestamp((event.at + delay) * MINUTE);
                let judged = Judged { judgement: Judgement::timeless(Outcome::Class(1)), time: Some(label) };
                windows.change(PLACE, &[], time, None, |gain| gain.label(&TASK, &ANSWER, judged));
            }
            if event.at % 3 == 0 {
                windows.gather();
            }
        }
        let keys = windows.take_dirty(usize::MAX);
        let mut found = Vec::new();
        windows.fold(&keys, Tally::merge, |key, tally, _| {
            let counts = tally.counts();
            found.push((key.start.0 / MINUTE, counts.predictions, counts.labelled, counts.late_labels));
        });
        let mut expected = Vec::new();
        for start in -10..1_000_i64 {
            let inside: Vec<_> = events.iter().filter(|event| (start..start + panes).contains(&event.at)).collect();
            let late = |event: &&&Event| event.delay.is_some_and(|delay| event.at + delay >= start + panes);
            let count = |some: usize| some as u64;
            if !inside.is_empty() {
                let labelled = inside.iter().filter(|event| event.delay.is_some()).count();
                expected.push((start, count(inside.len()), count(labelled), count(inside.iter().filter(late).count())));
            }
        }
        prop_assert_eq!(found, expected);
    }

    /// A window becomes final exactly once, when it has ended and the horizon of all its predictions is over; a pane lives as
    /// long as one window over it.
    #[test]
    fn hopping_windows_close_when_all_their_panes_are_over(arrivals in prop::collection::vec((0..8_i64, 0..20_i64), 1..12), panes in 2..4_i64) {
        let length = Length::Hopping { length: panes * MINUTE, every: MINUTE };
        let mut windows = Windows::new(&[length], 0);
        for &(at, arrived) in &arrivals {
            windows.change(PLACE, &[9], Timestamp(at * MINUTE), Some(Timestamp(arrived * MINUTE)), |_| {});
        }
        windows.take_dirty(usize::MAX);
        let horizon = 5;
        let mut closed = BTreeMap::new();
        for now in 0..40_i64 {
            let settled = windows.settled(Timestamp(now * MINUTE), horizon * MINUTE);
            windows.close(&settled);
            for key in settled.iter().filter(|key| key.slice == ALL) {
                prop_assert_eq!(closed.insert(key.start.0 / MINUTE, now), None, "closed twice");
            }
        }
        let mut expected = BTreeMap::new();
        for start in -5..8_i64 {
            let inside = arrivals.iter().filter(|(at, _)| (start..start + panes).contains(at));
            if let Some(last) = inside.map(|(_, arrived)| arrived).max() {
                expected.insert(start, (last + horizon).max(start + panes));
            }
        }
        prop_assert_eq!(closed, expected);
        prop_assert!(windows.is_empty());
    }
}

#[test]
fn windows_that_rest_leave_memory_and_come_back_when_touched() {
    let store = RowShelf::default();
    let mut windows = Windows::new(&[Length::Fixed(MINUTE)], 0);
    windows.spill_to(Box::new(store.clone()));
    let place = Place {
        series: 0,
        slice_set: 0,
    };
    let duplicate = |windows: &mut Windows, minute: i64| {
        let time = Timestamp(minute * MINUTE);
        windows.change(place, &[7], time, Some(time), |gain| gain.tally.duplicate());
        windows.gather();
    };
    let counted = |windows: &mut Windows, minute: i64, slice: u32| {
        let key = WindowKey {
            length: Length::Fixed(MINUTE),
            series: 0,
            slice,
            start: Timestamp(minute * MINUTE),
        };
        windows.fetch(&[key]);
        let mut duplicates = 0;
        windows.fold(&[key], Tally::merge, |_, tally, _| {
            duplicates = tally.counts().duplicates;
        });
        duplicates
    };
    duplicate(&mut windows, 1);
    duplicate(&mut windows, 2);
    let (_, delta) = windows.cut(1).unwrap();
    assert!(delta.is_empty(), "what is not published yet stays");
    windows.take_dirty(usize::MAX);
    let (_, delta) = windows.cut(2).unwrap();
    assert_eq!((delta.kept.len(), delta.gone.len()), (2, 0));
    // Touched before the checkpoint was saved: this one stays, and the store must forget it.
    duplicate(&mut windows, 2);
    store.apply(&delta);
    windows.committed(2);
    assert_eq!((windows.panes.len(), store.len(), windows.len()), (2, 2, 4));
    assert!(windows.any_dirty());
    let (_, delta) = windows.cut(3).unwrap();
    store.apply(&delta);
    windows.committed(3);
    assert_eq!(store.len(), 1);
    assert_eq!(
        [counted(&mut windows, 1, 7), counted(&mut windows, 2, 0)],
        [1, 2]
    );
    // Final windows are forgotten in the store, too.
    let later = Timestamp(10 * MINUTE);
    windows.take_dirty(usize::MAX);
    let settled = windows.settled(later, MINUTE);
    windows.fetch(&settled);
    windows.close(&settled);
    let (_, delta) = windows.cut(4).unwrap();
    store.apply(&delta);
    assert_eq!((windows.len(), store.len()), (0, 0));
}

/// Twenty minutes of two slices, published and at rest, under a bound of which a checkpoint may hold an eighth.
fn at_rest(bytes_max: usize, store: &RowShelf) -> Windows {
    let mut windows = Windows::new(&[Length::Fixed(MINUTE)], bytes_max);
    windows.spill_to(Box::new(store.clone()));
    for minute in 0..20 {
        count(&mut windows, minute);
    }
    windows.take_dirty(usize::MAX);
    windows
}

fn count(windows: &mut Windows, minute: i64) {
    let time = Timestamp(minute * MINUTE);
    windows.change(PLACE, &[7], time, Some(time), |gain| gain.tally.duplicate());
    windows.gather();
}

/// How often each of the minutes was counted, of the whole and the slice, and of how many panes.
fn counted(windows: &mut Windows) -> Vec<(i64, u64)> {
    let mut keys: Vec<_> = windows.settled(Timestamp(i64::MAX / 2), 0);
    keys.sort_unstable();
    windows.fetch(&keys);
    let mut found = Vec::new();
    for key in keys {
        windows.fold(&[key], Tally::merge, |key, tally, _| {
            found.push((key.start.0 / MINUTE, tally.counts().duplicates));
        });
    }
    found.sort_unstable();
    found
}

fn save(windows: &mut Windows, number: u64, store: &RowShelf) -> (usize, RowsDelta) {
    let (state, delta) = windows.cut(number).unwrap();
    let panes = state.panes.len();
    store.apply(&delta);
    windows.committed(number);
    (panes, delta)
}

#[test]
fn what_the_store_has_stays_at_hand_and_is_in_no_checkpoint() {
    let store = RowShelf::default();
    let mut windows = at_rest(1 << 20, &store);
    let (panes, delta) = save(&mut windows, 1, &store);
    assert_eq!(
        (panes, delta.is_empty()),
        (40, true),
        "so few may stay in a checkpoint"
    );

    let mut windows = at_rest(60_000, &store);
    save(&mut windows, 1, &store);
    let (panes, delta) = save(&mut windows, 2, &store);
    assert!(delta.is_empty());
    assert_eq!(panes + 2 * store.len(), 40);
    assert!(store.len() > 5, "{}", store.len());
    assert_eq!(windows.places(), (40, 0), "all are in memory");
    // Those that rest longest have left. One that is touched is the checkpoint's again.
    count(&mut windows, 0);
    let (touched, delta) = save(&mut windows, 3, &store);
    assert_eq!((touched, delta.gone.len()), (panes + 2, 1));
    assert_eq!(panes + 2 + 2 * store.len(), 42 - 2);
    let mut expected: Vec<_> = (0..20)
        .flat_map(|minute| [(minute, 1), (minute, 1)])
        .collect();
    expected[0].1 = 2;
    expected[1].1 = 2;
    assert_eq!(counted(&mut windows), expected);
    // A restart finds all of it, and has it at hand.
    let (state, delta) = windows.cut(4).unwrap();
    store.apply(&delta);
    let stored = postcard::to_stdvec(&state).unwrap();
    let state = postcard::from_bytes(&stored).unwrap();
    let mut resumed = Windows::resume(&[Length::Fixed(MINUTE)], 60_000, state, 4);
    assert_eq!(resumed.places().1, 2 * store.len());
    resumed.spill_to(Box::new(store.clone()));
    assert_eq!(resumed.places(), (40, 0));
    assert_eq!(counted(&mut resumed), expected);
}

#[test]
fn what_the_store_has_is_let_go_when_memory_is_needed() {
    let store = RowShelf::default();
    let mut windows = at_rest(16_000, &store);
    save(&mut windows, 1, &store);
    let here = windows.places().0;
    assert!(windows.bytes() <= 16_000, "{}", windows.bytes());
    // No checkpoint is needed for it.
    for minute in 20..40 {
        count(&mut windows, minute);
    }
    assert_eq!(windows.places().0 + windows.places().1, 80);
    assert!(windows.places().0 < here + 40, "{:?}", windows.places());
    let expected: Vec<_> = (0..40)
        .flat_map(|minute| [(minute, 1), (minute, 1)])
        .collect();
    assert_eq!(counted(&mut windows), expected);
}

#[test]
fn windows_that_grow_fast_are_published_and_saved_before_their_time() {
    let store = RowShelf::default();
    let mut windows = at_rest(16_000, &store);
    assert!(windows.are_heavy() && !windows.are_crowded());
    save(&mut windows, 1, &store);
    assert!(!windows.are_heavy());
    for minute in 20..40 {
        count(&mut windows, minute);
    }
    assert!(windows.are_heavy() && windows.are_crowded());
    windows.take_dirty(1);
    assert!(windows.are_crowded(), "there is more to publish");
    windows.take_dirty(usize::MAX);
    assert!(!windows.are_crowded());
}
