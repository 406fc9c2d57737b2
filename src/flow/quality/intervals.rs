//! 95 % intervals from counts alone, so that they can be recomputed from any published document.

/// The 97.5 % quantile of the normal distribution (`scipy.stats.norm.ppf(0.975)`).
pub const Z95: f64 = 1.959_963_984_540_054;

/// A range a value lies in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Wilson's score interval for `hits` out of `trials`; `None` without trials.
pub fn wilson(hits: u64, trials: u64) -> Option<Interval> {
    if trials == 0 {
        return None;
    }
    let (n, share) = (trials as f64, hits as f64 / trials as f64);
    let z2 = Z95 * Z95;
    let centre = share + z2 / (2.0 * n);
    let spread = Z95 * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    // The ends of nothing and of all are exact, which rounding would miss by 1e-17.
    Some(Interval {
        low: if hits == 0 {
            0.0
        } else {
            (centre - spread) / scale
        },
        high: if hits == trials {
            1.0
        } else {
            (centre + spread) / scale
        },
    })
}

/// The interval of F1 by the delta method, Var = F(1−F)(2−F)/(2TP+FP+FN), cut to 0..=1.
///
/// At F = 0 and F = 1 that variance is 0, which would claim certainty from one row. There it is Wilson's interval of
/// J = TP/(TP+FP+FN), carried over by F = 2J/(1+J), of which the delta method is the linear part.
pub fn f1(tp: u64, fp: u64, fn_: u64) -> Option<Interval> {
    let size = 2 * tp + fp + fn_;
    if size == 0 {
        return None;
    }
    let f1 = 2.0 * tp as f64 / size as f64;
    if tp == 0 || fp + fn_ == 0 {
        let jaccard = wilson(tp, tp + fp + fn_)?;
        return Some(Interval {
            low: 2.0 * jaccard.low / (1.0 + jaccard.low),
            high: 2.0 * jaccard.high / (1.0 + jaccard.high),
        });
    }
    let spread = Z95 * (f1 * (1.0 - f1) * (2.0 - f1) / size as f64).sqrt();
    Some(Interval {
        low: (f1 - spread).max(0.0),
        high: (f1 + spread).min(1.0),
    })
}
