//! The handshake: a peer chooses an export and what the server may send.

use std::io;
use std::io::Read;
use std::io::Write;
use std::time::Instant;

use crate::field;
use crate::serve::nbd::export::Export;
use crate::serve::nbd::layout;
use crate::serve::nbd::layout::CONTEXTS;
use crate::serve::nbd::layout::Context;
use crate::serve::nbd::layout::info;
use crate::serve::nbd::layout::opt;
use crate::serve::nbd::layout::rep;

/// Most bytes of an option's data that are kept: a name of 4,096 bytes, and queries.
const MAX_OPTION_LEN: u32 = 8 << 10;

/// Most bytes that are read past, so that the peer can be told that they are too many.
const MAX_SKIPPED_LEN: u32 = 1 << 20;

/// Most options of a handshake.
const MAX_OPTIONS: usize = 1024;

/// Most exports that are named to a peer which asked for another one.
const SHOWN_EXPORTS: usize = 8;

/// Most bytes of a name that are said back.
const SHOWN_NAME_LEN: usize = 80;

/// What a handshake ended with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen<'a> {
    pub(super) export: &'a Export,
    pub(super) structured: bool,
    pub(super) contexts: [bool; CONTEXTS.len()],
}

/// Haggles with a peer until it has chosen an export, gives up (`None`), or `until` has passed.
pub(super) fn shake<'a>(
    stream: &mut (impl Read + Write),
    exports: &'a [Export],
    until: Instant,
) -> io::Result<Option<Chosen<'a>>> {
    let mut hello = Vec::new();
    hello.extend(layout::NBDMAGIC);
    hello.extend(layout::IHAVEOPT);
    let flags = layout::FLAG_FIXED_NEWSTYLE | layout::FLAG_NO_ZEROES;
    hello.extend(flags.to_be_bytes());
    stream.write_all(&hello)?;
    let mut theirs = [0; 4];
    stream.read_exact(&mut theirs)?;
    let theirs = u32::from_be_bytes(theirs);
    if theirs & !u32::from(flags) != 0 || theirs & u32::from(layout::FLAG_FIXED_NEWSTYLE) == 0 {
        return Err(garbage("client flags that this server did not offer"));
    }
    let mut haggle = Haggle {
        stream,
        exports,
        no_zeroes: theirs & u32::from(layout::FLAG_NO_ZEROES) != 0,
        structured: false,
        contexts: None,
    };
    for _ in 0..MAX_OPTIONS {
        if Instant::now() > until {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"));
        }
        match haggle.option()? {
            Step::More => {}
            Step::Done(chosen) => return Ok(chosen),
        }
    }
    Err(garbage("too many options"))
}

enum Step<'a> {
    More,
    Done(Option<Chosen<'a>>),
}

struct Haggle<'a, 's, S> {
    stream: &'s mut S,
    exports: &'a [Export],
    no_zeroes: bool,
    structured: bool,
    /// The export whose contexts were chosen, and which.
    contexts: Option<(&'a Export, [bool; CONTEXTS.len()])>,
}

fn garbage(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<'a, S: Read + Write> Haggle<'a, '_, S> {
    fn option(&mut self) -> io::Result<Step<'a>> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head)?;
        if head[..8] != *layout::IHAVEOPT {
            return Err(garbage("an option without its magic number"));
        }
        let (option, len) = (field::u32_be(&head, 8), field::u32_be(&head, 12));
        if len > MAX_OPTION_LEN {
            if len > MAX_SKIPPED_LEN || option == opt::EXPORT_NAME {
                return Err(garbage("an option that is too long"));
            }
            io::copy(&mut (&mut *self.stream).take(u64::from(len)), &mut io::sink())?;
            return self.reply(option, rep::ERR_TOO_BIG, b"over 8192 bytes");
        }
        let mut data = vec![0; usize::try_from(len).expect("at most 8 KiB")];
        self.stream.read_exact(&mut data)?;
        match option {
            opt::EXPORT_NAME => self.export_name(&data),
            opt::ABORT => {
                self.reply(option, rep::ACK, b"")?;
                Ok(Step::Done(None))
            }
            opt::LIST => self.list(&data),
            opt::INFO | opt::GO => self.info(option, &data),
            opt::STRUCTURED_REPLY if data.is_empty() => {
                self.structured = true;
                self.reply(option, rep::ACK, b"")
            }
            opt::STRUCTURED_REPLY => self.reply(option, rep::ERR_INVALID, b"it takes no data"),
            opt::LIST_META_CONTEXT | opt::SET_META_CONTEXT => self.meta_context(option, &data),
            _ => self.reply(option, rep::ERR_UNSUP, b""),
        }
    }

