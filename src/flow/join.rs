//! Prediction meets label, in either order.

/// The pipeline file's `join:`, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long, on the agent's clock since arrival, a prediction waits for its label and for corrections.
    pub label_horizon_ms: i64,
    /// How long a label waits for its prediction.
    pub early_label_ttl_ms: i64,
    /// How long a prediction is held back so that it can ship joined.
    pub hold_ms: i64,
    /// Bound of what is held back; beyond it the oldest ship pending.
    pub hold_bytes_max: usize,
    /// Write `label.state: expired` at the horizon.
    pub mark_expired: bool,
}

impl Default for Settings {
    fn default() -> Self {
        const DAY: i64 = 86_400_000;
        Self {
            label_horizon_ms: 30 * DAY,
            early_label_ttl_ms: 3_600_000,
            hold_ms: 5_000,
            hold_bytes_max: 16 << 20,
            mark_expired: false,
        }
    }
}
