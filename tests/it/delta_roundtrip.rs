//! What is packed against a base comes back exactly, whatever the two volumes have in common.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::path::Path;

use amikit::internals::units::BLOCK_LEN;
use serde_json::Value;

use crate::common::Model;
use crate::common::Random;
use crate::common::check_raw;
use crate::common::keeps_holes;
use crate::common::quick_folder;
use crate::common::rounds;
use crate::common::run_badly;
use crate::common::run_well;
use crate::common::step;
use crate::common::tree;
use crate::delta_pairs::ALL;
use crate::delta_pairs::Happens;
use crate::delta_pairs::after;
use crate::delta_pairs::check_changed;
use crate::delta_pairs::pair;
use crate::delta_pairs::volume;
use crate::delta_pairs::write_pair;

/// Packs with `--json` and returns the bundle's digest.
fn pack(here: &Path, line: &str) -> String {
    let report: Value = serde_json::from_str(&run_well(here, &format!("{line} --json"))).unwrap();
    report["digest"].as_str().unwrap().to_owned()
}

fn check_unpack(here: &Path, line: &str, model: &Model) {
    run_well(here, &format!("{line} -o out.raw"));
    check_raw(&here.join("out.raw"), model);
    fs::remove_file(here.join("out.raw")).unwrap();
}

/// Applies `thin` to the old image, as a new file and in place.
fn check_apply(here: &Path, thin: &str, old: &Model, new: &Model, context: &str) {
    run_well(here, &format!("apply {thin} --to old.raw -o out.raw"));
    check_changed(&here.join("out.raw"), new, context);
    old.write(&here.join("changed.raw"));
    for _ in 0..2 {
        run_well(here, &format!("apply {thin} --to changed.raw --in-place"));
        check_changed(&here.join("changed.raw"), new, context);
        assert!(!here.join("changed.raw.amikit-journal.tar").exists(), "{context}");
    }
    fs::remove_file(here.join("out.raw")).unwrap();
    fs::remove_file(here.join("changed.raw")).unwrap();
}

fn check_pair(here: &Path, old: &Model, new: &Model, context: &str) {
    write_pair(here, old, new);
    let line = "pack new.raw --name new --level 3 --base";
    let digest = pack(here, &format!("{line} old.ami -o whole.ami"));
    for (line, output) in [
        (format!("{line} old.tar -o again.ami"), "again.ami"),
        (format!("{line} old.ami --thin -o thin.ami"), "thin.ami"),
        (format!("{line} old.tar --thin -o thin.tar"), "thin.tar"),
        (format!("{line} old.ami --base-index old.amx -o again.ami"), "again.ami"),
        (format!("{line} old.tar --base-index old.amx -o again.ami --threads 7"), "again.ami"),
        (format!("{line} old.ami -o again.ami --threads 1"), "again.ami"),
        (format!("{line} old.ami -o again.ami --threads 3"), "again.ami"),
    ] {
        assert_eq!(pack(here, &line), digest, "{context}: {line}");
        let same = tree(&here.join("whole.ami")) == tree(&here.join("again.ami"));
        assert!(same || output != "again.ami", "{context}: {line}: other bytes");
    }
    let image = "pack new.raw --name new --base old.raw --base-manifest old.snap --thin";
    let over_image = pack(here, &format!("{image} -o thin-image.ami --base-index old.amx"));
    assert_eq!(pack(here, &format!("{image} -o again.ami --threads 1")), over_image, "{context}");

    run_well(here, "verify whole.ami --against new.raw");
    check_unpack(here, "unpack whole.ami", new);
    for (number, base) in ["old.ami", "old.tar", "old.raw"].into_iter().enumerate() {
        for (other, thin) in ["thin-image.ami", "thin.tar", "thin.ami"].into_iter().enumerate() {
            if number == other {
                run_well(here, &format!("verify {thin} --base {base}"));
            }
            check_unpack(here, &format!("unpack {thin} --base {base}"), new);
        }
    }
    check_apply(here, "thin.tar", old, new, context);
    check_apply(here, "thin-image.ami", old, new, context);
    for (thin, base, output) in
        [("thin.ami", "old.tar", "done.ami"), ("thin.tar", "old.ami", "done.tar")]
    {
        run_well(here, &format!("complete {thin} --base {base} -o {output}"));
        run_well(here, &format!("verify {output} --against new.raw"));
        check_unpack(here, &format!("unpack {output}"), new);
    }
    assert!(
        tree(&here.join("done.ami")) == tree(&here.join("whole.ami")),
        "{context}: a completed bundle is not the whole one"
    );
    let diff = crate::common::run(here, "diff thin.ami new.raw");
    assert_eq!(diff.status.code(), Some(0), "{context}: {}", crate::common::stderr(&diff));
}

