//! Packs a disk image into a bundle, judges its description by EC2's rules, and verifies every bit.
//!
//! `cargo run --example pack_and_verify -- disk.raw web.ami`

use std::env;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use amikit::Ami;
use amikit::MappedVolume;
use amikit::PackOptions;
use amikit::PackRequest;
use amikit::VerifyRequest;
use amikit::VolumeRequest;
use amikit::Watch;
use amikit::verbs::with_defaults;

/// Prints how far a run is.
#[derive(Default)]
struct Dots(AtomicU64);

impl Watch for Dots {
    fn advance(&self, bytes: u64) {
        const DOT: u64 = 64 << 20;
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        if before / DOT != before.saturating_add(bytes) / DOT {
            eprint!(".");
            let _ = std::io::stderr().flush();
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let [image, bundle] = env::args_os()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| "usage: pack_and_verify IMAGE BUNDLE")?;
    let watch = Dots::default();
    let ami = with_defaults(Ami { name: "example".into(), ..Ami::default() }, false);
    let root = MappedVolume::new(&ami.root_device_name, VolumeRequest::new(Path::new(&image)));
    let packed =
        amikit::pack(&PackRequest::new(vec![root], PackOptions::new(&bundle, ami)), &watch)?;
    eprintln!();
    for volume in &packed.volumes {
        let size = volume.snapshot.volume_size_bytes;
        println!("{}: {size} bytes, {} stored", volume.image.display(), volume.stored_bytes);
    }
    println!("{}", packed.digest);

    let verified = amikit::verify(&VerifyRequest::new(&bundle), &watch)?;
    eprintln!();
    for damage in &verified.damage {
        println!("damaged: {damage:?}");
    }
    if verified.sound { Ok(()) } else { Err("the bundle is damaged".into()) }
}
