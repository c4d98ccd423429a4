//! `doctor`: what this machine offers, and what to do about what it lacks.

use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::boot::Firmware;
use crate::boot::find_program;
use crate::digest::Engine;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::Abilities;
use crate::io::Node;
use crate::io::Scratch;
use crate::ops::shared::boot::works_with_kvm;
use crate::units::format_size;
use crate::work::Watch;
use crate::work::default_threads;

/// Free bytes in the folder for temporary files below which a user should hear of it: the root volume of a
/// usual AMI, unpacked.
const LOW_SPACE: u64 = 8 << 30;

/// What this machine offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoctorReport {
    /// What was looked for, in an order that never changes.
    pub rows: Vec<DoctorRow>,
}

/// One thing that was looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoctorRow {
    /// Its stable name.
    pub what: &'static str,
    /// The folder that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Whether it is there.
    pub available: bool,
    /// What was found.
    pub found: String,
    /// What it is for.
    pub purpose: &'static str,
    /// What to do, or what happens without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl DoctorRow {
    fn new(what: &'static str, purpose: &'static str, found: impl Into<String>) -> Self {
        Self { what, folder: None, available: true, found: found.into(), purpose, advice: None }
    }

    /// As it is if `available`, and with an advice if not.
    fn or_else(self, available: bool, advice: impl Into<String>) -> Self {
        let advice = (!available).then(|| advice.into());
        Self { available, advice, ..self }
    }

    /// What a search found, or why it failed and what its error advises.
    fn of(what: &'static str, purpose: &'static str, search: Result<String>) -> Self {
        match search {
            Ok(found) => Self::new(what, purpose, found),
            Err(error) => Self {
                available: false,
                advice: match error.advice() {
                    Some(Advice::Do(text)) => Some(text.to_string()),
                    _ => None,
                },
                ..Self::new(what, purpose, error.without_advice().to_string())
            },
        }
    }
}

/// Finds out what this machine offers. Nothing that is missing is an error.
///
/// # Errors
///
/// `Interrupted`.
pub fn doctor(watch: &dyn Watch) -> Result<DoctorReport> {
    let mut rows = vec![engine(), threads()];
    rows.extend(files(&Scratch::usual_folder(), "temporary files", LOW_SPACE));
    rows.extend(files(Path::new("."), "images and bundles that are written here", 1));
    rows.extend(machine(watch)?);
    rows.push(DoctorRow::of(
        "qemu-img",
        "extents of images that other programs hold; amikit reads and writes images without it",
        program("qemu-img", "qemu-utils or qemu-img"),
    ));
    rows.push(DoctorRow::of(
        "ssh-keygen",
        "signing with keys that have a passphrase, or are in an agent or in hardware",
        program("ssh-keygen", "openssh-client or openssh"),
    ));
    Ok(DoctorReport { rows })
}

fn engine() -> DoctorRow {
    let best = Engine::best();
    let streams = match best.streams() {
        1 => "one stream".to_owned(),
        count => format!("{count} streams side by side"),
    };
    DoctorRow::new("hash-engine", "SHA-256 of every block", format!("{}, {streams}", best.name()))
        .or_else(
            best != Engine::Portable,
            "nothing to install: a processor with SHA instructions hashes several times as fast",
        )
}

fn threads() -> DoctorRow {
    let count = default_threads().get().to_string();
    DoctorRow::new("threads", "hashing, compressing and reading blocks side by side", count)
}

/// What the file system of a folder can do.
fn files(folder: &Path, purpose: &'static str, low_space: u64) -> Vec<DoctorRow> {
    let rows = match Abilities::of(folder) {
        Ok(found) => abilities(found, purpose, low_space),
        Err(error) => {
            let row = DoctorRow::of("files", purpose, Err(error));
            vec![row.or_else(
                false,
                "use a folder that can be written; TMPDIR names that of temporary files",
            )]
        }
    };
    let name = folder.to_string_lossy().into_owned();
    rows.into_iter().map(|row| DoctorRow { folder: Some(name.clone()), ..row }).collect()
}

