//! Chains of deltas: each release packed against the one before.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use amikit::internals::bundle::Bundle;
use amikit::internals::digest::Digest;
use amikit::internals::digest::sha256;
use amikit::internals::manifest::Block;
use amikit::internals::manifest::Manifest;
use amikit::internals::pack::Form;
use amikit::internals::pack::Patch;
use amikit::internals::pack::patch::MAX_GROUPS;
use amikit::internals::pack::patch::MAX_READS;
use amikit::internals::pack::patch::Step;
use amikit::internals::units::BLOCK_LEN;
use amikit::internals::units::BlockIndex;

use crate::common::Model;
use crate::common::Random;
use crate::common::check_raw;
use crate::common::keeps_holes;
use crate::common::quick_folder;
use crate::common::rounds;
use crate::common::run;
use crate::common::run_well;
use crate::common::stderr;
use crate::common::step;
use crate::common::tree;
use crate::delta_pairs::Happens;
use crate::delta_pairs::after;
use crate::delta_pairs::check_changed;
use crate::delta_pairs::volume;

/// Releases of a volume, as images `v1.raw` and so on, bundles that are whole, and deltas `d12.ami`.
fn releases(here: &Path, random: &mut Random, blocks: usize, steps: &[Happens]) -> Vec<Model> {
    let mut models = vec![volume(random, blocks)];
    models[0].write(&here.join("v1.raw"));
    run_well(here, "pack v1.raw -o v1.ami --name test");
    for (happens, number) in steps.iter().zip(2..) {
        let model = after(random, models.last().unwrap(), *happens);
        model.write(&here.join(format!("v{number}.raw")));
        models.push(model);
        let before = number - 1;
        let thin = format!("d{before}{number}.ami");
        run_well(
            here,
            &format!("pack v{number}.raw --base v{before}.ami --thin -o {thin} --name test"),
        );
        run_well(here, &format!("complete {thin} --base v{before}.ami -o v{number}.ami"));
    }
    models
}

/// Counts, with nothing but the patches, the chunks that must be decoded for each chunk, and holds
/// what the patches say to it.
struct Reads {
    /// Of each chunk that a pack has: whether it is whole, or else the blocks of which base.
    chunks: BTreeMap<Digest, Option<(Digest, BTreeSet<u32>, u8)>>,
    bases: BTreeMap<Digest, Manifest>,
}

impl Reads {
    fn of(bundle: &Path) -> Self {
        let bundle = Bundle::open(bundle).unwrap();
        let mut reads = Self { chunks: BTreeMap::new(), bases: BTreeMap::new() };
        for base in bundle.bases() {
            reads.bases.insert(base.root, bundle.base_manifest(base).unwrap());
        }
        let opened = bundle.open_packs().unwrap();
        assert!(opened.broken.is_empty());
        for (number, pack) in &opened.packs {
            for entry in 0..pack.chunk_count() {
                let entry = pack.entry(entry).unwrap();
                let mut stored = Vec::new();
                pack.read_stored(entry.group, &mut stored).unwrap();
                let patch = (pack.group_of(&entry).form == Form::Patched).then(|| {
                    let patch = Patch::parse(&stored).unwrap();
                    let base = bundle.packs()[*number].base.unwrap();
                    (base, blocks(&patch), patch.reads)
                });
                // Of two the first is read.
                reads.chunks.entry(entry.id).or_insert(patch);
            }
        }
        reads
    }

    /// Counts a chunk and all that it depends on.
    fn count(&self, id: &Digest) -> u32 {
        let Some(Some((base, blocks, _))) = self.chunks.get(id) else { return 1 };
        let manifest = &self.bases[base];
        let sum: u32 = blocks
            .iter()
            .map(|index| match manifest.block(BlockIndex(*index)).unwrap() {
                Block::Data(id) => self.count(&id),
                Block::Zero | Block::Hole => 0,
            })
            .sum();
        1 + sum
    }

