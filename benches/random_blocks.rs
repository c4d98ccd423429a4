//! How long one block takes that nothing was read before: what a server of a bundle answers with.
//!
//! `cargo bench --bench random_blocks -- VOLUME [BASE] [COUNT]` reads COUNT blocks of VOLUME with data (10,000; a block may come
//! more than once), chosen by a generator with a fixed seed, one after another on one thread, and prints
//! how long they took. VOLUME is an image or a bundle; one that is thin needs BASE, the volume that it was packed
//! against. What was decoded last is kept, as in any reader of bundles. Each digest is checked.

use std::env;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use amikit::ExtentKind;
use amikit::Unwatched;
use amikit::VolumeRequest;
use amikit::internals::error::Result;
use amikit::internals::units::BLOCK_LEN;
use amikit::internals::units::BlockIndex;
use amikit::internals::units::block_count;

fn main() -> Result<()> {
    let mut arguments: Vec<String> = env::args().skip(1).filter(|it| it != "--bench").collect();
    let count = arguments.last().and_then(|it| it.parse::<usize>().ok());
    if count.is_some() {
        arguments.pop();
    }
    let Some((volume, bases)) = arguments.split_first() else {
        println!("skipped: usage: cargo bench --bench random_blocks -- VOLUME [BASE] [COUNT]");
        return Ok(());
    };
    let mut request = VolumeRequest::new(Path::new(volume));
    request.base = bases.first().map(|it| Box::new(VolumeRequest::new(Path::new(it))));
    let opened = amikit::open(&request, &Unwatched)?;
    let volume = opened.volume();

    // Blocks with any data.
    let mut blocks = Vec::new();
    for extent in amikit::extents(volume) {
        let extent = extent?;
        if extent.kind == ExtentKind::Data {
            let first = BlockIndex::holding(extent.range.start).expect("a volume of EBS");
            let end = BlockIndex(block_count(extent.range.end));
            blocks.extend((first.0..end.0).map(BlockIndex));
        }
    }
    blocks.dedup();

    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut buffer = vec![0; BLOCK_LEN];
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..count.unwrap_or(10_000) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let number = usize::try_from(state >> 33).expect("31 bits").strict_rem(blocks.len());
        let range = blocks[number].range(volume.size());
        let len = usize::try_from(range.end.strict_sub(range.start)).expect("a block");
        let begin = Instant::now();
        volume.read_at(range.start, &mut buffer[..len])?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    let at = |thousandth: usize| {
        times[times.len().strict_sub(1).strict_mul(thousandth).strict_div(1000)].as_secs_f64() * 1e3
    };
    println!(
        "{} of {} blocks: median {:.1} ms, 99 of 100 within {:.1} ms, 999 of 1,000 within {:.1} ms, worst {:.1} ms",
        times.len(),
        blocks.len(),
        at(500),
        at(990),
        at(999),
        at(1000)
    );
    Ok(())
}
