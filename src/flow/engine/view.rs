//! What somebody sees who looks at quality now: the current window of every version, slice and length, and of the wholes
//! the newest ones before it. A look changes nothing, reads nothing back from disk, and is bounded.
//!
//! The numbers are those of the windows' documents, but for what is computed from times and scores (quantiles, areas under
//! curves), which is most of the work and is left to the documents.

use std::collections::BTreeMap;

use crate::flow::engine::Engine;
use crate::flow::engine::publish::identity;
use crate::flow::event::{SourceKey, Timestamp};
use crate::flow::quality::{Summary, Tally, summarise};
use crate::flow::slices::ALL;
use crate::flow::windows::{Length, Strand, WindowKey};

/// How much a look may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Combinations of version, slice and length; the wholes come first, then those with the newest predictions.
    pub series_max: usize,
    /// Windows of each whole, besides the current one.
    pub recent_max: usize,
}

/// Quality at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// One entry a version, slice and length.
    pub series: Vec<SeriesView>,
    /// Combinations that [`Bounds::series_max`] left out.
    pub left_out: usize,
}

/// One version, slice and length.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesView {
    /// Model name.
    pub model: String,
    /// Model version; empty where there is none.
    pub version: String,
    /// Slice name; `_all` for the whole.
    pub slice_name: String,
    /// Slice value; `None` for the whole.
    pub slice_value: Option<String>,
    /// How long the windows are.
    pub length: Length,
    /// The newest window that has ended and has `quality.min_support` labels, or else the newest that has any, or else
    /// the newest.
    pub current: WindowView,
    /// The newest windows, ascending; empty for slices.
    pub recent: Vec<WindowView>,
}

/// One window.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowView {
    /// Its first millisecond.
    pub from: Timestamp,
    /// The first millisecond behind it.
    pub until: Timestamp,
    /// Its numbers, without those of times and scores.
    pub summary: Summary,
}

/// What the engine holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Predictions that may still get a label, in memory.
    pub open_in_memory: usize,
    /// … and on disk only.
    pub open_on_disk: usize,
    /// Bytes of memory that open predictions take.
    pub open_bytes: usize,
    /// Labels that wait for their prediction.
    pub early_labels: usize,
    /// Windows, by slice, that may still change, in memory; of hopping windows their parts.
    pub windows_in_memory: usize,
    /// … and on disk only.
    pub windows_on_disk: usize,
}

impl Engine {
    /// A look at quality. Costs by the windows in memory, so ask for it now and then, not for each event.
    #[must_use]
    pub fn view(&self, now: Timestamp, bounds: Bounds) -> View {
        let strands = self.state.windows.strands();
        let series = strands
            .iter()
            .take(bounds.series_max)
            .filter_map(|strand| self.series_view(strand, now, bounds.recent_max));
        View {
            series: series.collect(),
            left_out: strands.len().saturating_sub(bounds.series_max),
        }
    }

    /// How much waits, and where.
    #[must_use]
    pub fn load(&self) -> Load {
        let (windows_in_memory, windows_on_disk) = self.state.windows.places();
        let opens = &self.state.join.opens;
        Load {
            open_in_memory: opens.len() - opens.len_on_disk(),
            open_on_disk: opens.len_on_disk(),
            open_bytes: opens.bytes(),
            early_labels: self.state.join.earlies.len(),
            windows_in_memory,
            windows_on_disk,
        }
    }

    /// Up to where each source has been taken in.
    #[must_use]
    pub fn offsets(&self) -> BTreeMap<SourceKey, u64> {
        let heads = self.state.heads.iter();
        heads
            .map(|(key, head)| (key.clone(), head.offset))
            .collect()
    }

    fn series_view(
        &self,
        strand: &Strand,
        now: Timestamp,
        recent_max: usize,
    ) -> Option<SeriesView> {
        let tables = &self.state.tables;
        let current = strand.current(now, self.settings.min_support)?;
        if self.withholds(&current) {
            return None;
        }
        let recent: Vec<WindowKey> = if strand.slice == ALL {
            strand.latest(recent_max).collect()
        } else {
            Vec::new()
        };
        let (model, version) = tables.series_text(strand.series);
        let (slice_name, slice_value) = tables.slices.text(strand.slice);
        Some(SeriesView {
            model: model.to_owned(),
            version: version.to_owned(),
            slice_name: slice_name.to_owned(),
            slice_value: slice_value.map(str::to_owned),
            length: strand.length,
            current: self.window_views(&[current]).pop()?,
            recent: self.window_views(&recent),
        })
    }