    /// Checks every patch, and returns the most that any chunk needs.
    fn check(&self, context: &str) -> u32 {
        let mut most = 0;
        for (id, patch) in &self.chunks {
            let Some((_, _, said)) = patch else { continue };
            let needed = self.count(id) - 1;
            assert!(needed <= u32::from(*said), "{context}: chunk {id}: {needed}, said {said}");
            assert!(*said <= MAX_READS, "{context}: chunk {id} says {said}");
            most = most.max(needed);
        }
        most
    }
}

/// Returns the blocks that a patch reads.
fn blocks(patch: &Patch<'_>) -> BTreeSet<u32> {
    let copies = patch.steps.iter().filter_map(|step| match step {
        Step::Copy { page, count } => Some((*page, *count)),
        _ => None,
    });
    copies
        .chain(patch.prefix.iter().map(|run| (run.page, run.count)))
        .flat_map(|(page, count)| page..page + u64::from(count))
        .map(|page| u32::try_from(page / 128).unwrap())
        .collect()
}

#[test]
fn each_of_four_releases_comes_back_from_a_chain() {
    let mut random = Random::new("each_of_four_releases");
    let plans = [
        [Happens::BytesInserted, Happens::BytesCut, Happens::SmallEdits],
        [Happens::SmallEdits, Happens::BlocksMove, Happens::PagesMove],
        [Happens::Punched, Happens::Grows, Happens::Zeroed],
        [Happens::PagesMove, Happens::PagesMove, Happens::Shrinks],
        [Happens::AllHole, Happens::Grows, Happens::NoRelation],
        [Happens::ManySources, Happens::ManySources, Happens::ManySources],
    ];
    for number in (0..rounds(plans.len())).step_by(step()) {
        let folder = quick_folder();
        let here = folder.path();
        if !keeps_holes(here) {
            return;
        }
        let plan = plans[number % plans.len()];
        let models = releases(here, &mut random, 4, &plan);
        for (model, number) in models.iter().zip(1..).skip(1) {
            let context = format!("{plan:?}: v{number}");
            run_well(here, &format!("verify v{number}.ami --against v{number}.raw"));
            run_well(here, &format!("unpack v{number}.ami -o out.raw"));
            check_raw(&here.join("out.raw"), model);
            Reads::of(&here.join(format!("v{number}.ami"))).check(&context);
            let before = number - 1;
            let thin = format!("d{before}{number}.ami");
            for form in ["ami", "raw"] {
                let base = format!("--base v{before}.{form}");
                let text = run_well(here, &format!("verify {thin} {base}"));
                assert!(!text.contains("thin:"), "{context}: {text}");
                run_well(here, &format!("unpack {thin} {base} -o out.raw"));
                check_raw(&here.join("out.raw"), model);
            }
            run_well(here, &format!("apply {thin} --to v{before}.raw -o out.raw"));
            check_changed(&here.join("out.raw"), model, &context);
            let text = run_well(here, &format!("verify {thin}"));
            // Of the base's own bases, which nothing in it needs, there is no word.
            assert!(text.matches("packed against").count() <= 1, "{context}: {text}");
        }
    }
}

/// A release that goes back to what was there two releases ago: its chain has a chunk twice.
#[test]
fn a_chunk_that_comes_back_is_read_from_where_it_was_first() {
    let mut random = Random::new("a_chunk_that_comes_back");
    let folder = quick_folder();
    let here = folder.path();
    if !keeps_holes(here) {
        return;
    }
    let first = random.bytes(2 * BLOCK_LEN);
    let mut second = first.clone();
    second[5000..5100].fill(1);
    for (name, bytes) in [("v1", &first), ("v2", &second), ("v3", &first)] {
        fs::write(here.join(format!("{name}.raw")), bytes).unwrap();
    }
    run_well(here, "pack v1.raw -o v1.ami --name test");
    run_well(here, "pack v2.raw --base v1.ami --thin -o d12.ami --name test");
    run_well(here, "complete d12.ami --base v1.ami -o v2.ami");
    run_well(here, "pack v3.raw --base v2.ami --thin -o d23.ami --name test");
    run_well(here, "complete d23.ami --base v2.ami -o v3.ami");
    let bundle = Bundle::open(&here.join("v3.ami")).unwrap();
    let opened = bundle.open_packs().unwrap();
    let id = sha256(&first[..BLOCK_LEN]);
    let having = opened.packs.iter().filter(|(_, pack)| pack.find(&id).unwrap().is_some());
    assert_eq!(having.count(), 2, "the chunk is not there twice");
    let chunks = opened.chunks();
    // Whatever was found before, in whichever pack.
    for before in [&first[..BLOCK_LEN], &second[..BLOCK_LEN], &first[BLOCK_LEN..]] {
        chunks.find(&sha256(before)).unwrap().unwrap();
        let (pack, entry) = chunks.find(&id).unwrap().unwrap();
        assert_eq!(pack.group_of(&entry).form, Form::Whole);
        assert_eq!(chunks.reads(&id).unwrap(), 1);
    }
    run_well(here, "verify v3.ami --against v3.raw");
}

