//! The AMIs of a fleet: those of stores, bundles, and snapshot manifests alone, found without holding any of them open.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::bundle::ARTIFACT_TYPE;
use crate::bundle::Bundle;
use crate::bundle::VOLUME_DEVICE;
use crate::bundle::VOLUME_TYPE;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::error::shown;
use crate::format::Named;
use crate::io;
use crate::io::Input;
use crate::io::Node;
use crate::io::ReadAt as _;
use crate::layout;
use crate::layout::BlobStore;
use crate::layout::Catalog;
use crate::layout::Descriptor;
use crate::layout::is_store;
use crate::manifest;
use crate::manifest::Manifest;
use crate::store::needs_of;
use crate::work::Watch;

/// What the name of a snapshot manifest ends in.
const MANIFEST_SUFFIX: &str = ".snap";

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum MemberKind {
    /// An AMI.
    Ami,
    /// A snapshot of a store that belongs to no AMI.
    Snapshot,
    /// A snapshot manifest alone.
    Manifest,
}

impl MemberKind {
    /// Returns its name.
    pub(in crate::ops) fn name(self) -> &'static str {
        match self {
            Self::Ami => "ami",
            Self::Snapshot => "snapshot",
            Self::Manifest => "manifest",
        }
    }
}

/// A volume of a member.
#[derive(Clone, Debug)]
pub(in crate::ops) struct MemberVolume {
    /// Its device.
    pub(in crate::ops) device: String,
    /// Root digest of its snapshot.
    pub(in crate::ops) root: Digest,
    /// Root digest of the snapshot that it was packed over.
    pub(in crate::ops) base: Option<Digest>,
}

/// An AMI, or what stands for one.
#[derive(Clone, Debug)]
pub(in crate::ops) struct Member {
    /// What it is.
    pub(in crate::ops) kind: MemberKind,
    /// Digest of its OCI manifest, or the root digest of a manifest alone.
    pub(in crate::ops) id: Digest,
    /// What a user calls it.
    pub(in crate::ops) name: String,
    /// The AMI's own name.
    pub(in crate::ops) ami_name: Option<String>,
    /// Its volumes.
    pub(in crate::ops) volumes: Vec<MemberVolume>,
    place: Place,
}

/// Where a member is.
#[derive(Clone, Debug)]
enum Place {
    Manifest(PathBuf),
    Layout(PathBuf, Descriptor),
}

/// A member, open.
#[derive(Debug)]
pub(in crate::ops) enum OpenedMember {
    /// A manifest alone.
    Manifest(Manifest),
    /// An AMI or a snapshot with its packs.
    Bundle(Box<Bundle>),
}

impl OpenedMember {
    /// Opens the manifest of its volume `number`.
    ///
    /// # Errors
    ///
    /// As [`Bundle::manifest`].
    pub(in crate::ops) fn into_manifest(self, number: usize) -> Result<Manifest> {
        match self {
            Self::Manifest(manifest) => Ok(manifest),
            Self::Bundle(bundle) => bundle.manifest(&bundle.snapshots()[number]),
        }
    }
}

impl Member {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// As [`Manifest::open`] and [`Bundle::open_entry`]; `Io` if it is not the one that was found any more.
    pub(in crate::ops) fn open(&self) -> Result<OpenedMember> {
        match &self.place {
            Place::Manifest(path) => {
                let manifest = Manifest::open(&Input::open(path)?)?;
                if manifest.root() == self.id {
                    return Ok(OpenedMember::Manifest(manifest));
                }
                let replaced = std::io::Error::other("it was replaced while the fleet was read");
                Err(Error::io("finish reading", path, replaced).advise("run this again"))
            }
            Place::Layout(path, entry) => {
                let bundle = Bundle::open_entry(layout::open(path)?, entry.clone())?;
                Ok(OpenedMember::Bundle(Box::new(bundle)))
            }
        }
    }

    /// Tells whether its bytes are there, and not its manifest alone.
    pub(in crate::ops) fn can_be_read(&self) -> bool {
        self.kind != MemberKind::Manifest
    }

    /// Returns where it is, for messages.
    pub(in crate::ops) fn path(&self) -> &Path {
        match &self.place {
            Place::Manifest(path) | Place::Layout(path, _) => path,
        }
    }

    fn of_manifest(path: &Path) -> Result<Self> {
        let manifest = Manifest::open(&Input::open(path)?)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = name.strip_suffix(MANIFEST_SUFFIX).unwrap_or(&name).to_owned();
        let root = manifest.root();
        let volume = MemberVolume { device: VOLUME_DEVICE.to_owned(), root, base: None };
        Ok(Self {
            kind: MemberKind::Manifest,
            id: root,
            name,
            ami_name: None,
            volumes: vec![volume],
            place: Place::Manifest(path.to_owned()),
        })
    }