#[test]
fn whatever_happened_to_a_volume_comes_back_exactly() {
    let mut random = Random::new("whatever_happened_to_a_volume");
    if !keeps_holes(quick_folder().path()) {
        return;
    }
    for number in (0..rounds(ALL.len())).step_by(step()) {
        let happens = ALL[number % ALL.len()];
        let folder = quick_folder();
        let blocks = 1 + random.index(6);
        let (old, new) = pair(&mut random, blocks, happens);
        let context = format!("{happens:?} to {} bytes: {} bytes", old.size(), new.size());
        println!("{number}: {context}");
        check_pair(folder.path(), &old, &new, &context);
    }
}

/// A volume that ends in the middle of a block that was written only behind the new end, and others
/// whose last block changes its state and not its bytes.
#[test]
fn a_last_block_keeps_its_state_when_the_volume_is_cut_or_grows() {
    let folder = tempfile::tempdir().unwrap();
    if !keeps_holes(folder.path()) {
        return;
    }
    let pages = |written: &[bool]| -> Model {
        let mut all = vec![true; 128];
        all.extend(written);
        let mut bytes = vec![0; all.len() * 4096];
        bytes[..BLOCK_LEN].fill(3);
        Model { bytes, states: Vec::new(), written: all }.settle()
    };
    let (front, back) = (pages(&[true, true, false, false]), pages(&[false, false, true, true]));
    let (hole, zero) = (pages(&[false; 128]), pages(&[true; 128]));
    let cut = |model: &Model, len: usize| {
        let mut model = model.clone();
        model.bytes.truncate(BLOCK_LEN + len);
        model.settle()
    };
    for (number, (old, new)) in [
        (&front, &cut(&front, 5000)),
        // Zero before, and no page of that is left.
        (&back, &cut(&back, 5000)),
        (&back, &cut(&front, 5000)),
        (&cut(&front, 4096), &zero),
        (&cut(&back, 8192), &hole),
        (&cut(&front, 1), &back),
        (&zero, &cut(&hole, 1)),
        (&hole, &cut(&zero, 1)),
        // The end is in the middle of a page that was written.
        (&cut(&front, 5000), &cut(&hole, 5000)),
        (&front, &cut(&hole, 5000)),
        (&front, &front),
        (&front, &cut(&front, 0)),
        (&cut(&front, 0), &hole),
    ]
    .into_iter()
    .enumerate()
    .step_by(step())
    {
        let here = folder.path();
        write_pair(here, old, new);
        run_well(here, "pack new.raw --base old.ami --thin -o thin.ami --name new");
        check_unpack(here, "unpack thin.ami --base old.raw", new);
        check_apply(here, "thin.ami", old, new, &format!("case {number}"));
    }
}

