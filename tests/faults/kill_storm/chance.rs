//! Seeded chance: the same seed and purpose give the same numbers, whatever else is drawn beside them.

/// A stream of numbers: BLAKE3's output for a seed and a purpose.
pub(super) struct Chance(blake3::OutputReader);

impl Chance {
    pub(super) fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(purpose.as_bytes());
        Self(hasher.finalize_xof())
    }

    /// A number below `below`, which is not zero.
    pub(super) fn below(&mut self, below: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % below
    }

    /// An index below `below`, which is not zero.
    pub(super) fn index(&mut self, below: usize) -> usize {
        usize::try_from(self.below(below as u64)).expect("below a usize")
    }

    pub(super) fn is_one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    pub(super) fn shuffle<T>(&mut self, things: &mut [T]) {
        for place in (1..things.len()).rev() {
            things.swap(place, self.index(place + 1));
        }
    }
}
