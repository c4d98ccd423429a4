//! Reading recipes, and filling in their templates.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use crate::ami::Document;
use crate::ami::Time;
use crate::ami::decode;
use crate::bundle::FreePolicy;
use crate::bundle::FreeRecord;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;
use crate::format;
use crate::format::gate::Gate;
use crate::guest::RULES_VERSION;
use crate::io;
use crate::io::Node;
use crate::io::OutputFile;
use crate::io::ReadAt;
use crate::io::WriteAt;
use crate::io::read_vec;
use crate::ops::shared::mapping::MappedVolume;
use crate::ops::shared::open::VolumeRequest;
use crate::recipe::Free;
use crate::recipe::Prepared;
use crate::recipe::Recipe;
use crate::recipe::Source;
use crate::recipe::Values;
use crate::work::Watch;

/// Most bytes of a document: an answer about 10,000 AMIs of an account has about 20 MB.
const MAX_DOCUMENT_LEN: u64 = 32 << 20;

/// Values of templates that the user gives or asks for.
#[derive(Clone, Debug, Default)]
pub struct TemplateRequest {
    /// Names and values.
    pub set: Vec<(String, String)>,
    /// Whether `{date}` is today's, in UTC, or the day of `SOURCE_DATE_EPOCH`.
    pub date: bool,
    /// Whether `{git}` is the commit that the recipe's folder is at.
    pub git: bool,
}

/// Returns the present.
pub(in crate::ops) fn now() -> Option<Time> {
    let since = SystemTime::UNIX_EPOCH.elapsed().ok()?;
    Time::from_unix_seconds(since.as_secs())
}

/// Returns today, as reproducible builds want it where they say so.
fn today() -> Result<String> {
    let time = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.parse().ok().and_then(Time::from_unix_seconds).ok_or_else(|| {
            let text = format!("SOURCE_DATE_EPOCH is {text:?}, expected seconds since 1970");
            Error::invalid(text)
        })?,
        Err(_) => now().ok_or_else(|| Error::new(Kind::Io, "the clock is not set"))?,
    };
    Ok(time.day())
}

/// Runs git in a folder and returns what it prints.
fn git(folder: &Path, args: &[&str]) -> Result<String> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    #[expect(clippy::disallowed_methods, reason = "the template asks for git's answer")]
    let output = Command::new("git").arg("-C").arg(folder).args(args).output();
    let output = output.map_err(|e| Error::io("run git in", folder, e))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let text = format!("git says: {}", said.lines().next().unwrap_or("nothing"));
        return Err(Error::invalid(text)
            .in_file(folder)
            .advise(Advice::Give { setting: Setting::Template, example: "git=VALUE".into() }));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl TemplateRequest {
    /// Returns the values for a recipe that lies in `folder`.
    fn values(&self, folder: &Path) -> Result<Values> {
        let mut values = Values::default();
        if self.date {
            values.set("date", &today()?);
        }
        if self.git {
            let mut commit = git(folder, &["rev-parse", "--short=12", "HEAD"])?;
            // Only what is tracked: the recipe's own outputs are not.
            if !git(folder, &["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
                commit.push_str("-dirty");
            }
            values.set("git", &commit);
        }
        for (name, value) in &self.set {
            values.set(name, value);
        }
        Ok(values)
    }
}

/// Reads a recipe, or a document of EC2's, and says which it is.
pub(in crate::ops) fn read_document(path: &Path, watch: &dyn Watch) -> Result<Document> {
    Document::read(&read_small(path, MAX_DOCUMENT_LEN, watch)?)
        .map_err(|fault| Error::from(fault).in_file(path))
}

/// Reads a file of at most `most` bytes whole, or standard input.
///
/// # Errors
///
/// `Limit` if it is longer; `Io` if the system refuses.
pub(in crate::ops) fn read_small(path: &Path, most: u64, watch: &dyn Watch) -> Result<Vec<u8>> {
    let too_long = |len: u64| {
        let text = format!("it has {len} bytes, expected at most {most}");
        Error::new(Kind::Limit, text).in_file(path)
    };
    match io::open(path)? {
        io::Opened::File(input) if input.len() > most => Err(too_long(input.len())),
        io::Opened::File(input) => read_vec(&input, 0, input.len()),
        io::Opened::Stream(mut stream) => {
            let room = usize::try_from(most).unwrap_or(usize::MAX).saturating_add(1);
            let mut bytes = vec![0; room];
            let len = stream.read_full(&mut bytes, watch)?;
            if len == room {
                return Err(too_long(u64::try_from(len).unwrap_or(u64::MAX)));
            }
            bytes.truncate(len);
            Ok(bytes)
        }
    }
}

fn read_text(path: &Path, watch: &dyn Watch) -> Result<String> {
    decode(&read_small(path, MAX_DOCUMENT_LEN, watch)?)
        .map_err(|fault| Error::from(fault).in_file(path))
}

/// Reads a recipe and fills in its templates.
pub(in crate::ops) fn open_recipe(
    path: &Path,
    templates: &TemplateRequest,
    watch: &dyn Watch,
) -> Result<Prepared> {
    prepare(&read_text(path, watch)?, path, templates, watch)
}

/// Fills in the templates of a recipe that was read from `path`.
pub(in crate::ops) fn prepare(
    text: &str,
    path: &Path,
    templates: &TemplateRequest,
    watch: &dyn Watch,
) -> Result<Prepared> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let recipe = Recipe::parse(text).map_err(|e| e.in_file(path))?;
    let mut prepared =
        recipe.prepare(folder, &templates.values(folder)?).map_err(|e| e.in_file(path))?;
    if let Some(file) = &prepared.uefi_data_file {
        if prepared.ami.uefi_data.is_some() {
            let text = "uefi-data and uefi-data-file are both set, expected one of them";
            return Err(Error::invalid(text).in_file(path));
        }
        prepared.ami.uefi_data = Some(read_text(file, watch)?.split_whitespace().collect());
    }
    Ok(prepared)
}