/// Forty blocks of pages from everywhere, three times: the limit must hold somewhere.
#[test]
fn no_chunk_of_a_chain_needs_more_chunks_than_the_limit() {
    let mut random = Random::new("no_chunk_of_a_chain");
    let folder = quick_folder();
    let here = folder.path();
    let noise: Vec<_> = (0..40).map(|_| Some(random.bytes(BLOCK_LEN))).collect();
    let mut model = Model::of(&noise, 0);
    model.write(&here.join("v1.raw"));
    run_well(here, "pack v1.raw -o v1.ami --name test");
    let mut most = 0;
    for number in 2..5 {
        model = after(&mut random, &model, Happens::ManySources);
        model.write(&here.join(format!("v{number}.raw")));
        let before = number - 1;
        run_well(
            here,
            &format!("pack v{number}.raw --base v{before}.ami -o v{number}.ami --name test"),
        );
        run_well(here, &format!("verify v{number}.ami --against v{number}.raw"));
        most = Reads::of(&here.join(format!("v{number}.ami"))).check(&format!("v{number}"));
    }
    assert!(most > u32::from(MAX_READS) / 2, "{most} reads: the limit was not put to the test");
}

/// Small groups, and pages from everywhere: the limit on groups must hold somewhere, and does.
#[test]
fn no_patch_needs_more_groups_of_its_base_than_the_limit() {
    let mut random = Random::new("no_patch_needs_more_groups");
    let folder = quick_folder();
    let here = folder.path();
    let noise: Vec<_> = (0..40).map(|_| Some(random.bytes(BLOCK_LEN))).collect();
    let mut model = Model::of(&noise, 0);
    model.write(&here.join("v1.raw"));
    run_well(here, "pack v1.raw -o v1.ami --name test --group 2MiB");
    let mut most = 0;
    for number in 2..5 {
        model = after(&mut random, &model, Happens::ManySources);
        model.write(&here.join(format!("v{number}.raw")));
        let before = number - 1;
        let line = format!(
            "pack v{number}.raw --base v{before}.ami -o v{number}.ami --name test --group 2MiB"
        );
        run_well(here, &line);
        run_well(here, &format!("verify v{number}.ami --against v{number}.raw"));
        let bundle = Bundle::open(&here.join(format!("v{number}.ami"))).unwrap();
        let opened = bundle.open_packs().unwrap();
        for (_, pack) in &opened.packs {
            for (group, at) in pack.groups().iter().zip(0..) {
                if group.form == Form::Whole {
                    continue;
                }
                let mut stored = Vec::new();
                pack.read_stored(at, &mut stored).unwrap();
                let patch = Patch::parse(&stored).unwrap();
                let mut needed = BTreeSet::new();
                for block in blocks(&patch) {
                    pack.base().unwrap().groups(BlockIndex(block), &mut needed).unwrap();
                }
                let said = usize::from(patch.groups);
                assert!(needed.len() <= said, "v{number}: {} groups, said {said}", needed.len());
                assert!(patch.groups <= MAX_GROUPS, "v{number}: {said} groups");
                most = most.max(needed.len());
            }
        }
    }
    assert_eq!(most, usize::from(MAX_GROUPS), "the limit was not put to the test");
}

