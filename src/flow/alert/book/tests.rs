//! The book on windows whose shares are written by hand, and on any history with kills in it.

mod charts;
mod health;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::flow::alert::notice::Severity;
use crate::flow::alert::rule::{Basis, Check, Missing, Side, SilenceRule, Threshold, Watch};
use crate::flow::alert::{Mute, Numbers, Stretch};
use crate::flow::document::WindowIdentity;
use crate::flow::quality::intervals::wilson;

const HOUR: i64 = 3_600_000;
const NINE: i64 = 1_795_510_800_000; // 2026-11-24T09:00:00Z, a Tuesday

fn recall_below(at: f64, basis: Basis, in_a_row: u32) -> Rule {
    let on = WindowRule {
        metric: "quality.recall".into(),
        window: Length::Fixed(HOUR),
        model: None,
        version: None,
        slices: Vec::new(),
        min_support: 30,
        windows_in_a_row: in_a_row,
        wait_ms: 60_000,
        open: false,
        check: Check::Threshold(Threshold {
            side: Side::Below,
            at,
            clear: at,
            basis,
        }),
    };
    Rule {
        name: "recall-low".into(),
        severity: Severity::Critical,
        notify: vec!["ops".into()],
        watch: Watch::Windows(Box::new(on)),
    }
}

fn silence(minutes: i64) -> Rule {
    Rule {
        name: "silent".into(),
        severity: Severity::Warning,
        notify: vec!["ops".into()],
        watch: Watch::Silence(SilenceRule {
            after_ms: minutes * 60_000,
            of: Missing::Predictions,
        }),
    }
}

fn settings(rules: Vec<Rule>) -> Settings {
    Settings {
        rules,
        ..Settings::default()
    }
}

/// A book, its clock, and what it has told.
struct Scene {
    settings: Settings,
    book: Book,
    now: Timestamp,
    checkpoints: u64,
    told: Vec<Told>,
}

/// The window that begins so many hours after nine.
fn window(hour: i64) -> WindowIdentity<'static> {
    let start = Timestamp(NINE + hour * HOUR);
    WindowIdentity {
        pipeline: "p",
        agent_id: "a",
        model: "fraud",
        version: "7",
        slice_name: "_all",
        slice_value: None,
        length: Length::Fixed(HOUR),
        start,
        from: start,
        until: start.plus(HOUR),
    }
}

impl Scene {
    fn of(settings: Settings) -> Self {
        let mut book = Book::new(settings.clone(), "p", "a");
        let now = Timestamp(NINE);
        book.start(now);
        Self {
            settings,
            book,
            now,
            checkpoints: 0,
            told: Vec::new(),
        }
    }

    /// The window that begins so many hours after nine has recalled `hits` of `trials`.
    fn publish(&mut self, hour: i64, hits: u64, trials: u64) {
        let window = window(hour);
        self.book
            .read(&window, numbers(&|_| share(hits, trials)), self.now);
    }

    fn wait_until(&mut self, minutes: i64) {
        self.now = Timestamp(NINE + minutes * 60_000);
        self.book.look(self.now);
    }

    /// A durable checkpoint, and what may be told after it. Returns it.
    fn save(&mut self) -> Vec<u8> {
        self.checkpoints += 1;
        let bytes = self.book.cut(self.checkpoints, Vec::new()).unwrap();
        self.book.committed(self.checkpoints);
        self.told.extend(self.book.take_told(false));
        bytes
    }

    fn resume(&mut self, bytes: &[u8]) {
        self.book = Book::resume(self.settings.clone(), "p", "a", bytes).unwrap();
        self.book.start(self.now);
    }

    /// What was told, as `phase/notice reason`.
    fn story(&mut self) -> Vec<String> {
        self.save();
        let told = self
            .told
            .drain(..)
            .filter(|told| told.as_document || told.as_notice);
        told.map(|told| {
            let who = match (told.as_document, told.as_notice) {
                (true, true) => "",
                (true, false) => " (not told)",
                (false, _) => " (told now)",
            };
            format!("{}{who}: {}", told.event.phase.name(), told.event.reason)
        })
        .collect()
    }
}

