//! Which slices of a window may be published, where a group of people must not be too small.
//!
//! A slice of fewer than `min_group` predictions is withheld. What is left could be told by subtraction, so of each slice name
//! the whole less the published values must hold no small group either: the smallest value is withheld, too, until it does not
//! (events without a value are in that rest). Crosses are published all or none: not if one of their cells is small or has a part
//! that is withheld, and not if the cells beside a slice or a coarser cross leave a small group of it.
//!
//! That holds within one window of one version. Absent: what follows from several lengths, versions or revisions together.

use std::collections::{BTreeMap, BTreeSet};

use crate::flow::slices::{ALL, Cross, Cuts, Slices, write_escaped};

impl Slices {
    /// The slices that must not be published, of a window with these predictions a slice.
    pub fn withheld(
        &self,
        cuts: &Cuts,
        sizes: &BTreeMap<u32, u64>,
        min_group: u64,
    ) -> BTreeSet<u32> {
        let is_small = |size: u64| (1..min_group).contains(&size);
        let whole = sizes.get(&ALL).copied().unwrap_or(0);
        let slices = sizes.iter().filter(|(slice, _)| **slice != ALL);
        let mut withheld: BTreeSet<u32> = slices
            .filter(|(_, size)| **size < min_group)
            .map(|(slice, _)| *slice)
            .collect();
        for name in &cuts.names {
            let mut told: Vec<(u64, u32)> = self
                .of_name(*name, sizes)
                .filter(|(_, slice)| !withheld.contains(slice))
                .collect();
            // The smallest last; of equals the one that was seen last.
            told.sort_unstable_by_key(|(size, slice)| (std::cmp::Reverse(*size), *slice));
            let mut rest = whole.saturating_sub(told.iter().map(|(size, _)| size).sum());
            while is_small(rest)
                && let Some((size, slice)) = told.pop()
            {
                withheld.insert(slice);
                rest += size;
            }
        }
        let mut crosses: Vec<&Cross> = cuts.crosses.iter().collect();
        crosses.sort_by_key(|cross| cross.parts.len());
        for cross in crosses {
            let cells: Vec<(u64, u32)> = self.of_name(cross.name, sizes).collect();
            let told: u64 = cells.iter().map(|(size, _)| size).sum();
            let may_tell = !cells.iter().any(|(_, cell)| withheld.contains(cell))
                && !is_small(whole.saturating_sub(told))
                && self.is_apart(
                    cross,
                    &cells,
                    cuts,
                    |slice, told| {
                        let size = sizes.get(&slice).copied().unwrap_or(0);
                        !is_small(size.saturating_sub(told))
                            && (told == 0 || !withheld.contains(&slice))
                    },
                    sizes,
                );
            if !may_tell {
                withheld.extend(cells.iter().map(|(_, cell)| *cell));
            }
        }
        withheld
    }

    /// True if `is_well` holds for every slice that is coarser than the cells of a cross, and what they tell of it.
    fn is_apart(
        &self,
        cross: &Cross,
        cells: &[(u64, u32)],
        cuts: &Cuts,
        is_well: impl Fn(u32, u64) -> bool,
        sizes: &BTreeMap<u32, u64>,
    ) -> bool {
        let singles = cuts.names.iter().map(|name| (*name, vec![*name]));
        let crosses = cuts.crosses.iter();
        let crosses = crosses.map(|other| (other.name, other.parts.clone()));
        let mut coarser = singles
            .chain(crosses.filter(|(_, parts)| parts.len() < cross.parts.len()))
            .filter(|(_, parts)| parts.iter().all(|part| cross.parts.contains(part)));
        coarser.all(|(name, parts)| {
            let places: Vec<usize> = parts
                .iter()
                .filter_map(|part| cross.parts.iter().position(|known| known == part))
                .collect();
            // What the cells tell of each coarser slice, by its value as a cross has it.
            let mut told: BTreeMap<String, u64> = BTreeMap::new();
            for (size, cell) in cells {
                let values = self.values_of(*cell);
                // The cell of all combinations beyond the limit says nothing of its parts.
                if values.len() == cross.parts.len() {
                    let values = places.iter().filter_map(|place| values.get(*place));
                    let values: Vec<&str> = values.map(String::as_str).collect();
                    *told.entry(values.join(",")).or_default() += size;
                }
            }
            self.of_name(name, sizes).all(|(_, slice)| {
                let value = self.text(slice).1.unwrap_or_default();
                let mut text = String::new();
                if parts.len() == 1 {
                    write_escaped(value, &mut text);
                } else {
                    value.clone_into(&mut text);
                }
                is_well(slice, told.get(&text).copied().unwrap_or(0))
            })
        })
    }

