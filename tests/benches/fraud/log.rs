//! The log of a fraud model: predictions of 350 to 380 bytes with 8 features and 2 slices, and labels for 90 % of them, a
//! day later and in another order. The same events every time, whoever writes them.

use std::io::Write;

use jiff::Timestamp;

/// 2026-11-01T00:00:00Z, in milliseconds.
const START: i64 = 1_793_491_200_000;
/// Two million are five hours and a half.
const EVERY_MS: i64 = 10;
const DAY_MS: i64 = 86_400_000;
/// Labels come in another order than predictions: each block of so many is read in strides.
const BLOCK: u64 = 10_000;
const STRIDE: u64 = 7_919;
const COUNTRIES: [&str; 12] = [
    "AT", "BE", "CH", "DE", "DK", "ES", "FR", "GB", "IT", "NL", "PL", "SE",
];
const DEVICES: [&str; 3] = ["web", "ios", "android"];

/// When a prediction is made, in milliseconds since the epoch.
pub(crate) fn time(number: u64) -> i64 {
    START + i64::try_from(number).unwrap() * EVERY_MS
}

/// Writes a prediction's line; `more` are members of its own, each with a comma behind it.
pub(crate) fn prediction(number: u64, time: i64, more: &str, out: &mut impl Write) {
    let dice = Dice::of(number);
    let score = dice.score();
    write!(
        out,
        "{{{more}\"event\":\"prediction\",\"prediction_id\":\"{}\",\"ts\":\"{:.3}\",\"model\":\"fraud\",\"model_version\":\"2.{}\",\
         \"predicted\":\"{}\",\"score\":{score:.4},\"latency_ms\":{:.1},\"segment\":{{\"country\":\"{}\",\"device\":\"{}\"}},\"features\":{{",
        name(dice),
        moment(time),
        dice.below(1, 2),
        class(score >= 0.5),
        4.0 + f64::from(dice.below(2, 400)) / 10.0,
        COUNTRIES[dice.below(3, 12) as usize],
        DEVICES[dice.below(4, 3) as usize],
    )
    .unwrap();
    for feature in 0..8_u64 {
        let comma = if feature > 0 { "," } else { "" };
        write!(
            out,
            "{comma}\"f{feature}\":{:.3}",
            f64::from(dice.below(5 + feature, 100_000)) / 1e3
        )
        .unwrap();
    }
    out.write_all(b"}}\n").unwrap();
}

/// Writes the line at a place of the label log; nothing for the tenth of predictions whose label never comes.
pub(crate) fn label(place: u64, events: u64, out: &mut impl Write) {
    let block = place / BLOCK * BLOCK;
    let dice = Dice::of(block + (place - block) * STRIDE % BLOCK.min(events - block));
    if dice.below(20, 10) == 0 {
        return;
    }
    // Nine in ten answers are right.
    let is_fraud = (dice.score() >= 0.5) ^ (dice.below(21, 10) == 0);
    writeln!(
        out,
        "{{\"event\":\"label\",\"prediction_id\":\"{}\",\"ts\":\"{:.3}\",\"label\":\"{}\"}}",
        name(dice),
        moment(time(place) + DAY_MS),
        class(is_fraud),
    )
    .unwrap();
}

fn name(dice: Dice) -> String {
    let [high, low] = [dice.roll(30), dice.roll(31)];
    format!(
        "{:08x}-{:04x}-{:04x}-{:016x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low
    )
}

fn moment(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap()
}

fn class(is_fraud: bool) -> &'static str {
    if is_fraud { "fraud" } else { "ok" }
}

/// Chance that depends on the event and on what it is asked for: `SplitMix64`, <https://prng.di.unimi.it/splitmix64.c>.
#[derive(Clone, Copy)]
struct Dice(u64);

impl Dice {
    fn of(number: u64) -> Self {
        Self(number.wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    fn roll(self, what: u64) -> u64 {
        let mut z = self
            .0
            .wrapping_add((what + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(self, what: u64, bound: u32) -> u32 {
        u32::try_from(((self.roll(what) >> 32) * u64::from(bound)) >> 32).unwrap()
    }

    /// Between 0 and 1; a tenth of them 0.5 or more.
    fn score(self) -> f64 {
        let even = f64::from(self.below(0, 10_000)) / 1e4;
        if even < 0.9 {
            even / 1.8
        } else {
            0.5 + (even - 0.9) * 5.0
        }
    }
}
