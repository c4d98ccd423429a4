//! Finds the blocks that changed between two volumes, as `ListChangedBlocks` of EBS would list them.
//!
//! `cargo run --example changed_blocks -- old.ami new.qcow2`

use std::env;
use std::error::Error;
use std::path::Path;

use amikit::Unwatched;
use amikit::VolumeRequest;
use amikit::verbs::DiffRequest;
use amikit::verbs::diff;

fn main() -> Result<(), Box<dyn Error>> {
    let [old, new] = env::args_os()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| "usage: changed_blocks OLD NEW")?;
    let volume = |name| VolumeRequest::new(Path::new(name));
    let mut request = DiffRequest::new(volume(&old), volume(&new));
    // Tokens are digests of blocks, for which images are hashed.
    request.digests = true;
    // Ranges come while the volumes are read, in the order of the blocks.
    let report = diff(&request, &Unwatched, &mut |range| {
        println!("{} to {}:", range.from, range.to);
        for block in range.listed() {
            let token = block.second_block_token.as_deref().unwrap_or("not there any more");
            println!("  block {} {token}", block.block_index);
        }
        Ok(())
    })?;
    println!("{} blocks changed, {} bytes", report.changed.blocks, report.changed.bytes);
    Ok(())
}