    /// Keys are of one strand, ascending.
    fn window_views(&self, keys: &[WindowKey]) -> Vec<WindowView> {
        let tables = &self.state.tables;
        let mut views = Vec::with_capacity(keys.len());
        self.state
            .windows
            .fold(keys, Tally::merge_counts, |key, tally, span| {
                let Some(identity) = identity(&self.settings, tables, key, span) else {
                    return;
                };
                // Of a window that is one pane, `fold` hands over all that there is.
                let mut counts = Tally::default();
                counts.merge_counts(tally);
                views.push(WindowView {
                    from: identity.from,
                    until: identity.until,
                    summary: summarise(
                        &counts,
                        &tables.task,
                        &|class| tables.class_text(class),
                        self.settings.min_support,
                    ),
                });
            });
        views
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;
    use crate::flow::document::Documents;
    use crate::flow::engine::tests::{NINE, batch, settings};
    use crate::flow::windows::Length;

    const HOUR: i64 = 3_600_000;

    /// Three predictions an hour for four hours, in two countries; every one of the first three hours has a label.
    fn engine(windows: Vec<Length>) -> (Engine, Vec<Json>) {
        let mut settings = settings();
        settings.windows = windows;
        settings.min_support = 3;
        let mut engine = Engine::new(settings).unwrap();
        let mut lines = Vec::new();
        for id in 0..12 {
            let time = NINE + id / 3 * HOUR + id % 3 * 60_000;
            let (class, country) = match id % 3 {
                0 => ("fraud", "DE"),
                1 => ("legit", "FR"),
                _ => ("fraud", "FR"),
            };
            lines.push(format!(
                r#"{{"event":"prediction","id":"{id}","ts":{time},"version":"v1","predicted":"{class}","score":0.5,"segment":{{"country":"{country}"}}}}"#
            ));
            if id < 9 {
                let label = if id % 2 == 0 { "fraud" } else { "legit" };
                lines.push(format!(
                    r#"{{"event":"label","id":"{id}","ts":{time},"label":"{label}"}}"#
                ));
            }
        }
        let mut out = Documents::default();
        let now = Timestamp(NINE + 4 * HOUR);
        engine.push(&batch(&lines), now, &mut out);
        engine.release(now, &mut out);
        let text = String::from_utf8(out.bytes.clone()).unwrap();
        let documents = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let is_quality = |document: &Json| document["event"]["dataset"] == "modelbeat.quality";
        let documents = documents.filter(is_quality).collect();
        (engine, documents)
    }

    fn look(engine: &Engine, minutes: i64, bounds: Bounds) -> View {
        engine.view(Timestamp(NINE + minutes * 60_000), bounds)
    }

    const ALL_OF_IT: Bounds = Bounds {
        series_max: 100,
        recent_max: 100,
    };

    /// Every number that the view has is the one in the document of that window.
    fn check_against(documents: &[Json], series: &SeriesView, window: &WindowView) {
        let mut start = Vec::new();
        crate::flow::json::write_time(window.from, &mut start);
        let start: Json = serde_json::from_slice(&start).unwrap();
        let same = |document: &&Json| {
            document["window"]["start"] == start
                && document["window"]["length"] == series.length.text().as_str()
                && document["slice"]["name"] == series.slice_name.as_str()
                && document["slice"]["value"].as_str() == series.slice_value.as_deref()
        };
        let document = documents.iter().find(same).expect("published");
        let counts = &document["counts"];
        assert_eq!(counts["predictions"], window.summary.counts.predictions);
        assert_eq!(counts["labelled"], window.summary.counts.labelled);
        assert_eq!(counts["judged"], window.summary.judged);
        let scored = |name: &str| !document["quality"][name].is_null();
        for metric in &window.summary.metrics {
            assert_eq!(scored(metric.name), metric.value.is_ok(), "{}", metric.name);
            if let Ok(value) = metric.value {
                assert_eq!(
                    document["quality"][metric.name],
                    written(value),
                    "{}",
                    metric.name
                );
            }
            if let Some(interval) = metric.interval {
                assert_eq!(
                    document["interval"][metric.name]["low"],
                    written(interval.low)
                );
                assert_eq!(
                    document["interval"][metric.name]["high"],
                    written(interval.high)
                );
            }
        }
    }

    /// As documents write it, and as they are read: that may be off by the last bit.
    fn written(number: f64) -> Json {
        let mut text = Vec::new();
        crate::flow::json::write_number(number, &mut text);
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn a_look_shows_the_numbers_of_the_documents() {
        let hopping = Length::Hopping {
            length: 2 * HOUR,
            every: HOUR,
        };
        let lengths = vec![Length::Fixed(HOUR), hopping, Length::Cumulative];
        let (engine, documents) = engine(lengths);
        let view = look(&engine, 240, ALL_OF_IT);
        // Each length of the whole and of two countries.
        assert_eq!((view.series.len(), view.left_out), (9, 0));
        for series in &view.series {
            for window in series.recent.iter().chain([&series.current]) {
                check_against(&documents, series, window);
            }
        }
    }

    #[test]
    fn the_current_window_has_ended_and_has_labels_enough_and_wholes_have_recent_ones() {
        let (engine, _) = engine(vec![Length::Fixed(HOUR)]);
        let view = look(&engine, 240, ALL_OF_IT);
        let [whole, countries @ ..] = view.series.as_slice() else {
            panic!("{view:?}");
        };
        assert_eq!(whole.slice_name, "_all");
        // The fourth hour has no label, the third has three.
        assert_eq!(whole.current.from, Timestamp(NINE + 2 * HOUR));
        let recent: Vec<_> = whole
            .recent
            .iter()
            .map(|window| window.from.0 - NINE)
            .collect();
        assert_eq!(recent, [0, HOUR, 2 * HOUR, 3 * HOUR]);
        assert!(countries.iter().all(|country| country.recent.is_empty()));
        let early = look(&engine, 170, ALL_OF_IT);
        assert_eq!(
            early.series[0].current.from,
            Timestamp(NINE + HOUR),
            "the third has not ended"
        );
    }

    #[test]
    fn a_look_is_bounded_and_says_what_it_left_out() {
        let (engine, _) = engine(vec![Length::Fixed(HOUR)]);
        let view = look(
            &engine,
            240,
            Bounds {
                series_max: 1,
                recent_max: 2,
            },
        );
        assert_eq!((view.series.len(), view.left_out), (1, 2));
        assert_eq!(view.series[0].slice_name, "_all");
        assert_eq!(view.series[0].recent.len(), 2);
    }
}
