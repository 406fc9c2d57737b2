//! Version against version in one window: differences with intervals, and how surprising they would be by chance.
//!
//! Differences are candidate − baseline. Shares are compared by Newcombe's interval (his method 10: Wilson's intervals, squared and added)
//! and the pooled two-proportion z-test; where both versions scored the same ids, `McNemar`'s test on the pairs that disagree
//! says more with less. Many slices mean many tests: [`adjust`] holds the family's error by Holm's steps.

use super::confusion::Confusion;
use super::intervals::{Interval, Z95, wilson};
use super::members::Members;
use super::tally::Tally;
use super::{Class, TaskKind};

/// Below this many discordant pairs `McNemar`'s test is the exact binomial one.
const EXACT_BELOW: u64 = 25;

/// Two versions in one window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// One entry for each metric defined in both.
    pub differences: Vec<Difference>,
    /// On the ids both versions scored, where there are any.
    pub mcnemar: Option<McNemar>,
}

/// Who is compared.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'v> {
    /// The version compared with.
    pub baseline: &'v str,
    /// The version in question.
    pub candidate: &'v str,
    /// Labelled ids that both scored.
    pub pairs: u64,
}

/// One metric of two versions.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The metric's name under `quality.` in the versions' own windows.
    pub name: &'static str,
    /// Value and rows behind it, of the version compared with.
    pub baseline: (f64, u64),
    /// Value and rows behind it, of the version in question.
    pub candidate: (f64, u64),
    /// Candidate − baseline.
    pub difference: f64,
    /// 95 % interval of the difference.
    pub interval: Interval,
    /// Test statistic and two-sided p-value; `None` for F1, and where both versions are wholly right
    /// or wholly wrong.
    pub test: Option<Test>,
}

/// The outcome of a two-sided test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Test {
    /// Standard normal under "no difference".
    pub z: f64,
    /// Chance of at least this |z| without a difference.
    pub p_value: f64,
    /// The same, adjusted for the family it was tested in; see [`adjust`].
    pub p_adjusted: Option<f64>,
}

/// `McNemar`'s test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct McNemar {
    /// Ids only the baseline got right.
    pub baseline_only: u64,
    /// Ids only the candidate got right.
    pub candidate_only: u64,
    /// Continuity-corrected χ² (1 degree of freedom); `None` where the exact binomial test was used.
    pub chi_squared: Option<f64>,
    /// Two-sided.
    pub p_value: f64,
}

/// Compares two tallies of the same window and slice. `discordant` counts the ids scored by both that only the
/// (baseline, candidate) got right.
pub fn compare(
    task: &TaskKind,
    baseline: &Tally,
    candidate: &Tally,
    discordant: Option<(u64, u64)>,
) -> Comparison {
    let shares = shares(task, baseline)
        .into_iter()
        .zip(shares(task, candidate));
    let mut differences: Vec<Difference> = shares
        .filter_map(|((name, baseline), (_, candidate))| of_shares(name, baseline, candidate))
        .collect();
    if let TaskKind::Binary { positive } = *task {
        differences.extend(of_f1(positive, baseline, candidate));
    }
    differences.extend(of_errors(baseline, candidate));
    Comparison {
        differences,
        mcnemar: discordant.map(|(baseline, candidate)| mcnemar(baseline, candidate)),
    }
}

/// Writes Holm-adjusted p-values into a family of comparisons, metric by metric: typically all slices of one window.
pub fn adjust(family: &mut [Comparison]) {
    let mut names: Vec<&'static str> = family
        .iter()
        .flat_map(|comparison| {
            comparison
                .differences
                .iter()
                .map(|difference| difference.name)
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let mut tests: Vec<&mut Test> = family
            .iter_mut()
            .flat_map(|comparison| &mut comparison.differences)
            .filter(|difference| difference.name == name)
            .filter_map(|difference| difference.test.as_mut())
            .collect();
        let p_values: Vec<f64> = tests.iter().map(|test| test.p_value).collect();
        for (test, adjusted) in tests.iter_mut().zip(holm(&p_values)) {
            test.p_adjusted = Some(adjusted);
        }
    }
}

/// Holm's step-down adjustment, in the order given.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut ascending: Vec<(usize, f64)> = p_values.iter().copied().enumerate().collect();
    ascending.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut least: f64 = 0.0;
    for (step, &(place, p_value)) in ascending.iter().enumerate() {
        let left = (p_values.len() - step) as f64;
        least = least.max((left * p_value).min(1.0));
        if let Some(slot) = adjusted.get_mut(place) {
            *slot = least;
        }
    }
    adjusted
}

