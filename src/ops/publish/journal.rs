//! What was done for good: `docs/formats/publish-journal.md`.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;

use crate::calls::Made;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::FolderLock;
use crate::io::Hold;
use crate::io::Input;
use crate::io::LogFile;
use crate::io::ReadAt as _;
use crate::io::SharedFolder;
use crate::ops::publish::ranges::Ranges;
use crate::ops::shared::publications::PublishedImage;
use crate::ops::shared::versions;
use crate::work::Watch;

/// Version of the journal's format.
const VERSION: u32 = 3;

/// Version of a journal of volumes, whose lines are all of that version.
const OF_VOLUMES: u32 = 2;

/// The first version that has [`Line::Checked`].
const CHECKS: u32 = 2;

/// Most bytes of a journal: enough for each block of the largest volume by itself, and no more than memory has.
const MAX_LEN: u64 = 4 << 30;

/// How long after it was made something may not be known everywhere.
pub(super) const NOT_YET_TIME: Duration = Duration::from_mins(2);

/// What a journal's name ends in.
const SUFFIX: &str = ".journal";

/// Bytes of another plan's journal that are looked at: its volumes are begun one after the other, and most have one.
const LOOKED_AT: u64 = 1 << 20;

/// Digits of the plan's digest that a journal is called by.
const NAME_LEN: usize = 16;

/// What a journal is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Head {
    journal: u32,
    plan: Digest,
    bundle: Digest,
    account: String,
    region: String,
}

impl Head {
    /// Begins a journal of volumes.
    pub(super) fn new(plan: Digest, bundle: Digest, account: &str, region: &str) -> Self {
        let (account, region) = (account.to_owned(), region.to_owned());
        Self { journal: OF_VOLUMES, plan, bundle, account, region }
    }

    /// Begins a journal of files that go to S3: who knows no [`Line::Put`] shall not go on with it.
    pub(super) fn of_files(plan: Digest, bundle: Digest, account: &str, region: &str) -> Self {
        Self { journal: VERSION, ..Self::new(plan, bundle, account, region) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "PascalCase")]
enum Line {
    Started {
        device: String,
        snapshot_id: String,
        client_token: String,
    },
    Acknowledged {
        device: String,
        ranges: Vec<(u32, u32)>,
    },
    Completed {
        device: String,
    },
    Checked {
        device: String,
        snapshot_id: String,
        #[serde(flatten)]
        checked: Checked,
    },
    Proved {
        device: String,
    },
    Put {
        file: String,
        #[serde(rename = "ETag")]
        tag: String,
    },
    Done {
        step: usize,
        made: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<PublishedImage>,
    },
}

/// How far the proof of a snapshot has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Checked {
    /// The block before which the list of the snapshot's blocks was as it must be.
    pub(super) below: u32,
    /// Blocks of the list up to there.
    pub(super) blocks: u64,
    /// Blocks among them whose bytes were read.
    pub(super) samples: u64,
}

/// What a journal says of a volume.
#[derive(Clone, Debug, Default)]
pub(super) struct Volume {
    pub(super) snapshot_id: Option<String>,
    pub(super) acknowledged: Ranges,
    pub(super) completed: bool,
    pub(super) checked: Checked,
    pub(super) proved: bool,
}

/// What a journal says.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) volumes: BTreeMap<String, Volume>,
    /// Files that S3 has, each with its `ETag`.
    pub(super) files: BTreeMap<String, String>,
    /// Steps that are done.
    pub(super) done: BTreeMap<usize, BTreeMap<String, String>>,
    /// AMIs that are there.
    pub(super) images: Vec<PublishedImage>,
    /// When the last line of an earlier run was written.
    pub(super) written: Option<SystemTime>,
}

impl Known {
    /// Returns until when what an earlier run made may be too new to be known everywhere.
    pub(super) fn not_yet(&self, now: SystemTime) -> Option<SystemTime> {
        self.written.map_or(now, |it| it.min(now)).checked_add(NOT_YET_TIME)
    }

