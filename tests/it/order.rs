//! Names that are typed in the wrong order, and things in the place of others: the error says what is there, and what is
//! meant can be run as it is printed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::amikit;
use crate::common::fixture;
use crate::common::names;
use crate::common::quick_folder;
use crate::common::run_well;
use crate::common::stderr;
use crate::common::step;

/// What there is: an image and its next version, a bundle, a thin one over it, a store with an AMI and a snapshot, an
/// empty store, a folder.
pub(crate) fn scene(here: &Path) {
    let mut bytes: Vec<u8> = (0..=250).cycle().take(2 << 20).collect();
    fs::write(here.join("old.raw"), &bytes).unwrap();
    bytes[700_000] ^= 1;
    fs::write(here.join("new.raw"), &bytes).unwrap();
    bytes[1_700_000] ^= 1;
    fs::write(here.join("last.raw"), &bytes).unwrap();
    fs::create_dir(here.join("folder")).unwrap();
    for line in [
        "pack old.raw -o base.ami",
        "pack new.raw --base base.ami --thin -o thin.ami",
        "pack last.raw --base new.raw --thin -o next.ami",
        "pack last.raw -o other.ami",
        "store init images",
        "store init empty",
        "store add images@web base.ami",
        "store add images@disk new.raw",
    ] {
        run_well(here, line);
    }
}

fn complaint(here: &Path, line: &str) -> String {
    let output = amikit().current_dir(here).args(line.split(' ')).output().unwrap();
    assert!(!output.status.success(), "{line} is not refused");
    stderr(&output)
}

#[test]
fn what_is_in_the_wrong_order_is_shown_in_the_right_one_which_works() {
    let folder = quick_folder();
    let here = folder.path();
    scene(here);
    for line in [
        "store add base.ami images@next",
        "store add thin.ami images@next-2",
        "store add new.raw images@disk-2",
        "store add base.ami empty",
        "store copy free.ami images@web",
        "apply old.raw --to thin.ami -o applied.raw",
        "verify old.raw --against base.ami",
        "complete base.ami --base thin.ami -o whole.ami",
        "merge next.ami thin.ami --base base.ami -o merged.ami",
        "rebase thin.ami --base other.ami --onto base.ami -o rebased.ami",
        "rebase base.ami --base thin.ami --onto other.ami -o rebased-2.ami",
    ] {
        let said = complaint(here, line);
        let right = said.split_once("they are in the wrong order: `amikit ");
        let (_, right) = right.unwrap_or_else(|| panic!("{line}: {said}"));
        run_well(here, right.split_once('`').unwrap().0);
    }
    assert_eq!(
        fs::read(here.join("applied.raw")).unwrap(),
        fs::read(here.join("new.raw")).unwrap()
    );
    let said = complaint(here, "store remove web images");
    assert!(said.contains("name one after an @, as in images@web"), "{said}");
}

/// A name of nothing was mistyped, and what cannot be opened is no better in another place: neither says anything of the order.
#[test]
fn what_is_wrong_by_itself_is_not_in_the_wrong_order() {
    let folder = quick_folder();
    let here = folder.path();
    scene(here);
    fs::write(here.join("half.raw"), fs::read(here.join("old.raw")).unwrap()).unwrap();
    // As an interrupted apply leaves it.
    fs::write(here.join("half.raw.amikit-journal.tar"), b"").unwrap();
    for line in [
        "verify none.ami --against base.ami",
        "store add images@web none@x",
        "apply none.ami --to base.ami -o x.raw",
        "rebase thin.ami --base none.ami --onto base.ami -o x.ami",
        "rebase thin.ami --base half.raw --onto base.ami -o x.ami",
        "rebase thin.ami --base other.ami --onto base.ami -o x.ami --max-window onto=1MiB",
        "merge next.ami none.ami -o x.ami",
        "complete none.ami --base base.ami -o x.ami",
    ] {
        let said = complaint(here, line);
        assert!(!said.contains("the wrong order: `"), "{line}: {said}");
        let is_one = line.contains("--max-window");
        assert_eq!(said.contains("are in the wrong order"), is_one, "{line}: {said}");
    }
}

