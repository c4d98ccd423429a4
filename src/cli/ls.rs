//! `ls`: the files of a volume.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use clap::Args;

use crate::cli::shared::inside::Inside;
use crate::cli::shared::output::NO;
use crate::cli::shared::output::Output;
use crate::cli::shared::output::lost;
use crate::cli::shared::output::print;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::many;
use crate::error::Result;
use crate::ops;
use crate::ops::ListRequest;
use crate::ops::ListedFile;

/// Lists the files of a volume
///
/// Paths start at the guest's root file system; what its own /etc/fstab mounts is found below it. Symbolic
/// links stay inside the guest. Names that are not plain text are escaped. With --json each file is an
/// object on a line of its own (JSON Lines). Exit code 1 means that some files could not be
/// read whole.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit ls web.ami /etc\n  amikit ls root.raw -lR --name \
                        '*.service'\n  amikit ls root.raw --partition 15 --digests --json")]
pub(super) struct Ls {
    #[command(flatten)]
    inside: Inside,

    /// The file or directory
    #[arg(value_name = "PATH", default_value = "/")]
    path: OsString,

    /// Show permissions, links, owner, size and time
    #[arg(long, short)]
    long: bool,

    /// List all directories below, too
    #[arg(long, short = 'R')]
    recursive: bool,

    /// Read each regular file and show its SHA-256 digest
    #[arg(long)]
    digests: bool,

    /// List only files whose name matches a pattern of *, ? and [a-z]
    #[arg(long, value_name = "PATTERN")]
    name: Option<OsString>,
}

impl Ls {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let request = ListRequest {
            inside: self.inside.request(&self.path)?,
            recursive: self.recursive,
            digests: self.digests,
            name: self.name.as_ref().map(|name| name.as_bytes().to_vec()),
        };
        let mut damaged = 0;
        print(|out| {
            let report = ops::list(&request, follower, &mut |file| {
                let written = if output.json { json(file, out) } else { self.text(file, out) };
                written.map_err(lost)
            })?;
            damaged = report.damaged;
            Ok(())
        })?;
        follower.end();
        if damaged == 0 {
            return Ok(0);
        }
        output.notes(&[format!("{} could not be read whole", many(damaged, "file"))]);
        Ok(NO)
    }

    fn text(&self, file: &ListedFile, out: &mut dyn Write) -> std::io::Result<()> {
        if self.long {
            let device = file.device.map(|[major, minor]| format!("{major},{minor}"));
            let size = device.unwrap_or_else(|| file.size_bytes.to_string());
            let modified = file.modified.as_deref().unwrap_or("-");
            let (mode, links) = (mode(file), file.links);
            let (uid, gid) = (file.uid, file.gid);
            write!(out, "{mode} {links:>3} {uid:>5} {gid:>5} {size:>12} {modified:<30} ")?;
        }
        if let Some(digest) = &file.digest {
            write!(out, "sha256:{digest} ")?;
        } else if self.digests {
            write!(out, "{:71} ", "-")?;
        }
        let is_utf8 = file.path_bytes.is_none();
        let path = if is_utf8 { ops::escaped(&file.path) } else { file.path.clone() };
        write!(out, "{}", if self.recursive { &path } else { &file.shown })?;
        if let Some(link) = file.link.as_ref().filter(|_| self.long) {
            let is_utf8 = file.link_bytes.is_none();
            let link = if is_utf8 { ops::escaped(link) } else { link.clone() };
            write!(out, " -> {link}")?;
        }
        if let Some(damage) = &file.damage {
            write!(out, " (not read: {damage})")?;
        }
        writeln!(out)
    }
}

fn json(file: &ListedFile, out: &mut dyn Write) -> std::io::Result<()> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        schema: &'static str,
        #[serde(flatten)]
        file: &'a ListedFile,
    }
    let line = Line { schema: "amikit.ls.v1", file };
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)
}

/// Writes kind and permissions as `ls -l` does.
fn mode(file: &ListedFile) -> String {
    let kind = match file.kind {
        "directory" => 'd',
        "symlink" => 'l',
        "char-device" => 'c',
        "block-device" => 'b',
        "fifo" => 'p',
        "socket" => 's',
        "file" => '-',
        _ => '?',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = file.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        let runs = bits & 1 != 0;
        text.push(match (file.mode & special != 0, runs) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}
