//! Chance with a seed: the same numbers for the same seed, on every machine and in every version.

/// `SplitMix64` (Steele, Lea, Flood 2014): small, and good enough to draw a month.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// At least 0, below 1.
    pub(super) fn unit(&mut self) -> f64 {
        // The upper 53 bits: as many as a float has.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True so often.
    pub(super) fn happens(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// A whole number from `from` to below `until`.
    pub(super) fn between(&mut self, from: i64, until: i64) -> i64 {
        // Spans of a month at most are exact in a float.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "below the span, which is an integer"
        )]
        let above = (self.unit() * (until - from) as f64) as i64;
        from + above
    }

    /// Waiting time with this mean, exponentially distributed.
    pub(super) fn wait(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// One of `choices`, by their shares, which sum to 1.
    pub(super) fn one_of<T: Copy>(&mut self, choices: &[(T, f64)]) -> Option<T> {
        let mut rest = self.unit();
        for (choice, share) in choices {
            if rest < *share {
                return Some(*choice);
            }
            rest -= share;
        }
        choices.last().map(|(choice, _)| *choice)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of seed 1234567 as Rosetta Code lists them ("Pseudo-random numbers/Splitmix64").
    #[test]
    fn the_numbers_are_those_of_the_reference() {
        let mut chance = Chance::new(1_234_567);
        let drawn: Vec<u64> = (0..5).map(|_| chance.next()).collect();
        let reference = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(drawn, reference);
    }

    #[test]
    fn choices_come_by_their_shares() {
        let mut chance = Chance::new(1);
        let mut counts = [0; 3];
        for _ in 0..100_000 {
            counts[chance.one_of(&[(0, 0.5), (1, 0.3), (2, 0.2)]).unwrap()] += 1;
        }
        // Five standard deviations of a binomial are less than 800.
        for (count, expected) in counts.into_iter().zip([50_000_i32, 30_000, 20_000]) {
            assert!((count - expected).abs() < 800, "{counts:?}");
        }
    }
}
