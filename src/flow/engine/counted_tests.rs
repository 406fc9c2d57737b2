//! Counts that go on over a restart.

use super::tests::{NINE, batch, prediction, settings};
use super::*;

/// A dead letter, an ignored record, and predictions of these numbers.
fn take_in(engine: &mut Engine, ids: &[u32]) {
    let mut lines = vec![
        "{\"event\":\"prediction\"".to_owned(),
        r#"{"event":"other"}"#.to_owned(),
    ];
    lines.extend(ids.iter().map(|id| prediction(*id, "fraud", "DE")));
    engine.push(&batch(&lines), Timestamp(NINE), &mut Documents::default());
}

#[test]
fn a_replay_counts_what_it_replays_once() {
    let mut engine = Engine::new(settings()).unwrap();
    take_in(&mut engine, &[1, 2]);
    let checkpoint = engine.checkpoint().unwrap();
    take_in(&mut engine, &[2, 3]);
    let counted = engine.counted();
    let input = &counted.inputs[0];
    assert_eq!(
        (
            input.records,
            input.predictions,
            input.duplicates,
            input.dead_letters
        ),
        (8, 3, 1, 2)
    );
    assert_eq!(input.ignored.values().sum::<u64>(), 2);

    // Twice killed before its next checkpoint.
    for _ in 0..2 {
        let mut engine = Engine::resume(settings(), &checkpoint).unwrap();
        assert_eq!(engine.counted().events(), 4);
        take_in(&mut engine, &[2, 3]);
        assert_eq!(engine.counted(), counted);
        assert_eq!(engine.totals().events(), 4, "since it was resumed");
        let again = Engine::resume(settings(), &engine.checkpoint().unwrap()).unwrap();
        assert_eq!(again.counted(), counted);
    }
}

/// The state of a modelbeat that kept no counts ends where they begin.
#[test]
fn a_checkpoint_without_counts_is_resumed_and_counts_from_there() {
    let mut engine = Engine::new(settings()).unwrap();
    let counts = postcard::to_stdvec(&engine.counted()).unwrap().len();
    let mut checkpoint = engine.checkpoint().unwrap();
    let alerts = engine.state.alerts.cut(2, Vec::new()).unwrap().len();
    let without_counts = checkpoint.state.len() - counts - alerts;
    checkpoint.state.truncate(without_counts);
    let mut engine = Engine::resume(settings(), &checkpoint).unwrap();
    take_in(&mut engine, &[1]);
    assert_eq!(engine.counted().events(), 3);
}
