//! Arguments about the volumes that a command reads, the same for every command.
//!
//! A command calls each of its volumes by a *role*: the name of its argument, as `old`, or a device. An
//! option that concerns one volume is typed as `[ROLE=]VALUE`. Without a role, a format, a key, a window, and
//! `--backing` and `--force` apply to all volumes; a file that belongs to one image (a part, a parent,
//! a sidecar) belongs to the first.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use crate::ami::bare;
use crate::cli::shared::options::format_names;
use crate::compress::MOST_WINDOW_LEN;
use crate::error::Error;
use crate::error::Result;
use crate::format;
use crate::ops::VolumeRequest;
use crate::units::parse_size;

/// How volumes are opened.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Opening volumes")]
pub(in crate::cli) struct Opening {
    /// Format of an input [default: detected by content]
    #[arg(long, value_name = "[ROLE=]FORMAT")]
    input_format: Vec<String>,

    /// A further part of a split Android sparse set, in order
    #[arg(long = "part", value_name = "[ROLE=]FILE")]
    parts: Vec<PathBuf>,

    /// A bmap, or the output of `qemu-img map --output=json`, that tells data from holes
    #[arg(long, value_name = "[ROLE=]FILE")]
    extents: Vec<PathBuf>,

    /// Open a file that an image names (a backing file, an extent) if it is in the same folder
    #[arg(long, value_name = "ROLE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    backing: Vec<String>,

    /// The file that an image names, wherever it is; again for the next one below
    #[arg(long = "parent", value_name = "[ROLE=]FILE")]
    parents: Vec<PathBuf>,

    /// Read an image although another process writes to it, or it says that it may be damaged
    #[arg(long, value_name = "ROLE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    force: Vec<String>,

    /// Accept xz and zstd streams that refer back up to SIZE, at most 2GiB: unpacking takes as much memory
    /// [default: 128MiB]
    #[arg(long, value_name = "[ROLE=]SIZE")]
    max_window: Vec<PathBuf>,

    /// Refuse a volume of more than SIZE bytes, as 64GiB: a few bytes can stand for terabytes
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(in crate::cli) max_size: Option<u64>,
}

/// The keys of instance-store bundles that are read.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Opening volumes")]
pub(in crate::cli) struct Keys {
    /// Private key of an instance-store bundle, PEM, of mode 0600
    #[arg(long = "key", value_name = "[ROLE=]FILE")]
    keys: Vec<PathBuf>,

    /// Certificate of the signer of an instance-store bundle
    #[arg(long = "cert", value_name = "[ROLE=]FILE")]
    certs: Vec<PathBuf>,
}

/// What thin bundles were packed against.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Opening volumes")]
pub(in crate::cli) struct Bases {
    /// What a thin bundle was packed against: a bundle or an image
    #[arg(long = "base", value_name = "[ROLE=]OLD")]
    bases: Vec<PathBuf>,
}

/// The roles of a command's volumes, the first one first.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Roles(Vec<String>);

impl Roles {
    pub(in crate::cli) fn of(roles: &[&str]) -> Self {
        Self(roles.iter().map(|&role| role.to_owned()).collect())
    }

    /// Adds a role.
    pub(in crate::cli) fn and(mut self, role: &str) -> Self {
        if self.find(role).is_none() {
            self.0.push(role.to_owned());
        }
        self
    }

    fn find(&self, typed: &str) -> Option<&str> {
        self.0.iter().map(String::as_str).find(|role| bare(role) == bare(typed))
    }

    /// Splits `[ROLE=]VALUE`; what does not begin with a role is a value.
    fn split<'a>(&self, value: &'a OsStr) -> (Option<&str>, &'a OsStr) {
        let bytes = value.as_bytes();
        let at = bytes.iter().position(|byte| *byte == b'=');
        let role = at.and_then(|at| self.find(std::str::from_utf8(&bytes[..at]).ok()?));
        match (role, at) {
            (Some(role), Some(at)) => (Some(role), OsStr::from_bytes(&bytes[at.strict_add(1)..])),
            _ => (None, value),
        }
    }

    /// Returns the values that are for `role`, in order.
    fn values<'a>(
        &'a self,
        role: &'a str,
        values: &'a [PathBuf],
        unnamed: Unnamed,
    ) -> impl Iterator<Item = &'a Path> + 'a {
        let first = self.0.first().is_some_and(|first| first == role);
        values.iter().filter_map(move |value| {
            let (named, value) = self.split(value.as_os_str());
            let is_for = match named {
                Some(named) => named == role,
                None => unnamed == Unnamed::All || first,
            };
            is_for.then_some(Path::new(value))
        })
    }

    /// Tells whether a flag is set for `role`.
    fn flag(&self, role: &str, flags: &[String], name: &str) -> Result<bool> {
        let mut set = false;
        for flag in flags {
            if flag.is_empty() {
                set = true;
                continue;
            }
            let Some(named) = self.find(flag) else {
                let text = format!("--{name}={flag} does not name a volume of this command");
                return Err(Error::invalid(text)
                    .advise(format!("its volumes are called {}", self.0.join(", "))));
            };
            set |= named == role;
        }
        Ok(set)
    }
}

/// Whom a value without a role is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unnamed {
    All,
    First,
}

