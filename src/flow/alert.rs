//! Alerts: rules over published metrics, and the life of what they find.

mod notice;

pub use notice::{Change, Notice, Severity};
