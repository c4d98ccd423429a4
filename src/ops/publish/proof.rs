//! The proof that a snapshot is what its manifest says: the list of its blocks, and a sample of their bytes.
//!
//! The list is gone through once, in order, beside those of the manifest and of the parent. What is checked up to some block
//! is handed out on the way ([`Checked`]), and the next run goes on from there.

use std::iter::Peekable;
use std::num::NonZero;

use crate::aws::Aws;
use crate::aws::BlockList;
use crate::calls::Base;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::manifest::Block;
use crate::manifest::Cursor;
use crate::manifest::Manifest;
use crate::manifest::zero_block_digest;
use crate::ops::publish::journal::Checked;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::units::GIB;
use crate::units::ebs_gib;
use crate::work::in_order;

/// Blocks that are read, spread over the volume: enough to see that blocks are not those of another snapshot.
const SAMPLES: u64 = 64;

/// Blocks that are read side by side.
const SIDE_BY_SIDE: NonZero<usize> = NonZero::new(8).unwrap();

/// What is proved.
#[derive(Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) region: &'a str,
    /// The snapshot.
    pub(super) snapshot_id: &'a str,
    /// What it must be.
    pub(super) target: &'a Manifest,
    /// What it was started from.
    pub(super) base: Option<Base<'a>>,
    /// Whether holes were put, as zeros.
    pub(super) send_holes: bool,
}

/// Iterates over the blocks that a snapshot must have, ascending, each with its checksum: those of the target that are
/// written, and those that its parent has. A parent has more than its manifest says: what was written once in its line, and
/// is a hole now, is a block of zeros.
struct Expected<'a> {
    target: &'a Manifest,
    cursor: Cursor<'a>,
    /// The block before which all are sent, since holes are.
    sent: u32,
    /// The next block that the target or a sent hole has, once it was looked for.
    own: Option<u32>,
    next: u32,
    parent: Option<Peekable<BlockList<'a>>>,
}

impl<'a> Expected<'a> {
    fn new(aws: &'a Aws<'a, 'a>, claim: &Claim<'a>, from: u32) -> Self {
        let base = claim.base.map_or(0, |it| it.manifest.block_count());
        let sent = if claim.send_holes { base.max(claim.target.block_count()) } else { 0 };
        // Behind a parent's end there is nothing to list.
        let parent = claim.base.filter(|it| {
            BlockIndex(from).offset() < ebs_gib(it.manifest.volume_size()).strict_mul(GIB)
        });
        let parent = parent.map(|it| BlockList::new(aws, claim.region, it.snapshot_id, None, from));
        Self {
            target: claim.target,
            cursor: Cursor::new(claim.target),
            sent,
            own: None,
            next: from,
            parent: parent.map(Iterator::peekable),
        }
    }

    /// Finds the next block of the target's own.
    fn own(&mut self) -> Result<Option<u32>> {
        let mut at = self.own.unwrap_or(self.next).max(self.next);
        while at >= self.sent && at < self.target.block_count() {
            match self.cursor.block(BlockIndex(at))? {
                Block::Hole => at = self.target.run_at(BlockIndex(at))?.1.0,
                _ => break,
            }
        }
        self.own = Some(at);
        Ok((at < self.sent.max(self.target.block_count())).then_some(at))
    }

    fn step(&mut self) -> Result<Option<(u32, Digest)>> {
        let parents = match &mut self.parent {
            None => None,
            // An error is taken out, since it cannot be copied.
            Some(list) => match list.next_if(Result::is_err) {
                Some(Err(error)) => return Err(error),
                _ => list.peek().and_then(|it| it.as_ref().ok()).map(|it| it.block_index),
            },
        };
        let own = self.own()?;
        let Some(index) = own.into_iter().chain(parents).min() else { return Ok(None) };
        if parents == Some(index)
            && let Some(list) = &mut self.parent
        {
            list.next();
        }
        self.next = index.strict_add(1);
        let block = self.cursor.block(BlockIndex(index))?;
        Ok(Some((index, block.digest().unwrap_or_else(zero_block_digest))))
    }
}