#[test]
fn what_is_in_the_place_of_something_else_is_said() {
    let folder = quick_folder();
    let here = folder.path();
    scene(here);
    for (line, found, advice) in [
        ("store verify base.ami", "it is a bundle, expected a store", "`amikit store add`"),
        ("store gc images@web", "it is a name in a store, expected a store", "alone: images"),
        ("store verify old.raw", "it is not a folder, expected a store", "`amikit store init`"),
        ("store verify folder", "it is a folder, expected a store", "`amikit store init`"),
        ("store verify none", "there is nothing of that name", "`amikit store init`"),
        ("serve aws base.ami", "it is a bundle, expected a store", "`amikit store add`"),
        ("store add base.ami base.ami", "it is a bundle, expected a store", "`amikit store add`"),
        ("store show base.ami", "it is a bundle, expected STORE@NAME", ""),
        ("store show images", "it is a store", "as in images@web"),
        ("store copy old.raw images@old", "neither a bundle nor", "`amikit store add`"),
        ("store copy none.ami other.ami", "there is nothing of that name", ""),
        ("verify images", "it is a store, expected the name", "disk, web; name one after an @"),
        ("inspect images", "it is a store, expected the name", "as in images@disk"),
        ("unpack images -o x.raw", "it is a store, expected the name", "as in images@disk"),
        ("verify empty", "it is a store in which nothing has a name", ""),
        ("verify old.raw", "it is not a bundle", "`amikit pack` to make one of an image"),
        ("verify folder", "it is not a bundle", ""),
        ("apply thin.ami --to base.ami -o x.raw", "expected the old image", "`amikit unpack`"),
        ("apply thin.ami --to images -o x.raw", "expected the old image", "`amikit unpack`"),
    ] {
        let said = complaint(here, line);
        assert!(said.contains(found) && said.contains(advice), "{line}: {said}");
        assert_eq!(said.lines().count(), 1, "{line}: {said}");
    }
    assert!(!complaint(here, "verify folder").contains("amikit pack"));
}

/// Each kind of amikit's own things: a file or folder of the scene, and what its error calls it.
const KINDS: &[(&str, &str)] = &[
    ("base.ami", "bundle"),
    ("thin.ami", "bundle"),
    ("images", "store"),
    ("images@web", "store"),
    ("old.snap", "snapshot manifest"),
    ("first.part", "part of a volume"),
    ("one.pack", "pack"),
    ("old.amx", "page index"),
    ("plan.jsonl", "plan of an upload"),
    ("upload.journal", "journal of an upload"),
    ("ami.toml", "recipe"),
    ("signature", "signature"),
    ("key", "private key"),
    ("key.pub", "public key"),
    ("signers", "allowed signers"),
    ("tables", "folder of tables"),
    ("index.json", "part of a bundle"),
];

/// Every place of every verb in which one of them can be typed, which is the one of `X`.
const PLACES: &[&str] = &[
    "apply X --to old.raw -o out.raw",
    "build X -o out.ami",
    "cat X /etc/passwd",
    "churn X old.raw",
    "compare X old.raw",
    "complete X --base base.ami -o out.ami",
    "complete thin.ami --base X -o out.ami",
    "convert X out.qcow2",
    "diff X old.raw",
    "diff old.raw X",
    "export X -o out.tables --format csv",
    "fleet X",
    "import X -o out.toml",
    "inspect X",
    "instance-store inspect X",
    "instance-store verify X",
    "join X -o out.snap",
    "lint X",
    "ls X",
    "map X",
    "merge X thin.ami -o out.ami",
    "merge thin.ami X -o out.ami",
    "pack X -o out.ami",
    "pack new.raw --base X -o out.ami",
    "packages X",
    "plan X",
    "rebase X --base base.ami --onto base.ami -o out.ami",
    "rebase thin.ami --base X --onto base.ami -o out.ami",
    "register X",
    "report X -o out.html",
    "sign X --key key --counter 1",
    "snapshot X -o out.snap",
    "store add images@new X",
    "store copy X out.ami",
    "store gc X --dry-run",
    "store list X",
    "store show X",
    "store verify X",
    "tar X",
    "unpack X -o out.raw",
    "verify X",
    #[cfg(feature = "network")]
    "publish X --dry-run",
    #[cfg(feature = "network")]
    "push X 127.0.0.1:1/a",
    #[cfg(feature = "network")]
    "unpublish X",
];

