//! Entries of boot loaders: which kernels they start, with what. GRUB's configuration, entries of the Boot
//! Loader Specification (which systemd-boot reads too), extlinux, and the menu of PV-GRUB.

use crate::error::Result;
use crate::lint::inside::files::Files;
use crate::lint::inside::files::lines;
use crate::lint::inside::files::lossy;
use crate::lint::inside::files::words;

/// Files with entries of GRUB and of what is written alike.
const CONFIGS: &[&str] = &[
    "/boot/grub/grub.cfg",
    "/boot/grub2/grub.cfg",
    "/grub/grub.cfg",
    "/grub2/grub.cfg",
    "/boot/grub/menu.lst",
    "/boot/grub/grub.conf",
    "/boot/extlinux/extlinux.conf",
    "/boot/extlinux.conf",
    "/extlinux/extlinux.conf",
    "/extlinux.conf",
    "/boot/syslinux/syslinux.cfg",
];

/// Of these, what takes paths from where it is itself.
const RELATIVE: &[&str] = &["extlinux.conf", "syslinux.cfg"];

/// Directories with one entry a file.
const FOLDERS: &[&str] =
    &["/boot/loader/entries", "/boot/efi/loader/entries", "/efi/loader/entries", "/loader/entries"];

/// Where GRUB keeps its variables.
const VARIABLES: &[&str] =
    &["/boot/grub2/grubenv", "/boot/grub/grubenv", "/grub2/grubenv", "/grub/grubenv"];

/// Most entries that are looked at.
const MAX_ENTRIES: usize = 200;

/// An entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// File and line, as they are shown.
    pub(super) place: String,
    pub(super) kernel: String,
    pub(super) initramfs: Vec<String>,
    pub(super) arguments: Vec<String>,
    /// Whether it can be found in other ways than by its name: it holds variables.
    pub(super) is_plain: bool,
}

impl Entry {
    fn new(place: String, kernel: &str, arguments: Vec<String>) -> Self {
        let is_plain = !kernel.contains('$');
        Self { place, kernel: kernel.to_owned(), initramfs: Vec::new(), arguments, is_plain }
    }

    /// Returns the last value of an argument.
    pub(super) fn argument(&self, key: &str) -> Option<&str> {
        let value = |it: &'_ String| -> bool { it.split_once('=').is_some_and(|(k, _)| k == key) };
        let found = self.arguments.iter().rev().find(|it| value(it))?;
        found.split_once('=').map(|(_, value)| value.trim_matches('"'))
    }
}

/// Finds the entries of all boot loaders of a tree.
pub(super) fn find(files: &Files<'_, '_>) -> Result<Vec<Entry>> {
    let variables = variables(files)?;
    let mut entries = Vec::new();
    for path in CONFIGS {
        if let Some(text) = files.text(path.as_bytes())? {
            menu(files, path.as_bytes(), &text, &variables, &mut entries);
        }
    }
    for folder in FOLDERS {
        // The last name is the newest kernel.
        for item in files.list(folder.as_bytes())?.iter().rev() {
            if item.is_file()
                && item.name.ends_with(b".conf")
                && let Some(text) = files.head(&item.path, item.spot, 64 << 10)?
            {
                entries.extend(one(files, &item.path, &text, &variables));
            }
        }
    }
    entries.truncate(MAX_ENTRIES);
    Ok(entries)
}

/// Reads the variables that entries use: names and values.
fn variables(files: &Files<'_, '_>) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for path in VARIABLES {
        for (_, line) in lines(&files.text(path.as_bytes())?.unwrap_or_default()) {
            let line = lossy(line);
            if let Some((name, value)) = line.split_once('=')
                && !line.starts_with('#')
            {
                found.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    Ok(found)
}

/// Reads a file of many entries.
fn menu(
    files: &Files<'_, '_>,
    path: &[u8],
    text: &[u8],
    variables: &[(String, String)],
    entries: &mut Vec<Entry>,
) {
    // Only entries of this file take what follows them.
    let first = entries.len();
    // Other loaders than GRUB start paths where their configuration is.
    let folder = path.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |at| &path[..at]);
    let folder = RELATIVE.iter().any(|it| path.ends_with(it.as_bytes())).then(|| lossy(folder));
    let whole = |path: &str| match &folder {
        Some(folder) if !path.starts_with(['/', '(']) => format!("{folder}/{path}"),
        _ => path.to_owned(),
    };
    for (number, line) in lines(text) {
        let mut parts = words(line).map(lossy);
        let Some(keyword) = parts.next() else { continue };
        match &keyword.to_ascii_lowercase()[..] {
            "linux" | "linux16" | "linuxefi" | "kernel" => {
                let Some(kernel) = parts.next() else { continue };
                if is_tool(&kernel) || entries.len() >= MAX_ENTRIES {
                    continue;
                }
                let place = files.line(path, number);
                entries.push(Entry::new(place, &whole(&kernel), expand(parts, variables)));
            }
            "initrd" | "initrd16" | "initrdefi" if entries.len() > first => {
                let entry = entries.last_mut().expect("there is one");
                let paths = parts.flat_map(|it| split_commas(&it));
                entry.initramfs.extend(paths.map(|it| whole(&it)));
            }
            "append" if entries.len() > first => {
                let entry = entries.last_mut().expect("there is one");
                for argument in expand(parts, variables) {
                    match argument.strip_prefix("initrd=") {
                        Some(path) => {
                            entry.initramfs.extend(split_commas(path).iter().map(|it| whole(it)));
                        }
                        None => entry.arguments.push(argument),
                    }
                }
            }
            _ => {}
        }
    }
}

/// Tells whether an entry starts a tool and no system: a module of SYSLINUX, or a test of memory.
fn is_tool(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.as_bytes().ends_with(b".c32") || name.starts_with("memtest")
}

fn split_commas(paths: &str) -> Vec<String> {
    paths.split(',').filter(|it| !it.is_empty()).map(str::to_owned).collect()
}

/// Reads a file of one entry.
fn one(
    files: &Files<'_, '_>,
    path: &[u8],
    text: &[u8],
    variables: &[(String, String)],
) -> Option<Entry> {
    let mut entry: Option<Entry> = None;
    let (mut initramfs, mut arguments) = (Vec::new(), Vec::new());
    for (number, line) in lines(text) {
        let mut parts = words(line).map(lossy);
        match parts.next().as_deref() {
            Some("linux") => {
                let place = files.line(path, number);
                entry = parts.next().map(|kernel| Entry::new(place, &kernel, Vec::new()));
            }
            Some("initrd") => initramfs.extend(parts),
            Some("options") => arguments.extend(expand(parts, variables)),
            _ => {}
        }
    }
    entry.map(|entry| Entry { initramfs, arguments, ..entry })
}

/// Puts the values of variables in their places; those that are not known stay.
fn expand(parts: impl Iterator<Item = String>, variables: &[(String, String)]) -> Vec<String> {
    let mut all = Vec::new();
    for part in parts {
        let name = part.strip_prefix('$').map(|it| it.trim_matches(['{', '}']));
        match name.and_then(|name| variables.iter().find(|(it, _)| it == name)) {
            Some((_, value)) => all.extend(value.split_whitespace().map(str::to_owned)),
            None => all.push(part),
        }
    }
    all
}
