//! The confusion cells of a tally, read by class name: rows, cells, and the counts they add up to.
//!
//! The order is that of the names, never of the interned classes, which depends on the order of events.

use std::collections::{BTreeMap, BTreeSet};

use super::Class;
use super::averages::{Average, Member, averages};
use super::histogram::Histogram;
use super::metrics::{Metric, NO_PREDICTIONS, Quadrants, balanced_accuracy, mcc};
use super::rows::{Cell, ClassRow};
use super::tally::Tally;

/// All classes a tally has met, by name.
pub(crate) struct Confusion<'n> {
    /// Sum of all cells.
    pub(crate) judged: u64,
    rows: Vec<Row<'n>>,
    /// Row of each class.
    places: BTreeMap<Class, usize>,
}

struct Row<'n> {
    class: Class,
    name: &'n str,
    right: u64,
    support: u64,
    predicted: u64,
    predictions: u64,
}

impl<'n> Confusion<'n> {
    /// Adds up a tally.
    pub(crate) fn of(tally: &Tally, class_name: &dyn Fn(Class) -> &'n str) -> Self {
        let mut all = Self::empty(tally, class_name);
        for (class, count) in tally.answers() {
            all.change(class, |row| row.predictions += count);
        }
        for ((actual, predicted), count) in tally.cells() {
            all.judged += count;
            all.change(actual, |row| row.support += count);
            all.change(predicted, |row| row.predicted += count);
            if actual == predicted {
                all.change(actual, |row| row.right += count);
            }
        }
        all
    }

    /// Each class against the rest, by name.
    pub(crate) fn quadrants(&self) -> Vec<Quadrants> {
        self.rows
            .iter()
            .map(|row| row.quadrants(self.judged))
            .collect()
    }

    /// One class against the rest; a class never met has no part in anything.
    pub(crate) fn against_rest(&self, class: Class) -> Quadrants {
        let nothing = Quadrants {
            tn: self.judged,
            ..Quadrants::default()
        };
        self.row(class)
            .map_or(nothing, |row| row.quadrants(self.judged))
    }

    /// Macro, micro and weighted. `curves` are the score histograms of the classes that have one.
    pub(crate) fn averages(&self, curves: &BTreeMap<Class, Histogram>) -> Vec<Average> {
        let members: Vec<Member<'_>> = self
            .rows
            .iter()
            .map(|row| Member {
                quadrants: row.quadrants(self.judged),
                curve: curves.get(&row.class),
            })
            .collect();
        averages(&members)
    }

    /// One row a class; `predictions` is the number of all predictions.
    pub(crate) fn class_rows(
        &self,
        predictions: u64,
        curves: &BTreeMap<Class, Histogram>,
    ) -> Vec<ClassRow> {
        let publish = |row: &Row<'_>| {
            let quadrants = row.quadrants(self.judged);
            let share = (row.predictions, predictions);
            let sides = [quadrants, quadrants.swapped()];
            let mut metrics = vec![
                quadrants.precision(),
                quadrants.recall(),
                quadrants.f1(),
                quadrants.f_half(),
                quadrants.f2(),
                quadrants.specificity(),
                balanced_accuracy(&sides),
                mcc(&sides),
                Metric::proportion("share", share, NO_PREDICTIONS),
            ];
            let curve = curves.get(&row.class);
            metrics.extend(curve.into_iter().flat_map(Histogram::areas));
            ClassRow {
                class: row.name.to_owned(),
                predictions: row.predictions,
                quadrants,
                metrics,
            }
        };
        self.rows.iter().map(publish).collect()
    }

    /// One row a cell that ever held a count.
    pub(crate) fn cells(&self, tally: &Tally) -> Vec<Cell> {
        let name = |class| self.row(class).map_or("", |row| row.name).to_owned();
        let mut cells: Vec<Cell> = tally
            .cells()
            .map(|((actual, predicted), count)| Cell {
                actual: name(actual),
                predicted: name(predicted),
                count,
            })
            .collect();
        cells.sort_by(|a, b| (&a.actual, &a.predicted).cmp(&(&b.actual, &b.predicted)));
        cells
    }

    /// (Predictions, judged labels) that name a class not among `declared`; `None` where none are declared.
    pub(crate) fn undeclared(&self, declared: &[Class]) -> Option<(u64, u64)> {
        let unknown = self
            .rows
            .iter()
            .filter(|row| !declared.contains(&row.class));
        let sum = unknown.fold((0, 0), |sum, row| {
            (sum.0 + row.predictions, sum.1 + row.support)
        });
        (!declared.is_empty()).then_some(sum)
    }

    fn empty(tally: &Tally, class_name: &dyn Fn(Class) -> &'n str) -> Self {
        let mut classes: BTreeSet<Class> = tally.answers().map(|(class, _)| class).collect();
        for ((actual, predicted), _) in tally.cells() {
            classes.extend([actual, predicted]);
        }
        let mut rows: Vec<Row<'n>> = classes
            .into_iter()
            .map(|class| Row {
                class,
                name: class_name(class),
                right: 0,
                support: 0,
                predicted: 0,
                predictions: 0,
            })
            .collect();
        rows.sort_by_key(|row| row.name);
        let places = (0..)
            .zip(&rows)
            .map(|(place, row)| (row.class, place))
            .collect();
        Self {
            judged: 0,
            rows,
            places,
        }
    }

    fn row(&self, class: Class) -> Option<&Row<'n>> {
        self.rows.get(*self.places.get(&class)?)
    }

    fn change(&mut self, class: Class, change: impl FnOnce(&mut Row<'n>)) {
        let place = self.places.get(&class).copied();
        if let Some(row) = place.and_then(|place| self.rows.get_mut(place)) {
            change(row);
        }
    }
}

impl Row<'_> {
    fn quadrants(&self, judged: u64) -> Quadrants {
        let (fp, fn_) = (self.predicted - self.right, self.support - self.right);
        Quadrants {
            tp: self.right,
            fp,
            fn_,
            tn: judged - self.right - fp - fn_,
        }
    }
}