/// Makes one of each, beside the scene.
fn kinds(here: &Path) {
    scene(here);
    for line in [
        "snapshot old.raw -o old.snap",
        "snapshot old.raw -o first.part --blocks 0..2",
        "export base.ami -o tables --format csv",
    ] {
        run_well(here, line);
    }
    fs::write(here.join("plan.jsonl"), run_well(here, "plan base.ami --json")).unwrap();
    let recipe = "version = 1\n[ami]\nname = \"web\"\narchitecture = \"x86_64\"\n\
                  virtualization-type = \"hvm\"\nroot-device-name = \"/dev/xvda\"\n\
                  [[volume]]\ndevice-name = \"/dev/xvda\"\nimage = \"old.raw\"\n";
    fs::write(here.join("ami.toml"), recipe).unwrap();
    for (from, to) in [
        ("golden/page.amx", "old.amx"),
        ("golden/upload.journal", "upload.journal"),
        ("signature/test-signer", "key"),
        ("signature/test-signer.pub", "key.pub"),
        ("signature/signers", "signers"),
    ] {
        fs::copy(fixture(from), here.join(to)).unwrap();
    }
    fs::set_permissions(here.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::copy(here.join("base.ami/index.json"), here.join("index.json")).unwrap();
    run_well(here, "pack old.raw -o signed.ami --name signed");
    run_well(here, "sign signed.ami --key key --counter 1");
    let blobs = here.join("signed.ami/blobs/sha256");
    for name in names(&blobs) {
        let bytes = fs::read(blobs.join(&name)).unwrap();
        if bytes.starts_with(b"-----BEGIN SSH SIGNATURE-----") {
            fs::write(here.join("signature"), &bytes).unwrap();
        }
        if bytes.get(8..11) == Some(b"\x89AM") {
            fs::write(here.join("one.pack"), &bytes).unwrap();
        }
    }
}

/// Whatever stands in the place of whatever: the verb takes it, or says what it is and what to do.
#[test]
fn each_kind_of_thing_in_each_place_is_taken_or_named_with_what_to_do() {
    let folder = quick_folder();
    let here = folder.path();
    kinds(here);
    let before = names(here);
    for (name, _) in KINDS {
        assert!(before.contains(&name.split('@').next().unwrap().to_owned()), "{name}");
    }
    let mut wrong = Vec::new();
    let mut refused = 0;
    for (number, place) in PLACES.iter().enumerate() {
        // Of each place some kinds, and not the same as of the next.
        for (name, called) in KINDS.iter().skip(number % step()).step_by(step()) {
            let line = place.replace('X', name);
            let output = amikit().current_dir(here).args(line.split(' ')).output().unwrap();
            for new in names(here).into_iter().filter(|it| !before.contains(it)) {
                let path = here.join(new);
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
            let said = stderr(&output);
            let error = said.lines().find(|line| line.contains("error: "));
            let Some(error) = error.filter(|_| !output.status.success()) else { continue };
            refused += 1;
            // What the verb takes it may refuse for another reason: these have tests of their own.
            let takes_bundles = !["build", "import", "instance-store", "join"]
                .iter()
                .any(|it| line.starts_with(it));
            let is_bundle = ["base.ami", "thin.ami", "images", "images@web"].contains(name);
            if is_bundle && takes_bundles && line != "store list images@web"
                || line.starts_with("join first.part")
            {
                continue;
            }
            let is_named = error.contains(called) || error.contains("in the wrong order");
            let has_advice = error.contains("; ");
            if !is_named || !has_advice {
                wrong.push(format!("{line}: {error}"));
            }
        }
    }
    assert!(refused * step() > PLACES.len() * 8, "{refused}");
    assert!(wrong.is_empty(), "{} of {refused}:\n{}", wrong.len(), wrong.join("\n"));
}

/// A name of nothing is the system's refusal, whatever the verb wanted there.
#[test]
fn nothing_in_the_place_of_something_is_said_and_has_its_exit_code() {
    let folder = quick_folder();
    let here = folder.path();
    kinds(here);
    for place in PLACES {
        for name in ["none", "none.ami", "none@web", "folder/none"] {
            let line = place.replace('X', name);
            let output = amikit().current_dir(here).args(line.split(' ')).output().unwrap();
            let said = stderr(&output);
            // What an account has is known by its records, which outlive the bundle.
            let code = if line.starts_with("unpublish") { 2 } else { 3 };
            assert_eq!(output.status.code(), Some(code), "{line}: {said}");
            let words = ["No such file", "nothing of that name", "no record"];
            assert!(
                said.contains(name) && words.iter().any(|it| said.contains(it)),
                "{line}: {said}"
            );
        }
    }
}

/// What is there under the name of an output is not what the command takes.
#[test]
fn what_is_written_is_not_taken_for_what_is_read() {
    let folder = quick_folder();
    let here = folder.path();
    kinds(here);
    for (name, _) in KINDS.iter().filter(|(name, _)| !name.contains('@')) {
        let said = complaint(here, &format!("convert base.ami {name}"));
        assert!(!said.contains(", expected an image or a bundle"), "{name}: {said}");
    }
    let said = complaint(here, "convert base.ami old.snap");
    assert!(said.contains("cannot infer the format from the name"), "{said}");
}

#[cfg(feature = "network")]
#[test]
fn registries_accounts_and_folders_are_told_apart() {
    let folder = quick_folder();
    let here = folder.path();
    scene(here);
    for (line, advice) in [
        ("push 127.0.0.1:1/a base.ami", "`amikit push base.ami 127.0.0.1:1/a`"),
        ("pull base.ami -o x.ami", "use `amikit push` to send a bundle to a registry"),
        ("pull ami-0123456789abcdef0 -o x.ami", "use `amikit fetch` to get it from an account"),
        ("fetch 127.0.0.1:1/a -o x.ami", "use `amikit pull` to get it from a registry"),
    ] {
        let said = complaint(here, line);
        assert!(said.contains(advice), "{line}: {said}");
    }
}
