//! Event-time windows: their lengths, and the tallies of each.

/// A window length: tumbling, aligned to the epoch in UTC.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Length {
    /// Milliseconds; at least 10 s, at most 1 d times anything.
    Fixed(i64),
    /// A calendar month, UTC.
    Month,
}
