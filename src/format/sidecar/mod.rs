//! Sidecars: files that tell data from holes for an image that cannot, or that lost its holes.
//!
//! A sidecar names no path and holds no byte of the volume. It is believed only as far as it can be
//! checked: sizes must agree, what it calls unwritten must read as zeros, and digests must match.
//! See `docs/formats/sidecar.md`.

mod bmap;
mod qemu_map;
mod says;

use std::num::NonZero;
use std::ops::Range;
use std::path::Path;

use crate::digest::is_zero;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format::spans::spans;
use crate::io::Input;
use crate::io::READ_PIECE_LEN;
use crate::io::ReadAt;
use crate::io::read_vec;
use crate::units::Extent;
use crate::units::ExtentKind;
use crate::volume::MAX_RUNS;
use crate::volume::Place;
use crate::volume::ReadVolume;
use crate::volume::RunMap;
use crate::volume::Volume;
use crate::work::Watch;
use crate::work::in_order;

pub use bmap::Bmap;
pub use bmap::BmapFault;
pub use bmap::write_bmap;
pub use qemu_map::QemuMap;
pub use qemu_map::QemuMapFault;
pub use qemu_map::write_qemu_extents;
pub use qemu_map::write_qemu_map;
use says::MAX_LEN;
use says::Says;
use says::pieces;

/// A sidecar that was read.
#[derive(Debug)]
pub enum Sidecar {
    /// A block map, as bmaptool makes it.
    Bmap(Bmap),
    /// What `qemu-img map --output=json` prints.
    QemuMap(QemuMap),
}

/// Reads the sidecar at `path`; its first byte says which kind it is.
///
/// # Errors
///
/// `Corrupt`, `Unsupported` or `Limit` as its format has it; `Io` if it cannot be read.
pub fn read(path: &Path) -> Result<Sidecar> {
    let input = Input::open(path)?;
    if input.len() > MAX_LEN {
        let text = format!("the sidecar has {} bytes, expected at most 64 MiB", input.len());
        return Err(Error::new(Kind::Limit, text).in_file(path));
    }
    let bytes = read_vec(&input, 0, input.len())?;
    parse(&bytes).map_err(|e| e.in_file(path))
}

/// Parses a sidecar's bytes.
///
/// # Errors
///
/// `Corrupt`, `Unsupported` or `Limit` as its format has it.
pub fn parse(bytes: &[u8]) -> Result<Sidecar> {
    if bytes.starts_with(b"-----BEGIN PGP SIGNED MESSAGE-----") {
        let text = "it is a signed message around a sidecar, expected the sidecar itself";
        return Err(Error::new(Kind::Unsupported, text)
            .advise("verify and extract it with `gpg --decrypt`"));
    }
    match bytes.trim_ascii_start() {
        [b'<', ..] => Bmap::parse(bytes).map(Sidecar::Bmap),
        _ => QemuMap::parse(bytes).map(Sidecar::QemuMap),
    }
}

impl Sidecar {
    /// Returns what the user should hear about this sidecar, where there is something.
    #[must_use]
    pub fn note(&self) -> Option<&'static str> {
        match self {
            Self::Bmap(bmap) => bmap.note(),
            Self::QemuMap(_) => None,
        }
    }

    /// Returns the map of `volume` with the states that this sidecar tells, after checking that the
    /// sidecar is that volume's. The new map points into the same sources.
    ///
    /// Checking reads the volume once: what the sidecar calls unwritten, on the lookout for bytes
    /// that are not zero, and what has a digest.
    ///
    /// # Errors
    ///
    /// `Mismatch` if the sizes differ, if a range that it calls unwritten is not zeros, or if a
    /// digest is wrong; `Corrupt` if it contradicts itself; `Limit` over [`MAX_RUNS`] runs; as
    /// reading the volume otherwise.
    pub fn apply(
        &self,
        volume: &Volume,
        threads: NonZero<usize>,
        watch: &dyn Watch,
    ) -> Result<RunMap> {
        let says = match self {
            Self::Bmap(bmap) => bmap.says(volume.size())?,
            Self::QemuMap(map) => map.says(volume.size())?,
        };
        check_unwritten(volume, &says, threads, watch)?;
        if let Self::Bmap(bmap) = self {
            bmap.check_range_digests(volume, threads, watch)?;
        }
        overlay(volume.map(), &says)
    }
}