impl Opening {
    /// Asks for the volume that was typed for `role`.
    pub(in crate::cli) fn volume(
        &self,
        roles: &Roles,
        role: &str,
        typed: &Path,
    ) -> Result<VolumeRequest> {
        let mut request = VolumeRequest::new(typed);
        // Where there is one volume only, no message needs to say which.
        request.role = (roles.0.len() > 1).then(|| role.to_owned());
        let image = &mut request.image;
        let formats: Vec<PathBuf> = self.input_format.iter().map(PathBuf::from).collect();
        if let Some(name) = roles.values(role, &formats, Unnamed::All).last() {
            image.format = Some(input_format(&name.to_string_lossy(), roles)?);
        }
        if let Some(size) = roles.values(role, &self.max_window, Unnamed::All).last() {
            image.max_window = Some(max_window(&size.to_string_lossy())?);
        }
        let first = Unnamed::First;
        image.parts = roles.values(role, &self.parts, first).map(Path::to_owned).collect();
        image.extents = roles.values(role, &self.extents, first).last().map(Path::to_owned);
        image.gate.parents = roles.values(role, &self.parents, first).map(Path::to_owned).collect();
        image.gate.beside = roles.flag(role, &self.backing, "backing")?;
        image.force = roles.flag(role, &self.force, "force")?;
        image.max_size = self.max_size;
        Ok(request)
    }
}

impl Opening {
    /// As [`Opening::volume`], with the keys for `role`.
    pub(in crate::cli) fn with_keys(
        &self,
        keys: &Keys,
        roles: &Roles,
        role: &str,
        typed: &Path,
    ) -> Result<VolumeRequest> {
        Ok(keys.add(roles, role, self.volume(roles, role, typed)?))
    }
}

impl Keys {
    /// Adds the keys for `role`.
    fn add(&self, roles: &Roles, role: &str, mut request: VolumeRequest) -> VolumeRequest {
        let last = |values| roles.values(role, values, Unnamed::All).last().map(Path::to_owned);
        request.keys.key = last(&self.keys);
        request.keys.cert = last(&self.certs);
        request
    }
}

impl Bases {
    /// Adds the base for `role`. It is opened as `base` is.
    pub(in crate::cli) fn add(
        &self,
        opening: &Opening,
        roles: &Roles,
        role: &str,
        mut request: VolumeRequest,
    ) -> Result<VolumeRequest> {
        if let Some(path) = roles.values(role, &self.bases, Unnamed::First).last() {
            let with_base = roles.clone().and("base");
            request.base = Some(Box::new(opening.volume(&with_base, "base", path)?));
        }
        Ok(request)
    }
}

/// Everything about a volume that is read: how it is opened, keys, base.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Reading {
    #[command(flatten)]
    pub(in crate::cli) opening: Opening,

    #[command(flatten)]
    pub(in crate::cli) keys: Keys,

    #[command(flatten)]
    pub(in crate::cli) bases: Bases,
}

impl Reading {
    /// Asks for the volume that was typed for `role`.
    pub(in crate::cli) fn volume(
        &self,
        roles: &Roles,
        role: &str,
        typed: &Path,
    ) -> Result<VolumeRequest> {
        let request = self.opening.with_keys(&self.keys, roles, role, typed)?;
        self.bases.add(&self.opening, roles, role, request)
    }

    /// Asks for the only volume of a command.
    pub(in crate::cli) fn only(&self, typed: &Path) -> Result<VolumeRequest> {
        self.volume(&Roles::of(&["image"]), "image", typed)
    }
}

fn max_window(typed: &str) -> Result<u64> {
    let size = parse_size(typed).ok().filter(|size| *size <= MOST_WINDOW_LEN);
    size.ok_or_else(|| {
        Error::invalid(format!("--max-window is {typed:?}, expected a size of at most 2GiB"))
    })
}

fn input_format(name: &str, roles: &Roles) -> Result<&'static format::Format> {
    let names = format_names();
    if names.contains(&name) {
        return format::by_name(name);
    }
    let text = format!("--input-format {name:?} is not a format that can be read");
    let formats = names.join(", ");
    Err(Error::invalid(text).advise(if roles.0.len() > 1 {
        format!("formats are {formats}; volumes are called {}", roles.0.join(", "))
    } else {
        format!("formats are {formats}")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(roles: &[&str], role: &str, typed: &[&str], unnamed: Unnamed) -> Vec<String> {
        let typed: Vec<PathBuf> = typed.iter().map(PathBuf::from).collect();
        let roles = Roles::of(roles);
        let found = roles.values(role, &typed, unnamed);
        found.map(|it| it.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_value_goes_to_its_role_and_one_without_to_the_first_or_to_all() {
        let typed = ["a", "new=b", "other=c", "old=d=e"];
        let both = ["old", "new"];
        assert_eq!(values(&both, "old", &typed, Unnamed::First), ["a", "other=c", "d=e"]);
        assert_eq!(values(&both, "new", &typed, Unnamed::First), ["b"]);
        assert_eq!(values(&both, "new", &typed, Unnamed::All), ["a", "b", "other=c"]);
        // A device is meant with and without its folder.
        let devices = ["/dev/xvda", "/dev/sdf"];
        assert_eq!(values(&devices, "/dev/sdf", &["sdf=x"], Unnamed::First), ["x"]);
    }

    #[test]
    fn a_flag_is_for_all_or_for_those_that_are_named() {
        let roles = Roles::of(&["old", "new"]);
        let flag = |role: &str, typed: &[&str]| {
            let typed: Vec<String> = typed.iter().map(|&it| it.to_owned()).collect();
            roles.flag(role, &typed, "force")
        };
        assert!(flag("new", &[""]).unwrap() && flag("new", &["old", "new"]).unwrap());
        assert!(!flag("new", &["old"]).unwrap() && !flag("new", &[]).unwrap());
        let error = flag("new", &["nwe"]).unwrap_err().to_string();
        assert!(error.contains("--force=nwe") && error.contains("old, new"), "{error}");
    }
}