    /// Returns the AMI that was registered, and until when it may be too new to be known: never, if it was seen.
    pub(super) fn registered(&self, now: SystemTime) -> Option<(&str, Option<SystemTime>)> {
        if let Some(image) = self.images.first() {
            return Some((&image.image_id, None));
        }
        let key = Made::Image { number: 0 }.to_string();
        let made = self.done.values().find_map(|made| made.get(&key))?;
        Some((made, self.not_yet(now)))
    }

    /// Takes a snapshot that was started. In the place of another one, nothing counts that was said of that, and no step
    /// behind it: they waited for the other one, and registered it.
    pub(super) fn start(&mut self, device: &str, snapshot_id: &str) {
        let volume = Volume { snapshot_id: Some(snapshot_id.to_owned()), ..Volume::default() };
        let before = self.volumes.insert(device.to_owned(), volume);
        if before.is_some_and(|it| it.snapshot_id.is_some()) {
            self.done.clear();
            self.images.clear();
        }
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Started { device, snapshot_id, .. } => self.start(&device, &snapshot_id),
            Line::Acknowledged { device, ranges } => {
                let volume = self.volumes.entry(device).or_default();
                for (first, count) in ranges {
                    volume.acknowledged.add(first, count);
                }
            }
            Line::Completed { device } => self.volumes.entry(device).or_default().completed = true,
            Line::Checked { device, snapshot_id, checked } => {
                let volume = self.volumes.entry(device).or_default();
                // What is not complete could still become something else.
                if volume.completed && volume.snapshot_id == Some(snapshot_id) {
                    volume.checked = checked;
                }
            }
            Line::Proved { device } => self.volumes.entry(device).or_default().proved = true,
            Line::Put { file, tag } => drop(self.files.insert(file, tag)),
            Line::Done { step, made, images } => {
                self.done.insert(step, made);
                self.images.extend(images);
            }
        }
    }
}

/// What is written behind the end.
#[derive(Debug)]
struct Tail {
    len: u64,
    /// Blocks that were acknowledged since the last line that says so.
    fresh: Ranges,
    device: String,
    /// How many they are.
    fresh_count: u32,
    /// Whether something was written and is not synced.
    unsynced: bool,
}

/// Blocks that are acknowledged before a line says so, within a second: what is written outlives the process, and what is
/// synced the machine.
const ACKNOWLEDGED_AT_ONCE: u32 = 8;

/// The journal of a run.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    name: String,
    folder: SharedFolder,
    file: LogFile,
    /// That of its first line.
    version: u32,
    tail: Mutex<Tail>,
    _lock: FolderLock,
}