/// What is true of a bundle that was joined or put onto another base.
fn check_joined(here: &Path, name: &str, base: &str, target: &str, model: &Model) {
    run_well(here, &format!("verify {name}.ami --base {base}.ami --against {target}.raw"));
    for form in ["ami", "raw"] {
        run_well(here, &format!("unpack {name}.ami --base {base}.{form} -o out.raw"));
        check_raw(&here.join("out.raw"), model);
    }
    let equal = run(here, &format!("diff {name}.ami {target}.raw"));
    assert_eq!(equal.status.code(), Some(0), "{name}: {}", stderr(&equal));
    run_well(here, &format!("complete {name}.ami --base {base}.ami -o {name}-done.ami"));
    run_well(here, &format!("verify {name}-done.ami --against {target}.raw"));
    Reads::of(&here.join(format!("{name}-done.ami"))).check(name);
}

#[test]
fn two_deltas_joined_lead_to_the_same_volume() {
    let mut random = Random::new("two_deltas_joined");
    let plans = [
        [Happens::BytesInserted, Happens::BytesCut],
        [Happens::SmallEdits, Happens::SmallEdits],
        [Happens::PagesMove, Happens::BlocksMove],
        [Happens::Punched, Happens::PagesMove],
        [Happens::Nothing, Happens::SmallEdits],
        [Happens::SmallEdits, Happens::Nothing],
        [Happens::ManySources, Happens::ManySources],
        [Happens::NoRelation, Happens::Shrinks],
        [Happens::AllHole, Happens::Grows],
    ];
    let mut without = 0;
    for number in (0..rounds(plans.len())).step_by(step()) {
        let plan = plans[number % plans.len()];
        let folder = quick_folder();
        let here = folder.path();
        if !keeps_holes(here) {
            return;
        }
        let models = releases(here, &mut random, 4, &plan);
        let context = format!("{plan:?}");
        println!("{number}: {context}");
        run_well(here, "merge d12.ami d23.ami --base v1.ami -o with.ami");
        check_joined(here, "with", "v1", "v3", &models[2]);
        run_well(here, "merge d12.ami d23.ami --base v1.ami -o again.ami --threads 1");
        assert!(
            tree(&here.join("with.ami")) == tree(&here.join("again.ami")),
            "{context}: other bytes at another number of threads"
        );
        // An image does not tell how its bundle is grouped, so patches over it may be others.
        run_well(here, "merge d12.ami d23.ami --base v1.raw -o image.ami");
        check_joined(here, "image", "v1", "v3", &models[2]);
        // Without the base where no chunk needs it; where one does, that is said.
        let output = run(here, "merge d12.ami d23.ami -o d13.ami");
        if output.status.success() {
            without += 1;
            check_joined(here, "d13", "v1", "v3", &models[2]);
        } else {
            let text = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{context}: {text}");
            assert!(text.contains("--base") && text.lines().count() == 1, "{context}: {text}");
            assert!(!here.join("d13.ami").exists(), "{context}");
        }
        let output = run(here, "merge d23.ami d12.ami -o x.ami");
        if models[1].bytes != models[0].bytes && models[2].bytes != models[0].bytes {
            let text = stderr(&output);
            assert_eq!(output.status.code(), Some(7), "{context}: {text}");
            assert!(text.contains("packed against the snapshot sha256:"), "{context}: {text}");
            assert!(!here.join("x.ami").exists());
        }
    }
    assert!(without > 0, "none of them could be joined without the base");
}

