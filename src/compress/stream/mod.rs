//! Compressed streams of any length, unpacked piece by piece: gzip, xz, zstd, bzip2.
//!
//! A stream may be of many members (gzip), streams (xz, bzip2) or frames (zstd), one behind the other, as
//! their own tools read them. What is not one, behind the last, is refused.

mod bzip2_stream;
mod fault;
mod gzip_member;
mod step;
mod xz_stream;
mod xz_walk;
mod zstd_frames;

use std::fmt;

use crate::error::Error;
use crate::error::Result;

use step::Decoded;

pub use fault::DamagedUnit;
pub use fault::StreamFault;
pub use step::MOST_WINDOW_LEN;
pub use step::Step;
pub use step::Wrapping;

/// Most bytes back that a stream may refer to where the caller names no other limit: what `xz` and `zstd` take
/// without being asked, but for their largest levels. Unpacking takes as much memory as a stream refers back.
pub const MAX_WINDOW_LEN: u64 = 128 << 20;

/// What gzip's members begin with.
const GZIP_MAGIC: u8 = 0x1f;

/// What xz's streams begin with.
const XZ_MAGIC: u8 = 0xfd;

/// What bzip2's streams begin with.
const BZIP2_MAGIC: u8 = b'B';

/// Zeros behind an xz stream are a multiple of this.
const XZ_PADDING_LEN: usize = 4;

/// Where in a stream a decoder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the first member.
    Start,
    Inside,
    /// Behind a member.
    Between,
    /// Behind zeros that follow a member: tapes and disks leave them.
    Padding {
        /// How many, as far as they are counted.
        len: usize,
    },
}

/// What unpacks the member at hand.
enum Inner {
    Gzip(Box<gzip_member::Member>),
    Xz(Box<xz_stream::Stream>),
    Zstd(Box<zstd_frames::Frames>),
    Bzip2(Box<bzip2_stream::Stream>),
}

/// Unpacks one compressed stream.
pub struct StreamDecoder {
    inner: Inner,
    wrapping: Wrapping,
    max_window: u64,
    at: At,
    /// Bytes that were taken.
    taken: u64,
}

impl StreamDecoder {
    /// Makes a decoder of streams that refer back over at most `max_window` bytes, which is the memory that it
    /// takes at most.
    ///
    /// # Errors
    ///
    /// `Io` if out of memory; `Invalid` if `max_window` is over [`MOST_WINDOW_LEN`].
    pub fn new(wrapping: Wrapping, max_window: u64) -> Result<Self> {
        if max_window > MOST_WINDOW_LEN {
            let text = format!("the limit is {max_window} bytes, expected at most 2 GiB");
            return Err(Error::invalid(text));
        }
        let inner = match wrapping {
            Wrapping::Gzip => Inner::Gzip(Box::new(gzip_member::Member::new(0))),
            Wrapping::Xz => Inner::Xz(Box::new(xz_stream::Stream::new(0, max_window)?)),
            Wrapping::Zstd => Inner::Zstd(Box::new(zstd_frames::Frames::new(max_window)?)),
            Wrapping::Bzip2 => Inner::Bzip2(Box::new(bzip2_stream::Stream::new(0))),
        };
        Ok(Self { inner, wrapping, max_window, at: At::Start, taken: 0 })
    }

    /// Unpacks as much of `input` as `output` has room for. `last` says that nothing follows `input`;
    /// a step that then neither takes nor gives is the end of a whole stream.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the stream.
    pub fn step(
        &mut self,
        input: &[u8],
        last: bool,
        output: &mut [u8],
    ) -> Result<Step, StreamFault> {
        let step = match self.between(input)? {
            Some(step) => step,
            None => self.inside(input, output)?,
        };
        // No stream is of 2^64 bytes.
        self.taken = self.taken.strict_add(u64::try_from(step.taken).expect("a buffer"));
        let over = last && input.is_empty() && step.given == 0;
        match self.at {
            At::Start | At::Inside if over => Err(StreamFault::Cut { wrapping: self.wrapping }),
            At::Padding { len }
                if over && self.wrapping == Wrapping::Xz && len % XZ_PADDING_LEN != 0 =>
            {
                Err(StreamFault::Trailing { wrapping: self.wrapping })
            }
            _ => Ok(step),
        }
    }

