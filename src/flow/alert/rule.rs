//! Rules as the pipeline file means them: what is watched, what is too much, and who is told.

use crate::flow::alert::calendar::{Mute, Stretch};
use crate::flow::alert::notice::Severity;
use crate::flow::alert::pulse::HealthRule;
use crate::flow::detect::Detector;
use crate::flow::windows::Length;

/// Rules a pipeline may have: each is asked at every publication.
pub const RULES_MAX: usize = 64;

/// `alerts:`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// In the order of the file; names are unique.
    pub rules: Vec<Rule>,
    /// When nobody is told.
    pub mutes: Vec<Mute>,
    /// Stretches of time in which nothing is judged.
    pub maintenance: Vec<Stretch>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Part of every alert's id: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// Names of the notifiers to tell.
    pub notify: Vec<String>,
    /// What is watched.
    pub watch: Watch,
}

/// What a rule watches.
#[derive(Clone, Debug, PartialEq)]
pub enum Watch {
    /// A metric of windows.
    Windows(Box<WindowRule>),
    /// That nothing comes in.
    Silence(SilenceRule),
    /// How the agent itself fares.
    Health(HealthRule),
}

/// A rule on a metric of windows: each version, and each value of its slices, is a subject of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowRule {
    /// The metric's name in the document: `quality.recall`.
    pub metric: String,
    /// Of windows of this length.
    pub window: Length,
    /// Of this model only.
    pub model: Option<String>,
    /// Of this version only.
    pub version: Option<String>,
    /// Of each value of these slices; empty: of the whole.
    pub slices: Vec<String>,
    /// Rows behind the metric below which a window is not judged: of a share its trials, of quality else the judged
    /// predictions, of the rest the predictions.
    pub min_support: u64,
    /// So many windows one behind the other must be bad.
    pub windows_in_a_row: u32,
    /// A window is judged first so long after it has ended, in milliseconds, and again when it has not changed for so long.
    pub wait_ms: i64,
    /// Windows are judged before they have ended, too.
    pub open: bool,
    /// What is bad.
    pub check: Check,
}

/// What makes a window bad.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// A fixed bound.
    Threshold(Threshold),
    /// Another value than a reference has.
    Change(Shift),
    /// A detector of change that the windows are fed to says so.
    Detection(Detection),
    /// Scores or predicted classes that look different from before.
    Distribution(Distribution),
    /// A version that is worse than another in the same window, by their comparison.
    Comparison(Comparison),
}

/// Which way is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Low values are.
    Below,
    /// High values are.
    Above,
}

/// What is held against a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The end of the interval that is on the good side, where the metric has an interval: noise alarms nobody.
    Bound,
    /// The value.
    Value,
}

/// A fixed bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Which way is bad.
    pub side: Side,
    /// The bound.
    pub at: f64,
    /// The value must be back here for an alert to be over.
    pub clear: f64,
    /// What is held against it.
    pub basis: Basis,
}

/// Another value than a reference has.
#[derive(Clone, Debug, PartialEq)]
pub struct Shift {
    /// Which way is bad.
    pub side: Side,
    /// Smaller differences do not matter.
    pub by: By,
    /// The difference must be surprising by so many standard errors.
    pub limit: f64,
    /// What is compared with.
    pub against: Against,
}

/// How large a difference must be, at least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum By {
    /// In the metric's unit.
    Absolute(f64),
    /// As a share of the reference.
    Share(f64),
}

/// What a window is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Against {
    /// The nearest window before that can be judged.
    Previous,
    /// The window seven days before.
    LastWeek,
    /// So many good windows before, taken together.
    Trailing(u32),
    /// The same window of another version of the model.
    Version(String),
    /// A number.
    Baseline(f64),
}