/// Newcombe's interval of p₂ − p₁ for hits out of trials; `None` without trials on either side.
pub fn newcombe(first: (u64, u64), second: (u64, u64)) -> Option<Interval> {
    let (one, two) = (wilson(first.0, first.1)?, wilson(second.0, second.1)?);
    Some(square_and_add((share(first), one), (share(second), two)))
}

/// Pooled two-proportion z-test of p₂ − p₁; `None` where the pooled share is 0 or 1.
pub fn two_proportions(first: (u64, u64), second: (u64, u64)) -> Option<Test> {
    let (n1, n2) = (first.1 as f64, second.1 as f64);
    let pooled = (first.0 + second.0) as f64 / (n1 + n2);
    let error = (pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n2)).sqrt();
    test((share(second) - share(first)) / error)
}

/// `McNemar`'s test of the pairs on which two versions disagree: exact binomial below 25, else continuity-corrected χ².
pub fn mcnemar(baseline_only: u64, candidate_only: u64) -> McNemar {
    let (fewer, discordant) = (
        baseline_only.min(candidate_only),
        baseline_only.saturating_add(candidate_only),
    );
    let chi_squared = (discordant >= EXACT_BELOW).then(|| {
        let distance = baseline_only.abs_diff(candidate_only).saturating_sub(1) as f64;
        distance * distance / discordant as f64
    });
    let p_value = match chi_squared {
        Some(chi_squared) => libm::erfc((chi_squared / 2.0).sqrt()),
        None => sign_test(fewer, discordant),
    };
    McNemar {
        baseline_only,
        candidate_only,
        chi_squared,
        p_value,
    }
}

impl Comparison {
    /// `"comparison":{"baseline":…,"candidate":…,"pairs":…,<metric>:{…},"mcnemar":{…}}`, without outer braces.
    pub fn write_members(&self, sides: Sides<'_>, out: &mut Vec<u8>) {
        Members::new(out).object("comparison", |comparison| {
            comparison.text("baseline", sides.baseline);
            comparison.text("candidate", sides.candidate);
            comparison.count("pairs", sides.pairs);
            for difference in &self.differences {
                comparison.object(difference.name, |members| difference.write(members));
            }
            if let Some(mcnemar) = &self.mcnemar {
                comparison.object("mcnemar", |members| mcnemar.write(members));
            }
        });
    }
}

impl Difference {
    fn write(&self, members: &mut Members<'_>) {
        members.number("baseline", self.baseline.0);
        members.count("baseline_count", self.baseline.1);
        members.number("candidate", self.candidate.0);
        members.count("candidate_count", self.candidate.1);
        members.number("difference", self.difference);
        members.number("low", self.interval.low);
        members.number("high", self.interval.high);
        if let Some(test) = &self.test {
            members.number("z", test.z);
            members.number("p_value", test.p_value);
            if let Some(adjusted) = test.p_adjusted {
                members.number("p_adjusted", adjusted);
            }
        }
    }
}

impl McNemar {
    fn write(&self, members: &mut Members<'_>) {
        members.count("baseline_only", self.baseline_only);
        members.count("candidate_only", self.candidate_only);
        if let Some(chi_squared) = self.chi_squared {
            members.number("chi_squared", chi_squared);
        }
        members.number("p_value", self.p_value);
        members.flag("exact", self.chi_squared.is_none());
    }
}