/// Turns a recipe's source into a request to open it.
pub(in crate::ops) fn mapped_volume(source: &Source) -> Result<MappedVolume> {
    let mut image = VolumeRequest::new(&source.image);
    image.role = Some(source.device.clone());
    image.image.format = source.format.as_deref().map(format::by_name).transpose()?;
    image.image.parts.clone_from(&source.parts);
    image.image.extents.clone_from(&source.extents);
    image.image.gate = Gate { beside: source.backing, parents: source.parents.clone() };
    image.free = free_of(source);
    Ok(MappedVolume { device: source.device.clone(), image })
}

/// Returns what a recipe says of a volume's free blocks.
fn free_of(source: &Source) -> Option<FreeRecord> {
    let policy = match source.free {
        Free::Keep => return None,
        Free::Zero => FreePolicy::Zero,
        Free::Hole => FreePolicy::Hole,
    };
    Some(FreeRecord { policy, rules: RULES_VERSION })
}

/// Returns the volumes of a recipe; those of `replaced` in the place of its own.
pub(in crate::ops) fn mapped_volumes(
    prepared: &Prepared,
    replaced: &[MappedVolume],
) -> Result<Vec<MappedVolume>> {
    let replacing = |source: &Source| {
        replaced.iter().find(|it| crate::ami::bare(&it.device) == crate::ami::bare(&source.device))
    };
    prepared
        .sources
        .iter()
        .map(|source| match replacing(source) {
            Some(volume) => {
                let free = volume.image.free.or_else(|| free_of(source));
                let image = VolumeRequest { free, ..volume.image.clone() };
                Ok(MappedVolume { device: source.device.clone(), image })
            }
            None => mapped_volume(source),
        })
        .collect()
}

/// Makes each of `images` the source of its device, which the recipe must have.
pub(in crate::ops) fn replace_sources(
    prepared: &mut Prepared,
    images: &[MappedVolume],
) -> Result<()> {
    for MappedVolume { device, image } in images {
        let name = crate::ami::bare(device);
        let mapping =
            prepared.ami.block_device_mappings.iter_mut().find(|it| it.bare_name() == name);
        let Some(mapping) = mapping else {
            return Err(Error::invalid(format!("device {device} is not in the recipe")));
        };
        if let Some(ebs) = &mut mapping.ebs {
            ebs.snapshot_id = None;
        }
        let device = mapping.device_name.clone();
        let old = prepared.sources.iter().find(|it| it.device == device);
        let free = old.map(|it| it.free).unwrap_or_default();
        prepared.sources.retain(|it| it.device != device);
        prepared.sources.push(Source { device, image: image.typed(), free, ..Source::default() });
    }
    Ok(())
}

/// Writes a text under a name that is free.
pub(in crate::ops) fn write_new(path: &Path, text: &str) -> Result<()> {
    if Node::itself(path)?.is_some() {
        return Err(Error::invalid("it already exists")
            .in_file(path)
            .advise("choose another name for the output, or remove it first"));
    }
    let output = OutputFile::create(path)?;
    output.write_all_at(text.as_bytes(), 0)?;
    output.commit_new()
}