    fn reply(&mut self, option: u32, reply: u32, data: &[u8]) -> io::Result<Step<'a>> {
        self.stream.write_all(&layout::option_reply(option, reply, data))?;
        Ok(Step::More)
    }

    fn find(&self, name: &[u8]) -> Option<&'a Export> {
        self.exports.iter().find(|export| export.name.as_bytes() == name)
    }

    /// Says which export a peer asked for, and which ones there are.
    fn unknown(&self, name: &[u8]) -> String {
        let quoted = |name: &[u8]| format!("{:?}", String::from_utf8_lossy(name));
        let names = self.exports.iter().take(SHOWN_EXPORTS);
        let mut names: Vec<String> = names.map(|it| quoted(it.name.as_bytes())).collect();
        let rest = self.exports.len().saturating_sub(SHOWN_EXPORTS);
        if rest > 0 {
            names.push(format!("{rest} more"));
        }
        let asked = quoted(&name[..name.len().min(SHOWN_NAME_LEN)]);
        format!("there is no export {asked}; this server has {}", names.join(", "))
    }

    fn chosen(&self, export: &'a Export) -> Chosen<'a> {
        let contexts = match self.contexts {
            // Contexts are of the export that they were chosen for.
            Some((of, contexts)) if std::ptr::eq(of, export) => contexts,
            _ => [false; CONTEXTS.len()],
        };
        Chosen { export, structured: self.structured, contexts }
    }

    fn export_name(&mut self, name: &[u8]) -> io::Result<Step<'a>> {
        let Some(export) = self.find(name) else {
            return Err(garbage(&self.unknown(name)));
        };
        let mut answer = export.volume.size().to_be_bytes().to_vec();
        answer.extend(layout::TRANSMISSION_FLAGS.to_be_bytes());
        if !self.no_zeroes {
            answer.extend([0; 124]);
        }
        self.stream.write_all(&answer)?;
        Ok(Step::Done(Some(self.chosen(export))))
    }

    fn list(&mut self, data: &[u8]) -> io::Result<Step<'a>> {
        if !data.is_empty() {
            return self.reply(opt::LIST, rep::ERR_INVALID, b"it takes no data");
        }
        for export in self.exports {
            self.reply(opt::LIST, rep::SERVER, &counted(export.name.as_bytes()))?;
        }
        self.reply(opt::LIST, rep::ACK, b"")
    }

    fn info(&mut self, option: u32, data: &[u8]) -> io::Result<Step<'a>> {
        let parsed = split_counted(data).and_then(|(name, rest)| {
            let (count, rest) = rest.split_first_chunk::<2>()?;
            let wanted: Vec<u16> = rest.chunks_exact(2).map(|it| field::u16_be(it, 0)).collect();
            let count = usize::from(u16::from_be_bytes(*count));
            (rest.len() == count.strict_mul(2)).then_some((name, wanted))
        });
        let Some((name, wanted)) = parsed else {
            return self.reply(option, rep::ERR_INVALID, b"its lengths do not add up");
        };
        let Some(export) = self.find(name) else {
            return self.reply(option, rep::ERR_UNKNOWN, self.unknown(name).as_bytes());
        };
        let mut about = info::EXPORT.to_be_bytes().to_vec();
        about.extend(export.volume.size().to_be_bytes());
        about.extend(layout::TRANSMISSION_FLAGS.to_be_bytes());
        self.reply(option, rep::INFO, &about)?;
        let mut sizes = info::BLOCK_SIZE.to_be_bytes().to_vec();
        sizes.extend(layout::BLOCK_SIZES.iter().flat_map(|size| size.to_be_bytes()));
        self.reply(option, rep::INFO, &sizes)?;
        for (kind, text) in
            [(info::NAME, export.name.as_str()), (info::DESCRIPTION, &export.description)]
        {
            if wanted.contains(&kind) {
                let mut about = kind.to_be_bytes().to_vec();
                about.extend(text.as_bytes());
                self.reply(option, rep::INFO, &about)?;
            }
        }
        self.reply(option, rep::ACK, b"")?;
        Ok(if option == opt::GO { Step::Done(Some(self.chosen(export))) } else { Step::More })
    }

    fn meta_context(&mut self, option: u32, data: &[u8]) -> io::Result<Step<'a>> {
        let setting = option == opt::SET_META_CONTEXT;
        if setting {
            // Whatever comes of it, what was chosen before is gone.
            self.contexts = None;
        }
        if setting && !self.structured {
            let text = b"contexts need structured replies";
            return self.reply(option, rep::ERR_INVALID, text);
        }
        let Some((name, queries)) = split_queries(data) else {
            return self.reply(option, rep::ERR_INVALID, b"its lengths do not add up");
        };
        let Some(export) = self.find(name) else {
            return self.reply(option, rep::ERR_UNKNOWN, self.unknown(name).as_bytes());
        };
        let asked = |context: Context| {
            queries.iter().any(|query| context.answers(query, !setting))
                || !setting && queries.is_empty()
        };
        let chosen = CONTEXTS.map(asked);
        for context in CONTEXTS.into_iter().filter(|context| asked(*context)) {
            // In a list no id is in force yet.
            let id = if setting { context.id() } else { 0 };
            let mut about = id.to_be_bytes().to_vec();
            about.extend(context.name().as_bytes());
            self.reply(option, rep::META_CONTEXT, &about)?;
        }
        if setting {
            self.contexts = Some((export, chosen));
        }
        self.reply(option, rep::ACK, b"")
    }
}

/// Makes a string with its length in front.
fn counted(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).expect("names are short");
    [&len.to_be_bytes(), bytes].concat()
}

/// Splits off a string with its length in front.
fn split_counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)
}

/// Splits the name of an export from the queries about it.
fn split_queries(data: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let (name, rest) = split_counted(data)?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let mut queries = Vec::new();
    // Each query takes four bytes at least, so that a count that lies ends with the data.
    for _ in 0..u32::from_be_bytes(*count) {
        let (query, behind) = split_counted(rest)?;
        queries.push(query);
        rest = behind;
    }
    rest.is_empty().then_some((name, queries))
}