impl Journal {
    /// Opens the journal of a plan in a folder, and reads what it says. A new one is made if there is none.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses or another run has it; `Corrupt` if it is damaged; `Unsupported` if it is of another
    /// version; `Invalid` if it is of another account or region.
    pub(super) fn open(folder: &Path, head: &Head, watch: &dyn Watch) -> Result<(Self, Known)> {
        let folder = SharedFolder::open(folder)?;
        let digits = head.plan.hex();
        let name = format!("{}{SUFFIX}", digits.get(..NAME_LEN).unwrap_or(&digits));
        let path = folder.path().join(&name);
        // Made for its owner alone; the lock finds it there.
        let file = LogFile::open(&folder, &name)?;
        let lock = folder.lock(&name, Hold::Alone, watch)?;
        let text = read(&file).map_err(|e| e.in_file(&path))?;
        let tail = Tail {
            len: 0,
            fresh: Ranges::default(),
            device: String::new(),
            fresh_count: 0,
            unsynced: false,
        };
        let (tail, version) = (Mutex::new(tail), head.journal);
        let mut journal = Self { path, name, folder, file, version, tail, _lock: lock };
        let written = if text.is_empty() { None } else { Some(journal.file.modified()?) };
        let mut known = Known { written, ..Known::default() };
        let (mut at, mut is_first) = (0_u64, true);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let Some(plain) = line.strip_suffix(b"\n") else { break };
            if is_first {
                let found: Head = versions::read(plain, "journal", "Journal", VERSION)
                    .map_err(|error| error.in_file(&journal.path))?;
                journal.version = found.journal;
                if found != (Head { journal: found.journal, ..head.clone() }) {
                    let text = format!(
                        "it is of account {} in {}, expected {} in {}",
                        found.account, found.region, head.account, head.region
                    );
                    return Err(Error::invalid(text).in_file(&journal.path));
                }
                is_first = false;
            } else {
                let line = serde_json::from_slice(plain)
                    .map_err(|_| Error::corrupt("it has a line that is not a journal entry"))
                    .map_err(|error| error.at(at).in_file(&journal.path))?;
                known.take(line);
            }
            at = at.strict_add(u64::try_from(line.len()).expect("memory is under 2^64 bytes"));
        }
        // What a kill has cut is written over.
        journal.file.cut(at)?;
        journal.tail().len = at;
        if is_first {
            journal.append(&mut journal.tail(), head)?;
            journal.file.sync()?;
        }
        Ok((journal, known))
    }

    /// Returns where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append<T: Serialize>(&self, tail: &mut Tail, line: &T) -> Result<()> {
        let mut text = serde_json::to_vec(line).expect("plain data always serialises");
        text.push(b'\n');
        self.file.write_at(&text, tail.len)?;
        tail.len =
            tail.len.strict_add(u64::try_from(text.len()).expect("memory is under 2^64 bytes"));
        tail.unsynced = true;
        Ok(())
    }

    /// Writes down that a block was acknowledged; it is on the disk after the next [`Journal::flush`].
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub(super) fn acknowledge(&self, device: &str, block: u32) -> Result<()> {
        let mut tail = self.tail();
        if tail.device != device {
            device.clone_into(&mut tail.device);
        }
        tail.fresh.add(block, 1);
        tail.fresh_count = tail.fresh_count.saturating_add(1);
        if tail.fresh_count < ACKNOWLEDGED_AT_ONCE { Ok(()) } else { self.flush_tail(&mut tail) }
    }

    /// Brings what was acknowledged to the disk.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub(super) fn flush(&self) -> Result<()> {
        let mut tail = self.tail();
        self.flush_tail(&mut tail)?;
        let unsynced = std::mem::take(&mut tail.unsynced);
        // Puts go on while the disk is waited for.
        drop(tail);
        if unsynced { self.file.sync() } else { Ok(()) }
    }

    fn flush_tail(&self, tail: &mut Tail) -> Result<()> {
        let fresh = std::mem::take(&mut tail.fresh);
        tail.fresh_count = 0;
        let ranges = fresh.listed();
        if ranges.is_empty() {
            return Ok(());
        }
        let device = tail.device.clone();
        self.append(tail, &Line::Acknowledged { device, ranges })
    }

    fn note(&self, line: &Line) -> Result<()> {
        let mut tail = self.tail();
        self.flush_tail(&mut tail)?;
        self.append(&mut tail, line)?;
        tail.unsynced = false;
        self.file.sync()
    }

    pub(super) fn started(&self, device: &str, snapshot_id: &str, token: &str) -> Result<()> {
        self.note(&Line::Started {
            device: device.to_owned(),
            snapshot_id: snapshot_id.to_owned(),
            client_token: token.to_owned(),
        })
    }

    pub(super) fn completed(&self, device: &str) -> Result<()> {
        self.note(&Line::Completed { device: device.to_owned() })
    }

    /// Writes down how far the proof of a snapshot has come. A journal that an older version began has no such lines.
    pub(super) fn checked(&self, device: &str, snapshot_id: &str, checked: Checked) -> Result<()> {
        if self.version < CHECKS {
            return Ok(());
        }
        let (device, snapshot_id) = (device.to_owned(), snapshot_id.to_owned());
        self.note(&Line::Checked { device, snapshot_id, checked })
    }

    pub(super) fn proved(&self, device: &str) -> Result<()> {
        self.note(&Line::Proved { device: device.to_owned() })
    }

    /// Writes down that S3 has a file, and by which `ETag` it is known that nobody has replaced it.
    pub(super) fn put(&self, file: &str, tag: &str) -> Result<()> {
        self.note(&Line::Put { file: file.to_owned(), tag: tag.to_owned() })
    }

    pub(super) fn done(
        &self,
        step: usize,
        made: BTreeMap<String, String>,
        images: Vec<PublishedImage>,
    ) -> Result<()> {
        self.note(&Line::Done { step, made, images })
    }

    /// Removes the journal: all that it says is recorded.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses.
    pub(super) fn remove(self) -> Result<()> {
        self.folder.remove(&self.name)?;
        self.folder.sync("")
    }
}

