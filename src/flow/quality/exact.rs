//! A sum of floating-point numbers without rounding: adding is associative and commutative, and subtracting what was
//! added leaves not a trace. Plain `f64` adds would make a window depend on the order its labels came in.
//!
//! A finite `f64` is `mantissa · 2^exponent`. The mantissa is shifted into the slot its exponent falls in (one slot every 32
//! powers of two) and added there as an integer. 53 bits of mantissa and 31 of shift leave 43 bits of an `i128`:
//! a slot takes 2^43 additions before it could overflow. Which slot a number goes to depends on the number alone, so
//! equal multisets have equal slots.

use serde::{Deserialize, Serialize};

/// Powers of two in a slot.
const SLOT_BITS: i32 = 32;
/// Exponent of the least significant mantissa bit of the smallest `f64`; slots are counted from here.
const EXPONENT_MIN: i32 = -1074;

/// An exact sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exact {
    /// (slot, integer in units of the slot's first power of two), ascending, no zeros.
    slots: Vec<(u8, i128)>,
}

/// A number as it is added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addend {
    slot: u8,
    units: i128,
}

impl Addend {
    /// `None` for NaN and the infinities.
    pub(crate) fn of(value: f64) -> Option<Self> {
        let (mantissa, exponent) = decompose(value)?;
        let above = exponent - EXPONENT_MIN;
        Some(Self {
            // 0 ≤ above ≤ 2045, so the slot is below 64.
            slot: u8::try_from(above / SLOT_BITS).unwrap_or(u8::MAX),
            units: i128::from(mantissa) << (above % SLOT_BITS),
        })
    }
}

impl Exact {
    /// Bytes on the heap, near enough for a bound.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<(u8, i128)>()
    }

    /// Adds `value`, `times` over (−1 takes it back). Not a finite number: ignored; callers sort those out.
    pub(crate) fn add(&mut self, value: f64, times: i64) {
        if let Some(Addend { slot, units }) = Addend::of(value) {
            self.put(slot, units * i128::from(times));
        }
    }

    /// Adds a number that is added to several sums.
    pub(crate) fn add_one(&mut self, Addend { slot, units }: Addend) {
        self.put(slot, units);
    }

    /// Adds `a · b` without rounding, `times` over.
    pub(crate) fn add_product(&mut self, a: f64, b: f64, times: i64) {
        let product = a * b;
        self.add(product, times);
        self.add(a.mul_add(b, -product), times);
    }

    /// Adds another sum.
    pub(crate) fn merge(&mut self, other: &Self) {
        for &(slot, units) in &other.slots {
            self.put(slot, units);
        }
    }

    /// The sum as an `f64`, within a few units in the last place.
    pub(crate) fn value(&self) -> f64 {
        let (high, low) = self.value_pair();
        high + low
    }

    /// The sum as `high + low`, together good to about 100 bits: for differences that cancel.
    pub(crate) fn value_pair(&self) -> (f64, f64) {
        let high = self.rounded();
        let mut rest = self.clone();
        rest.add(high, -1);
        (high, rest.rounded())
    }

    fn put(&mut self, slot: u8, units: i128) {
        if units == 0 {
            return;
        }
        match self.slots.binary_search_by_key(&slot, |entry| entry.0) {
            Ok(place) => {
                if let Some(entry) = self.slots.get_mut(place) {
                    entry.1 += units;
                    if entry.1 == 0 {
                        self.slots.remove(place);
                    }
                }
            }
            Err(place) => {
                // Numbers of one kind need one slot or two, and there are many sums: no room for more.
                self.slots.reserve_exact(1);
                self.slots.insert(place, (slot, units));
            }
        }
    }

    /// Slots may cancel each other, so carry first; then all digits have one sign and adding them loses nothing.
    fn rounded(&self) -> f64 {
        let digits = self.digits(1);
        let negative = digits.last().is_some_and(|&(_, digit)| digit < 0);
        let (digits, sign) = if negative {
            (self.digits(-1), -1.0)
        } else {
            (digits, 1.0)
        };
        let magnitude = digits.iter().rev().fold(0.0, |sum, &(slot, digit)| {
            let exponent = EXPONENT_MIN + i32::from(slot) * SLOT_BITS;
            sum + scale(digit as f64, exponent)
        });
        sign * magnitude
    }

    /// `sign` times the sum, as base 2^32 digits in ascending order; only the last can be negative or larger.
    fn digits(&self, sign: i128) -> Vec<(u8, i128)> {
        let mut digits = Vec::with_capacity(self.slots.len() + 4);
        let mut pending = self.slots.iter().peekable();
        let (mut slot, mut carry) = (0_u8, 0_i128);
        while let Some(&&(next, units)) = pending.peek() {
            if carry == 0 {
                slot = next;
            }
            let total = if slot == next {
                pending.next();
                carry + sign * units
            } else {
                carry
            };
            if pending.peek().is_none() {
                digits.push((slot, total));
                return digits;
            }
            digits.push((slot, total & ((1 << SLOT_BITS) - 1)));
            carry = total >> SLOT_BITS;
            slot += 1;
        }
        digits
    }
}