#[test]
fn of_several_volumes_each_leans_on_its_own_counterpart() {
    let mut random = Random::new("of_several_volumes");
    for _ in 0..rounds(2).div_ceil(8) {
        let folder = quick_folder();
        let here = folder.path();
        if !keeps_holes(here) {
            return;
        }
        let (old_root, old_data) = (volume(&mut random, 4), volume(&mut random, 3));
        let new_root = after(&mut random, &old_root, Happens::BytesInserted);
        // The data volume takes a block that is new in the root volume, and one of the old root.
        let mut new_data = after(&mut random, &old_data, Happens::PagesMove);
        new_data.bytes.extend(&new_root.bytes[BLOCK_LEN..2 * BLOCK_LEN]);
        new_data.bytes.extend(&old_root.bytes[..BLOCK_LEN]);
        let new_data = new_data.settle();
        // A third volume has no counterpart; it repeats blocks that the bases of both have.
        let mut added = old_data.clone();
        added.bytes.truncate(BLOCK_LEN);
        added.bytes.extend(&old_root.bytes[..2 * BLOCK_LEN]);
        let added = added.settle();
        for (name, model) in [
            ("old.raw", &old_root),
            ("old-data.raw", &old_data),
            ("root.raw", &new_root),
            ("data.raw", &new_data),
            ("added.raw", &added),
        ] {
            model.write(&here.join(name));
        }
        run_well(here, "pack old.raw --map /dev/sdf=old-data.raw -o old.ami --name old");
        let line = "pack root.raw --map /dev/sdf=data.raw --map /dev/sdg=added.raw --name new \
                    --base old.ami";
        let whole = pack(here, &format!("{line} -o whole.ami"));
        assert_eq!(pack(here, &format!("{line} --thin -o thin.ami --threads 7")), whole);
        run_well(here, "verify whole.ami");
        run_well(here, "verify thin.ami --base old.ami");
        run_well(here, "complete thin.ami --base old.ami -o done.ami");
        assert!(tree(&here.join("done.ami")) == tree(&here.join("whole.ami")));
        let image = "pack root.raw --map /dev/sdf=data.raw --map /dev/sdg=added.raw --name new \
                     --base old.raw --thin -o image.ami";
        pack(here, image);
        run_well(here, "verify image.ami --base old.raw");
        for (device, model) in
            [("/dev/xvda", &new_root), ("/dev/sdf", &new_data), ("/dev/sdg", &added)]
        {
            check_unpack(here, &format!("unpack whole.ami {device}"), model);
            check_unpack(here, &format!("unpack thin.ami {device} --base old.ami"), model);
            check_unpack(here, &format!("unpack image.ami {device} --base old.raw"), model);
        }
        run_well(here, "apply thin.ami /dev/sdf --to old-data.raw --in-place");
        check_changed(&here.join("old-data.raw"), &new_data, "the data volume in place");
        let text = run_badly(here, &format!("{line} --base-index i.amx -o x.ami"), 2);
        assert!(text.contains("3 volumes") && !here.join("i.amx").exists(), "{text}");
    }
}