fn numbers(reading: &dyn Fn(&str) -> Reading) -> Numbers<'_> {
    Numbers {
        reading,
        histogram: &|_| Histogram::new(),
    }
}

fn share(hits: u64, trials: u64) -> Reading {
    Reading {
        value: (trials > 0).then(|| hits as f64 / trials as f64),
        interval: wilson(hits, trials).map(|interval| (interval.low, interval.high)),
        share: Some((hits, trials)),
        support: trials,
        complete: false,
        p_value: None,
    }
}

#[test]
fn two_bad_windows_make_it_fire_and_a_good_one_ends_it() {
    let mut scene = Scene::of(settings(vec![recall_below(0.85, Basis::Bound, 2)]));
    scene.publish(0, 160, 212);
    scene.wait_until(60);
    assert_eq!(scene.story(), [""; 0], "a minute is left");
    scene.wait_until(61);
    // Intervals here are Wilson's, by a few lines of Python from his formula.
    assert_eq!(
        scene.story(),
        [
            "pending (not told): quality.recall below 0.85: 0.7547 of 212 rows, 0.6926 to 0.8078 at 95 %"
        ]
    );
    scene.publish(1, 10, 20);
    scene.publish(2, 160, 212);
    scene.wait_until(181);
    assert_eq!(
        scene.story(),
        [
            "firing: quality.recall below 0.85 in 2 windows: 0.7547 of 212 rows, 0.6926 to 0.8078 at 95 %"
        ],
        "a window of twenty rows says nothing"
    );
    scene.publish(3, 170, 205);
    scene.wait_until(241);
    assert_eq!(
        scene.story(),
        [""; 0],
        "neither bad nor good: 0.829, at most 0.874"
    );
    scene.publish(4, 180, 205);
    scene.wait_until(301);
    assert_eq!(
        scene.story(),
        ["resolved: it is back: 0.878 of 205 rows, 0.8262 to 0.916 at 95 %"]
    );
    assert_eq!(scene.book.active().count(), 0);
}

#[test]
fn late_labels_repair_a_window_at_once_but_are_not_looked_at_one_by_one() {
    let mut scene = Scene::of(settings(vec![recall_below(0.85, Basis::Bound, 1)]));
    scene.publish(0, 20, 40);
    scene.wait_until(61);
    assert_eq!(scene.story().len(), 1);
    scene.publish(0, 56, 76);
    scene.wait_until(62);
    assert_eq!(scene.story(), [""; 0], "0.7368, at most 0.8226");
    scene.publish(0, 95, 105);
    scene.wait_until(62);
    assert_eq!(
        scene.story(),
        [
            "resolved: labels that came late have repaired the window: 0.9048 of 105 rows, 0.8335 to 0.9474 at 95 %"
        ]
    );
    // Good windows wait: for twice the rows, or for a minute without news.
    scene.publish(0, 95, 150);
    scene.wait_until(62);
    assert_eq!(scene.story(), [""; 0]);
    scene.publish(0, 95, 210);
    scene.wait_until(62);
    let story = scene.story();
    assert!(story[0].starts_with("firing: "), "{story:?}");
    let ids: Vec<String> = scene
        .book
        .active()
        .map(|(_, event)| event.alert.clone())
        .collect();
    scene.publish(0, 200, 210);
    scene.wait_until(62);
    scene.publish(0, 200, 300);
    scene.wait_until(63);
    scene.story();
    let again: Vec<String> = scene
        .book
        .active()
        .map(|(_, event)| event.alert.clone())
        .collect();
    assert!(
        ids.len() == 1 && again.len() == 1 && ids != again,
        "another alert, another id"
    );
}

