use super::*;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::WriteAt;
use crate::io::take_leftovers;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_output_without_a_commit_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a");
    fs::write(&target, b"old").unwrap();
    let output = OutputFile::create(&target).unwrap();
    output.write_all_at(b"new", 0).unwrap();
    drop(output);
    assert_eq!(fs::read(&target).unwrap(), b"old");
    let output = OutputFile::create(&target).unwrap();
    output.write_all_at(b"new", 0).unwrap();
    output.commit().unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["a"]);
}

#[test]
fn what_a_killed_run_left_is_swept_and_what_is_in_use_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a");
    let in_use = OutputFile::create(&target).unwrap();
    fs::write(folder.path().join(".a.dead01.amikit-part"), b"left").unwrap();
    fs::create_dir_all(folder.path().join(".a.dead02.amikit-part/blobs")).unwrap();
    fs::write(folder.path().join(".a.mine.part"), b"not ours").unwrap();
    fs::write(folder.path().join(".b.dead03.amikit-part"), b"of another output").unwrap();
    let fresh = OutputDir::create(&target).unwrap();
    let mut expected = vec![".a.mine.part".to_owned(), ".b.dead03.amikit-part".to_owned()];
    for path in [in_use.temporary_path(), fresh.temporary_path()] {
        expected.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    expected.sort();
    assert_eq!(names(folder.path()), expected);
}

/// Lets a folder be replaced that has one file and no more.
fn of_one_file(path: &Path) -> Result<()> {
    match names(path)[..] {
        [_] => Ok(()),
        _ => Err(Error::invalid("it does not have one file")),
    }
}

#[test]
fn a_folder_changes_places_with_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a");
    for text in ["old", "new"] {
        let output = OutputDir::replacing(&target, of_one_file).unwrap();
        output.write("file", text.as_bytes()).unwrap();
        output.commit().unwrap();
        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), text);
    }
    assert_eq!(names(folder.path()), ["a"]);
}

#[test]
fn a_folder_that_got_a_file_meanwhile_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a");
    fs::create_dir(&target).unwrap();
    OutputDir::replacing(&target, of_one_file).unwrap_err();
    fs::write(target.join("file"), "old").unwrap();
    let output = OutputDir::replacing(&target, of_one_file).unwrap();
    output.write("file", b"new").unwrap();
    fs::write(target.join("thesis"), "mine").unwrap();
    output.commit().unwrap_err();
    assert_eq!(names(&target), ["file", "thesis"]);
    assert_eq!(names(folder.path()), ["a"]);
}

#[test]
fn a_new_folder_takes_the_place_of_an_empty_one_only() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a");
    fs::create_dir(&target).unwrap();
    let output = OutputDir::create(&target).unwrap();
    output.write("file", b"new").unwrap();
    output.commit().unwrap();
    assert_eq!(names(&target), ["file"]);
    let output = OutputDir::create(&target).unwrap();
    output.write("other", b"newer").unwrap();
    output.commit().unwrap_err();
    assert_eq!((names(&target), names(folder.path())), (vec!["file".into()], vec!["a".into()]));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn write(target: &Path) -> Result<()> {
    let output = OutputFile::create(target)?;
    output.write_all_at(b"new", 0)?;
    output.commit()
}

#[test]
fn a_link_to_a_file_is_followed_and_stays_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::create_dir(here.join("far")).unwrap();
    fs::write(here.join("far/file"), b"old").unwrap();
    symlink("far/file", here.join("one")).unwrap();
    symlink("one", here.join("two")).unwrap();
    write(&here.join("two")).unwrap();
    assert_eq!(fs::read(here.join("far/file")).unwrap(), b"new");
    assert!(here.join("one").is_symlink() && here.join("two").is_symlink());
    assert_eq!(
        (names(here), names(&here.join("far"))),
        (vec!["far".into(), "one".into(), "two".into()], vec!["file".into()])
    );
}

#[test]
fn a_link_that_leads_to_no_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let open = fs::File::create(here.join("open")).unwrap();
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&open);
    let leads = [
        "missing".to_owned(),
        "missing/file".to_owned(),
        "link".to_owned(),
        "/dev/null".to_owned(),
        "/dev/stdout".to_owned(),
        "/proc/self/exe".to_owned(),
        format!("/proc/self/fd/{descriptor}"),
        here.display().to_string(),
    ];
    for to in leads {
        let link = here.join("link");
        symlink(&to, &link).unwrap();
        let error = write(&link).unwrap_err();
        assert_eq!((error.kind(), error.path()), (Kind::Invalid, Some(&*link)), "{to}: {error}");
        assert_eq!(fs::read_link(&link).unwrap(), Path::new(&to));
        fs::remove_file(&link).unwrap();
    }
    for path in ["/dev/stdout", "/dev/fd/1", "/dev/null", "/proc/self/fd/1"] {
        assert_eq!(write(Path::new(path)).unwrap_err().kind(), Kind::Invalid, "{path}");
    }
    assert_eq!(names(here), ["open"]);
}

#[test]
fn a_folder_behind_a_link_is_what_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::create_dir(here.join("real")).unwrap();
    fs::write(here.join("real/file"), "old").unwrap();
    symlink("real", here.join("link")).unwrap();
    let output = OutputDir::replacing(&here.join("link"), of_one_file).unwrap();
    output.write("file", b"new").unwrap();
    output.commit().unwrap();
    assert_eq!(fs::read_to_string(here.join("real/file")).unwrap(), "new");
    assert!(here.join("link").is_symlink());
    assert_eq!(names(here), ["link", "real"]);
}