/// Returns the journals of other plans of the same bundle, account and region, and the snapshots that they have begun: uploads
/// that nothing goes on with unless they are asked for as they were then. What cannot be read is passed over.
pub(super) fn unfinished(folder: &Path, head: &Head) -> Vec<(PathBuf, Vec<String>)> {
    let listed = SharedFolder::open(folder).and_then(|folder| folder.files(""));
    let files = listed.map(|(files, _)| files).unwrap_or_default();
    let journals = files.into_iter().filter(|it| it.name.ends_with(SUFFIX));
    let of = |name: String| {
        let path = folder.join(name);
        let input = Input::open(&path).ok()?;
        let len = usize::try_from(input.len().min(LOOKED_AT)).ok()?;
        let mut text = vec![0; len];
        input.read_exact_at(&mut text, 0).ok()?;
        let mut lines = text.split_inclusive(|it| *it == b'\n').filter(|it| it.ends_with(b"\n"));
        let found: Head = versions::read(lines.next()?, "journal", "Journal", VERSION).ok()?;
        let same = Head { journal: found.journal, plan: found.plan, ..head.clone() };
        if found != same || found.plan == head.plan {
            return None;
        }
        let mut known = Known::default();
        for line in lines.filter_map(|line| serde_json::from_slice(line).ok()) {
            known.take(line);
        }
        let ids: Vec<_> = known.volumes.into_values().filter_map(|it| it.snapshot_id).collect();
        (!ids.is_empty()).then_some((path, ids))
    };
    journals.filter_map(|it| of(it.name)).collect()
}