/// A version that is worse than another in the same window: by the comparison's interval, or by its test.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Which way is bad.
    pub side: Side,
    /// Smaller differences do not matter; in the metric's unit.
    pub by: f64,
    /// The version that is compared with; `None`: of the window's versions the one that came first.
    pub baseline: Option<String>,
    /// The test's p-value must be below this; `None`: the interval must be wholly beyond `by`.
    pub p_value: Option<f64>,
}

/// A detector of change, as each subject begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// It has seen nothing yet.
    pub detector: Detector,
    /// Which way is bad; `None`: both.
    pub side: Option<Side>,
}

/// Scores or predicted classes that look different from before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distribution {
    /// Whose distribution.
    pub of: Of,
    /// How a difference is measured.
    pub measure: Measure,
    /// Larger differences are bad, ...
    pub above: f64,
    /// ... if chance exceeds them no more often than a normal variable exceeds this.
    pub limit: f64,
    /// So many good windows before are taken together and compared with.
    pub windows: u32,
}

/// Whose distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Scores, in bars of 0.05.
    Scores,
    /// Predicted classes.
    Classes,
}

/// How a difference of distributions is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Population stability index.
    Psi,
    /// Jensen-Shannon distance, 0 to 1.
    JensenShannon,
}

/// Nothing came in for a while, by the agent's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SilenceRule {
    /// That long, in milliseconds.
    pub after_ms: i64,
    /// What did not come.
    pub of: Missing,
}

/// What did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Predictions and labels alike.
    Events,
    /// Predictions.
    Predictions,
    /// Labels.
    Labels,
}

impl Rule {
    /// What kind of rule it is, as documents say it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.watch {
            Watch::Windows(rule) => match &rule.check {
                Check::Threshold(_) => "threshold",
                Check::Change(_) => "change",
                Check::Detection(detection) => match detection.detector {
                    Detector::Chart(_) => "anomaly",
                    Detector::Adwin(_) | Detector::PageHinkley(_) => "drift",
                },
                Check::Distribution(_) => "distribution",
                Check::Comparison(_) => "comparison",
            },
            Watch::Silence(_) => "silence",
            Watch::Health(_) => "health",
        }
    }

    /// The rule, if it is on windows.
    #[must_use]
    pub fn windows(&self) -> Option<&WindowRule> {
        match &self.watch {
            Watch::Windows(rule) => Some(rule),
            Watch::Silence(_) | Watch::Health(_) => None,
        }
    }
}

impl WindowRule {
    /// How many windows of a subject must be remembered: what is compared with, and what may still be repaired.
    #[must_use]
    pub fn memory(&self) -> usize {
        let of_check = match &self.check {
            Check::Change(change) => match change.against {
                Against::Trailing(windows) => windows as usize,
                Against::LastWeek => usize::try_from(self.windows_a_week()).unwrap_or(0),
                Against::Previous | Against::Version(_) | Against::Baseline(_) => 2,
            },
            // A detector remembers what it needs.
            Check::Threshold(_) | Check::Detection(_) | Check::Comparison(_) => 0,
            Check::Distribution(distribution) => distribution.windows as usize,
        };
        of_check + self.windows_in_a_row as usize + REPAIRABLE
    }

    /// Windows that start in seven days.
    #[must_use]
    pub fn windows_a_week(&self) -> i64 {
        let every = match self.window {
            Length::Fixed(length) => length,
            Length::Hopping { every, .. } => every,
            Length::Month | Length::Cumulative => Length::DAY,
        };
        7 * Length::DAY / every.max(1)
    }
}

/// Windows besides those compared with: late labels may repair them and are heard of.
pub(super) const REPAIRABLE: usize = 48;

impl Side {
    /// As texts say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Below => "below",
            Self::Above => "above",
        }
    }
}

impl Of {
    /// As texts say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scores => "scores",
            Self::Classes => "classes",
        }
    }
}

impl Measure {
    /// As texts say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Psi => "psi",
            Self::JensenShannon => "js_distance",
        }
    }
}

impl Missing {
    /// As texts say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Predictions => "predictions",
            Self::Labels => "labels",
        }
    }
}