    /// Takes what may stand between two members. `None` if a member stands here.
    fn between(&mut self, input: &[u8]) -> Result<Option<Step>, StreamFault> {
        let wrapping = self.wrapping;
        let (At::Between | At::Padding { .. }) = self.at else { return Ok(None) };
        let Some(byte) = input.first() else { return Ok(Some(Step::default())) };
        let magic = match wrapping {
            Wrapping::Gzip => GZIP_MAGIC,
            Wrapping::Xz => XZ_MAGIC,
            Wrapping::Bzip2 => BZIP2_MAGIC,
            // Frames have several, and no padding.
            Wrapping::Zstd => return Ok(None),
        };
        if *byte == 0 && wrapping != Wrapping::Bzip2 {
            let taken = input.iter().position(|byte| *byte != 0).unwrap_or(input.len());
            let before = if let At::Padding { len } = self.at { len } else { 0 };
            self.at = At::Padding { len: before.wrapping_add(taken) };
            return Ok(Some(Step { taken, given: 0 }));
        }
        let padded = match self.at {
            // gzip takes zeros to be the end.
            At::Padding { len } => wrapping == Wrapping::Xz && len % XZ_PADDING_LEN == 0,
            _ => true,
        };
        if padded && *byte == magic { Ok(None) } else { Err(StreamFault::Trailing { wrapping }) }
    }

    /// Goes on in a member, or begins the next one.
    fn inside(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, StreamFault> {
        let (wrapping, start) = (self.wrapping, self.taken);
        if matches!(self.at, At::Between | At::Padding { .. }) {
            match &mut self.inner {
                Inner::Gzip(member) => **member = gzip_member::Member::new(start),
                Inner::Xz(stream) => {
                    **stream = xz_stream::Stream::new(start, self.max_window)
                        .map_err(|_| StreamFault::Memory { wrapping })?;
                }
                Inner::Zstd(frames) => frames.begin(start),
                Inner::Bzip2(stream) => **stream = bzip2_stream::Stream::new(start),
            }
        }
        if !input.is_empty() {
            self.at = At::Inside;
        }
        let Decoded { step, is_over } = match &mut self.inner {
            Inner::Gzip(member) => member.step(input, output)?,
            Inner::Xz(stream) => stream.step(input, output)?,
            Inner::Zstd(frames) => frames.step(input, output)?,
            Inner::Bzip2(stream) => stream.step(input, output)?,
        };
        if is_over {
            self.at = At::Between;
        }
        Ok(step)
    }
}

impl fmt::Debug for StreamDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamDecoder").field("wrapping", &self.wrapping).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use std::io::Write;

    use liblzma::stream as lzma;

    use crate::compress::Damage;
    use crate::compress::stream::step::count;

    const ALL: [Wrapping; 4] = [Wrapping::Gzip, Wrapping::Xz, Wrapping::Zstd, Wrapping::Bzip2];

