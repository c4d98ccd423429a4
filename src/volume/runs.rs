//! Where each byte of a volume lives. Pure: maps are data, nothing here reads a file.

use std::ops::Range;

use crate::units::ExtentKind;

/// Place of the bytes of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Stored as they are in a source, from byte `offset` of it on.
    Stored {
        /// Which source of the volume.
        source: u16,
        /// Byte offset in that source.
        offset: u64,
    },
    /// Packed together with its neighbours: unpack the `len` bytes at `offset` to the unit of that
    /// source, then skip `skip` bytes of it. One run never spans two units.
    Packed {
        /// Which source of the volume.
        source: u16,
        /// Byte offset of the packed bytes in that source.
        offset: u64,
        /// Packed bytes, counted up to where they can end at most.
        len: u32,
        /// Bytes of the unit that lie before this run.
        skip: u32,
    },
    /// These four bytes over and over, in phase with the volume: the first stands at each volume
    /// offset that is a multiple of 4.
    Fill([u8; 4]),
    /// Every byte is zero, and the format says so.
    Zero,
    /// Nothing is stored; reads as zero.
    Hole,
    /// Not in this layer: look in the one below.
    Backing,
}

impl Place {
    /// Returns the place `by` bytes further into the same run.
    fn advance(self, by: u64) -> Self {
        match self {
            Self::Stored { source, offset } => {
                // Formats check that a run's bytes end inside its source.
                Self::Stored { source, offset: offset.strict_add(by) }
            }
            Self::Packed { source, offset, len, skip } => {
                // Units are of 2 MiB at most.
                let by = u32::try_from(by).expect("a packed run is short");
                Self::Packed { source, offset, len, skip: skip.strict_add(by) }
            }
            same => same,
        }
    }

    /// Returns what a range of this place is.
    #[must_use]
    pub fn kind(self) -> ExtentKind {
        match self {
            Self::Stored { .. } | Self::Packed { .. } | Self::Fill(_) => ExtentKind::Data,
            Self::Zero => ExtentKind::Zero,
            Self::Hole | Self::Backing => ExtentKind::Hole,
        }
    }
}

/// Runs that tile `0..size`: sorted, no gap, no overlap; only the starts are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunMap {
    runs: Vec<(u64, Place)>,
    size: u64,
}

impl RunMap {
    /// Adds `len` bytes at the end, joined to the last run where its place goes on.
    ///
    /// # Panics
    ///
    /// If the map grows past 2^64 bytes: formats check sizes against the largest volume first.
    pub fn push(&mut self, len: u64, place: Place) {
        if len == 0 {
            return;
        }
        // A unit starts with a run that skips nothing.
        let new_unit = matches!(place, Place::Packed { skip: 0, .. });
        let goes_on = !new_unit
            && self.runs.last().is_some_and(|&(start, last)| {
                let packed = matches!(last, Place::Packed { .. });
                packed == matches!(place, Place::Packed { .. })
                    && last.advance(self.size.strict_sub(start)) == place
            });
        if !goes_on {
            self.runs.push((self.size, place));
        }
        self.size = self.size.strict_add(len);
    }

    /// Returns the size of the volume in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns how many runs there are.
    #[must_use]
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// Iterates over the runs that touch `range`, cut to it, ascending.
    pub fn within(&self, range: Range<u64>) -> impl Iterator<Item = (Range<u64>, Place)> + '_ {
        let end = range.end.min(self.size);
        let first = self.runs.partition_point(|&(start, _)| start <= range.start).saturating_sub(1);
        (first..self.runs.len())
            .map(move |i| {
                let (start, place) = self.runs[i];
                let stop = self.runs.get(i.strict_add(1)).map_or(self.size, |&(next, _)| next);
                (start.max(range.start)..stop.min(end), start, place)
            })
            .take_while(|(cut, _, _)| !cut.is_empty())
            .map(|(cut, start, place)| {
                let place = place.advance(cut.start.strict_sub(start));
                (cut, place)
            })
    }

    /// Lays this layer over `below`: each `Backing` run takes what lies there.
    ///
    /// Bytes past the end of `below` become holes.
    #[must_use]
    pub fn over(&self, below: &Self) -> Self {
        let mut flat = Self::default();
        for (range, place) in self.within(0..self.size) {
            if place == Place::Backing {
                for (part, place) in below.within(range.clone()) {
                    flat.push(part.end.strict_sub(part.start), place);
                }
                flat.push(range.end.strict_sub(flat.size), Place::Hole);
            } else {
                flat.push(range.end.strict_sub(range.start), place);
            }
        }
        flat
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// The slow twin of a map: the place of each single byte.
    fn bytes(map: &RunMap) -> Vec<Place> {
        map.within(0..map.size())
            .flat_map(|(range, place)| (0..range.end - range.start).map(move |i| place.advance(i)))
            .collect()
    }

    /// The slow twin of `over`: asks the top, then the base, byte by byte.
    fn ask_each_layer(top: &RunMap, base: &RunMap) -> Vec<Place> {
        let below = bytes(base);
        bytes(top)
            .into_iter()
            .enumerate()
            .map(|(at, place)| match place {
                Place::Backing => below.get(at).copied().unwrap_or(Place::Hole),
                own => own,
            })
            .collect()
    }

    /// A map of up to a dozen short runs; only layer 0 has `Backing` ones.
    fn random_map(seed: u64, layer: u16) -> RunMap {
        let mut state = seed * 2 + u64::from(layer);
        let mut below = |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        };
        let mut map = RunMap::default();
        for _ in 0..below(12) {
            let place = match below(5) {
                0 => Place::Stored { source: layer, offset: below(100) },
                1 => Place::Packed { source: layer, offset: below(100), len: 7, skip: 0 },
                2 if below(2) == 0 => Place::Fill([1, 2, 3, 4]),
                2 => Place::Zero,
                3 if layer == 0 => Place::Backing,
                _ => Place::Hole,
            };
            map.push(below(9), place);
        }
        map
    }

    #[test]
    fn over_equals_asking_each_layer() {
        for seed in 1..=20_000 {
            let (top, base) = (random_map(seed, 0), random_map(seed, 1));
            assert_eq!(bytes(&top.over(&base)), ask_each_layer(&top, &base), "seed {seed}");
        }
    }

    #[test]
    fn within_is_a_window_on_the_whole() {
        for seed in 1..=2_000 {
            let map = random_map(seed, 0);
            for start in 0..map.size() {
                let end = map.size().min(start + seed % 11);
                let part: Vec<_> = map
                    .within(start..end)
                    .flat_map(|(r, p)| (0..r.end - r.start).map(move |i| p.advance(i)))
                    .collect();
                let (from, to) = (usize::try_from(start).unwrap(), usize::try_from(end).unwrap());
                assert_eq!(part, bytes(&map)[from..to], "seed {seed}, {start}..{end}");
            }
        }
    }

    /// The memory bounds in the documentation rest on this.
    #[test]
    fn a_run_takes_at_most_32_bytes() {
        assert!(size_of::<(u64, Place)>() <= 32);
    }
}