/// Lays what a sidecar says over a map. `says` tiles the volume.
fn overlay(map: &RunMap, says: &[(Range<u64>, Says)]) -> Result<RunMap> {
    let mut new = RunMap::default();
    for (range, said) in says {
        let len = range.end.strict_sub(range.start);
        match said {
            Says::Zero => new.push(len, Place::Zero),
            Says::Hole => new.push(len, Place::Hole),
            Says::Written => {
                for (part, place) in map.within(range.clone()) {
                    let hole = place.kind() == ExtentKind::Hole;
                    // A copy that dropped written zeros gets them back: on an encrypted volume a
                    // block that is left out does not read as zeros.
                    let place = if hole { Place::Zero } else { place };
                    new.push(part.end.strict_sub(part.start), place);
                }
            }
        }
        if new.run_count() > MAX_RUNS {
            let text = format!("sidecar and image make over {MAX_RUNS} runs, the limit");
            return Err(Error::new(Kind::Limit, text));
        }
    }
    Ok(new)
}

/// Fails if a range that the sidecar calls unwritten or zero holds anything else.
fn check_unwritten(
    volume: &Volume,
    says: &[(Range<u64>, Says)],
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<()> {
    // What the image itself has no bytes for is zeros already.
    let stored = says
        .iter()
        .filter(|(_, said)| *said != Says::Written)
        .flat_map(|(range, _)| volume.map().within(range.clone()))
        .filter(|(_, place)| place.kind() == ExtentKind::Data)
        .map(|(range, place)| Ok(Extent { range, kind: place.kind() }));
    in_order(
        threads,
        watch,
        spans(stored),
        || Ok(vec![0; READ_PIECE_LEN]),
        |piece: &mut Vec<u8>, Extent { range, .. }| {
            pieces(volume, &range, piece, |offset, bytes| {
                if is_zero(bytes) {
                    return Ok(());
                }
                let end = offset.strict_add(u64::try_from(bytes.len()).expect("at most a piece"));
                let text = format!(
                    "bytes {offset}..{end} of the image are not all zeros, expected zeros where \
                     the sidecar has no data"
                );
                Err(Error::new(Kind::Mismatch, text)
                    .advise("make the sidecar again from this image"))
            })
        },
        Ok,
    )
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use crate::work::Unwatched;

    fn volume(bytes: &[u8]) -> Volume {
        let mut map = RunMap::default();
        map.push(u64::try_from(bytes.len()).unwrap(), Place::Stored { source: 0, offset: 0 });
        Volume::new(map, vec![Arc::new(bytes.to_vec()).into()]).unwrap()
    }

    #[test]
    fn what_is_called_unwritten_must_be_zeros() {
        let mut bytes = vec![7; 1000];
        bytes[300..600].fill(0);
        let volume = volume(&bytes);
        let check = |range: Range<u64>, said| {
            let says = [(0..range.start, Says::Written), (range.clone(), said)];
            check_unwritten(&volume, &says, NonZero::<usize>::MIN, &Unwatched)
                .map_err(|e| (e.kind(), e.to_string()))
        };
        for said in [Says::Hole, Says::Zero] {
            assert_eq!(check(300..600, said), Ok(()));
            for range in [299..600, 300..601] {
                let (kind, text) = check(range.clone(), said).unwrap_err();
                assert_eq!(kind, Kind::Mismatch);
                assert!(text.contains(&format!("bytes {}..{}", range.start, range.end)), "{text}");
            }
        }
        assert_eq!(check(0..1000, Says::Written), Ok(()));
    }

    #[test]
    fn states_are_laid_over_the_map() {
        let mut map = RunMap::default();
        map.push(95, Place::Stored { source: 0, offset: 0 });
        map.push(5, Place::Hole);
        let says = [
            (0..10, Says::Written),
            (10..20, Says::Zero),
            (20..90, Says::Hole),
            (90..100, Says::Written),
        ];
        let map = overlay(&map, &says).unwrap();
        let runs: Vec<_> = map.within(0..100).collect();
        assert_eq!(
            runs,
            [
                (0..10, Place::Stored { source: 0, offset: 0 }),
                (10..20, Place::Zero),
                (20..90, Place::Hole),
                (90..95, Place::Stored { source: 0, offset: 90 }),
                (95..100, Place::Zero),
            ]
        );
    }

    #[test]
    fn a_signed_message_is_refused_with_advice() {
        let error = parse(b"-----BEGIN PGP SIGNED MESSAGE-----\n").unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains("gpg"));
    }
}
