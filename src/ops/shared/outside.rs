//! Outputs that would destroy what they are made of.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Error;
use crate::error::Result;
use crate::error::shown;
use crate::format::Named;
use crate::io::Input;
use crate::io::Node;
use crate::io::inode;
use crate::io::real_path;
use crate::ops::shared::open::VolumeRequest;

/// Fails if an output would lie inside one of the folders that are read for it.
///
/// # Errors
///
/// `Invalid`.
pub(in crate::ops) fn check_outside<'a>(
    output: &Path,
    read: impl IntoIterator<Item = &'a Path>,
) -> Result<()> {
    let Some(folder) = folder_of(output) else { return Ok(()) };
    for typed in read {
        let named = Named::parse(typed).path;
        for input in [typed, &named] {
            let is_folder = Node::at(input).is_ok_and(|it| it == Some(Node::Folder));
            let whole = real_path(input).filter(|_| is_folder);
            if whole.is_some_and(|whole| folder.starts_with(whole)) {
                let text = format!("it lies inside {}, which is read for it", shown(input));
                return Err(refuse(output, text));
            }
        }
    }
    Ok(())
}

/// Returns the folder in which an output will be, if that is there.
fn folder_of(output: &Path) -> Option<PathBuf> {
    // A link is followed when it is replaced.
    let real = real_path(output).unwrap_or_else(|| output.to_owned());
    let folder = real.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    real_path(folder)
}

/// Fails if an output would replace one of `inputs`: a file that belongs to more than what is written.
///
/// # Errors
///
/// `Invalid`; `Io` if the system does not say what stands at the output's name.
pub(in crate::ops) fn check_apart(output: &Path, inputs: &[Arc<Input>]) -> Result<()> {
    let Some(there) = inode(output)? else { return Ok(()) };
    let same = inputs.iter().find(|input| input.inode() == Some(there));
    match same {
        None => Ok(()),
        Some(input) => {
            let text = format!("it is a part of what is read: {}", shown(input.path()));
            Err(refuse(output, text))
        }
    }
}

/// Fails if an output would replace a file that the user named to be read, or lie inside a folder of these: the volumes'
/// own files, and `more`.
///
/// # Errors
///
/// `Invalid`; `Io` if the system does not say what stands at the output's name.
pub(in crate::ops) fn check_spares<'a>(
    output: &Path,
    volumes: &[&'a VolumeRequest],
    more: impl IntoIterator<Item = &'a Path>,
) -> Result<()> {
    let mut read: Vec<&Path> = more.into_iter().collect();
    for volume in volumes {
        let mut next = Some(*volume);
        while let Some(request) = next {
            let image = &request.image;
            let others = image.parts.iter().chain(&image.extents).chain(&image.gate.parents);
            read.push(&image.path);
            read.extend(others.map(PathBuf::as_path));
            next = request.base.as_deref();
        }
    }
    check_outside(output, read.iter().copied())?;
    let Some(there) = inode(output)? else { return Ok(()) };
    for typed in read {
        for input in [typed, &Named::parse(typed).path] {
            if inode(input).is_ok_and(|it| it == Some(there)) {
                return Err(refuse(output, format!("it is read: {}", shown(input))));
            }
        }
    }
    Ok(())
}

fn refuse(output: &Path, text: String) -> Error {
    Error::invalid(text).in_file(output).advise("choose another name for the output")
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn an_output_inside_what_is_read_is_found_by_whatever_name() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        fs::create_dir_all(here.join("web.ami/blobs")).unwrap();
        fs::create_dir(here.join("other")).unwrap();
        fs::write(here.join("web.ami/index.json"), "").unwrap();
        symlink("web.ami", here.join("link")).unwrap();
        symlink("web.ami/index.json", here.join("file")).unwrap();
        let bundle = here.join("web.ami");
        let typed = [bundle.clone(), here.join("link"), here.join("web.ami:/dev/xvda"), {
            here.join("web.ami@name")
        }];
        for input in typed {
            let check = |output: &str| check_outside(&here.join(output), [&*input]);
            for inside in [
                "web.ami/new",
                "web.ami/index.json",
                "web.ami/blobs/new",
                "link/new",
                "file",
                "other/../web.ami/new",
            ] {
                check(inside).unwrap_err();
            }
            for outside in ["web.ami", "new", "other/new", "web.ami2", "missing/new"] {
                check(outside).unwrap();
            }
        }
    }

    #[test]
    fn what_the_user_named_to_be_read_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        for name in ["image", "part", "base", "key"] {
            fs::write(here.join(name), "x").unwrap();
        }
        symlink("image", here.join("link")).unwrap();
        fs::hard_link(here.join("part"), here.join("same")).unwrap();
        let mut request = VolumeRequest::new(&here.join("image"));
        request.image.parts = vec![here.join("part")];
        request.base = Some(Box::new(VolumeRequest::new(&here.join("base"))));
        let key = here.join("key");
        let check = |name: &str| check_spares(&here.join(name), &[&request], [&*key]);
        for name in ["image", "link", "part", "same", "base", "key"] {
            check(name).unwrap_err();
        }
        check("new").unwrap();
    }

    #[test]
    fn a_part_of_what_is_read_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        for name in ["a", "b"] {
            fs::write(here.join(name), "x").unwrap();
        }
        fs::hard_link(here.join("a"), here.join("same")).unwrap();
        let inputs = [Arc::new(Input::open(&here.join("a")).unwrap())];
        check_apart(&here.join("same"), &inputs).unwrap_err();
        check_apart(&here.join("b"), &inputs).unwrap();
        check_apart(&here.join("new"), &inputs).unwrap();
    }
}
