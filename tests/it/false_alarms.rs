//! How often the rules of `pipelines/alerts.yml` alarm for nothing, and how soon they find what is there: simulated months of a
//! steady model at three traffic levels, and a model whose recall drops by ten points.
//!
//! The rules are read from the file and asked through the book that the engine asks; only the windows' counts are drawn here,
//! from binomial distributions, by exact inversion. Labels come in two parts: six in ten by the time a window is looked at first,
//! the rest later. `ALARM_MONTHS=200 cargo test --release --test it false_alarms -- --nocapture` simulates 200 months a level and
//! prints the figures; without it there are a few.

use std::collections::BTreeMap;

use modelbeat::config::Config;
use modelbeat::flow::alert::{Book, Histogram, Numbers, Phase, Reading, Settings};
use modelbeat::flow::document::WindowIdentity;
use modelbeat::flow::event::Timestamp;
use modelbeat::flow::quality::intervals::wilson;
use modelbeat::flow::windows::Length;

use crate::nannyml::pipelines;
use crate::simulation::chance::Chance;

const HOUR: i64 = 3_600_000;

/// Hours of a month.
const MONTH: i64 = 720;

/// Labels a window: three traffic levels.
const LEVELS: [u64; 3] = [50, 500, 5_000];

/// Of ten labels of a steady model, three are of the class.
const PREVALENCE: f64 = 0.3;

const RECALL: f64 = 0.9;

/// Of those that are not of the class: precision is 0.84.
const FALSE_POSITIVES: f64 = 0.0735;

/// A model, hour by hour.
struct Model {
    chance: Chance,
    book: Book,
    labels: u64,
    prevalence: f64,
    recall: f64,
    hour: i64,
    /// Windows by what they brought: pending, firing, resolved.
    seen: BTreeMap<Phase, u64>,
    /// … firing by rule.
    fired: BTreeMap<String, u64>,
}

/// True positives, positives, false positives, negatives.
#[derive(Clone, Copy, Default)]
struct Counts {
    tp: u64,
    positives: u64,
    fp: u64,
}

impl Model {
    fn new(rules: &Settings, seed: u64, labels: u64) -> Self {
        Self {
            chance: Chance::new(seed, labels),
            book: Book::new(rules.clone(), "p", "a"),
            labels,
            prevalence: PREVALENCE,
            recall: RECALL,
            hour: 0,
            seen: BTreeMap::new(),
            fired: BTreeMap::new(),
        }
    }

    /// An hour passes: its window ends with six labels in ten, and gets the rest later.
    fn live(&mut self) {
        let early = self.labels * 6 / 10;
        let first = self.draw(early);
        let rest = self.draw(self.labels - early);
        let all = Counts {
            tp: first.tp + rest.tp,
            positives: first.positives + rest.positives,
            fp: first.fp + rest.fp,
        };
        let (start, end) = (
            Timestamp(self.hour * HOUR),
            Timestamp((self.hour + 1) * HOUR),
        );
        self.publish(start, first, end);
        self.look(end.plus(HOUR / 4));
        self.publish(start, all, end.plus(HOUR / 4));
        self.look(end.plus(HOUR * 3 / 4));
        self.hour += 1;
    }

    fn draw(&mut self, labels: u64) -> Counts {
        let positives = binomial(&mut self.chance, labels, self.prevalence);
        Counts {
            tp: binomial(&mut self.chance, positives, self.recall),
            positives,
            fp: binomial(&mut self.chance, labels - positives, FALSE_POSITIVES),
        }
    }

    fn publish(&mut self, start: Timestamp, counts: Counts, now: Timestamp) {
        let window = WindowIdentity {
            pipeline: "p",
            agent_id: "a",
            model: "m",
            version: "1",
            slice_name: "_all",
            slice_value: None,
            length: Length::Fixed(HOUR),
            start,
            from: start,
            until: start.plus(HOUR),
        };
        let Counts { tp, positives, fp } = counts;
        let numbers = Numbers {
            reading: &|metric| match metric {
                "quality.recall" => share(tp, positives),
                "quality.precision" => share(tp, tp + fp),
                "quality.unanswered_rate" => share(0, self.labels),
                other => panic!("no number for {other}"),
            },
            histogram: &|_| Histogram::new(),
        };
        self.book.read(&window, numbers, now);
    }

    fn look(&mut self, now: Timestamp) {
        self.book.look(now);
        for told in self.book.take_told(true) {
            *self.seen.entry(told.event.phase).or_default() += 1;
            if told.event.phase == Phase::Firing {
                *self.fired.entry(told.event.rule).or_default() += 1;
            }
        }
    }

    fn count(&self, phase: Phase) -> u64 {
        self.seen.get(&phase).copied().unwrap_or(0)
    }
}

