//! Alerts: rules over published metrics, and the life of what they find.
//!
//! ```text
//! rule       what is watched, what is too much, who is told
//! pulse      how the agent itself fares
//! reading    one number of one window, with what stands behind it
//! history    a subject's windows: when each is looked at, and what it was found to be
//! judge      is a window bad?
//! life       pending → firing → (acknowledged) → resolved
//! book       all of it together, its bounds, and what is told when
//! event      one change: fact, document, notice
//! ```
//!
//! The engine drives: it reads windows into the [`Book`] as they are published, lets it look when its deadline comes, and hands
//! out what is told. This room knows no disk, no network and no clock.

mod book;
mod calendar;
mod event;
mod history;
mod judge;
mod life;
mod names;
mod notice;
mod pulse;
mod reading;
mod rule;

pub use book::{Active, Book, Compared, SUBJECTS_MAX, Told, Unreadable};
pub use calendar::{Mute, Stretch};
pub use event::{At, Event, Subject};
pub use life::Phase;
pub use names::{compared, metrics};
pub use notice::{Change, Notice, Severity};
pub use pulse::{Counted, Figure, HealthRule, Pulse};
pub use reading::{Histogram, Numbers, Published, Reading};
pub use rule::{
    Against, Basis, By, Check, Comparison, Detection, Distribution, Measure, Missing, Of,
    RULES_MAX, Rule, Settings, Shift, Side, SilenceRule, Threshold, Watch, WindowRule,
};