#[test]
fn an_index_is_believed_for_its_own_base_and_as_it_was_written() {
    let mut random = Random::new("an_index_is_believed");
    let folder = quick_folder();
    let here = folder.path();
    // An index of nothing but zeros has no entries to be cut.
    let (old, new) = loop {
        let pair = pair(&mut random, 3, Happens::BytesInserted);
        if pair.0.bytes.iter().any(|byte| *byte != 0) {
            break pair;
        }
    };
    write_pair(here, &old, &new);
    let line = "pack new.raw --name new --base old.ami --thin --base-index i.amx -o out.ami";
    run_well(here, line);
    let index = fs::read(here.join("i.amx")).unwrap();
    fs::remove_dir_all(here.join("out.ami")).unwrap();
    let refused = |code: i32, context: &str| {
        let text = run_badly(here, line, code);
        assert!(text.contains("i.amx") && text.lines().count() == 1, "{context}: {text}");
        assert!(text.contains("rebuilt"), "{context}: {text}");
        assert!(!here.join("out.ami").exists(), "{context}");
    };
    for len in [0, 1, 8, 79, 80, 81, index.len() - 12, index.len() - 1] {
        fs::write(here.join("i.amx"), &index[..len]).unwrap();
        refused(4, &format!("cut to {len} bytes"));
    }
    fs::write(here.join("i.amx"), [&index[..], &[0; 12]].concat()).unwrap();
    refused(4, "an entry too many");
    // All of the header, and some of the rest.
    let places: Vec<usize> =
        (0..80).step_by(step()).chain((0..rounds(20)).map(|_| random.index(index.len()))).collect();
    for place in places {
        let mut bytes = index.clone();
        bytes[place] ^= 1 << random.below(8);
        fs::write(here.join("i.amx"), bytes).unwrap();
        let output = crate::common::run(here, line);
        let text = crate::common::stderr(&output);
        assert!(matches!(output.status.code(), Some(4 | 5 | 7)), "byte {place}: {text}");
        assert!(text.contains("i.amx") && text.lines().count() == 1, "byte {place}: {text}");
        assert!(!here.join("out.ami").exists(), "byte {place}");
    }
    fs::write(here.join("i.amx"), &index).unwrap();
    fs::copy(here.join("new.raw"), here.join("other.raw")).unwrap();
    run_well(here, "pack other.raw -o other.ami --name other");
    let text = run_badly(here, &line.replace("old.ami", "other.ami"), 7);
    assert!(text.contains("i.amx: it indexes the snapshot sha256:"), "{text}");
    assert!(text.contains("name another file") && !here.join("out.ami").exists(), "{text}");
    run_well(here, line);
    assert!(fs::read(here.join("i.amx")).unwrap() == index, "a kept index was written anew");
}

/// Packs `new` over `old` and returns how many groups and chunks are stored.
fn stored(here: &Path, old: &[u8], new: &[u8]) -> (u64, u64) {
    fs::write(here.join("old.raw"), old).unwrap();
    fs::write(here.join("new.raw"), new).unwrap();
    run_well(here, "pack new.raw --name new --base old.raw --thin -o new.ami");
    run_well(here, "unpack new.ami --base old.raw -o out.raw");
    assert!(fs::read(here.join("out.raw")).unwrap() == new, "it comes back");
    fs::remove_file(here.join("out.raw")).unwrap();
    let report: Value = serde_json::from_str(&run_well(here, "inspect new.ami --json")).unwrap();
    fs::remove_dir_all(here.join("new.ami")).unwrap();
    let pack = &report["packs"][0];
    (pack["groups"].as_u64().unwrap(), pack["chunks"].as_u64().unwrap())
}

/// Chunks of which the base has nothing make each other smaller: they share a group, although each would be
/// smaller as a patch at its higher level than alone.
#[test]
fn a_chunk_becomes_a_patch_only_if_the_base_helps() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut random = Random::with_seed(71);
    let text = |random: &mut Random, len: usize| {
        let words: Vec<Vec<u8>> = (0..3000).map(|_| random.bytes(6)).collect();
        let mut text = Vec::new();
        while text.len() < len {
            text.extend_from_slice(&words[usize::try_from(random.below(3000)).unwrap()]);
        }
        text.truncate(len);
        text
    };
    let old = text(&mut random, 4 * BLOCK_LEN);
    let new = text(&mut random, 4 * BLOCK_LEN);
    let touched = |from: usize| {
        let mut bytes = old[from * BLOCK_LEN..][..BLOCK_LEN].to_vec();
        bytes.iter_mut().step_by(4096).for_each(|byte| *byte ^= 1);
        bytes
    };
    let strange = new[..3 * BLOCK_LEN].to_vec();
    assert_eq!(stored(here, &old, &strange), (1, 3), "nothing of the base");
    let changed = [touched(2), touched(0), touched(3)].concat();
    assert_eq!(stored(here, &old, &changed), (3, 3), "a byte of each page changed, and moved");
    let half = [&old[..BLOCK_LEN / 2], &new[3 * BLOCK_LEN..][..BLOCK_LEN / 2]].concat();
    let both = [strange, half, changed].concat();
    assert_eq!(stored(here, &old, &both), (5, 7), "a group, and patches");
}