#[test]
fn nothing_is_told_before_it_is_durable_and_then_once() {
    let mut scene = Scene::of(settings(vec![recall_below(0.85, Basis::Bound, 1)]));
    scene.publish(0, 160, 212);
    scene.wait_until(61);
    assert!(scene.book.waits());
    assert_eq!(scene.book.take_told(false), []);
    let first = scene.book.cut(1, Vec::new()).unwrap();
    assert_eq!(
        scene.book.take_told(false),
        [],
        "it may not have reached the disk"
    );
    scene.book.committed(1);
    assert_eq!(scene.book.deadline(), Some(Timestamp(0)));
    let told = scene.book.take_told(false);
    assert_eq!(told.len(), 1);
    let second = scene.book.cut(2, Vec::new()).unwrap();

    scene.resume(&second);
    assert_eq!(
        scene.book.take_told(false),
        [],
        "it was told before the second"
    );
    scene.resume(&first);
    assert_eq!(
        scene.book.take_told(false),
        told,
        "it may not have been: the same again"
    );
    scene.publish(0, 160, 212);
    scene.wait_until(100);
    assert_eq!(scene.story(), [""; 0], "it fires already");
    assert_eq!(scene.book.active().count(), 1);
}

#[test]
fn what_is_withheld_after_it_was_told_is_over_and_not_told_again() {
    let mut scene = Scene::of(settings(vec![recall_below(0.85, Basis::Bound, 1)]));
    scene.publish(0, 160, 212);
    scene.wait_until(61);
    assert_eq!(scene.story().len(), 1);
    scene.book.withhold(&window(1), scene.now);
    assert_eq!(scene.book.active().count(), 1, "another window");
    scene.book.withhold(&window(0), scene.now);
    assert_eq!(scene.book.active().count(), 0);
    scene.save();
    let [over] = std::mem::take(&mut scene.told).try_into().unwrap();
    assert_eq!(over.event.phase, Phase::Resolved);
    let numbers = (over.event.value, over.event.interval, over.event.support);
    assert_eq!(numbers, (None, None, None));
    scene.wait_until(200);
    assert_eq!(scene.story(), [""; 0]);
}

#[test]
fn somebody_has_seen_it() {
    let mut scene = Scene::of(settings(vec![recall_below(0.85, Basis::Bound, 1)]));
    scene.publish(0, 160, 212);
    scene.wait_until(61);
    let id = scene.book.active().next().unwrap().1.alert.clone();
    assert!(!scene.book.acknowledge("other", scene.now));
    assert!(scene.book.acknowledge(&id, scene.now));
    assert!(!scene.book.acknowledge(&id, scene.now), "once");
    scene.publish(1, 200, 212);
    scene.wait_until(121);
    let phases: Vec<String> = scene.story();
    let phases: Vec<&str> = phases
        .iter()
        .filter_map(|told| told.split(':').next())
        .collect();
    assert_eq!(phases, ["firing", "acknowledged", "resolved"]);
}

#[test]
fn silence_fires_by_the_clock_and_a_stop_of_the_agent_is_none() {
    let mut scene = Scene::of(settings(vec![silence(15)]));
    scene.wait_until(14);
    scene.book.hear(true, false, scene.now);
    scene.wait_until(28);
    scene.book.hear(false, true, scene.now);
    assert_eq!(scene.book.deadline(), Some(Timestamp(NINE + 29 * 60_000)));
    scene.wait_until(28);
    assert_eq!(scene.story(), [""; 0]);
    let kept = scene.save();
    scene.now = Timestamp(NINE + 300 * 60_000);
    scene.resume(&kept);
    scene.wait_until(300);
    assert_eq!(scene.story(), [""; 0], "nobody listened");
    scene.wait_until(315);
    assert_eq!(
        scene.story(),
        ["firing: no predictions have come in for 900 s"]
    );
    scene.wait_until(400);
    scene.book.hear(true, false, scene.now);
    assert_eq!(scene.story(), ["resolved: predictions come in again"]);
}

