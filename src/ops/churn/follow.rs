//! Files whose names say that programs write them again, compared with the files that they are made of.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::error::Result;
use crate::explain::Proof;
use crate::explain::folder_of;
use crate::explain::is_bytecode_of;
use crate::explain::source_of;
use crate::guest::Failure;
use crate::guest::Spot;
use crate::guest::Tree;
use crate::guest::escape;
use crate::guest::rpm_identities;
use crate::ops::churn::claim::Claim;
use crate::ops::churn::file::Fate;
use crate::ops::churn::file::File;

/// Compares what is generated with what it is generated of.
///
/// `systems` are the file systems that the files are in, and `trees` all files of both builds.
pub(super) fn follow(
    files: &mut [File],
    systems: (&Tree<'_>, &Tree<'_>),
    trees: (Option<&Tree<'_>>, Option<&Tree<'_>>),
) -> Result<()> {
    follow_packages(files, trees)?;
    follow_sources(files, systems)?;
    follow_folders(files);
    follow_names(files);
    Ok(())
}

/// Returns what has to hold of a file, while nothing speaks against its cause.
fn proof(file: &File) -> Option<Proof> {
    file.claim.as_ref().filter(|it| it.cause.is_some())?.proof
}

fn refuse(file: &mut File, note: String) {
    if let Some(claim) = &mut file.claim {
        claim.refuse(note);
    }
}

/// A directory that differs by names of generated files alone has their cause.
fn follow_names(files: &mut [File]) {
    let directories = (0..).zip(files.iter()).filter(|(_, it)| it.by_names && it.cause().is_none());
    let mut causes: BTreeMap<Vec<u8>, (usize, Option<&'static str>)> = directories
        .map(|(index, it)| ([it.path.strip_suffix(b"/").unwrap_or(&it.path), b"/"].concat(), index))
        .map(|(path, index): (Vec<u8>, usize)| (path, (index, Some(""))))
        .collect();
    for file in files.iter().filter(|it| matches!(it.fate, Fate::Added | Fate::Removed)) {
        if let Some((_, cause)) = causes.get_mut(folder_of(&file.path)) {
            *cause = cause.and(file.cause());
        }
    }
    for (index, cause) in causes.into_values() {
        files[index].claim = cause.filter(|it| !it.is_empty()).map(|it| Box::new(Claim::all(it)));
    }
}

/// A database of packages is real if it lists others, or cannot be read.
fn follow_packages(
    files: &mut [File],
    trees: (Option<&Tree<'_>>, Option<&Tree<'_>>),
) -> Result<()> {
    let is_database = |file: &File| matches!(proof(file), Some(Proof::Rpm));
    if !files.iter().any(is_database) {
        return Ok(());
    }
    let identities = |tree: Option<&Tree<'_>>| match tree {
        Some(tree) => rpm_identities(tree),
        None => Ok(None),
    };
    let note = match (identities(trees.0)?, identities(trees.1)?) {
        (Some(old), Some(new)) if old == new && !old.is_empty() => return Ok(()),
        (Some(_), Some(_)) => "it lists other packages",
        _ => "what it lists cannot be read",
    };
    for file in files.iter_mut().filter(|it| is_database(it)) {
        refuse(file, note.to_owned());
    }
    Ok(())
}

/// Bytecode is real if its program is, or if it was not made of that.
fn follow_sources(files: &mut [File], systems: (&Tree<'_>, &Tree<'_>)) -> Result<()> {
    let is_bytecode = |file: &File| matches!(proof(file), Some(Proof::Bytecode));
    let mut sources: BTreeMap<Vec<u8>, Option<usize>> = BTreeMap::new();
    for file in files.iter().filter(|file| is_bytecode(file)) {
        sources.extend(source_of(&file.path).map(|source| (source, None)));
    }
    for (index, file) in files.iter().enumerate() {
        if let Some(found) = sources.get_mut(&file.path) {
            *found = Some(index);
        }
    }
    for index in 0..files.len() {
        if !is_bytecode(&files[index]) {
            continue;
        }
        let Some(path) = source_of(&files[index].path) else { continue };
        let source = sources.get(&path).copied().flatten().map(|source| &files[source]);
        if let Some(note) = against(&files[index], source, systems)? {
            refuse(&mut files[index], note.to_owned());
        }
    }
    Ok(())
}

/// Returns what speaks against bytecode that was made of its program again.
fn against(
    file: &File,
    source: Option<&File>,
    systems: (&Tree<'_>, &Tree<'_>),
) -> Result<Option<&'static str>> {
    let is_in_both = file.fate == Fate::Changed;
    let Some(source) = source else {
        return Ok((!is_in_both).then_some("it has no program that it could be made of"));
    };
    if matches!(source.fate, Fate::Changed | Fate::Added | Fate::Removed) {
        return Ok(Some("its program differs"));
    }
    if is_in_both {
        return Ok(None);
    }
    let (tree, id) = match source.ids {
        [_, Some(id)] if file.fate == Fate::Added => (systems.1, id),
        [Some(id), _] if file.fate == Fate::Removed => (systems.0, id),
        _ => return Ok(None),
    };
    let head = file.claim.as_ref().map(|it| &it.head[..]).unwrap_or_default();
    let is_of_it = match tree.node(Spot { system: 0, id }) {
        Ok(node) => is_bytecode_of(head, node.size, node.modified.seconds),
        Err(Failure::Fault(_)) => false,
        Err(Failure::Error(error)) => return Err(error),
    };
    Ok((!is_of_it).then_some("it was not made of its program as it is"))
}

/// An index is real if something real below its folders differs.
fn follow_folders(files: &mut [File]) {
    let folders_of = |file: &File| -> Vec<Vec<u8>> {
        match proof(file) {
            Some(Proof::IndexOf(folders)) => {
                folders.iter().map(|it| it.as_bytes().to_vec()).collect()
            }
            Some(Proof::IndexOfFolder) => vec![folder_of(&file.path).to_vec()],
            _ => Vec::new(),
        }
    };
    let folders: BTreeSet<Vec<u8>> = files.iter().flat_map(folders_of).collect();
    if folders.is_empty() {
        return;
    }
    let mut touched: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_real()) {
        let ends = (0_usize..).zip(&file.path).filter(|(_, byte)| **byte == b'/');
        for above in ends.map(|(at, _)| &file.path[..=at]).filter(|it| folders.contains(*it)) {
            touched.entry(above.to_vec()).or_insert_with(|| file.path.clone());
        }
    }
    for file in files.iter_mut() {
        if let Some(by) = folders_of(file).iter().find_map(|it| touched.get(it)) {
            refuse(file, format!("{} differs, which it lists", escape(by)));
        }
    }
}
