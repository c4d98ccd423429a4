//! Firmware and programs of QEMU, where distributions put them. No name comes from an image.

use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::Node;

/// What starts the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// QEMU's own `SeaBIOS`.
    Bios,
    /// OVMF: its code, and the store of variables that a machine begins with.
    Uefi {
        /// The code.
        code: PathBuf,
        /// The store.
        variables: PathBuf,
    },
}

/// Where OVMF is: Debian and Ubuntu, Fedora, SUSE, Arch.
const PLACES: &[(&str, &str)] = &[
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/qemu/ovmf-x86_64-4m-code.bin", "/usr/share/qemu/ovmf-x86_64-4m-vars.bin"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
];

impl Firmware {
    /// Finds OVMF.
    ///
    /// # Errors
    ///
    /// `Unsupported` if it is not installed.
    pub fn uefi() -> Result<Self> {
        for (code, variables) in PLACES {
            if is_file(Path::new(code)) && is_file(Path::new(variables)) {
                return Ok(Self::Uefi { code: code.into(), variables: variables.into() });
            }
        }
        let text = "the volume starts by UEFI, and OVMF is not installed";
        Err(Error::new(Kind::Unsupported, text).advise("install the package ovmf or edk2-ovmf"))
    }

    /// Returns the stable name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bios => "legacy-bios",
            Self::Uefi { .. } => "uefi",
        }
    }
}

fn is_file(path: &Path) -> bool {
    Node::at(path).is_ok_and(|node| node == Some(Node::File))
}

/// Finds a program in `PATH`.
///
/// # Errors
///
/// `Unsupported` if it is not there.
pub fn find_program(name: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|program| is_file(program));
    found.ok_or_else(|| {
        let text = format!("{name} is not installed, or not in PATH");
        Error::new(Kind::Unsupported, text).advise(format!("install the package {package}"))
    })
}