#[test]
fn what_still_fires_when_a_mute_time_ends_is_told_then() {
    let mut settings = settings(vec![recall_below(0.85, Basis::Bound, 1)]);
    settings.mutes = vec![Mute {
        days: [true; 7],
        from_minute: 0,
        until_minute: 12 * 60,
        zone: jiff::tz::TimeZone::UTC,
        rules: Vec::new(),
    }];
    let mut scene = Scene::of(settings);
    scene.publish(0, 160, 212);
    scene.wait_until(61);
    let story = scene.story();
    assert!(story[0].starts_with("firing (not told): "), "{story:?}");
    scene.publish(1, 200, 212);
    scene.wait_until(121);
    let story = scene.story();
    assert!(
        story[0].starts_with("resolved (not told): "),
        "nobody knew of it: {story:?}"
    );
    scene.publish(2, 160, 212);
    scene.wait_until(179);
    scene.publish(2, 160, 213);
    scene.wait_until(181);
    let story = scene.story();
    assert!(story[0].starts_with("firing: "), "noon is over: {story:?}");
}

#[test]
fn a_rule_that_is_gone_takes_its_alerts_along() {
    let rule = recall_below(0.85, Basis::Bound, 1);
    let mut scene = Scene::of(settings(vec![rule.clone(), silence(15)]));
    scene.publish(0, 160, 212);
    scene.wait_until(61);
    assert_eq!(scene.story().len(), 2);
    let kept = scene.save();
    scene.settings.rules.remove(1);
    scene.resume(&kept);
    assert_eq!(
        scene.story(),
        ["resolved: its rule is not in the pipeline file any more, or watches something else"]
    );
    assert_eq!(scene.book.active().count(), 1);
}

#[test]
fn nothing_is_judged_in_maintenance() {
    let mut settings = settings(vec![recall_below(0.85, Basis::Bound, 1)]);
    settings.maintenance = vec![Stretch {
        from: Timestamp(NINE + HOUR / 2),
        until: Timestamp(NINE + HOUR),
    }];
    let mut scene = Scene::of(settings);
    scene.publish(0, 160, 212);
    scene.wait_until(61);
    assert_eq!(scene.story(), [""; 0]);
    scene.publish(1, 160, 212);
    scene.wait_until(121);
    assert_eq!(scene.story().len(), 1);
}

#[test]
fn subjects_are_bounded_and_those_with_an_alert_stay() {
    let mut rule = recall_below(0.85, Basis::Bound, 1);
    if let Watch::Windows(on) = &mut rule.watch {
        on.slices = vec!["country".into()];
    }
    let mut book = Book::new(settings(vec![rule]), "p", "a");
    for place in 0..400 {
        let value = format!("{place}");
        let start = Timestamp(NINE);
        let window = WindowIdentity {
            pipeline: "p",
            agent_id: "a",
            model: "fraud",
            version: "7",
            slice_name: "country",
            slice_value: Some(&value),
            length: Length::Fixed(HOUR),
            start,
            from: start,
            until: start.plus(HOUR),
        };
        let hits = if place < 10 { 10 } else { 95 };
        book.read(
            &window,
            numbers(&|_| share(hits, 100)),
            Timestamp(NINE + place),
        );
        book.look(Timestamp(NINE + 2 * HOUR + place));
    }
    assert_eq!(book.watched[0].subjects.len(), SUBJECTS_MAX, "half of them");
    assert_eq!(book.active().count(), 10);
}

#[derive(Clone, Debug)]
enum Step {
    /// Labels came for a window: so many, so many of them hits.
    Label {
        hour: i64,
        hits: u64,
        misses: u64,
    },
    Wait(i64),
    Save {
        heard: bool,
    },
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_i64, 0..40_u64, 0..20_u64).prop_map(|(hour, hits, misses)| Step::Label { hour, hits, misses }),
        3 => (0..90_i64).prop_map(Step::Wait),
        2 => any::<bool>().prop_map(|heard| Step::Save { heard }),
        1 => Just(Step::Crash),
    ]
}