/// (name, (hits, trials)) of everything that is a share; the same names in the same order for one task.
fn shares(task: &TaskKind, tally: &Tally) -> Vec<(&'static str, (u64, u64))> {
    let counts = tally.counts();
    let mut shares = vec![("unanswered_rate", (counts.unanswered, counts.predictions))];
    let confusion = Confusion::of(tally, &|_| "");
    match task {
        TaskKind::Regression => {}
        TaskKind::Multiclass { .. } => {
            let right = confusion.quadrants().iter().map(|class| class.tp).sum();
            shares.push(("accuracy", (right, confusion.judged)));
        }
        TaskKind::Binary { positive } => {
            let of = confusion.against_rest(*positive);
            shares.extend([
                ("accuracy", (of.tp + of.tn, of.count())),
                ("precision", (of.tp, of.predicted())),
                ("recall", (of.tp, of.support())),
                ("specificity", (of.tn, of.tn + of.fp)),
            ]);
        }
    }
    shares
}

/// The interval of a difference from the intervals of its two sides (Newcombe's device, for any two intervals).
fn square_and_add((first, one): (f64, Interval), (second, two): (f64, Interval)) -> Interval {
    let difference = second - first;
    Interval {
        low: difference - (second - two.low).hypot(one.high - first),
        high: difference + (two.high - second).hypot(first - one.low),
    }
}

/// F1 is no share, so it has an interval but no test.
fn of_f1(positive: Class, baseline: &Tally, candidate: &Tally) -> Option<Difference> {
    let [first, second] = [baseline, candidate].map(|tally| {
        let of = Confusion::of(tally, &|_| "").against_rest(positive);
        let f1 = of.f1();
        Some((f1.value.ok()?, f1.interval?, of.count()))
    });
    let ((value1, interval1, rows1), (value2, interval2, rows2)) = (first?, second?);
    Some(Difference {
        name: "f1",
        baseline: (value1, rows1),
        candidate: (value2, rows2),
        difference: value2 - value1,
        interval: square_and_add((value1, interval1), (value2, interval2)),
        test: None,
    })
}

fn of_shares(name: &'static str, first: (u64, u64), second: (u64, u64)) -> Option<Difference> {
    Some(Difference {
        name,
        baseline: (share(first), first.1),
        candidate: (share(second), second.1),
        difference: share(second) - share(first),
        interval: newcombe(first, second)?,
        test: two_proportions(first, second),
    })
}

/// Mean absolute error, by the large-sample z-test of two means (unequal variances).
fn of_errors(baseline: &Tally, candidate: &Tally) -> Option<Difference> {
    let [first, second] = [baseline, candidate].map(|tally| {
        let moments = tally.moments()?;
        let (mean, variance) = moments.absolute_error_mean()?;
        Some((mean, variance, u64::try_from(moments.rows).ok()?))
    });
    let ((mean1, variance1, rows1), (mean2, variance2, rows2)) = (first?, second?);
    let error = (variance1 / rows1 as f64 + variance2 / rows2 as f64).sqrt();
    let difference = mean2 - mean1;
    Some(Difference {
        name: "mae",
        baseline: (mean1, rows1),
        candidate: (mean2, rows2),
        difference,
        interval: Interval {
            low: difference - Z95 * error,
            high: difference + Z95 * error,
        },
        test: test(difference / error),
    })
}

fn test(z: f64) -> Option<Test> {
    z.is_finite().then(|| Test {
        z,
        p_value: libm::erfc(z.abs() * std::f64::consts::FRAC_1_SQRT_2),
        p_adjusted: None,
    })
}

/// Two-sided: twice the chance of at most `fewer` heads in `tosses` of a fair coin. For fewer than 25 tosses.
fn sign_test(fewer: u64, tosses: u64) -> f64 {
    let mut ways = 1_u64;
    let mut sum = 1_u64;
    for heads in 1..=fewer {
        ways = ways * (tosses - heads + 1) / heads;
        sum += ways;
    }
    (2.0 * sum as f64 / (1_u64 << tosses.min(63)) as f64).min(1.0)
}

fn share((hits, trials): (u64, u64)) -> f64 {
    hits as f64 / trials as f64
}