#[test]
fn a_steady_model_alarms_hardly_ever() {
    let rules = rules();
    let months = from_environment("ALARM_MONTHS", 3);
    for labels in LEVELS {
        let (mut windows, mut pending, mut firing) = (0, 0, 0);
        let mut by_rule: BTreeMap<String, u64> = BTreeMap::new();
        for month in 0..months {
            let mut model = Model::new(&rules, month, labels);
            for _ in 0..MONTH {
                model.live();
            }
            windows += u64::try_from(MONTH).unwrap();
            pending += model.count(Phase::Pending);
            firing += model.count(Phase::Firing);
            for (rule, count) in model.fired {
                *by_rule.entry(rule).or_default() += count;
            }
        }
        eprintln!(
            "{labels} labels a window, {months} steady months: of {windows} windows {pending} pending, {firing} firing {by_rule:?}"
        );
        assert!(
            pending * 100 <= windows,
            "{labels}: {pending} pending of {windows}"
        );
        assert!(
            firing * 1_000 <= windows,
            "{labels}: {firing} firing of {windows}: {by_rule:?}"
        );
    }
}

/// Recall is of the labels that are of the class: of 500 half, and, which is harder, three in ten.
#[test]
fn a_drop_of_ten_points_is_found_within_two_windows() {
    let rules = rules();
    let runs = from_environment("ALARM_RUNS", 100);
    for (prevalence, at_least) in [(0.5, 95), (0.3, 85)] {
        let mut windows_until: BTreeMap<i64, u64> = BTreeMap::new();
        for run in 0..runs {
            let mut model = Model::new(&rules, 1_000_000 + run, 500);
            model.prevalence = prevalence;
            for _ in 0..200 {
                model.live();
            }
            let before = model.count(Phase::Firing);
            model.recall = RECALL - 0.1;
            let windows = (1..=10).find(|_| {
                model.live();
                model.count(Phase::Firing) > before
            });
            *windows_until.entry(windows.unwrap_or(99)).or_default() += 1;
        }
        let found: u64 = windows_until.range(..=2).map(|(_, runs)| runs).sum();
        eprintln!(
            "recall drops by 10 points at 500 labels a window, {prevalence} of them of the class: found within two windows in {found} of {runs} runs; windows it took: {windows_until:?}"
        );
        assert!(
            found * 100 >= runs * at_least,
            "{found} of {runs}: {windows_until:?}"
        );
    }
}

/// Draws are as they should be: mean and variance of a binomial are np and np(1 − p).
#[test]
fn what_is_drawn_is_binomial() {
    for (trials, share) in [(30, 0.9), (150, 0.3), (5_000, 0.07)] {
        let mut chance = Chance::new(7, trials);
        let draws: Vec<f64> = (0..20_000)
            .map(|_| binomial(&mut chance, trials, share) as f64)
            .collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance =
            draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        let (expected, spread) = (trials as f64 * share, trials as f64 * share * (1.0 - share));
        assert!(
            (mean - expected).abs() < 4.0 * (spread / 20_000.0).sqrt(),
            "{mean} {expected}"
        );
        assert!(
            (variance / spread - 1.0).abs() < 0.05,
            "{variance} {spread}"
        );
    }
}

fn rules() -> Settings {
    let path = pipelines().join("alerts.yml");
    let config = Config::load(&path, &|_| None).unwrap_or_else(|faults| panic!("{faults}"));
    let mut alerts = config.engine.alerts;
    // Of the whole, by the hour: what is left has no windows here.
    alerts.rules.retain(|rule| {
        rule.windows()
            .is_some_and(|on| on.slices.is_empty() && on.window == Length::Fixed(HOUR))
    });
    assert!(alerts.rules.len() >= 6, "{alerts:?}");
    alerts
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
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

/// By inversion, outwards from the mode, so that it takes a few steps of the standard deviation.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole numbers from 0 to `trials`"
)]
fn binomial(chance: &mut Chance, trials: u64, share: f64) -> u64 {
    if trials == 0 {
        return 0;
    }
    let n = trials as f64;
    let mode = (((n + 1.0) * share).floor()).min(n);
    let choose = libm::lgamma(n + 1.0) - libm::lgamma(mode + 1.0) - libm::lgamma(n - mode + 1.0);
    let at_mode = (choose + mode * share.ln() + (n - mode) * (1.0 - share).ln()).exp();
    let mut left = (chance.number() >> 11) as f64 / (1_u64 << 53) as f64 - at_mode;
    let odds = share / (1.0 - share);
    let (mut low, mut high) = (mode, mode);
    let (mut below, mut above) = (at_mode, at_mode);
    while left > 0.0 && (low > 0.0 || high < n) {
        if high < n {
            above *= (n - high) / (high + 1.0) * odds;
            high += 1.0;
            left -= above;
            if left <= 0.0 {
                return high as u64;
            }
        }
        if low > 0.0 {
            below *= low / (n - low + 1.0) / odds;
            low -= 1.0;
            left -= below;
            if left <= 0.0 {
                return low as u64;
            }
        }
    }
    mode as u64
}
