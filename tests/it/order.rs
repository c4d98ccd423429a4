//! Names that are typed in the wrong order, and things in the place of others: the error says what is there, and what is
//! meant can be run as it is printed.

use std::fs;
use std::path::Path;

use crate::common::amikit;
use crate::common::quick_folder;
use crate::common::run_well;
use crate::common::stderr;

/// What there is: an image and its next version, a bundle, a thin one over it, a store with an AMI and a snapshot, an
/// empty store, a folder.
fn scene(here: &Path) {
    let mut bytes: Vec<u8> = (0..=250).cycle().take(2 << 20).collect();
    fs::write(here.join("old.raw"), &bytes).unwrap();
    bytes[700_000] ^= 1;
    fs::write(here.join("new.raw"), &bytes).unwrap();
    fs::create_dir(here.join("folder")).unwrap();
    for line in [
        "pack old.raw -o base.ami",
        "pack new.raw --base base.ami --thin -o thin.ami",
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