/// Hits and trials of each window.
type Truth = BTreeMap<i64, (u64, u64)>;

/// Tells a story to a book that is killed: what was read since the checkpoint is read again, all at once and later. Returns the
/// scene and the truth in the end.
fn tell(rule: Rule, steps: &[Step]) -> (Scene, Truth) {
    let mut scene = Scene::of(settings(vec![rule]));
    let mut truth = Truth::new();
    let mut saved = (scene.save(), truth.clone());
    for step in steps {
        match *step {
            Step::Label { hour, hits, misses } => {
                let (all_hits, trials) = truth.entry(hour).or_default();
                *all_hits += hits;
                *trials += hits + misses;
                scene.publish(hour, *all_hits, *trials);
            }
            Step::Wait(minutes) => {
                scene.now = scene.now.plus(minutes * 60_000);
                scene.book.look(scene.now);
            }
            Step::Save { heard } => {
                scene.checkpoints += 1;
                let bytes = scene.book.cut(scene.checkpoints, Vec::new()).unwrap();
                saved = (bytes, truth.clone());
                if heard {
                    scene.book.committed(scene.checkpoints);
                    scene.told.extend(scene.book.take_told(false));
                }
            }
            Step::Crash => {
                scene.resume(&saved.0.clone());
                scene.told.extend(scene.book.take_told(false));
                for (hour, (hits, trials)) in &truth {
                    if saved.1.get(hour) != Some(&(*hits, *trials)) {
                        scene.publish(*hour, *hits, *trials);
                    }
                }
            }
        }
    }
    scene.now = scene.now.plus(100 * HOUR / 10);
    scene.book.look(scene.now);
    scene.now = scene.now.plus(HOUR);
    scene.book.look(scene.now);
    scene.save();
    (scene, truth)
}

/// Whatever was told is one thing under one id, an alert goes only forward, and a subject has one at a time.
fn check_lives(told: &[Told]) -> Result<(), TestCaseError> {
    let mut once: BTreeMap<String, Event> = BTreeMap::new();
    let mut order: Vec<Event> = Vec::new();
    for told in told {
        let event = &told.event;
        if let Some(known) = once.get(&event.id()) {
            prop_assert_eq!(known, event);
        } else {
            once.insert(event.id(), event.clone());
            order.push(event.clone());
        }
    }
    let mut alive: Option<(String, u32, Phase)> = None;
    for event in order {
        let is_next = match alive {
            None => event.number == 1 && event.phase < Phase::Resolved,
            Some((id, number, phase)) => {
                event.alert == id && event.number == number + 1 && event.phase > phase
            }
        };
        prop_assert!(is_next, "{:?}", event);
        alive =
            (event.phase != Phase::Resolved).then_some((event.alert, event.number, event.phase));
    }
    Ok(())
}

proptest! {
    #[test]
    fn whatever_is_killed_an_alert_is_told_once_and_goes_only_forward(
        steps in prop::collection::vec(step(), 0..60),
        in_a_row in 1..3_u32,
    ) {
        let (scene, _) = tell(recall_below(0.7, Basis::Bound, in_a_row), &steps);
        check_lives(&scene.told)?;
    }

    /// Without a middle ground, what fires in the end follows from the numbers in the end, however often it was killed.
    #[test]
    fn in_the_end_it_fires_if_the_newest_window_is_bad(steps in prop::collection::vec(step(), 0..60)) {
        let (scene, truth) = tell(recall_below(0.7, Basis::Value, 1), &steps);
        let mut judged = truth.iter().rev().filter(|(_, (_, trials))| *trials >= 30);
        let is_bad = judged.next().is_some_and(|(_, (hits, trials))| (*hits as f64) < 0.7 * *trials as f64);
        prop_assert_eq!(scene.book.active().count() == 1, is_bad, "{:?}", truth);
        check_lives(&scene.told)?;
        let last = scene.told.last().map(|told| told.event.phase);
        prop_assert_eq!(last == Some(Phase::Firing), is_bad);
    }
}