impl Iterator for Expected<'_> {
    type Item = Result<(u32, Digest)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// Proves that a snapshot that is complete has just the blocks that it must have, with the bytes that they must have. Goes on
/// behind what `known` says is checked, and says how far it came before it goes further.
///
/// # Errors
///
/// `Mismatch` if it does not; as listing and reading blocks; whatever `note` returns.
pub(super) fn prove(
    aws: &Aws<'_, '_>,
    claim: &Claim<'_>,
    known: Checked,
    mut note: impl FnMut(Checked) -> Result<()>,
) -> Result<Checked> {
    let Claim { region, snapshot_id, target, .. } = *claim;
    let wrong = |text: String| Err(Error::new(Kind::Mismatch, format!("{snapshot_id}: {text}")));
    let mut expected = Expected::new(aws, claim, known.below);
    let mut list = BlockList::new(aws, region, snapshot_id, None, known.below);
    let stride = target.header().counts.written().div_ceil(SAMPLES).max(1);
    // Which ones is decided by the content, so that another run reads the same ones.
    let first = u64::from(target.root().0[0]).checked_rem(stride);
    let (mut checked, mut waiting, mut pages) = (known, Vec::new(), 0);
    while let Some(block) = list.next().transpose()? {
        let index = block.block_index;
        // What cost requests is not lost to a kill: a page, and samples.
        let has_turned = std::mem::replace(&mut pages, list.pages()) != list.pages();
        let is_worth_it = has_turned && checked.blocks > known.blocks;
        if is_worth_it || waiting.len() >= SIDE_BY_SIDE.get() {
            checked.samples = checked.samples.strict_add(read(aws, claim, &mut waiting)?);
            checked.below = index;
            note(checked)?;
        }
        let digest = match expected.next().transpose()? {
            Some((it, digest)) if it == index => digest,
            Some((it, _)) => {
                return wrong(format!("its list has block {index}, expected block {it}"));
            }
            None => return wrong(format!("its list has block {index}, expected no more")),
        };
        if checked.blocks.checked_rem(stride) == first {
            let Some(token) = block.block_token else {
                return wrong("a block has no token".into());
            };
            waiting.push((index, digest, token));
        }
        checked.blocks = checked.blocks.strict_add(1);
        aws.http().watch().advance(BLOCK_SIZE);
    }
    if let Some((index, _)) = expected.next().transpose()? {
        return wrong(format!("its list ends before block {index}"));
    }
    let gib = ebs_gib(target.volume_size());
    if checked.blocks > 0 && list.gib() < gib {
        return wrong(format!("it has {} GiB, expected at least {gib}", list.gib()));
    }
    checked.samples = checked.samples.strict_add(read(aws, claim, &mut waiting)?);
    Ok(checked)
}

