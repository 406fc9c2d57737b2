//! A clock for a time lapse: days told in seconds. What is measured while such a story is told is stamped with the story's
//! time, so that it stands beside the records of the same moment. Driven by `modelbeat demo`; no pipeline file can ask for it.

use crate::flow::event::Timestamp;

/// How the host's clock and the story's go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lapse {
    /// When the telling begins, by the host's clock.
    pub begins: Timestamp,
    /// What the story's clock says then.
    pub from: Timestamp,
    /// Length of the story, in milliseconds of its own.
    pub story_ms: i64,
    /// How long the telling takes, in milliseconds; at least 1.
    pub telling_ms: i64,
}

impl Lapse {
    /// What the story's clock says at a time of the host's; `None` before and after the story.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Option<Timestamp> {
        let told_ms = i128::from(now.since(self.begins)) * i128::from(self.story_ms)
            / i128::from(self.telling_ms.max(1));
        let told_ms = i64::try_from(told_ms).ok()?;
        (0..self.story_ms)
            .contains(&told_ms)
            .then(|| self.from.plus(told_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_told_in_ten_seconds() {
        let lapse = Lapse {
            begins: Timestamp(1_000_000),
            from: Timestamp(50),
            story_ms: 86_400_000,
            telling_ms: 10_000,
        };
        let at = |ms| lapse.at(Timestamp(ms)).map(|time| time.0);
        assert_eq!(at(1_000_000), Some(50));
        assert_eq!(at(1_000_001), Some(50 + 8_640));
        assert_eq!(at(1_005_000), Some(50 + 43_200_000));
        assert_eq!(at(1_009_999), Some(50 + 86_391_360));
        assert_eq!([at(999_999), at(1_010_000)], [None, None]);
    }
}
