//! Counts that merge and retract, and every number computed from them.

/// What the model does.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// Two classes, one of interest.
    Binary {
        /// The class of interest, canonical text.
        positive: String,
        /// What the other side is called in confusion cells, canonical text. Any class that is not `positive` counts as it.
        negative: String,
        /// Score from which on the positive class is predicted, where the record names no class.
        threshold: f64,
    },
    /// More classes.
    Multiclass {
        /// Declared classes, canonical text; empty: as they come.
        classes: Vec<String>,
    },
    /// A number.
    Regression,
}

/// placeholder
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Outcome {
    #[default]
    None,
    Class(u32),
    Number(f64),
}