/// Reads blocks, whose checksums must be those of the manifest, and returns how many.
fn read(
    aws: &Aws<'_, '_>,
    claim: &Claim<'_>,
    blocks: &mut Vec<(u32, Digest, String)>,
) -> Result<u64> {
    let count = u64::try_from(blocks.len()).expect("memory is under 2^64 bytes");
    in_order(
        SIDE_BY_SIDE,
        aws.http().watch(),
        blocks.drain(..).map(Ok),
        || Ok(()),
        |(), (index, digest, token)| {
            let (_, found) = aws.get_block(claim.region, claim.snapshot_id, index, &token)?;
            if found == digest {
                return Ok(());
            }
            let text = format!(
                "{}: block {index} has the checksum {}, expected {}",
                claim.snapshot_id,
                found.base64(),
                digest.base64()
            );
            Err(Error::new(Kind::Mismatch, text))
        },
        |()| Ok(()),
    )?;
    Ok(count)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::Mutex;

    use crate::aws::fake::with;
    use crate::digest::sha256;
    use crate::http::Cut;
    use crate::http::Reply;
    use crate::http::fake::Seen;
    use crate::http::fake::reply;
    use crate::manifest::tests::decode;
    use crate::manifest::tests::encode;
    use crate::units::BLOCK_LEN;

    const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "s")];

    /// What a snapshot of the service has: blocks that are one byte over and over.
    type Stored = BTreeMap<u32, u8>;

    fn bytes(fill: u8) -> Vec<u8> {
        vec![fill; BLOCK_LEN]
    }

    /// Makes the manifest of a volume: what each block is filled with; holes where nothing is.
    fn manifest(blocks: &[Option<u8>]) -> Manifest {
        let kinds: Vec<Block> = blocks
            .iter()
            .map(|fill| match fill {
                None => Block::Hole,
                Some(0) => Block::Zero,
                Some(fill) => Block::Data(sha256(&bytes(*fill))),
            })
            .collect();
        let count = u64::try_from(kinds.len()).unwrap();
        decode(encode(&kinds, count * BLOCK_SIZE)).unwrap()
    }

    /// Answers as EBS does, in pages of three blocks.
    fn serve(snapshots: &BTreeMap<String, Stored>, seen: &Seen) -> Result<Reply, Cut> {
        let parts: Vec<&str> = seen.url.path().split('/').collect();
        let stored = &snapshots[parts[2]];
        if let Some(index) = parts.get(4) {
            let fill = bytes(stored[&index.parse().unwrap()]);
            return reply(200, &[("x-amz-Checksum", &sha256(&fill).base64())], &fill);
        }
        let query = seen.url.query().unwrap_or_default().split('&');
        let asked: BTreeMap<&str, &str> = query.filter_map(|it| it.split_once('=')).collect();
        let from = asked.get("pageToken").or_else(|| asked.get("startingBlockIndex"));
        let from: u32 = from.map_or(0, |it| it.parse().unwrap());
        let blocks: Vec<u32> = stored.range(from..).map(|(index, _)| *index).take(4).collect();
        let listed: Vec<_> = blocks
            .iter()
            .take(3)
            .map(|index| serde_json::json!({ "BlockIndex": index, "BlockToken": "t" }))
            .collect();
        let mut page =
            serde_json::json!({ "Blocks": listed, "VolumeSize": 1, "BlockSize": BLOCK_SIZE });
        if let Some(next) = blocks.get(3) {
            page["NextToken"] = serde_json::json!(next.to_string());
        }
        reply(200, &[], page.to_string().as_bytes())
    }

    /// A volume over another one, and what EBS has of both.
    struct Scene {
        old: Vec<Option<u8>>,
        new: Vec<Option<u8>>,
        send_holes: bool,
        snapshots: BTreeMap<String, Stored>,
    }

    impl Scene {
        fn random(state: &mut u64) -> Self {
            let mut below = |most: u64| {
                *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (*state >> 33) % most
            };
            let (len, send_holes) = (30, below(4) == 0);
            let mut draw = |holes| match below(holes) {
                fill @ 0..3 => Some(u8::try_from(fill).unwrap()),
                _ => None,
            };
            let old: Vec<_> = (0..len - 6).map(|_| draw(6)).collect();
            let new: Vec<_> = (0..len).map(|_| draw(5)).collect();
            // The parent has blocks of its own parent, which no manifest says.
            let of = |old: &Option<u8>, before: Option<u8>| old.or(before.map(|_| 0));
            let parent: Vec<_> = old.iter().map(|it| of(it, draw(9))).collect();
            let all = |blocks: &[Option<u8>]| -> Stored {
                let blocks = (0..).zip(blocks).filter_map(|(at, fill)| Some((at, (*fill)?)));
                blocks.collect()
            };
            let made: Vec<_> = new
                .iter()
                .enumerate()
                .map(|(at, it)| match it {
                    None if send_holes => Some(0),
                    other => of(other, parent.get(at).copied().flatten()),
                })
                .collect();
            let snapshots = BTreeMap::from([
                ("snap-0".to_owned(), all(&parent)),
                ("snap-1".to_owned(), all(&made)),
            ]);
            Self { old, new, send_holes, snapshots }
        }

        /// Proves it from where `known` says, and returns what was noted on the way, and what was asked.
        fn prove(&self, known: Checked) -> (Result<Checked>, Vec<Checked>, Vec<String>) {
            let (old, new) = (manifest(&self.old), manifest(&self.new));
            let claim = Claim {
                region: "eu-west-1",
                snapshot_id: "snap-1",
                target: &new,
                base: Some(Base { manifest: &old, snapshot_id: "snap-0" }),
                send_holes: self.send_holes,
            };
            let (snapshots, asked) = (self.snapshots.clone(), Arc::new(Mutex::new(Vec::new())));
            let heard = Arc::clone(&asked);
            let answer = move |_, seen: Seen| {
                heard.lock().unwrap().push(seen.url.to_string());
                serve(&snapshots, &seen)
            };
            let mut notes = Vec::new();
            let (done, _) = with(&KEYS, answer, |aws, _| {
                prove(aws, &claim, known, |checked| {
                    notes.push(checked);
                    Ok(())
                })
            });
            let asked = asked.lock().unwrap().clone();
            (done, notes, asked)
        }
    }

    #[test]
    fn a_proof_goes_on_where_it_was_and_asks_for_nothing_twice() {
        let mut state = 3;
        for round in 0..8 {
            let scene = Scene::random(&mut state);
            let (whole, notes, _) = scene.prove(Checked::default());
            let whole = whole.unwrap();
            let blocks = u64::try_from(scene.snapshots["snap-1"].len()).unwrap();
            // So few that all of them are read.
            assert_eq!((whole.blocks, whole.samples), (blocks, blocks), "{round}");
            assert!(notes.len() + 1 >= scene.snapshots["snap-1"].len() / 3, "{notes:?}");
            for (number, note) in notes.iter().enumerate() {
                let (done, later, asked) = scene.prove(*note);
                assert_eq!(done.unwrap(), Checked { below: done_below(&later, *note), ..whole });
                assert!(later.len() < notes.len() - number, "{later:?} of {notes:?}");
                for url in asked {
                    let index = url.split("/blocks/").nth(1).and_then(|it| it.split('?').next());
                    let index = index.and_then(|it| it.parse::<u32>().ok());
                    assert!(index.is_none_or(|it| it >= note.below), "{url} after {note:?}");
                    let is_first = !url.contains("pageToken") && index.is_none();
                    assert!(!is_first || url.contains("startingBlockIndex"), "{url}");
                }
            }
        }
    }

    fn done_below(later: &[Checked], note: Checked) -> u32 {
        later.last().map_or(note.below, |it| it.below)
    }

    #[test]
    fn what_is_missing_too_much_or_other_is_found_from_wherever_the_proof_goes_on() {
        let mut state = 11;
        for round in 0..2 {
            let mut scene = Scene::random(&mut state);
            let (_, notes, _) = scene.prove(Checked::default());
            let sound = scene.snapshots["snap-1"].clone();
            for at in 0..32 {
                let mut wrong = sound.clone();
                match wrong.remove(&at) {
                    None => drop(wrong.insert(at, 5)),
                    Some(fill) if at % 2 == 0 => drop(wrong.insert(at, fill + 7)),
                    Some(_) => {}
                }
                scene.snapshots.insert("snap-1".to_owned(), wrong);
                let before = notes.iter().filter(|it| it.below <= at);
                for known in before.copied().chain([Checked::default()]) {
                    let error = scene.prove(known).0.unwrap_err();
                    assert_eq!(error.kind(), Kind::Mismatch, "round {round}, block {at}: {error}");
                }
            }
        }
    }

    #[test]
    fn a_volume_that_is_smaller_than_its_manifest_says_is_not_proved() {
        let mut blocks = vec![None; 2049];
        blocks[3] = Some(1);
        let scene = Scene {
            old: vec![None],
            new: blocks,
            send_holes: false,
            snapshots: BTreeMap::from([
                ("snap-0".to_owned(), Stored::new()),
                ("snap-1".to_owned(), Stored::from([(3, 1)])),
            ]),
        };
        let error = scene.prove(Checked::default()).0.unwrap_err();
        assert!(error.to_string().contains("has 1 GiB, expected at least 2"), "{error}");
    }
}