    fn of_bundle(path: &Path, bundle: &Bundle) -> Self {
        let ami_name = (!bundle.is_bare()).then(|| bundle.ami().name.clone());
        let name = bundle.reference().map(str::to_owned).or_else(|| ami_name.clone());
        let volumes = bundle.snapshots().iter().map(|layer| MemberVolume {
            device: layer.device.clone(),
            root: layer.root,
            base: layer.base,
        });
        Self {
            kind: if bundle.is_bare() { MemberKind::Snapshot } else { MemberKind::Ami },
            id: bundle.digest(),
            name: name.unwrap_or_else(|| bundle.digest().hex()),
            ami_name,
            volumes: volumes.collect(),
            place: Place::Layout(path.to_owned(), bundle.descriptor().clone()),
        }
    }
}

/// Finds the members of what a user named: stores, bundles, manifests, and folders of these. One that is found twice
/// counts once, under its first name.
///
/// # Errors
///
/// `Invalid` if something is none of these; as opening them.
pub(in crate::ops) fn find_members(typed: &[PathBuf], watch: &dyn Watch) -> Result<Vec<Member>> {
    let mut found = Vec::new();
    for typed in typed {
        look(typed, &mut found, watch)?;
    }
    let mut seen = BTreeSet::new();
    found.retain(|member: &Member| seen.insert(member.id));
    Ok(found)
}

/// Tells whether a user names many AMIs at once: a store, or a folder that is not a bundle.
///
/// # Errors
///
/// `Io` if the system does not say what is there.
pub fn is_fleet(typed: &Path) -> Result<bool> {
    let Named { path, ami, inside } = Named::parse(typed);
    if ami.is_some() || inside.is_some() {
        return Ok(false);
    }
    Ok(is_store(&path)? || (Node::at(&path)? == Some(Node::Folder) && !Bundle::is_at(&path)?))
}

fn look(typed: &Path, found: &mut Vec<Member>, watch: &dyn Watch) -> Result<()> {
    let Named { path, ami, inside } = Named::parse(typed);
    if let Some(device) = inside {
        let text = format!("it names the volume {device}, expected an AMI with all its volumes");
        return Err(Error::invalid(text).in_file(typed));
    }
    if look_at_layout(&path, ami.as_deref(), found, watch)? || look_at_manifest(&path, found)? {
        return Ok(());
    }
    let node = Node::at(&path)?;
    if node.is_none() {
        let expected = "a store, a bundle, a snapshot manifest or a folder of these";
        return Err(Error::nothing_at(typed, expected));
    }
    if node == Some(Node::Folder) {
        let before = found.len();
        let mut inside = io::list(&path).map_err(|e| Error::io("list", &path, e))?;
        inside.sort_by(|a, b| a.name.cmp(&b.name));
        for listed in inside {
            watch.check()?;
            let path = path.join(&listed.name);
            if listed.is_folder || layout::is_archive_name(&path) {
                look_at_layout(&path, None, found, watch)?;
            } else if listed.name.to_string_lossy().ends_with(MANIFEST_SUFFIX) {
                found.push(Member::of_manifest(&path)?);
            }
        }
        if found.len() > before {
            return Ok(());
        }
    }
    let text = "it is not a store, a bundle or a snapshot manifest, and no folder of these";
    Err(Error::invalid(text).in_file(typed))
}

/// Takes the AMIs of a layout, if there is one.
fn look_at_layout(
    path: &Path,
    name: Option<&str>,
    found: &mut Vec<Member>,
    watch: &dyn Watch,
) -> Result<bool> {
    if !is_store(path)? && !Bundle::is_at(path)? {
        return Ok(false);
    }
    if let Some(name) = name {
        found.push(Member::of_bundle(path, &Bundle::open_any(path, Some(name))?));
        return Ok(true);
    }
    let store = layout::open(path)?;
    layout::check_layout(&*store)?;
    for entry in Catalog::read(&*store)?.entries {
        watch.check()?;
        if is_member(&*store, &entry.descriptor)? {
            let bundle = Bundle::open_entry(Arc::clone(&store), entry.descriptor)?;
            found.push(Member::of_bundle(path, &bundle));
        }
    }
    Ok(true)
}

