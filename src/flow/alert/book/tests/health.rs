//! The agent's own health, by pulses written by hand.

use super::{NINE, Scene, settings};
use crate::flow::alert::notice::Severity;
use crate::flow::alert::pulse::{Counted, Figure, HealthRule, Pulse};
use crate::flow::alert::rule::{Rule, Watch};
use crate::flow::alert::{Stretch, Subject};
use crate::flow::event::Timestamp;

fn rule(figure: Figure, above: f64, clear: f64, minutes: i64) -> Rule {
    Rule {
        name: figure.name().into(),
        severity: Severity::Critical,
        notify: vec!["ops".into()],
        watch: Watch::Health(HealthRule {
            figure,
            above,
            clear,
            for_ms: minutes * 60_000,
            over_ms: 15 * 60_000,
            min_support: 100,
        }),
    }
}

impl Scene {
    /// So many seconds after nine, the input lags by as many more.
    fn lags(&mut self, second: i64, lag: f64) {
        let pulse = Pulse {
            input_lag_seconds: lag,
            ..Pulse::default()
        };
        self.now = Timestamp(NINE + second * 1_000);
        self.book.feel(&pulse, Counted::default(), self.now);
    }

    fn has_counted(&mut self, second: i64, records: u64, dead_records: u64, dead_documents: u64) {
        let counted = Counted {
            records,
            dead_records,
            dead_documents,
        };
        self.now = Timestamp(NINE + second * 1_000);
        self.book.feel(&Pulse::default(), counted, self.now);
    }
}

#[test]
fn a_lag_fires_once_it_has_lasted_and_is_over_once_it_is_back() {
    let mut scene = Scene::of(settings(vec![rule(
        Figure::InputLagSeconds,
        300.0,
        60.0,
        5,
    )]));
    scene.lags(0, 300.0);
    assert_eq!(scene.story(), [""; 0], "not more than it may be");
    scene.lags(10, 310.0);
    assert_eq!(
        scene.story(),
        ["pending (not told): input_lag_seconds above 300: 310"]
    );
    scene.lags(20, 200.0);
    assert_eq!(scene.story(), ["resolved (not told): it is back: 200"]);
    for second in (30..330).step_by(10) {
        scene.lags(second, 400.0);
    }
    assert_eq!(scene.story().len(), 1, "five minutes are not over");
    scene.lags(330, 612.5);
    assert_eq!(
        scene.story(),
        ["firing: input_lag_seconds above 300 for 300 s: 612.5"]
    );
    let (_, event) = scene.book.active().next().unwrap();
    assert_eq!(event.subject, Subject::default());
    assert_eq!(
        (event.kind.as_str(), event.metric.as_str(), event.began),
        (
            "health",
            "agent.input_lag_seconds",
            Timestamp(NINE + 30_000)
        )
    );
    scene.lags(340, 61.0);
    scene.lags(350, 500.0);
    assert_eq!(
        scene.story(),
        [""; 0],
        "neither bad nor good, and bad again"
    );
    scene.lags(360, 60.0);
    assert_eq!(scene.story(), ["resolved: it is back: 60"]);
    assert_eq!(scene.book.active().count(), 0);
}

#[test]
fn a_restart_neither_repeats_an_alert_nor_counts_the_stop_as_ill_health() {
    let mut scene = Scene::of(settings(vec![rule(
        Figure::InputLagSeconds,
        300.0,
        300.0,
        5,
    )]));
    scene.lags(0, 400.0);
    assert_eq!(scene.story().len(), 1, "pending");
    let kept = scene.save();
    scene.now = Timestamp(NINE + 3_600_000);
    scene.resume(&kept);
    scene.lags(3_600, 400.0);
    assert_eq!(scene.story(), [""; 0], "for how long, nobody knows");
    scene.lags(3_900, 400.0);
    assert_eq!(scene.story().len(), 1, "firing");
    let kept = scene.save();
    scene.resume(&kept);
    scene.lags(3_910, 400.0);
    assert_eq!(scene.story(), [""; 0]);
    scene.lags(3_920, 0.0);
    assert_eq!(scene.story(), ["resolved: it is back: 0"]);
}

#[test]
fn dead_letters_are_counted_over_a_stretch_of_time() {
    let rules = vec![
        rule(Figure::DeadLetterRate, 0.01, 0.01, 0),
        rule(Figure::DeadLetters, 4.0, 4.0, 0),
    ];
    let mut scene = Scene::of(settings(rules));
    scene.has_counted(0, 99, 3, 1);
    assert_eq!(
        scene.story(),
        [""; 0],
        "of 99 records no share is known, and four letters may be"
    );
    scene.has_counted(10, 200, 3, 2);
    assert_eq!(
        scene.story(),
        [
            "firing: dead_letter_rate in 900 s above 0.01: 0.015 of 200 records",
            "firing: dead_letters in 900 s above 4: 5",
        ]
    );
    // Quarter of an hour later only what came since the first pulse counts: 2 of 401 records, and three letters.
    scene.has_counted(900, 500, 5, 2);
    assert_eq!(
        scene.story(),
        [
            "resolved: it is back: 0.005 of 401 records",
            "resolved: it is back: 3",
        ]
    );
}

#[test]
fn a_restart_while_nothing_gets_through_does_not_end_the_alert() {
    let mut scene = Scene::of(settings(vec![rule(Figure::HeldUpSeconds, 60.0, 60.0, 0)]));
    let mut held_up = |second: i64, held_up_seconds, held_up_longer| {
        let pulse = Pulse {
            held_up_seconds,
            held_up_longer,
            ..Pulse::default()
        };
        scene.now = Timestamp(NINE + second * 1_000);
        scene.book.feel(&pulse, Counted::default(), scene.now);
        scene.story()
    };
    assert_eq!(
        held_up(0, 61.0, true),
        ["firing: held_up_seconds above 60: 61"]
    );
    assert_eq!(held_up(10, 0.0, true), [""; 0]);
    assert_eq!(held_up(20, 70.0, true), [""; 0], "it fires already");
    assert_eq!(held_up(30, 0.0, false), ["resolved: it is back: 0"]);
}

#[test]
fn in_maintenance_the_agent_may_lag() {
    let mut settings = settings(vec![rule(Figure::InputLagSeconds, 300.0, 300.0, 0)]);
    settings.maintenance = vec![Stretch {
        from: Timestamp(NINE),
        until: Timestamp(NINE + 60_000),
    }];
    let mut scene = Scene::of(settings);
    scene.lags(59, 999.0);
    assert_eq!(scene.story(), [""; 0]);
    scene.lags(60, 999.0);
    assert_eq!(scene.story().len(), 1);
}

#[test]
fn what_is_not_there_is_not_judged() {
    let mut scene = Scene::of(settings(vec![rule(Figure::SpoolFilled, 0.0, 0.0, 0)]));
    scene.lags(0, 999.0);
    assert_eq!(scene.story(), [""; 0]);
}
