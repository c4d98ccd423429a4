//! `man`: the manual pages.

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::error::Error;
use crate::error::Result;
use crate::error::shown;
use crate::io::OutputDir;
use crate::io::OutputFile;
use crate::io::WriteAt;

/// Writes the manual pages into a folder
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit man /usr/local/share/man/man1")]
pub(super) struct Man {
    /// The folder, which must exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Man {
    pub(super) fn run(&self, output: Output, _follower: &Follower) -> Result<u8> {
        let folder = &self.folder;
        let fail = |e| Error::io("write the manual pages into", folder, e);
        // Generating for a folder names the pages, and the commands in them, as `amikit-pack`.
        let program = (output.program)();
        // The folder has files of others, so each page gets its name by itself.
        let beside = folder.join("amikit-pages");
        let pages = OutputDir::create(&beside).map_err(|e| e.shown_as(&beside, folder))?;
        clap_mangen::generate_to(program.clone(), pages.temporary_path()).map_err(fail)?;
        let mut names = vec!["amikit.1".to_owned()];
        let mut left: Vec<_> =
            program.get_subcommands().map(|it| ("amikit".to_owned(), it.clone())).collect();
        left.reverse();
        while let Some((above, command)) = left.pop() {
            let name = format!("{above}-{}", command.get_name());
            names.push(format!("{name}.1"));
            let below: Vec<_> = command.get_subcommands().cloned().collect();
            left.extend(below.into_iter().rev().map(|it| (name.clone(), it)));
        }
        for name in &names {
            #[expect(clippy::disallowed_methods, reason = "a page that was generated just now")]
            let page = std::fs::read(pages.temporary_path().join(name)).map_err(fail)?;
            let output = OutputFile::create(&folder.join(name))?;
            output.write_all_at(&page, 0)?;
            output.commit()?;
        }
        drop(pages);
        let paths: Vec<_> = names.iter().map(|name| folder.join(name)).collect();
        let files: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        let report = serde_json::json!({ "files": files });
        output
            .report("man", &report, |_, out| {
                paths.iter().try_for_each(|it| writeln!(out, "{}", shown(it)))
            })
            .map(|()| 0)
    }
}
