//! What was fetched or published before: proved to be what its snapshot is, read in its place, and written down for the next.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::ami::bare;
use crate::aws::BlockList;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;
use crate::io::Scratch;
use crate::io::WriteAt as _;
use crate::ops::fetch::request::FetchReport;
use crate::ops::fetch::request::Fetching;
use crate::ops::fetch::request::OverBase;
use crate::ops::shared::fetches::FetchRecord;
use crate::ops::shared::open::Found;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::find;
use crate::ops::shared::open::open;
use crate::ops::shared::proven::Claim;
use crate::ops::shared::proven::Witness;
use crate::ops::shared::proven::Words;
use crate::ops::shared::publications::PublishedSnapshot;
use crate::ops::shared::recipe::now;
use crate::ops::shared::records::Records;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::units::ExtentKind;
use crate::work::Quiet;

impl Fetching<'_> {
    /// Opens what a device is read over, if the request names a base.
    pub(super) fn base(&self, device: Option<&str>, is_root: bool) -> Result<Option<OverBase>> {
        let Some(typed) = &self.request.base else { return Ok(None) };
        let mut request = VolumeRequest::new(typed);
        if request.image.member.is_none() {
            request.image.member = device.map(str::to_owned);
        }
        let Found::Bundle(bundle) = find(&request).map_err(|error| request.fail(error))? else {
            let text = "it is not a bundle, so nothing proves that a snapshot has its content";
            let error = Error::invalid(text).in_file(typed);
            return Err(error.advise(Advice::Omit(Setting::Base)));
        };
        let layer = bundle.find(request.image.member.as_deref())?;
        let claim = Claim {
            path: typed,
            root: bundle.manifest(layer)?.root(),
            bundle: Some((bundle.digest(), &layer.device)),
        };
        let words = Words::of(typed)?;
        let Self { aws, region, account, .. } = *self;
        let witness = Witness { aws, region, account };
        // An id that is typed is that of one volume: the root's.
        let snapshot_id = match self.request.base_id.as_ref().filter(|_| is_root) {
            Some(id) => {
                witness.prove(id, claim, &words)?;
                id.clone()
            }
            None => witness.recorded(claim, &words)?.ok_or_else(|| {
                let text = format!("no record says which snapshot in {region} has its content");
                let advice = "name the snapshot behind the base, as in old.ami=snap-0123";
                Error::invalid(text).in_file(typed).advise(advice)
            })?,
        };
        let volume = open(&request, &Quiet(self.watch))?;
        Ok(Some(OverBase { volume, snapshot_id }))
    }

    /// Writes down which snapshots were read, so that what is fetched next can be read over this.
    pub(super) fn record(&self, report: &FetchReport) -> Result<()> {
        let output = VolumeRequest::new(&self.request.output);
        let Found::Bundle(bundle) = find(&output).map_err(|error| output.fail(error))? else {
            return Err(Error::invalid("it is not a bundle any more").in_file(&report.output));
        };
        let is_one = report.volumes.len() == 1;
        let mut snapshots = Vec::new();
        for volume in &report.volumes {
            let mut layers = bundle.snapshots().iter();
            // A snapshot that is not of an AMI has a device of its own in a store.
            let layer = layers.find(|it| is_one || bare(&it.device) == bare(&volume.device));
            let Some(layer) = layer else { continue };
            snapshots.push(PublishedSnapshot {
                device: layer.device.clone(),
                snapshot_id: volume.snapshot_id.clone(),
                root_digest: bundle.manifest(layer)?.root(),
            });
        }
        let now = now().ok_or_else(|| {
            Error::invalid("this machine's clock is before 1970 or past the year 9999")
        })?;
        let (digest, id) = (report.digest, &report.id);
        let fetch = FetchRecord::of(digest, self.account, self.region, id, now, snapshots);
        Records::of(&self.request.output, None)?.write(&fetch).map(drop)
    }

    /// Copies the blocks that EBS did not name as changed, of those that the snapshot has: its list decides, since a snapshot
    /// has zeros where the volume that it was made of has holes over blocks of its parent.
    pub(super) fn copy_base(
        &self,
        base: &OverBase,
        snapshot_id: &str,
        scratch: &Scratch,
        kinds: &mut BTreeMap<u32, Option<bool>>,
    ) -> Result<u64> {
        let volume = base.volume.volume();
        let end = crate::units::block_count(volume.size());
        let is_hole = |number: u32| -> Result<bool> {
            let hint = || crate::volume::block_hint(volume, BlockIndex(number));
            Ok(number >= end || hint()? == ExtentKind::Hole)
        };
        let mut buffer = vec![0; crate::units::BLOCK_LEN];
        let (mut count, mut next) = (0_u64, 0);
        let unlisted = |numbers: Range<u32>, kinds: &BTreeMap<u32, Option<bool>>| -> Result<()> {
            for number in numbers {
                if !kinds.contains_key(&number) && !is_hole(number)? {
                    let text = format!(
                        "block {number} is in the base and not in {snapshot_id}, and is not said to have changed"
                    );
                    return Err(Error::new(Kind::Mismatch, text));
                }
            }
            Ok(())
        };
        self.watch.prepare("copying from the base", None);
        for listed in BlockList::new(self.aws, self.region, snapshot_id, None, 0) {
            self.watch.check()?;
            let number = listed?.block_index;
            unlisted(next..number.min(end), kinds)?;
            next = number.strict_add(1);
            if kinds.contains_key(&number) {
                continue;
            }
            let mut is_zero = true;
            if !is_hole(number)? {
                let range = BlockIndex(number).range(volume.size());
                let len = usize::try_from(range.end.strict_sub(range.start)).expect("a block");
                buffer.fill(0);
                volume.read_at(range.start, &mut buffer[..len])?;
                is_zero = buffer.iter().all(|byte| *byte == 0);
                if !is_zero {
                    scratch.write_all_at(&buffer, range.start)?;
                }
            }
            kinds.insert(number, Some(is_zero));
            count = count.strict_add(1);
            self.watch.advance(BLOCK_SIZE);
        }
        unlisted(next.min(end)..end, kinds)?;
        Ok(count)
    }
}
