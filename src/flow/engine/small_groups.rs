//! `privacy.min_group`: which slices of the windows being published may be told.
//!
//! Whether a slice may be told depends on the others of its window, so with `min_group` all slices of a window are published
//! whenever one of them changes. A slice of fewer predictions has never been told, since their number only grows (unless
//! `min_group` was smaller then). One that is withheld because of another may have been: its documents are written again
//! without figures.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::flow::engine::Engine;
use crate::flow::engine::publish::Press;
use crate::flow::event::Timestamp;
use crate::flow::slices::ALL;
use crate::flow::windows::{Length, WindowKey};

/// How much of a window may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    All,
    /// It had its documents: they stay, without figures.
    OnlyThatItIs,
    Nothing,
}

/// The slices that are withheld, of each window looked at so far.
#[derive(Debug, Default)]
pub(super) struct Small(BTreeMap<(Length, u32, Timestamp), Withheld>);

#[derive(Debug, Default)]
struct Withheld {
    /// Of too few predictions.
    small: BTreeSet<u32>,
    /// Beside one of those.
    beside: BTreeSet<u32>,
}

impl Small {
    pub(super) fn get(&self, key: &WindowKey) -> Telling {
        match self.0.get(&(key.length, key.series, key.start)) {
            Some(withheld) if withheld.small.contains(&key.slice) => Telling::Nothing,
            Some(withheld) if withheld.beside.contains(&key.slice) => Telling::OnlyThatItIs,
            _ => Telling::All,
        }
    }
}

impl Press<'_> {
    /// The keys, and with `privacy.min_group` all slices beside them, in the order of their keys.
    pub(super) fn with_neighbours<'k>(&mut self, keys: &'k [WindowKey]) -> Cow<'k, [WindowKey]> {
        let min_group = self.settings.privacy.min_group;
        if min_group <= 1 {
            return Cow::Borrowed(keys);
        }
        let mut all = BTreeSet::new();
        for key in keys {
            let slices = self.look_at(key);
            all.extend(slices.into_iter().map(|slice| WindowKey { slice, ..*key }));
        }
        Cow::Owned(all.into_iter().collect())
    }

    /// Finds out what is withheld of a window; the slices it has, unless it has been looked at.
    pub(super) fn look_at(&mut self, key: &WindowKey) -> Vec<u32> {
        let min_group = self.settings.privacy.min_group;
        let place = (key.length, key.series, key.start);
        if min_group <= 1 || self.small.0.contains_key(&place) {
            return Vec::new();
        }
        let slices = &self.tables.slices;
        let sizes = self.windows.sizes(key, slices.count());
        let withheld = slices.withheld(&self.tables.cuts, &sizes, min_group);
        let is_small = |slice: &u32| sizes.get(slice).is_none_or(|size| *size < min_group);
        let (small, beside) = withheld.into_iter().partition(is_small);
        self.small.0.insert(place, Withheld { small, beside });
        sizes.into_keys().collect()
    }
}

