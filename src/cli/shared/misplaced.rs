//! One of amikit's own things in the place of another: the error says what was named, what the command takes, and what to run
//! instead.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use crate::cli::advice::AtHand;
use crate::error::Error;
use crate::error::Kind;
use crate::ops::Own;

/// Whatever holds a volume or an AMI.
const BUNDLES: &[Own] = &[Own::Bundle, Own::Store, Own::InStore];

/// What a command takes: in words, and which kinds its own errors say more of than these.
struct Takes(&'static [&'static str], &'static str, &'static [Own]);

/// The commands that take something of the user's.
const TAKES: &[Takes] = &[
    Takes(&["build"], "a recipe", &[Own::Recipe]),
    Takes(&["import"], "what `aws ec2 describe-images` prints, or a call of RegisterImage", &[]),
    Takes(
        &[
            "apply",
            "complete",
            "merge",
            "plan",
            "publish",
            "push",
            "rebase",
            "sign",
            "unpack",
            "unpublish",
            "verify",
        ],
        "a bundle",
        BUNDLES,
    ),
    Takes(
        &[
            "boot",
            "cat",
            "churn",
            "compare",
            "convert",
            "instance-store bundle",
            "ls",
            "map",
            "pack",
            "packages",
            "report",
            "serve nbd",
            "snapshot",
            "store add",
            "tar",
        ],
        "an image or a bundle",
        BUNDLES,
    ),
    Takes(
        &["diff"],
        "an image, a bundle or a snapshot manifest",
        &[Own::Bundle, Own::Store, Own::InStore, Own::Manifest],
    ),
    Takes(
        &["inspect"],
        "an image, a bundle or a file of one",
        &[Own::Bundle, Own::Store, Own::InStore, Own::Manifest, Own::Part, Own::Pack],
    ),
    Takes(
        &["lint", "register"],
        "an image, a bundle, a recipe or the description of an AMI",
        &[Own::Bundle, Own::Store, Own::InStore, Own::Recipe],
    ),
    Takes(
        &["export", "fleet"],
        "a store, a bundle, a snapshot manifest or a folder of them",
        &[Own::Bundle, Own::Store, Own::InStore, Own::Manifest],
    ),
    Takes(
        &["join"],
        "a part of a volume: a snapshot manifest or a bundle",
        &[Own::Part, Own::Bundle, Own::Manifest],
    ),
    Takes(&["serve aws", "store gc", "store remove", "store verify"], "a store", BUNDLES),
    Takes(&["store list"], "a store or a bundle", &[Own::Store, Own::Bundle]),
    Takes(&["store copy", "store show"], "STORE@NAME", BUNDLES),
    Takes(
        &["instance-store inspect", "instance-store unbundle", "instance-store verify"],
        "the manifest of an instance-store bundle",
        &[],
    ),
];

/// Makes an error of one about something that the command does not take, if it is one.
pub(in crate::cli) fn explained(error: Error, at_hand: &AtHand) -> Error {
    // What has another digest, or is too large, is what it should be.
    if !matches!(error.kind(), Kind::Invalid | Kind::Corrupt | Kind::Unsupported | Kind::Io) {
        return error;
    }
    let Some((path, found)) = error.path().and_then(|path| misplaced(path, at_hand)) else {
        return error;
    };
    let takes = TAKES.iter().find(|it| it.0.contains(&at_hand.verb()));
    let Some(Takes(_, expected, known)) = takes else { return error };
    if known.contains(&found) {
        return error;
    }
    let text = format!("it is {}, expected {expected}", found.noun());
    Error::new(Kind::Invalid, text).in_file(&path).advise(instead(found))
}

/// Returns what was typed for a path, and which of amikit's kinds it is. Nothing else that was typed is looked at: it may be the
/// name of a device, or of a file inside a volume.
fn misplaced(path: &Path, at_hand: &AtHand) -> Option<(PathBuf, Own)> {
    let is_of = |typed: &&OsString| {
        let rest = typed.as_bytes().strip_prefix(path.as_os_str().as_bytes());
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'@' | b':')))
    };
    let typed = Path::new(at_hand.named().iter().find(is_of)?);
    Some((typed.to_owned(), Own::at(typed)?))
}

/// Says what can be done with it.
fn instead(found: Own) -> &'static str {
    match found {
        Own::Bundle | Own::InStore => {
            "`amikit unpack` makes an image of it, and `amikit inspect` shows it"
        }
        Own::Store => "`amikit store list` shows what is in it: name one after an @",
        Own::BundleFile | Own::Pack => {
            "name the folder or archive of the bundle that it belongs to"
        }
        Own::Manifest => "it has digests and no bytes: name the image or bundle that it is of",
        Own::Part => "`amikit join` makes a snapshot manifest or a bundle of all parts",
        Own::PageIndex => "it speeds up `amikit pack`, whose option --base-index takes it",
        Own::Plan => "it is for programs that upload by themselves: name the bundle that it is of",
        Own::UploadJournal => {
            "`amikit publish` of the same bundle finds it, and goes on from there"
        }
        Own::Recipe => "`amikit build` makes a bundle of it",
        Own::Signature => "it belongs to a bundle: `amikit verify --signers` checks that",
        Own::Key => "`amikit sign --key` signs with it",
        Own::PublicKey | Own::Signers => "`amikit verify --signers` takes those whom you trust",
        Own::Tables => "DuckDB and the like read it, and `amikit export` adds AMIs to it",
    }
}
