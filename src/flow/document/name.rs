//! Indices and ids: where a document goes and what it is called, from what it is about and nothing else.

use std::sync::Arc;

use crate::flow::event::Timestamp;
use crate::flow::join::Key;
use crate::flow::json::Date;

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dataset {
    /// One prediction, with its label once that came.
    Prediction,
    /// A label whose prediction never came.
    Label,
    /// One window's counts and metrics.
    Quality,
    /// One class of a window.
    QualityClass,
    /// One cell of a window's confusion matrix.
    Confusion,
    /// One threshold of a window's sweep.
    Threshold,
    /// Two versions in the same window.
    Comparison,
    /// One reading of the host.
    Host,
    /// One change of an alert.
    Alert,
    /// Something that happened to the agent.
    Operation,
}

impl Dataset {
    /// `event.dataset`
    pub const fn event_dataset(self) -> &'static str {
        match self {
            Self::Prediction => "modelbeat.prediction",
            Self::Label => "modelbeat.label",
            Self::Quality => "modelbeat.quality",
            Self::QualityClass => "modelbeat.quality.class",
            Self::Confusion => "modelbeat.confusion",
            Self::Threshold => "modelbeat.quality.threshold",
            Self::Comparison => "modelbeat.comparison",
            Self::Host => "modelbeat.host",
            Self::Alert => "modelbeat.alert",
            Self::Operation => "modelbeat.operation",
        }
    }

    /// The part of the index name between prefix and date, and whether there is one index a day (or a month).
    const fn index(self) -> (&'static str, bool) {
        match self {
            Self::Prediction => ("predictions", true),
            Self::Label => ("labels", false),
            Self::Quality
            | Self::QualityClass
            | Self::Confusion
            | Self::Threshold
            | Self::Comparison => ("quality", false),
            Self::Host => ("host", true),
            Self::Alert => ("alerts", false),
            Self::Operation => ("operations", false),
        }
    }
}

/// Index names, remembered: events come in runs of the same day.
#[derive(Clone, Debug)]
pub struct Indices {
    prefix: String,
    recent: Vec<(&'static str, i64, Arc<str>)>,
    cumulative: Arc<str>,
}

/// Names remembered; a backfill that jumps between more days makes them anew.
const RECENT_MAX: usize = 64;

impl Indices {
    /// Index names that start with `prefix`.
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
            recent: Vec::new(),
            cumulative: format!("{prefix}-quality-cumulative").into(),
        }
    }

    /// The index of windows without end: they belong to no month, and a straggler must not move them to another.
    pub fn cumulative(&self) -> Arc<str> {
        Arc::clone(&self.cumulative)
    }

    /// The index of a document with this event time.
    pub fn name(&mut self, dataset: Dataset, time: Timestamp) -> Arc<str> {
        let (part, daily) = dataset.index();
        let stretch = if daily {
            time.0.div_euclid(86_400_000)
        } else {
            let date = Date::of(time);
            date.year * 12 + date.month
        };
        if let Some((.., name)) = self
            .recent
            .iter()
            .find(|(known, at, _)| *known == part && *at == stretch)
        {
            return Arc::clone(name);
        }
        let mut text = format!("{}-{part}-", self.prefix).into_bytes();
        Date::of(time).write(b'.', &mut text);
        if !daily {
            text.truncate(text.len() - 3);
        }
        let name: Arc<str> = String::from_utf8_lossy(&text).into();
        if self.recent.len() >= RECENT_MAX {
            self.recent.clear();
        }
        self.recent.push((part, stretch, Arc::clone(&name)));
        name
    }
}

/// Twenty-two letters for 128 bits, eleven for 64: base64url without padding (RFC 4648 §5).
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The part of a prediction's id that says which pipeline, model and version it is of: 64 bits of BLAKE3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(pub u64);

impl Tag {
    /// The tag of a pipeline's model version.
    pub fn of(pipeline: &str, model: &str, version: &str) -> Self {
        Self((digest(&[pipeline, model, version]) >> 64) as u64)
    }
}

/// The `_id` of a prediction's document: its join key, and the tag of its pipeline, model and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PredictionId([u8; 34]);

impl PredictionId {
    /// The id of the prediction with this key.
    #[must_use]
    pub fn of(key: Key, tag: Tag) -> Self {
        let mut id = [b'.'; 34];
        if let Some((key_letters, [_, tag_letters @ ..])) = id.split_at_mut_checked(22) {
            write_letters(key.0, key_letters);
            write_letters(u128::from(tag.0), tag_letters);
        }
        Self(id)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Letters only.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The `_id` of a window's document: 128 bits of BLAKE3 over all that identifies it.
pub fn window_id(parts: &[&str]) -> String {
    let mut id = [0; 22];
    write_letters(digest(parts), &mut id);
    String::from_utf8_lossy(&id).into_owned()
}

/// The key of a document whose id is not made from a join key: FNV-1a, 64 bits.
pub fn key_of_id(id: &str) -> u64 {
    id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Each part with its length before it, so that no two lists of parts read the same.
fn digest(parts: &[&str]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher
            .update(&(part.len() as u64).to_le_bytes())
            .update(part.as_bytes());
    }
    let hash = hasher.finalize();
    let (half, _) = hash.as_bytes().split_at(16);
    half.iter()
        .fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// Six bits a letter, the last ones last.
fn write_letters(number: u128, letters: &mut [u8]) {
    let mut rest = number;
    for letter in letters.iter_mut().rev() {
        *letter = LETTERS[rest as usize & 63];
        rest >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_of_the_documents_own_day_or_month() {
        let mut indices = Indices::new("modelbeat");
        let late = Timestamp(1_504_223_999_999); // 2017-08-31T23:59:59.999Z
        let names = [
            (Dataset::Prediction, 0),
            (Dataset::Prediction, 1),
            (Dataset::Confusion, 0),
            (Dataset::Label, 1),
        ];
        let names =
            names.map(|(dataset, later)| indices.name(dataset, late.plus(later)).to_string());
        assert_eq!(
            names,
            [
                "modelbeat-predictions-2017.08.31",
                "modelbeat-predictions-2017.09.01",
                "modelbeat-quality-2017.08",
                "modelbeat-labels-2017.09",
            ]
        );
    }

    #[test]
    fn ids_tell_apart_what_only_joins_the_same() {
        assert_ne!(window_id(&["ab", "c"]), window_id(&["a", "bc"]));
        assert_ne!(Tag::of("p", "m", "1"), Tag::of("p", "m1", ""));
        assert_eq!(window_id(&["a"]).len(), 22);
    }

    /// An id must never change: what is stored under the old one would be doubled. Made by this code on 2026-11-24,
    /// with the digest of `printf 'p-1'` cross-checked by the b3sum tool's algorithm (BLAKE3, first 16 bytes).
    #[test]
    fn ids_stay_what_they_were() {
        let id = PredictionId::of(Key::of("p-1", None), Tag::of("fraud", "fraud", "v7"));
        insta::assert_snapshot!(id.as_str());
        insta::assert_snapshot!(window_id(&[
            "fraud", "agent", "fraud", "v7", "_all", "", "1h", "0"
        ]));
    }
}