/// `mantissa · 2^exponent`, exactly; `None` for NaN and the infinities.
fn decompose(value: f64) -> Option<(i64, i32)> {
    if !value.is_finite() {
        return None;
    }
    let bits = value.to_bits();
    let fraction = i64::try_from(bits & ((1 << 52) - 1)).ok()?;
    let biased = i32::try_from((bits >> 52) & 0x7ff).ok()?;
    let (mantissa, exponent) = match biased {
        0 => (fraction, EXPONENT_MIN),
        _ => (fraction | (1 << 52), biased - 1 + EXPONENT_MIN),
    };
    Some((
        if value.is_sign_negative() {
            -mantissa
        } else {
            mantissa
        },
        exponent,
    ))
}

/// `number · 2^exponent`, in two steps because 2^-1074 · 2^… may not be representable in one.
fn scale(number: f64, exponent: i32) -> f64 {
    let half = exponent / 2;
    number * 2.0_f64.powi(half) * 2.0_f64.powi(exponent - half)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp, reason = "exactness is what is tested")]

    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[f64]) -> Exact {
        let mut exact = Exact::default();
        for &value in values {
            exact.add(value, 1);
        }
        exact
    }

    #[test]
    fn nothing_is_lost_beside_a_giant() {
        assert_eq!(sum(&[1e300, 1.0, -1e300]).value(), 1.0);
        assert_eq!(sum(&[1e16, 1.0, 1.0]).value(), 10_000_000_000_000_002.0);
        assert_eq!(sum(&[-1e300, -1e-300, 1e300]).value(), -1e-300);
        assert_eq!(sum(&[4e-324, 4e-324]).value(), 1e-323);
        assert_eq!(sum(&[]).value(), 0.0);
    }

    #[test]
    fn tenths_add_up() {
        // math.fsum([0.1] * 10) == 1.0 in Python; the naive sum is 0.9999999999999999.
        assert_eq!(sum(&[0.1; 10]).value(), 1.0);
    }

    #[test]
    fn a_product_keeps_its_low_half() {
        let mut exact = Exact::default();
        exact.add_product(1.0 + f64::EPSILON, 1.0 + f64::EPSILON, 1);
        exact.add(1.0, -1);
        exact.add(2.0 * f64::EPSILON, -1);
        assert_eq!(exact.value(), f64::EPSILON * f64::EPSILON);
    }

    proptest! {
        #[test]
        fn order_and_grouping_do_not_matter(mut values in prop::collection::vec(prop::num::f64::NORMAL, 0..40), cut in 0_usize..40) {
            let whole = sum(&values);
            let cut = cut.min(values.len());
            let mut right = sum(&values[cut..]);
            right.merge(&sum(&values[..cut]));
            prop_assert_eq!(&right, &whole);
            values.reverse();
            prop_assert_eq!(&sum(&values), &whole);
        }

        #[test]
        fn taking_back_leaves_no_trace(kept in prop::collection::vec(prop::num::f64::NORMAL, 0..20), gone in prop::collection::vec(prop::num::f64::NORMAL, 0..20)) {
            let mut exact = sum(&kept);
            for &value in &gone { exact.add(value, 1); }
            for &value in &gone { exact.add(value, -1); }
            prop_assert_eq!(exact, sum(&kept));
        }

        #[test]
        fn one_number_is_itself(value in prop::num::f64::ANY) {
            let expected = if value.is_finite() { value } else { 0.0 };
            prop_assert_eq!(sum(&[value]).value(), expected);
        }

        #[test]
        fn integers_add_as_integers(values in prop::collection::vec(-(1_i64 << 40)..(1 << 40), 0..60)) {
            let floats: Vec<f64> = values.iter().map(|&value| value as f64).collect();
            prop_assert_eq!(sum(&floats).value(), values.iter().sum::<i64>() as f64);
        }
    }
}
