//! What a bundle is built from, and how it is tested.

use std::path::PathBuf;

use serde::Deserialize;

/// A test of a bundle that was built.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
pub enum Test {
    /// Every stored and plain byte is what it should be.
    Verify {
        /// Stored bytes only.
        #[serde(default)]
        quick: bool,
    },
    /// No rule is broken, those about the inside of volumes included.
    Lint {
        /// Rules that are not applied.
        #[serde(default)]
        allow: Vec<String>,
        /// Whether a warning is a failure too.
        #[serde(default)]
        deny_warnings: bool,
    },
    /// The root volume holds what its boot mode needs.
    Boot {
        /// Whether it must also come up in a machine.
        #[serde(default)]
        machine: bool,
        /// Texts on its console of which one means that it is up.
        #[serde(default = "default_until")]
        until: Vec<String>,
        /// After how long the machine is stopped.
        #[serde(default = "default_timeout")]
        timeout_seconds: u64,
    },
    /// A program of the user's ends well.
    Command {
        /// The program and its arguments, run without a shell.
        command: Vec<String>,
        /// After how long it is stopped.
        #[serde(default = "default_timeout")]
        timeout_seconds: u64,
    },
}

/// What a login program prints.
fn default_until() -> Vec<String> {
    vec!["login:".to_owned()]
}

/// Ten minutes.
fn default_timeout() -> u64 {
    600
}

/// Where the content of a volume comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Device of the mapping.
    pub device: String,
    /// The image.
    pub image: PathBuf,
    /// Name of its format; what its bytes say where there is none.
    pub format: Option<String>,
    /// A file that tells data from holes.
    pub extents: Option<PathBuf>,
    /// Further parts of a split set.
    pub parts: Vec<PathBuf>,
    /// Whether a file that the image names may be opened, if it lies in the same folder.
    pub backing: bool,
    /// Files that the image names, wherever they are.
    pub parents: Vec<PathBuf>,
    /// What becomes of free blocks of its file systems.
    pub free: Free,
}

/// What becomes of free blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Free {
    /// What they hold is kept.
    #[default]
    Keep,
    /// What is stored of them becomes written zeros.
    Zero,
    /// They become holes.
    Hole,
}