impl Engine {
    /// True if `privacy.min_group` withholds this slice of a window that lies in memory.
    pub(super) fn withholds(&self, key: &WindowKey) -> bool {
        let min_group = self.settings.privacy.min_group;
        if min_group <= 1 || key.slice == ALL {
            return false;
        }
        let tables = &self.state.tables;
        let sizes = self.state.windows.sizes(key, tables.slices.count());
        let withheld = tables.slices.withheld(&tables.cuts, &sizes, min_group);
        withheld.contains(&key.slice)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value as Json;

    use super::super::tests::{NINE, batch, settings};
    use super::super::*;

    /// By id, the newest document of each.
    type Stored = BTreeMap<String, Json>;

    fn push(engine: &mut Engine, predictions: &[(&str, &str, u64)], stored: &mut Stored) {
        let mut lines = Vec::new();
        for (version, country, count) in predictions {
            for _ in 0..*count {
                let id = engine.totals().events() + lines.len() as u64;
                lines.push(format!(
                    r#"{{"event":"prediction","id":"{version}-{country}-{id}","ts":{NINE},"version":"{version}","predicted":"fraud","score":0.5,"segment":{{"country":"{country}"}}}}"#
                ));
                lines.push(format!(
                    r#"{{"event":"label","id":"{version}-{country}-{id}","ts":{NINE},"label":"fraud"}}"#
                ));
            }
        }
        let mut out = Documents::default();
        engine.push(&batch(&lines), Timestamp(NINE), &mut out);
        engine.release(Timestamp(NINE), &mut out);
        let text = String::from_utf8(out.bytes).unwrap();
        let mut lines = text
            .lines()
            .map(|line| serde_json::from_str::<Json>(line).unwrap());
        while let (Some(action), Some(document)) = (lines.next(), lines.next()) {
            let (_, target) = action.as_object().unwrap().iter().next().unwrap();
            stored.insert(target["_id"].to_string(), document);
        }
    }

    /// Version, slice and predictions of each quality document; of comparisons the slice and whether they compare.
    fn told(stored: &Stored) -> (Vec<String>, Vec<String>) {
        let of = |dataset: &'static str| {
            stored
                .values()
                .filter(move |document| document["event"]["dataset"] == dataset)
        };
        let slice = |document: &Json| {
            document["slice"]["value"]
                .as_str()
                .unwrap_or("all")
                .to_owned()
        };
        let windows = of("modelbeat.quality").map(|document| {
            let version = document["model"]["version"].as_str().unwrap();
            format!(
                "{version} {} {}",
                slice(document),
                document["counts"]["predictions"]
            )
        });
        let comparisons = of("modelbeat.comparison")
            .map(|document| format!("{} {}", slice(document), !document["comparison"].is_null()));
        let sorted = |lines: &mut dyn Iterator<Item = String>| {
            let mut lines: Vec<String> = lines.collect();
            lines.sort();
            lines
        };
        (sorted(&mut { windows }), sorted(&mut { comparisons }))
    }

    #[test]
    fn a_small_slice_has_no_documents_and_one_beside_it_has_none_with_figures() {
        let mut settings = settings();
        settings.privacy.min_group = 3;
        let mut engine = Engine::new(settings).unwrap();
        let mut stored = Stored::new();
        let both = [
            ("v1", "DE", 4),
            ("v1", "FR", 3),
            ("v2", "DE", 5),
            ("v2", "FR", 4),
        ];
        push(&mut engine, &both, &mut stored);
        let (windows, comparisons) = told(&stored);
        assert_eq!(
            windows,
            [
                "v1 DE 4", "v1 FR 3", "v1 all 7", "v2 DE 5", "v2 FR 4", "v2 all 9"
            ]
        );
        assert_eq!(comparisons, ["DE true", "FR true", "all true"]);

        // 8 − 4 − 3 would tell the one of IT.
        push(&mut engine, &[("v1", "IT", 1)], &mut stored);
        let (windows, comparisons) = told(&stored);
        assert_eq!(
            windows,
            [
                "v1 DE 4",
                "v1 FR null",
                "v1 all 8",
                "v2 DE 5",
                "v2 FR 4",
                "v2 all 9"
            ]
        );
        assert_eq!(comparisons, ["DE true", "FR false", "all true"]);
        let rows = stored.values().filter(|document| {
            document["slice"]["value"] == "FR" && document["model"]["version"] == "v1"
        });
        for row in rows.filter(|row| row["event"]["dataset"] != "modelbeat.prediction") {
            assert!(
                row["counts"].is_null() && row["confusion"].is_null(),
                "{row}"
            );
        }
        let bounds = Bounds {
            series_max: 100,
            whole_max: 1,
            slice_max: 1,
            windows_max: 100,
            host_max: 0,
        };
        let mut looked = Looked::default();
        let view = engine.view(Timestamp(NINE), bounds, &mut looked);
        let view = view.series.into_iter();
        let mut seen: Vec<String> = view
            .map(|series| {
                format!(
                    "{} {}",
                    series.version,
                    series.slice_value.unwrap_or_default()
                )
            })
            .collect();
        seen.sort();
        assert_eq!(seen, ["v1 ", "v1 DE", "v2 ", "v2 DE", "v2 FR"]);

        // With two more they are a group of their own.
        push(&mut engine, &[("v1", "IT", 2)], &mut stored);
        let (windows, comparisons) = told(&stored);
        assert_eq!(
            windows,
            [
                "v1 DE 4",
                "v1 FR 3",
                "v1 IT 3",
                "v1 all 10",
                "v2 DE 5",
                "v2 FR 4",
                "v2 all 9"
            ]
        );
        assert_eq!(comparisons, ["DE true", "FR true", "all true"]);
    }
}