fn read(file: &LogFile) -> Result<Vec<u8>> {
    let len = file.len()?;
    if len > MAX_LEN {
        let text = format!("it has {len} bytes, expected at most {MAX_LEN}");
        return Err(Error::new(Kind::Limit, text));
    }
    let mut text = vec![0; usize::try_from(len).unwrap_or_default()];
    file.read_at(&mut text, 0)?;
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use crate::digest::sha256;
    use crate::ops::shared::publications::PublishedSnapshot;
    use crate::work::Unwatched;

    fn head() -> Head {
        Head::new(sha256(b"plan"), sha256(b"bundle"), "123456789012", "eu-west-1")
    }

    #[test]
    fn what_was_synced_is_known_after_a_kill_at_any_byte() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, known) = Journal::open(folder.path(), &head(), &Unwatched).unwrap();
        assert!(known.volumes.is_empty());
        let path = journal.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let begun = fs::metadata(&path).unwrap().len();
        journal.started("/dev/xvda", "snap-1", "token").unwrap();
        for block in [0, 1, 2, 9] {
            journal.acknowledge("/dev/xvda", block).unwrap();
        }
        journal.flush().unwrap();
        journal.flush().unwrap();
        let flushed = fs::metadata(&path).unwrap().len();
        journal.acknowledge("/dev/xvda", 10).unwrap();
        journal.completed("/dev/xvda").unwrap();
        let made = BTreeMap::from([("${image:0}".to_owned(), "ami-1".to_owned())]);
        journal.done(1, made.clone(), Vec::new()).unwrap();
        drop(journal);
        let whole = fs::read(&path).unwrap();
        for len in 0..=whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            let (journal, known) = Journal::open(folder.path(), &head(), &Unwatched).unwrap();
            let volume = known.volumes.get("/dev/xvda").cloned().unwrap_or_default();
            let at = u64::try_from(len).unwrap();
            assert_eq!(volume.acknowledged.has(9), at >= flushed, "{len}");
            assert_eq!(known.done.get(&1) == Some(&made), len == whole.len(), "{len}");
            // What is written then stands on a line of its own.
            journal.proved("/dev/sdf").unwrap();
            drop(journal);
            let (_, known) = Journal::open(folder.path(), &head(), &Unwatched).unwrap();
            assert!(known.volumes["/dev/sdf"].proved, "{len}");
            assert!(at < begun || fs::metadata(&path).unwrap().len() > begun);
        }
        let (journal, _) = Journal::open(folder.path(), &head(), &Unwatched).unwrap();
        journal.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_damaged_or_of_another_account_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(folder.path(), &head(), &Unwatched).unwrap();
        let path = journal.path().to_owned();
        drop(journal);
        let other = Head { account: "210987654321".to_owned(), ..head() };
        let error = Journal::open(folder.path(), &other, &Unwatched).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        let mut text = fs::read(&path).unwrap();
        text.extend(b"{\"Started\":{}}\n");
        fs::write(&path, &text).unwrap();
        let error = Journal::open(folder.path(), &head(), &Unwatched).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        // What another version has beside its number is not known.
        let newer = String::from_utf8(text).unwrap();
        let newer = newer.replacen("{\"Journal\":2,", "{\"Journal\":4,\"New\":[],", 1);
        fs::write(&path, newer).unwrap();
        let error = Journal::open(folder.path(), &head(), &Unwatched).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains("of version 4, expected 1 to 3"), "{error}");
        fs::write(&path, "[]\n").unwrap();
        assert_eq!(
            Journal::open(folder.path(), &head(), &Unwatched).unwrap_err().kind(),
            Kind::Corrupt
        );
    }

    /// How far a proof came counts for the snapshot that was proved, and only once it could not change any more.
    #[test]
    fn a_proof_of_what_changed_since_does_not_count() {
        let line = |text: &str| serde_json::from_str::<Line>(text).unwrap();
        let started = |id: &str| {
            line(&format!(
                r#"{{"Started":{{"Device":"/dev/xvda","SnapshotId":"{id}","ClientToken":"t"}}}}"#
            ))
        };
        let completed = || line(r#"{"Completed":{"Device":"/dev/xvda"}}"#);
        let proved = || line(r#"{"Proved":{"Device":"/dev/xvda"}}"#);
        let checked = |id: &str, below: u32| {
            line(&format!(
                r#"{{"Checked":{{"Device":"/dev/xvda","SnapshotId":"{id}","Below":{below},"Blocks":7,"Samples":2}}}}"#
            ))
        };
        let image = |step: usize| Line::Done {
            step,
            made: BTreeMap::from([("${image:0}".to_owned(), "ami-1".to_owned())]),
            images: Vec::new(),
        };
        let known = |lines: Vec<Line>| {
            let mut known = Known::default();
            for line in lines {
                known.take(line);
            }
            let volume = known.volumes.remove("/dev/xvda").unwrap();
            (volume.checked.below, volume.proved, known.done.len())
        };
        let begin = || vec![started("snap-1"), completed(), checked("snap-1", 9)];
        let then = |more: Vec<Line>| begin().into_iter().chain(more).collect::<Vec<_>>();
        assert_eq!(known(begin()), (9, false, 0));
        assert_eq!(known(then(vec![checked("snap-1", 12), proved(), image(0)])), (12, true, 1));
        // Of another snapshot, or of one that could still change.
        assert_eq!(known(then(vec![checked("snap-2", 12)])), (9, false, 0));
        assert_eq!(known(vec![started("snap-1"), checked("snap-1", 9), completed()]).0, 0);
        // Another snapshot took its place: it is neither proved nor registered.
        let again = vec![checked("snap-1", 12), proved(), image(0), image(1), started("snap-2")];
        assert_eq!(known(then(again)), (0, false, 0));
        let again = vec![started("snap-2"), completed(), checked("snap-1", 12)];
        assert_eq!(known(then(again)), (0, false, 0));
    }

    /// A stored journal of files is what is written, and is read; a journal of volumes has no line of its kind.
    #[test]
    fn a_stored_journal_of_files_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let head =
            || Head::of_files(sha256(b"plan"), sha256(b"manifest"), "123456789012", "eu-west-1");
        let (journal, _) = Journal::open(folder.path(), &head(), &Unwatched).unwrap();
        let path = journal.path().to_owned();
        for file in ["disk.part.00", "disk.part.02", "disk.part.00"] {
            journal.put(file, &format!("\"{}\"", sha256(file.as_bytes()).hex())).unwrap();
        }
        drop(journal);
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden/upload.3.journal");
        if std::env::var_os("BLESS").is_some() {
            fs::copy(&path, &golden).unwrap();
        }
        let stored = fs::read_to_string(golden).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), stored, "meant? BLESS=1");
        let (journal, known) = Journal::open(folder.path(), &head(), &Unwatched).unwrap();
        let names: Vec<_> = known.files.keys().map(String::as_str).collect();
        assert_eq!(names, ["disk.part.00", "disk.part.02"]);
        assert_eq!(known.files[names[1]], format!("\"{}\"", sha256(b"disk.part.02").hex()));
        drop(journal);
        // Whoever reads version 2 and not 3 stops at the first line.
        let error = versions::read::<Head>(
            stored.lines().next().unwrap().as_bytes(),
            "journal",
            "Journal",
            OF_VOLUMES,
        );
        assert_eq!(error.unwrap_err().kind(), Kind::Unsupported);
    }

    /// A stored journal of each version of volumes is read; the newest is what is written.
    #[test]
    fn a_stored_journal_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(folder.path(), &head(), &Unwatched).unwrap();
        let path = journal.path().to_owned();
        journal.started("/dev/xvda", "snap-0123456789abcdef0", "token").unwrap();
        for block in [0, 1, 2, 9] {
            journal.acknowledge("/dev/xvda", block).unwrap();
        }
        journal.completed("/dev/xvda").unwrap();
        let checked = Checked { below: 9, blocks: 3, samples: 1 };
        journal.checked("/dev/xvda", "snap-0123456789abcdef0", checked).unwrap();
        journal.proved("/dev/xvda").unwrap();
        let made = BTreeMap::from([("${image:0}".to_owned(), "ami-0123456789abcdef0".to_owned())]);
        let snapshot = PublishedSnapshot {
            device: "/dev/xvda".to_owned(),
            snapshot_id: "snap-0123456789abcdef0".to_owned(),
            root_digest: sha256(b"root"),
        };
        let image = PublishedImage {
            region: "eu-west-1".to_owned(),
            image_id: "ami-0123456789abcdef0".to_owned(),
            snapshots: vec![snapshot],
        };
        journal.done(1, made, vec![image]).unwrap();
        drop(journal);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let golden = root.join("fixtures/golden/upload.2.journal");
        if std::env::var_os("BLESS").is_some() {
            fs::copy(&path, &golden).unwrap();
        }
        let stored = fs::read_to_string(golden).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), stored, "meant? BLESS=1");
        for (version, name) in [(1, "upload.journal"), (2, "upload.2.journal")] {
            let stored = fs::read_to_string(root.join("fixtures/golden").join(name)).unwrap();
            fs::write(&path, &stored).unwrap();
            let (journal, known) = Journal::open(folder.path(), &head(), &Unwatched).unwrap();
            let volume = &known.volumes["/dev/xvda"];
            assert!(volume.proved && volume.completed && volume.acknowledged.has(9));
            assert_eq!((known.done.len(), known.images.len()), (1, 1));
            assert_eq!(volume.checked, if version == 1 { Checked::default() } else { checked });
            // What an old one begins, an old one can read on.
            journal.checked("/dev/xvda", "snap-0123456789abcdef0", checked).unwrap();
            drop(journal);
            let found = fs::read_to_string(&path).unwrap();
            assert_eq!(found == stored, version == 1, "{name}");
        }
    }
}
