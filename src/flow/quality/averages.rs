//! One number for many classes: macro, micro and weighted averages, by scikit-learn's rules.
//!
//! Macro and weighted run over the classes seen in labels or predictions of the window. A class without a value of its own (one
//! never predicted has no precision) counts as 0 there, as scikit-learn does by default; its own row says why.

use super::histogram::{Area, Histogram};
use super::metrics::{Metric, NO_LABELS, Quadrants};

const NO_AREA: &str = "no class has scored labels both of it and of others";

/// The averages of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Average {
    /// `macro`, `micro` or `weighted`.
    pub name: &'static str,
    /// Its metrics.
    pub metrics: Vec<Metric>,
}

/// What one class brings into the averages.
pub(crate) struct Member<'c> {
    pub(crate) quadrants: Quadrants,
    /// Its scores by label, where there are any.
    pub(crate) curve: Option<&'c Histogram>,
}

type Of = fn(&Quadrants) -> Metric;
const AVERAGED: [Of; 6] = [
    Quadrants::precision,
    Quadrants::recall,
    Quadrants::f1,
    Quadrants::f_half,
    Quadrants::f2,
    Quadrants::specificity,
];

type AreaOf = fn(&Histogram) -> Option<Area>;
const AREAS: [(&str, AreaOf); 2] = [
    ("roc_auc", Histogram::roc_auc),
    ("average_precision", Histogram::average_precision),
];

/// Macro, micro and weighted averages; `members` in an order that does not depend on the order of events.
pub(crate) fn averages(members: &[Member<'_>]) -> Vec<Average> {
    let seen: Vec<&Member<'_>> = members
        .iter()
        .filter(|member| member.quadrants.support() + member.quadrants.predicted() > 0)
        .collect();
    let equally = |_: &Member<'_>| 1.0;
    let by_support = |member: &Member<'_>| member.quadrants.support() as f64;
    let (mut pooled, mut pooled_curve) = (Quadrants::default(), Histogram::default());
    let none = Histogram::default();
    for member in &seen {
        pooled.tp += member.quadrants.tp;
        pooled.fp += member.quadrants.fp;
        pooled.fn_ += member.quadrants.fn_;
        pooled.tn += member.quadrants.tn;
        pooled_curve.merge(member.curve.unwrap_or(&none));
    }
    let micro = |of: &Of| {
        let metric = of(&pooled);
        Metric::new(metric.name, metric.value.ok(), NO_LABELS)
    };
    let mut micro_metrics: Vec<Metric> = AVERAGED.iter().map(micro).collect();
    if seen.iter().any(|member| member.curve.is_some()) {
        micro_metrics.extend(pooled_curve.areas());
    }
    vec![
        Average {
            name: "macro",
            metrics: weighted(&seen, equally),
        },
        Average {
            name: "micro",
            metrics: micro_metrics,
        },
        Average {
            name: "weighted",
            metrics: weighted(&seen, by_support),
        },
    ]
}

fn weighted(members: &[&Member<'_>], weight: impl Fn(&Member<'_>) -> f64) -> Vec<Metric> {
    let whole: f64 = members.iter().map(|member| weight(member)).sum();
    let average = |of: &Of| {
        let name = of(&Quadrants::default()).name;
        let parts = members
            .iter()
            .map(|member| weight(member) * of(&member.quadrants).value.unwrap_or(0.0));
        let sum: f64 = parts.sum();
        Metric::new(name, (whole > 0.0).then(|| sum / whole), NO_LABELS)
    };
    let mut metrics: Vec<Metric> = AVERAGED.iter().map(average).collect();
    for (name, area) in AREAS {
        let parts = members
            .iter()
            .filter_map(|member| Some((weight(member), area(member.curve?)?)));
        if members.iter().any(|member| member.curve.is_some()) {
            metrics.push(Area::metric(average_area(parts), name, NO_AREA));
        }
    }
    metrics
}

/// Over the classes whose area is defined; the bounds average as the areas do.
fn average_area(parts: impl Iterator<Item = (f64, Area)>) -> Option<Area> {
    let (mut whole, mut sums) = (0.0, [0.0; 3]);
    for (weight, area) in parts {
        whole += weight;
        for (sum, part) in sums.iter_mut().zip([area.low, area.value, area.high]) {
            *sum += weight * part;
        }
    }
    if whole <= 0.0 {
        return None;
    }
    let [low, value, high] = sums.map(|sum| sum / whole);
    Some(Area { low, value, high })
}