    fn pack(wrapping: Wrapping, plain: &[u8]) -> Vec<u8> {
        match wrapping {
            Wrapping::Gzip => {
                let level = flate2::Compression::fast();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
            Wrapping::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
            Wrapping::Zstd => {
                let mut frame = Vec::new();
                crate::compress::Encoder::with_checksums(1).unwrap().append(plain, &mut frame);
                frame
            }
            Wrapping::Bzip2 => {
                let level = bzip2::Compression::fast();
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), level);
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    /// Unpacks with `most` bytes of input and of output at once.
    fn unpack(wrapping: Wrapping, packed: &[u8], most: usize) -> Result<Vec<u8>, StreamFault> {
        unpack_within(wrapping, packed, most, MAX_WINDOW_LEN)
    }

    fn unpack_within(
        wrapping: Wrapping,
        packed: &[u8],
        most: usize,
        limit: u64,
    ) -> Result<Vec<u8>, StreamFault> {
        let mut decoder = StreamDecoder::new(wrapping, limit).unwrap();
        let (mut all, mut at, mut output) = (Vec::new(), 0, vec![0; most]);
        loop {
            let end = packed.len().min(at + most);
            let step = decoder.step(&packed[at..end], at == packed.len(), &mut output)?;
            assert!(step.taken <= end - at && step.given <= most);
            at += step.taken;
            all.extend_from_slice(&output[..step.given]);
            if at == packed.len() && step == Step::default() && end == at {
                // The step before may have been the first to hear that this is the end.
                let last = decoder.step(&[], true, &mut output)?;
                all.extend_from_slice(&output[..last.given]);
                if last == Step::default() {
                    return Ok(all);
                }
            }
        }
    }

    #[test]
    fn pieces_of_any_length_give_the_same_as_the_whole() {
        let plain: Vec<u8> = (0_u32..3000).flat_map(|n| (n * n % 251).to_le_bytes()).collect();
        for wrapping in ALL {
            let one = pack(wrapping, &plain);
            let three = [&one[..], &pack(wrapping, &[]), &one].concat();
            for most in [1, 2, 3, 7, 100, 4096, 1 << 20] {
                assert_eq!(unpack(wrapping, &one, most), Ok(plain.clone()), "{wrapping}, {most}");
                let twice = [&plain[..], &plain].concat();
                assert_eq!(unpack(wrapping, &three, most), Ok(twice), "{wrapping}, {most}");
            }
        }
    }

    #[test]
    fn every_prefix_is_cut_and_everything_behind_is_trailing() {
        for wrapping in ALL {
            let packed = pack(wrapping, b"some bytes, some bytes, some bytes");
            for most in [1, 4096] {
                for end in 0..packed.len() {
                    let cut = Err(StreamFault::Cut { wrapping });
                    assert_eq!(unpack(wrapping, &packed[..end], most), cut, "{wrapping}, {end}");
                }
                let longer = [&packed[..], b"something else, as long as a header"].concat();
                let found = unpack(wrapping, &longer, most);
                assert_eq!(found, Err(StreamFault::Trailing { wrapping }), "{wrapping}, {most}");
            }
        }
    }

    /// Bytes that compress a little, and no two places of which are alike.
    fn text(len: usize) -> Vec<u8> {
        let mut state = 7_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"etaoin shrdlu"[usize::try_from(state >> 16).unwrap() % 13]
        };
        (0..len).map(|_| next()).collect()
    }

    /// Finds out what is wrong with a stream of several members of which one has a changed byte: the fault must
    /// be the same however many bytes come at once.
    fn damage(wrapping: Wrapping, packed: &[u8]) -> (Damage, DamagedUnit) {
        let find = |most| {
            let mut found = unpack(wrapping, packed, most);
            if let Err(StreamFault::Damaged { unit, .. }) = &mut found
                && wrapping == Wrapping::Bzip2
            {
                // The library reads ahead if there is something.
                unit.end = unit.end.next_multiple_of(16);
            }
            found
        };
        let found = find(4096);
        for most in [1, 7, 1 << 20] {
            assert_eq!(find(most), found, "{wrapping}, {most}");
        }
        match found {
            Err(StreamFault::Damaged { damage, unit }) if unit.wrapping == wrapping => {
                (damage, unit)
            }
            other => panic!("{wrapping}: {other:?}"),
        }
    }

    /// Every changed byte is found, and lies between the start of the unit and the place up to which that
    /// was read.
    #[test]
    fn a_changed_byte_is_damage_of_the_unit_that_it_is_in() {
        for wrapping in ALL {
            let one = pack(wrapping, &text(3000));
            let packed = [&one[..], &one, &one].concat();
            let mut kinds = Vec::new();
            for at in one.len()..2 * one.len() {
                for bit in [0x01, 0x40] {
                    let mut changed = packed.clone();
                    changed[at] ^= bit;
                    match unpack(wrapping, &changed, 4096) {
                        Err(StreamFault::Damaged { damage, unit }) => {
                            let place = u64::try_from(at).unwrap();
                            assert!(unit.start <= unit.found && unit.found <= unit.end);
                            assert!(
                                unit.start <= place && place < unit.end,
                                "{wrapping}: {unit:?}"
                            );
                            if !kinds.contains(&damage) {
                                kinds.push(damage);
                            }
                        }
                        // A header may ask for what is not there, or not be one.
                        Err(_) => {}
                        Ok(plain) => {
                            // Names, times, and the bits that fill bytes mean nothing.
                            assert_eq!(plain.len(), 9000, "{wrapping}, byte {at}");
                        }
                    }
                }
            }
            assert!(kinds.contains(&Damage::Code) && kinds.contains(&Damage::Checksum));
            let others = match wrapping {
                Wrapping::Gzip => &[Damage::Header, Damage::Length][..],
                Wrapping::Xz => &[Damage::Header, Damage::Index],
                Wrapping::Zstd => &[Damage::Length],
                Wrapping::Bzip2 => &[Damage::Header],
            };
            assert!(others.iter().all(|it| kinds.contains(it)), "{wrapping}: {kinds:?}");
        }
    }

    #[test]
    fn which_kind_of_damage_it_is_follows_from_the_place() {
        use Damage as D;
        let end = |len: usize| u64::try_from(len).unwrap();
        for wrapping in ALL {
            let one = pack(wrapping, &text(3000));
            let len = one.len();
            // The byte that is changed, counted from the start, and what it is the damage of.
            let changes = match wrapping {
                Wrapping::Gzip => {
                    vec![(len - 8, D::Checksum, "member"), (len - 4, D::Length, "member")]
                }
                Wrapping::Xz => vec![
                    (8, D::Header, "stream"),
                    (13, D::Header, "block"),
                    (len - 12 - 16 - 4, D::Checksum, "block"),
                    (len - 12 - 8, D::Index, "stream"),
                    (len - 8, D::Index, "stream"),
                ],
                Wrapping::Zstd => vec![(len - 4, D::Checksum, "frame"), (5, D::Length, "frame")],
                Wrapping::Bzip2 => {
                    vec![(11, D::Checksum, "block"), (len - 2, D::Checksum, "stream")]
                }
            };
            for (at, kind, name) in changes {
                let mut packed = [&one[..], &one].concat();
                packed[len + at] ^= 0x10;
                let (damage, unit) = damage(wrapping, &packed);
                assert_eq!((damage, unit.name), (kind, name), "{wrapping}, byte {at}: {unit:?}");
                assert!(unit.start >= end(len) && unit.start <= end(len) + 12, "{unit:?}");
                let fault = StreamFault::Damaged { damage, unit };
                assert_eq!(fault.place(), Some(unit.found));
                let text = fault.to_string();
                let place =
                    format!("the {wrapping} {name} from byte {} to byte {}", unit.start, unit.end);
                assert!(text.starts_with(&place), "{text}");
            }
        }
    }

    /// Blocks of an .xz stream whose headers do not say how long they are, as `xz` itself makes them.
    #[test]
    fn damage_in_xz_is_that_of_its_block_and_chunk() {
        let plain = text(900_000);
        let mut encoder = lzma::Stream::new_easy_encoder(0, lzma::Check::Crc32).unwrap();
        let mut packed = Vec::with_capacity(2 << 20);
        let mut starts = Vec::new();
        for piece in plain.chunks(300_000) {
            starts.push(packed.len());
            let before = encoder.total_in();
            while count(encoder.total_in(), before) < piece.len() {
                let rest = &piece[count(encoder.total_in(), before)..];
                encoder.process_vec(rest, &mut packed, lzma::Action::Run).unwrap();
            }
            while encoder.process_vec(&[], &mut packed, lzma::Action::FullFlush).unwrap()
                != lzma::Status::StreamEnd
            {}
        }
        while encoder.process_vec(&[], &mut packed, lzma::Action::Finish).unwrap()
            != lzma::Status::StreamEnd
        {}
        assert_eq!(unpack(Wrapping::Xz, &packed, 1 << 20), Ok(plain));
        let second = starts[1].next_multiple_of(4);
        let third = starts[2].next_multiple_of(4);
        for at in [second + 1000, second + 70_000, third - 20] {
            let mut changed = packed.clone();
            changed[at] ^= 0x10;
            let (damage, unit) = damage(Wrapping::Xz, &changed);
            let place = u64::try_from(at).unwrap();
            let within = u64::try_from(second).unwrap()..=u64::try_from(third).unwrap();
            assert!(within.contains(&unit.start) && within.contains(&unit.end), "{unit:?}");
            assert!(unit.found <= place && place < unit.end, "{place}: {unit:?}");
            if damage == Damage::Code {
                assert!(unit.end - unit.found <= 66 << 10, "{unit:?}");
            }
        }
        let mut changed = packed.clone();
        changed[third - 1] ^= 1;
        let (damage, unit) = damage(Wrapping::Xz, &changed);
        assert_eq!((damage, unit.end), (Damage::Checksum, u64::try_from(third).unwrap()));
    }

    /// A frame of zstd with a window of 2 to that power and five stored bytes.
    fn frame(window_log: u8) -> Vec<u8> {
        [&[0x28, 0xb5, 0x2f, 0xfd, 0, (window_log - 10) << 3, 0x29, 0, 0][..], b"plain"].concat()
    }

    #[test]
    fn a_window_is_taken_up_to_the_limit_and_the_need_is_said() {
        let plain = b"plain".to_vec();
        let zstd = frame(27);
        let mut options = lzma::LzmaOptions::new_preset(0).unwrap();
        let mut filters = lzma::Filters::new();
        filters.lzma2(options.dict_size(6 << 20));
        let mut encoder = lzma::Stream::new_stream_encoder(&filters, lzma::Check::Crc32).unwrap();
        let mut xz = Vec::with_capacity(4096);
        encoder.process_vec(&plain, &mut xz, lzma::Action::Finish).unwrap();
        for (wrapping, packed, needed) in
            [(Wrapping::Zstd, zstd, 128 << 20), (Wrapping::Xz, xz, 6 << 20)]
        {
            let found = |limit| unpack_within(wrapping, &packed, 4096, limit);
            assert_eq!(found(needed), Ok(plain.clone()));
            let limit = needed / 2;
            assert_eq!(found(limit), Err(StreamFault::Window { wrapping, needed, limit }));
        }
        let larger = frame(28);
        assert!(unpack(Wrapping::Zstd, &larger, 4096).is_err());
        assert_eq!(unpack_within(Wrapping::Zstd, &larger, 4096, 256 << 20), Ok(plain));
        for wrapping in ALL {
            assert!(StreamDecoder::new(wrapping, MOST_WINDOW_LEN).is_ok());
            assert!(StreamDecoder::new(wrapping, MOST_WINDOW_LEN + 1).is_err());
        }
    }

    #[test]
    fn a_frame_that_needs_a_dictionary_names_it() {
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x22, 0x34, 0x12, 5, 0x21, 0, 0];
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9];
        let before = pack(Wrapping::Zstd, b"sound");
        for front in [&[][..], &skipped, &before] {
            for most in [1, 4096] {
                let found = unpack(Wrapping::Zstd, &[front, &frame].concat(), most);
                let expected = StreamFault::Dictionary { wrapping: Wrapping::Zstd, id: 0x1234 };
                assert_eq!(found, Err(expected));
            }
        }
    }

    /// Blocks of all three kinds, with and without a size and a checksum, and frames that are skipped between
    /// them.
    #[test]
    fn frames_of_any_make_are_read_a_block_at_a_time() {
        use zstd::zstd_safe::CParameter;
        let noise: Vec<u8> = (0_u32..300_000)
            .map(|n| n.wrapping_mul(n).wrapping_mul(0x9e37_79b9).to_be_bytes()[1])
            .collect();
        let plain = [&noise[..], &vec![7; 400_000], &text(500_000), &vec![0; 1 << 20]].concat();
        let mut all = Vec::new();
        for (size, checksum) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut context = zstd::zstd_safe::CCtx::create();
            context.set_parameter(CParameter::ContentSizeFlag(size)).unwrap();
            context.set_parameter(CParameter::ChecksumFlag(checksum)).unwrap();
            for plain in [&plain[..], &plain[..5], &[]] {
                let mut packed = vec![0; zstd::zstd_safe::compress_bound(plain.len())];
                let len = context.compress2(&mut packed[..], plain).unwrap();
                all.extend_from_slice(&packed[..len]);
                all.extend_from_slice(&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
                all.extend_from_slice(&[0x53, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
            }
        }
        let expected = [&plain[..], &plain[..5]].concat().repeat(4);
        for most in [1, 3, 5000, 1 << 22] {
            assert!(unpack(Wrapping::Zstd, &all, most).as_ref() == Ok(&expected), "{most}");
        }
    }
}
