//! `cat`: the content of one file of a volume.

use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Verb;
use crate::guest::Failure;
use crate::guest::FileKind;
use crate::guest::escape;
use crate::ops::shared::guest::InsideRequest;
use crate::ops::shared::guest::with_tree;
use crate::work::Watch;

/// Hands over the content of a regular file, piece by piece.
///
/// # Errors
///
/// As opening the volume and looking for its file systems; `Invalid` if there is no such file, or if it is not a regular one; whatever `take`
/// returns.
pub fn cat(
    request: &InsideRequest,
    watch: &dyn Watch,
    take: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    with_tree(request, watch, |tree| {
        let inside = |failure: Failure| failure.in_path(&request.path);
        let spot = tree.look_up(&request.path, true)?;
        let node = tree.node(spot).map_err(inside)?;
        if node.kind != FileKind::Regular {
            // Nothing is the root.
            let path = if request.path.is_empty() { b"/" } else { &request.path[..] };
            let (path, kind) = (escape(path), node.kind.name());
            let text = format!("{path} is a {kind}, expected a regular file");
            let error = Error::invalid(text);
            return Err(match node.kind {
                FileKind::Directory => {
                    error.advise(Advice::Use { verb: Verb::List, to: "see what it has".into() })
                }
                _ => error,
            });
        }
        watch.begin(Some(node.size));
        tree.copy(spot, 0, u64::MAX, &mut |bytes| {
            watch.check()?;
            watch.advance(u64::try_from(bytes.len()).expect("a piece"));
            take(bytes)
        })
        .map_err(inside)
    })
}