#[test]
fn a_delta_on_another_base_leads_to_the_same_volume() {
    let mut random = Random::new("a_delta_on_another_base");
    for plan in [
        [Happens::BytesInserted, Happens::PagesMove],
        [Happens::Punched, Happens::Shrinks],
        [Happens::SmallEdits, Happens::AllZero],
    ] {
        let folder = quick_folder();
        let here = folder.path();
        if !keeps_holes(here) {
            return;
        }
        let models = releases(here, &mut random, 4, &plan);
        run_well(here, "rebase d23.ami --base v2.ami --onto v1.ami --thin -o thin.ami");
        check_joined(here, "thin", "v1", "v3", &models[2]);
        run_well(
            here,
            "rebase d23.ami --base v2.raw --onto v1.ami --thin -o again.ami --threads 1",
        );
        assert!(tree(&here.join("thin.ami")) == tree(&here.join("again.ami")));
        run_well(here, "rebase v3.ami --onto v1.ami -o whole.ami");
        run_well(here, "verify whole.ami --against v3.raw");
        run_well(here, "rebase v3.ami --onto v1.raw --thin -o image.ami");
        run_well(here, "unpack image.ami --base v1.ami -o out.raw");
        check_raw(&here.join("out.raw"), &models[2]);
    }
}

/// In the second release both volumes hold a chunk that is a patch over the first volume's base; in
/// the third only the other volume does.
#[test]
fn a_chunk_that_leans_on_another_volumes_base_is_joined_all_the_same() {
    let folder = quick_folder();
    let here = folder.path();
    let mut random = Random::with_seed(5);
    let noise = random.bytes(3 * BLOCK_LEN);
    let other = random.bytes(3 * BLOCK_LEN);
    let mut edited = noise[..BLOCK_LEN].to_vec();
    edited[70_000] ^= 1;
    let root2 = [&edited, &noise[BLOCK_LEN..]].concat();
    let data2 = [&other[..], &edited[..]].concat();
    for (name, bytes) in [
        ("root1.raw", &noise),
        ("data1.raw", &other),
        ("root2.raw", &root2),
        ("data2.raw", &data2),
        ("root3.raw", &noise),
        ("data3.raw", &[&edited[..], &other[..]].concat()),
    ] {
        fs::write(here.join(name), bytes).unwrap();
    }
    // `/dev/sda1` comes before `/dev/sdf`, so the root volume is the one that stores the chunk.
    let pack = |number: u32, rest: &str| {
        let line = format!(
            "pack root{number}.raw --root-device /dev/sda1 --map /dev/sdf=data{number}.raw \
             --name test {rest}"
        );
        run_well(here, &line);
    };
    pack(1, "-o v1.ami");
    for number in [2, 3] {
        let before = number - 1;
        pack(number, &format!("--base v{before}.ami --thin -o d{before}{number}.ami"));
        run_well(
            here,
            &format!("complete d{before}{number}.ami --base v{before}.ami -o v{number}.ami"),
        );
    }
    for rest in ["--base v1.ami", ""] {
        let output = run(here, &format!("merge d12.ami d23.ami {rest} -o d13.ami"));
        if output.status.success() {
            run_well(
                here,
                "verify d13.ami --base v1.ami --against root3.raw --against /dev/sdf=data3.raw",
            );
            continue;
        }
        let text = stderr(&output);
        assert!(rest.is_empty() && output.status.code() == Some(2), "{text}");
        assert!(text.contains("--base") && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn deltas_that_start_from_nothing_are_joined() {
    let folder = quick_folder();
    let here = folder.path();
    let mut random = Random::with_seed(6);
    let noise = random.bytes(BLOCK_LEN);
    for (name, blocks) in [
        ("v1.raw", [None, Some(Vec::new()), None]),
        ("v2.raw", [Some(noise.clone()), None, Some(Vec::new())]),
        ("v3.raw", [None, Some(noise), Some(random.bytes(5000))]),
    ] {
        Model::of(&blocks, 0).write(&here.join(name));
    }
    run_well(here, "pack v1.raw -o v1.ami --name test");
    run_well(here, "pack v2.raw --base v1.ami --thin -o d12.ami --name test");
    run_well(here, "complete d12.ami --base v1.ami -o v2.ami");
    run_well(here, "pack v3.raw --base v2.ami --thin -o d23.ami --name test");
    run_well(here, "merge d12.ami d23.ami -o d13.ami");
    run_well(here, "verify d13.ami --base v1.ami --against v3.raw");
}