/// Tells whether an entry of a layout is an AMI or a snapshot: other programs do not say it there.
fn is_member(store: &dyn BlobStore, entry: &Descriptor) -> Result<bool> {
    let is_ours = |it: &str| matches!(it, ARTIFACT_TYPE | VOLUME_TYPE);
    if let Some(said) = &entry.artifact_type {
        return Ok(is_ours(said));
    }
    let needs = needs_of(store, entry)?;
    Ok(needs.subject.is_none() && needs.artifact_type.as_deref().is_some_and(is_ours))
}

fn look_at_manifest(path: &Path, found: &mut Vec<Member>) -> Result<bool> {
    if Node::at(path)? != Some(Node::File) {
        return Ok(false);
    }
    let input = Input::open(path)?;
    let mut magic = [0; 8];
    if input.len() < 8 {
        return Ok(false);
    }
    input.read_exact_at(&mut magic, 0)?;
    if magic != manifest::MAGIC {
        return Ok(false);
    }
    found.push(Member::of_manifest(path)?);
    Ok(true)
}

/// Which snapshot each one was made over.
pub(in crate::ops) type Parents = BTreeMap<Digest, Digest>;

/// Most bytes of a file of lineages: 10,000 lines take about 1.4 MB.
const MOST_LINEAGE: u64 = 64 << 20;

/// Finds which snapshot each snapshot of the members was made over: the bases that they record, and what a file says.
///
/// # Errors
///
/// `Invalid`, with the line, if the file names what is not there; `Limit` if it is too long.
pub(in crate::ops) fn parents(members: &[Member], file: Option<&Path>) -> Result<Parents> {
    let mut parents = Parents::new();
    for volume in members.iter().flat_map(|member| &member.volumes) {
        if let Some(base) = volume.base {
            link(&mut parents, volume.root, base);
        }
    }
    if let Some(path) = file {
        read_lineage(members, path, &mut parents)?;
    }
    Ok(parents)
}

fn read_lineage(members: &[Member], path: &Path, parents: &mut Parents) -> Result<()> {
    let input = Input::open(path)?;
    if input.len() > MOST_LINEAGE {
        let text = format!("it has {} bytes, expected at most {MOST_LINEAGE}", input.len());
        return Err(Error::new(crate::error::Kind::Limit, text).in_file(path));
    }
    let bytes = io::read_vec(&input, 0, input.len())?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::invalid("it is not UTF-8, expected lines of CSV").in_file(path))?;
    let names = names(members);
    for (number, line) in (1_u64..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line == "snapshot,parent" {
            continue;
        }
        let fail = |error: Error| {
            Error::invalid(format!("line {number}: {}", error.without_advice())).in_file(path)
        };
        let two = line.split_once(',').ok_or_else(|| {
            fail(Error::invalid("expected a snapshot, a comma, and the one it was made over"))
        })?;
        let child = snapshot_named(&names, two.0.trim()).map_err(fail)?;
        let parent = snapshot_named(&names, two.1.trim()).map_err(fail)?;
        link(parents, child, parent);
    }
    Ok(())
}

/// The snapshots that a name means, `NAME` and `NAME:DEVICE`.
fn names(members: &[Member]) -> BTreeMap<String, BTreeSet<Digest>> {
    let mut names: BTreeMap<String, BTreeSet<Digest>> = BTreeMap::new();
    for member in members {
        for volume in &member.volumes {
            let device = volume.device.strip_prefix("/dev/").unwrap_or(&volume.device);
            let with_device = format!("{}:{device}", member.name);
            for name in [member.name.clone(), with_device] {
                names.entry(name).or_default().insert(volume.root);
            }
        }
    }
    names
}

fn snapshot_named(names: &BTreeMap<String, BTreeSet<Digest>>, text: &str) -> Result<Digest> {
    if let Some(digest) = Digest::from_hex(text.strip_prefix("sha256:").unwrap_or(text)) {
        return Ok(digest);
    }
    let found = names.get(text).map(|roots| roots.iter().copied().collect::<Vec<_>>());
    match found.as_deref() {
        Some([one]) => Ok(*one),
        Some(_) => {
            Err(Error::invalid(format!("{text:?} has several snapshots; name one as NAME:DEVICE")))
        }
        None => Err(Error::invalid(format!("there is no snapshot {text:?}"))),
    }
}

/// Adds that a snapshot was made over another one. Content that comes back is the snapshot that it was before, which was
/// not made over one that came later.
fn link(parents: &mut Parents, child: Digest, parent: Digest) {
    let mut at = Some(parent);
    while let Some(next) = at {
        if next == child {
            return;
        }
        at = parents.get(&next).copied();
    }
    parents.insert(child, parent);
}