#[test]
fn the_mode_of_what_is_replaced_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a");
    for wanted in [0o600, 0o640, 0o400, 0o666] {
        fs::write(&target, b"old").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(wanted)).unwrap();
        write(&target).unwrap();
        assert_eq!((mode(&target), fs::read(&target).unwrap()), (wanted, b"new".to_vec()));
        fs::remove_file(&target).unwrap();
    }
    // What runs a file as its owner is not for new contents.
    fs::write(&target, b"old").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o4755)).unwrap();
    write(&target).unwrap();
    assert_eq!(mode(&target), 0o755);
    fs::remove_file(&target).unwrap();
    fs::create_dir(&target).unwrap();
    fs::write(target.join("file"), "old").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o700)).unwrap();
    let output = OutputDir::replacing(&target, of_one_file).unwrap();
    output.write("file", b"new").unwrap();
    output.commit().unwrap();
    assert_eq!(mode(&target), 0o700);
}

#[test]
fn the_owner_and_the_access_list_of_what_is_replaced_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a");
    fs::write(&target, b"old").unwrap();
    if std::os::unix::fs::chown(&target, Some(1234), Some(2345)).is_err() {
        println!("skipped: a file cannot be given away here");
        return;
    }
    // Version 2: the owner, user 42, the group, the mask, and all others.
    let mut list = vec![2, 0, 0, 0];
    for (tag, rights, id) in [
        (1_u16, 6_u16, u32::MAX),
        (2, 4, 42),
        (4, 0, u32::MAX),
        (16, 4, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        list.extend([&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat());
    }
    let name = "system.posix_acl_access";
    let has_lists =
        rustix::fs::setxattr(&target, name, &list, rustix::fs::XattrFlags::empty()).is_ok();
    write(&target).unwrap();
    let meta = fs::metadata(&target).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.size()), (1234, 2345, 3));
    if has_lists && cfg!(not(amikit_plain_io)) {
        let mut found = [0; 100];
        let len = rustix::fs::getxattr(&target, name, &mut found[..]).unwrap();
        assert_eq!(found[..len], list);
    }
}

#[test]
fn what_is_private_is_the_owners_alone_whatever_it_replaces() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a");
    for old in [None, Some(0o666), Some(0o640)] {
        if let Some(old) = old {
            fs::write(&target, b"old").unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(old)).unwrap();
        }
        let output = OutputFile::create_private(&target).unwrap();
        assert_eq!(mode(&output.temporary_path()), 0o600);
        output.commit().unwrap();
        assert_eq!(mode(&target), 0o600);
    }
}

#[test]
fn an_output_stays_in_the_folder_in_which_it_was_begun() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for kind in ["file", "folder", "staged"] {
        let (ours, theirs) = (here.join("ours"), here.join("theirs"));
        fs::create_dir(&ours).unwrap();
        fs::create_dir(&theirs).unwrap();
        let target = ours.join("a");
        fs::rename(&ours, here.join("moved")).unwrap();
        fs::rename(here.join("moved"), &ours).unwrap();
        let swap = || {
            fs::rename(&ours, here.join("moved")).unwrap();
            symlink(&theirs, &ours).unwrap();
        };
        let error = match kind {
            "file" => {
                let output = OutputFile::create(&target).unwrap();
                swap();
                output.write_all_at(b"new", 0).unwrap();
                output.commit().unwrap_err()
            }
            "folder" => {
                let output = OutputDir::create(&target).unwrap();
                swap();
                output.make_dir("x/y").unwrap();
                output.write("x/y/file", b"new").unwrap();
                output.commit().unwrap_err()
            }
            _ => {
                let staging = Staging::create(&target).unwrap();
                fs::write(staging.path(), "new").unwrap();
                swap();
                staging.take_name(|_| Ok(())).unwrap_err()
            }
        };
        assert_eq!((error.kind(), error.path()), (Kind::Io, Some(&*target)), "{kind}: {error}");
        assert_eq!((names(&theirs), names(&here.join("moved"))), (vec![], vec![]), "{kind}");
        fs::remove_file(&ours).unwrap();
        fs::remove_dir(here.join("moved")).unwrap();
        fs::remove_dir(&theirs).unwrap();
    }
}

#[test]
fn a_name_of_any_length_that_a_file_can_have_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("n".repeat(255));
    for _ in 0..2 {
        write(&target).unwrap();
    }
    assert_eq!(names(folder.path()).len(), 1);
    assert_eq!(write(&folder.path().join("n".repeat(256))).unwrap_err().kind(), Kind::Io);
}

#[test]
fn an_old_folder_that_was_put_aside_gets_its_name_back() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a");
    let aside = folder.path().join(".a.amikit-old");
    fs::create_dir(&aside).unwrap();
    fs::write(aside.join("file"), "old").unwrap();
    // The run that put it aside was killed before it gave the name to the new one.
    drop(OutputDir::replacing(&target, of_one_file).unwrap());
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "old");
    // It was killed after that.
    fs::create_dir(&aside).unwrap();
    fs::write(aside.join("file"), "older").unwrap();
    drop(OutputDir::replacing(&target, of_one_file).unwrap());
    assert_eq!(names(folder.path()), ["a"]);
    // What is not ours to remove stays.
    fs::create_dir(&aside).unwrap();
    for name in ["thesis", "more"] {
        fs::write(aside.join(name), "").unwrap();
    }
    drop(OutputDir::replacing(&target, of_one_file).unwrap());
    assert_eq!(names(folder.path()), [".a.amikit-old", "a"]);
}

#[test]
fn what_cannot_be_removed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a");
    let output = OutputFile::create(&target).unwrap();
    let path = output.temporary_path();
    // A filled folder behind a chain too deep to follow.
    fs::remove_file(&path).unwrap();
    fs::create_dir_all(path.join("a/".repeat(70))).unwrap();
    drop(output);
    assert!(take_leftovers().contains(&path));
}