fn abilities(found: Abilities, purpose: &'static str, low_space: u64) -> Vec<DoctorRow> {
    let yes = |is: bool| if is { "yes" } else { "no" };
    let free = match found.free_bytes {
        Some(bytes) => format_size(bytes),
        None => "not said by the file system".to_owned(),
    };
    vec![
        DoctorRow::new("free-space", purpose, free).or_else(
            found.free_bytes.is_none_or(|bytes| bytes >= low_space),
            "free some space, or use a folder with more; TMPDIR names that of temporary files",
        ),
        DoctorRow::new("holes", "keeping blocks that were never written so", yes(found.holes))
            .or_else(found.holes, "keep images on ext4, XFS, Btrfs or tmpfs"),
        DoctorRow::new(
            "reflinks",
            "copies of images that share bytes, and are compared without being read",
            yes(found.reflinks),
        )
        .or_else(found.reflinks, "keep images on Btrfs, or on XFS with reflinks; others copy"),
        DoctorRow::new(
            "unnamed-files",
            "temporary data that disappears however a run ends",
            yes(found.unnamed_files),
        )
        .or_else(found.unnamed_files, "nothing: such a file gets a name for a moment instead"),
        DoctorRow::new(
            "direct-writes",
            "writing images without filling the page cache",
            yes(found.direct_writes),
        )
        .or_else(found.direct_writes, "nothing: writes go through the page cache instead"),
    ]
}

/// What `boot` starts machines with.
fn machine(watch: &dyn Watch) -> Result<Vec<DoctorRow>> {
    let qemu = find_program("qemu-system-x86_64", "qemu-system-x86");
    let ovmf = Firmware::uefi().map(|firmware| match firmware {
        Firmware::Uefi { code, .. } => code.display().to_string(),
        Firmware::Bios => firmware.name().to_owned(),
    });
    let is_there = Node::at(Path::new("/dev/kvm")).is_ok_and(|node| node.is_some());
    let kvm = match &qemu {
        _ if !is_there => Err(lack("there is no /dev/kvm").advise(
            "use a machine with hardware virtualization; without it guests start, but slowly",
        )),
        Err(_) => Err(lack("/dev/kvm is there; only QEMU can show whether it works")),
        Ok(program) => match works_with_kvm(program, watch) {
            Ok(true) => Ok("a boot sector runs".to_owned()),
            Ok(false) => Err(lack("/dev/kvm is there, and no machine starts with it")
                .advise("check that this user may read and write /dev/kvm")),
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => Err(error),
        },
    };
    Ok(vec![
        DoctorRow::of(
            "qemu",
            "starting volumes as EC2 would",
            qemu.map(|path| path.display().to_string()),
        ),
        DoctorRow::of("kvm", "starting volumes at the speed of this processor", kvm),
        DoctorRow::of("ovmf", "starting volumes by UEFI", ovmf),
    ])
}

fn lack(text: &str) -> Error {
    Error::new(Kind::Unsupported, text)
}

fn program(name: &str, package: &str) -> Result<String> {
    find_program(name, package).map(|path: PathBuf| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::work::Unwatched;

    #[test]
    fn what_is_missing_has_an_advice_and_what_is_there_has_none() {
        let report = doctor(&Unwatched).unwrap();
        for row in &report.rows {
            // Without QEMU nobody can say more of KVM, and QEMU's own row says what to do.
            let must_have = !row.available && row.what != "kvm";
            assert!(row.advice.is_some() || !must_have, "{row:?}");
            assert!(row.advice.is_none() || !row.available, "{row:?}");
            assert!(!row.found.is_empty() && !row.purpose.is_empty(), "{row:?}");
        }
    }

    #[test]
    fn each_ability_that_is_missing_is_a_row_that_says_so() {
        let all = Abilities {
            holes: true,
            reflinks: true,
            unnamed_files: true,
            direct_writes: true,
            free_bytes: Some(LOW_SPACE),
        };
        let missing = |found| {
            let rows = abilities(found, "tests", LOW_SPACE);
            rows.into_iter().filter(|row| !row.available).map(|row| row.what).collect::<Vec<_>>()
        };
        assert!(missing(all).is_empty());
        assert!(missing(Abilities { free_bytes: None, ..all }).is_empty());
        for (found, what) in [
            (Abilities { holes: false, ..all }, "holes"),
            (Abilities { reflinks: false, ..all }, "reflinks"),
            (Abilities { unnamed_files: false, ..all }, "unnamed-files"),
            (Abilities { direct_writes: false, ..all }, "direct-writes"),
            (Abilities { free_bytes: Some(LOW_SPACE - 1), ..all }, "free-space"),
        ] {
            assert_eq!(missing(found), [what]);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_a_row_and_not_an_error() {
        let rows = files(Path::new("/no/such/folder"), "tests", 1);
        assert_eq!(rows.len(), 1);
        assert!(!rows[0].available && rows[0].advice.is_some(), "{rows:?}");
        assert_eq!(rows[0].folder.as_deref(), Some("/no/such/folder"));
    }
}