/// Finds the members of a name: the whole name, a digest or the first digits of one, or a pattern.
///
/// # Errors
///
/// `Invalid` if there is none, or if several have the same whole name.
pub(in crate::ops) fn members_named(members: &[Member], wanted: &str) -> Result<Vec<usize>> {
    /// Fewest digits of a digest that are taken for one.
    const FEWEST_DIGITS: usize = 8;
    let all = |is: &dyn Fn(&Member) -> bool| -> Vec<usize> {
        members.iter().enumerate().filter(|(_, it)| is(it)).map(|(at, _)| at).collect()
    };
    let whole = all(&|it| it.name == wanted);
    match whole.len() {
        0 => {}
        1 => return Ok(whole),
        count => {
            let places = whole.iter().map(|at| {
                let member = &members[*at];
                format!("{} in {}", &member.id.hex()[..12], shown(member.path()))
            });
            let places = places.collect::<Vec<_>>().join(", ");
            let text = format!("{count} AMIs are called {wanted:?}: {places}");
            return Err(Error::invalid(text).advise("name one by its digest"));
        }
    }
    let digits = wanted.strip_prefix("sha256:").unwrap_or(wanted);
    if digits.len() >= FEWEST_DIGITS && digits.bytes().all(|it| it.is_ascii_hexdigit()) {
        let found = all(&|it| it.id.hex().starts_with(digits));
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let found = if wanted.contains(['*', '?']) {
        all(&|it| crate::guest::matches_pattern(wanted.as_bytes(), it.name.as_bytes()))
    } else {
        Vec::new()
    };
    if found.is_empty() {
        return Err(Error::invalid(format!("there is no AMI {wanted:?} in the fleet")));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, number: u8, bases: &[Option<u8>]) -> Member {
        let volume = |(at, base): (u8, &Option<u8>)| MemberVolume {
            device: format!("/dev/sd{}", char::from(b'a'.strict_add(at))),
            root: Digest([number.strict_add(at); 32]),
            base: base.map(|it| Digest([it; 32])),
        };
        Member {
            kind: MemberKind::Ami,
            id: Digest([number; 32]),
            name: name.to_owned(),
            ami_name: None,
            volumes: (0..).zip(bases).map(volume).collect(),
            place: Place::Manifest(PathBuf::from(name)),
        }
    }

    #[test]
    fn parents_are_bases_and_what_a_file_says() {
        let members =
            [member("a", 1, &[None]), member("b", 10, &[Some(1), None]), member("c", 20, &[None])];
        let file = tempfile::NamedTempFile::new().unwrap();
        let with = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            parents(&members, Some(file.path()))
        };
        let digest = |number: u8| Digest([number; 32]);
        assert_eq!(parents(&members, None).unwrap(), Parents::from([(digest(10), digest(1))]));
        let text = format!("snapshot,parent\nc,b:sdb\n\n sha256:{} , a\n", digest(11));
        let found = with(&text).unwrap();
        let expected = [(10, 1), (11, 1), (20, 11)].map(|(a, b)| (digest(a), digest(b)));
        assert_eq!(found, Parents::from(expected));
        // What was there before came back: it is the older snapshot.
        let found = with("c,a\na,c\nb:sda,b:sda\na,b:sda\n").unwrap();
        assert_eq!(found, Parents::from([(digest(10), digest(1)), (digest(20), digest(1))]));
        for (text, says) in [
            ("c", "line 1: expected a snapshot, a comma"),
            ("snapshot,parent\nc,d\n", "line 2: there is no snapshot \"d\""),
            ("c,b", "several snapshots; name one as NAME:DEVICE"),
        ] {
            let error = with(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_name_is_a_whole_name_a_digest_or_a_pattern() {
        let members = [member("web-1", 1, &[]), member("web-2", 2, &[]), member("app", 3, &[])];
        let found = |name: &str| members_named(&members, name);
        assert_eq!(found("web-2").unwrap(), [1]);
        assert_eq!(found("web-*").unwrap(), [0, 1]);
        assert_eq!(found("03030303").unwrap(), [2]);
        assert_eq!(found(&format!("sha256:{}", Digest([1; 32]))).unwrap(), [0]);
        assert!(found("db").is_err() && found("db*").is_err() && found("0303").is_err());
        let twice = [member("web", 1, &[]), member("web", 2, &[])];
        let error = members_named(&twice, "web").unwrap_err().to_string();
        assert!(error.contains("2 AMIs are called \"web\": 010101010101 in web"), "{error}");
    }
}
