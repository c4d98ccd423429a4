//! Which kind of amikit's own things a user has named, told by its first bytes: for the error of a verb that takes another kind.

use std::path::Path;

use serde_json::Value;

use crate::bundle::Bundle;
use crate::delta;
use crate::format::Named;
use crate::io::Input;
use crate::io::Node;
use crate::io::ReadAt as _;
use crate::layout::is_store;
use crate::manifest;
use crate::pack::layout as pack_layout;
use crate::tables;

/// Bytes that are looked at.
const HEAD_LEN: u64 = 64 << 10;

/// Something that amikit makes, or takes beside images and bundles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Own {
    /// A bundle.
    Bundle,
    /// A store.
    Store,
    /// `STORE@NAME`.
    InStore,
    /// A file of a bundle: its index, or a document among its blobs.
    BundleFile,
    /// A snapshot manifest.
    Manifest,
    /// The manifest of a part of a volume.
    Part,
    /// A pack.
    Pack,
    /// A page index.
    PageIndex,
    /// A plan of an upload.
    Plan,
    /// The journal of an upload.
    UploadJournal,
    /// A recipe.
    Recipe,
    /// A signature.
    Signature,
    /// A private key.
    Key,
    /// A public key.
    PublicKey,
    /// A file of allowed signers.
    Signers,
    /// A folder of tables.
    Tables,
}

impl Own {
    /// Says what it is, as in `it is a recipe`.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Bundle => "a bundle",
            Self::Store => "a store",
            Self::InStore => "an AMI in a store",
            Self::BundleFile => "a part of a bundle",
            Self::Manifest => "a snapshot manifest",
            Self::Part => "the manifest of a part of a volume",
            Self::Pack => "a pack",
            Self::PageIndex => "a page index",
            Self::Plan => "a plan of an upload",
            Self::UploadJournal => "the journal of an upload",
            Self::Recipe => "a recipe",
            Self::Signature => "a signature",
            Self::Key => "a private key",
            Self::PublicKey => "a public key",
            Self::Signers => "a file of allowed signers",
            Self::Tables => "a folder of tables",
        }
    }

    /// Tells what there is under a name that a user typed. Nothing if it is none of these, or cannot be read.
    #[must_use]
    pub fn at(typed: &Path) -> Option<Self> {
        let Named { path, ami, .. } = Named::parse(typed);
        if ami.is_some() {
            return is_store(&path).ok()?.then_some(Self::InStore);
        }
        match Node::at(&path).ok()?? {
            Node::Folder if is_store(&path).ok()? => Some(Self::Store),
            Node::Folder if Node::at(&path.join(tables::MARKER)).ok()?.is_some() => {
                Some(Self::Tables)
            }
            Node::Folder => Self::of_bundle(&path),
            Node::File => Self::of_file(&path).or_else(|| Self::of_bundle(&path)),
            _ => None,
        }
    }

    fn of_bundle(path: &Path) -> Option<Self> {
        // Not opened: it may be one that nobody vouches for.
        Bundle::is_at(path).ok()?.then_some(Self::Bundle)
    }

    fn of_file(path: &Path) -> Option<Self> {
        let input = Input::open(path).ok()?;
        let len = usize::try_from(input.len().min(HEAD_LEN)).ok()?;
        let mut head = vec![0; len];
        input.read_exact_at(&mut head, 0).ok()?;
        match () {
            () if head.starts_with(&manifest::MAGIC) => Some(Self::Manifest),
            () if head.starts_with(&manifest::PART_MAGIC) => Some(Self::Part),
            () if head.get(8..16) == Some(&pack_layout::MAGIC[..]) => Some(Self::Pack),
            () if head.starts_with(&delta::MAGIC) => Some(Self::PageIndex),
            () => Self::of_text(&String::from_utf8_lossy(&head)),
        }
    }

    fn of_text(text: &str) -> Option<Self> {
        let text = text.trim_start();
        let first = text.lines().next().unwrap_or_default();
        if first.starts_with('{') {
            return Self::of_json(text, first);
        }
        let words: Vec<&str> = first.split_whitespace().collect();
        let is_key = |word: &&str| word.starts_with("ssh-") || word.starts_with("sk-ssh-");
        match () {
            () if first == "-----BEGIN SSH SIGNATURE-----" => Some(Self::Signature),
            () if first.starts_with("-----BEGIN") && first.ends_with("PRIVATE KEY-----") => {
                Some(Self::Key)
            }
            () if words.first().is_some_and(is_key) => Some(Self::PublicKey),
            () if words.iter().skip(1).any(is_key) => Some(Self::Signers),
            () if is_recipe(text) => Some(Self::Recipe),
            () => None,
        }
    }

    fn of_json(text: &str, first: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(first).unwrap_or_default();
        if line["Step"] == "Plan" {
            return Some(Self::Plan);
        }
        if line["Journal"].is_number() && line["Plan"].is_string() {
            return Some(Self::UploadJournal);
        }
        let document: Value = serde_json::from_str(text).ok()?;
        let is_statement =
            document["schema"].as_str().is_some_and(|it| it.starts_with("amikit.statement."));
        let is_oci =
            document["schemaVersion"].is_number() || document["imageLayoutVersion"].is_string();
        (is_oci || is_statement).then_some(Self::BundleFile)
    }
}

/// Tells whether a text is a recipe: its version, and the table of the AMI.
fn is_recipe(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    let begins = |line: &str, word: &str| {
        line.strip_prefix(word).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    lines.clone().any(|line| begins(line, "version")) && lines.any(|line| line == "[ami]")
}
