//! Lists the extents of a disk image in any format, and what each of its first sectors begins with.
//!
//! `cargo run --example list_extents -- disk.qcow2`

use std::env;
use std::error::Error;
use std::path::Path;

use amikit::ExtentKind;
use amikit::Unwatched;
use amikit::VolumeRequest;

/// Bytes that are shown of an extent.
const SHOWN: u64 = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let name = env::args_os().nth(1).ok_or("usage: list_extents IMAGE")?;
    // What a program accepts here is what the command line does: ARCHIVE:MEMBER and BUNDLE:DEVICE too.
    let mut request = VolumeRequest::new(Path::new(&name));
    // An image may name others, which are opened only if the caller says so: those in its own folder.
    request.image.gate.beside = true;
    let opened = amikit::open(&request, &Unwatched)?;
    let volume = opened.volume();
    println!("{}, {} bytes", opened.opened().format_name(), volume.size());
    for note in opened.opened().notes() {
        println!("note: {note}");
    }
    for extent in amikit::extents(volume) {
        let extent = extent?;
        let (start, end) = (extent.range.start, extent.range.end);
        print!("{start:>16} {end:>16} {}", extent.kind.name());
        if extent.kind == ExtentKind::Data {
            let mut first = vec![0; usize::try_from(extent.len().min(SHOWN))?];
            volume.read_at(start, &mut first)?;
            print!(" {first:02x?}");
        }
        println!();
    }
    // The image may have been written to while it was read.
    volume.check_unchanged()?;
    Ok(())
}
