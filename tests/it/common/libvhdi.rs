//! libvhdi, which reads VHD and VHDX images.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Reads an image by libvhdi; `None` if it is not installed.
pub(crate) fn libvhdi_reads(image: &Path) -> Option<Vec<u8>> {
    const SCRIPT: &str = "\
import sys
try:
    import pyvhdi
except ImportError:
    sys.exit(77)
image = pyvhdi.file()
image.open(sys.argv[1])
with open(sys.argv[2], 'wb') as out:
    left = image.get_media_size()
    while left:
        piece = image.read_buffer(min(left, 1 << 20))
        out.write(piece)
        left -= len(piece)
";
    let raw = image.with_extension("libvhdi.raw");
    // That of the system: it is where packages put their modules.
    let python = Command::new("/usr/bin/python3").args(["-c", SCRIPT]).args([image, &raw]).output();
    match python {
        Ok(done) if done.status.success() => Some(fs::read(raw).unwrap()),
        Ok(done) if done.status.code() != Some(77) => {
            panic!("{}", String::from_utf8_lossy(&done.stderr))
        }
        _ => {
            eprintln!("skipped: python3-libvhdi is not installed");
            None
        }
    }
}