    /// (predictions, slice) of the values that a name has in a window.
    fn of_name(&self, name: u32, sizes: &BTreeMap<u32, u64>) -> impl Iterator<Item = (u64, u32)> {
        let is_of_name =
            move |slice: &u32| self.pair(*slice).is_some_and(|(known, _)| known == name);
        let of_name = sizes.iter().filter(move |(slice, _)| is_of_name(slice));
        of_name.map(|(slice, size)| (*size, *slice))
    }

    /// The values of a cross's parts, each as the cross has it.
    fn values_of(&self, cell: u32) -> Vec<String> {
        let text = self.text(cell).1.unwrap_or_default();
        let (mut values, mut escaped) = (vec![String::new()], false);
        for letter in text.chars() {
            if letter == ',' && !escaped {
                values.push(String::new());
                continue;
            }
            if let Some(value) = values.last_mut() {
                value.push(letter);
            }
            escaped = letter == '\\' && !escaped;
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    /// Predictions of (country, device); an empty value is none.
    type Traffic<'t> = &'t [(&'static str, &'static str, u64)];

    fn withheld(crossed: bool, traffic: Traffic<'_>) -> Vec<String> {
        let mut slices = Slices::default();
        let names: Vec<String> = ["country".into(), "device".into()].into();
        let crosses = if crossed {
            vec![names.clone()]
        } else {
            Vec::new()
        };
        let cuts = slices.cuts(&names, &crosses, 9);
        let mut sizes = BTreeMap::new();
        for (country, device, predictions) in traffic {
            let values = [*country, *device]
                .map(|value| (!value.is_empty()).then_some(Cow::Borrowed(value)));
            let set = slices.set(&cuts, &values);
            for slice in [&[ALL], slices.members(set)].concat() {
                *sizes.entry(slice).or_default() += predictions;
            }
        }
        let withheld = slices.withheld(&cuts, &sizes, 10);
        let name = |slice: &u32| {
            let (name, value) = slices.text(*slice);
            format!("{name}={}", value.unwrap_or_default())
        };
        withheld.iter().map(name).collect()
    }

    #[test]
    fn a_small_group_is_withheld_and_what_would_tell_it() {
        // 30 − 30 leaves nobody.
        assert_eq!(withheld(false, &[("DE", "", 20), ("FR", "", 10)]), [""; 0]);
        // 35 − 20 − 10 would tell the five of IT, so FR is withheld with them: 15 of whom nobody knows which.
        assert_eq!(
            withheld(false, &[("DE", "", 20), ("FR", "", 10), ("IT", "", 5)]),
            ["country=FR", "country=IT"]
        );
        // Two small ones hide one another.
        assert_eq!(
            withheld(false, &[("DE", "", 20), ("IT", "", 5), ("ES", "", 6)]),
            ["country=IT", "country=ES"]
        );
        // Three without a country are a small group, too.
        assert_eq!(
            withheld(false, &[("DE", "", 20), ("FR", "", 10), ("", "", 3)]),
            ["country=FR"]
        );
        assert_eq!(withheld(false, &[("DE", "", 9)]), ["country=DE"]);
    }

    #[test]
    fn crosses_are_told_all_or_none() {
        let even: Traffic<'_> = &[
            ("DE", "pc", 20),
            ("DE", "tv", 10),
            ("FR", "pc", 10),
            ("FR", "tv", 30),
        ];
        assert_eq!(withheld(true, even), [""; 0]);
        // The cell FR × tv is small; each margin is not.
        let cross = [
            "country,device=DE,pc",
            "country,device=DE,tv",
            "country,device=FR,pc",
            "country,device=FR,tv",
        ];
        assert_eq!(
            withheld(
                true,
                &[
                    ("DE", "pc", 20),
                    ("DE", "tv", 10),
                    ("FR", "pc", 10),
                    ("FR", "tv", 9)
                ]
            ),
            cross
        );
        // All cells are large, but four in DE have no device: DE less its cells would tell them. Of devices, all but four have one.
        let four = withheld(
            true,
            &[
                ("DE", "pc", 20),
                ("DE", "tv", 11),
                ("FR", "pc", 10),
                ("FR", "tv", 30),
                ("DE", "", 4),
            ],
        );
        let expected: BTreeSet<String> = cross
            .iter()
            .map(|cell| (*cell).to_owned())
            .chain(["device=pc".to_owned()])
            .collect();
        assert_eq!(four.into_iter().collect::<BTreeSet<_>>(), expected);
    }
}
