//! The one public error: a small kind to branch on, the place, and the cause.
//!
//! Parsers know nothing of files: each returns its own small enum that implements [`Fault`]. The
//! caller, who knows where the bytes came from, adds the offset and the path.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;
use std::path::PathBuf;

/// Whose failure it is, and so what the caller can do about it.
///
/// The exit code of the program follows from the kind alone, and both are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The operating system refused; trying again may work.
    Io,
    /// The input breaks its own format; get a good copy.
    Corrupt,
    /// The input is sound but uses something that this version cannot read.
    Unsupported,
    /// The input is over a limit that guards memory or time.
    Limit,
    /// The bytes do not have the digest that they must have.
    Mismatch,
    /// The request makes no sense; change the request.
    Invalid,
    /// The user asked to stop.
    Interrupted,
}

impl Kind {
    /// Returns the kind's stable name, as `--json` output carries it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "unsupported",
            Self::Limit => "limit",
            Self::Mismatch => "mismatch",
            Self::Invalid => "invalid",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What is wrong inside one format, said before anyone knows the file or the offset.
pub trait Fault: StdError + Send + Sync + 'static {
    /// Tells whose failure it is.
    fn kind(&self) -> Kind;
}

/// Any failure of this crate. It is as small as a pointer, since what goes well should not pay for it.
#[derive(Debug)]
pub struct Error(Box<Parts>);

#[derive(Debug)]
struct Parts {
    kind: Kind,
    path: Option<PathBuf>,
    offset: Option<u64>,
    cause: Box<dyn StdError + Send + Sync>,
    advice: Option<Advice>,
    input: Option<String>,
    left: Option<String>,
}

/// What the user can do next: a fact, which the caller turns into a sentence.
///
/// The library does not know which options the program has, so no sentence here names one. The command
/// line renders each value in terms of the command at hand, and leaves out what that command cannot do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// Something outside amikit, as a sentence: free some space, close the machine that uses the image.
    Do(Cow<'static, str>),
    /// Allow opening the file that the image names, or name that file.
    NameBacking,
    /// Name the file that the image was made from; it will not be searched for.
    NameParent,
    /// Name the format of the input.
    NameFormat {
        /// The better way, where there is one; else empty.
        first: Cow<'static, str>,
        /// The format that it would be, where that is known.
        format: Option<&'static str>,
    },
    /// Name the format of the output.
    NameOutputFormat,
    /// Go on in spite of a guard.
    Force {
        /// The better way, where there is one; else empty.
        first: Cow<'static, str>,
    },
    /// Name what the bundle was packed against.
    NameBase,
    /// Name one of several members or devices after the path: `PATH:MEMBER`.
    NameMember {
        /// A path that would do.
        example: String,
    },
    /// Name one of several AMIs in a layout: `PATH@AMI`.
    NameAmi {
        /// A path that would do.
        example: String,
    },
    /// Finish, or undo, an in-place apply that was interrupted.
    FinishJournal {
        /// The journal.
        journal: PathBuf,
        /// The image that it belongs to.
        image: PathBuf,
    },
    /// Give a value that is missing, or another one than that which was given.
    Give {
        /// What has no value, or a wrong one.
        setting: Setting,
        /// A value that would do, or its shape; empty if none can be named.
        example: Cow<'static, str>,
    },
    /// Say that a rule is broken on purpose.
    AllowRule,
    /// Give a template of a recipe its value.
    FillTemplate {
        /// Name of the template.
        name: String,
    },
    /// Leave out something that the request has.
    Omit(Setting),
    /// Build the program with a feature that it can have.
    Build {
        /// The feature.
        feature: &'static str,
        /// What does without it; empty if nothing does.
        instead: &'static str,
    },
    /// Give a key of an AWS account.
    GiveKey {
        /// The profile whose key only AWS's own tools can get.
        profile: Option<String>,
    },
    /// Make a call of EC2's that amikit does not make.
    CallEc2 {
        /// What it does, as in `allow it`.
        to: &'static str,
        /// The call, as EC2 names it.
        call: &'static str,
        /// What follows it, as in `or do without it`; else empty.
        then: &'static str,
    },
    /// Put two names of the request each in the place of the other.
    Swap {
        /// The one, as it was typed.
        one: PathBuf,
        /// The other, as it was typed.
        other: PathBuf,
    },
    /// Use another verb.
    Use {
        /// Which one.
        verb: Verb,
        /// What it does for the user here, as in `make it whole`.
        to: Cow<'static, str>,
    },
}

/// Something that a request can have; the command line knows how it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Setting {
    /// A rule that is not applied.
    Allow,
    /// The processor architecture.
    Architecture,
    /// What a bundle is packed against.
    Base,
    /// The file that keeps a base's page index.
    BaseIndex,
    /// The manifest that a base must have.
    BaseManifest,
    /// The certificate of the signer.
    Certificate,
    /// The private key.
    Key,
    /// EC2's own certificate.
    Ec2Certificate,
    /// The date of the build, as today's.
    Date,
    /// The commit of the recipe's repository.
    Git,
    /// What is done about holes.
    Holes,
    /// That plain HTTP is spoken with another machine.
    InsecureEndpoint,
    /// The image of a device.
    Image,
    /// The id of an AMI.
    ImageId,
    /// A further volume of the AMI.
    Map,
    /// The output.
    Output,
    /// The region.
    Region,
    /// The id of a device's snapshot.
    Snapshot,
    /// A value of a template.
    Template,
    /// That the packs of the base are left out.
    Thin,
    /// How many threads work.
    Threads,
    /// How the hypervisor runs the machine.
    Virtualization,
    /// The account.
    User,
    /// The size of a compressed input's window.
    Window,
    /// The largest volume that is accepted.
    MaxSize,
    /// That an older version is accepted.
    Downgrade,
    /// What is done about zeros.
    Zeros,
}

/// A verb of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verb {
    /// Puts a bundle or a volume into a store.
    AddToStore,
    /// Makes a thin bundle whole.
    Complete,
    /// Writes an image in another format.
    Convert,
    /// Gets an AMI from an account.
    Fetch,
    /// Makes an empty store.
    InitStore,
    /// Lists the files of a volume.
    List,
    /// Names all rules.
    ListRules,
    /// Makes a bundle of an image.
    Pack,
    /// Gets an AMI from a registry.
    Pull,
    /// Sends an AMI to a registry.
    Push,
    /// Puts a bundle onto another base.
    Rebase,
    /// Vouches for a bundle.
    Sign,
    /// Makes an image of an instance-store bundle.
    Unbundle,
    /// Writes a volume of a bundle as an image.
    Unpack,
    /// Takes back what was published.
    Unpublish,
    /// Lists all damage of a bundle.
    Verify,
}

impl From<&'static str> for Advice {
    fn from(sentence: &'static str) -> Self {
        Self::Do(sentence.into())
    }
}

impl From<String> for Advice {
    fn from(sentence: String) -> Self {
        Self::Do(sentence.into())
    }
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    fn of(kind: Kind, cause: Box<dyn StdError + Send + Sync>) -> Self {
        let parts =
            Parts { kind, path: None, offset: None, cause, advice: None, input: None, left: None };
        Self(Box::new(parts))
    }

    /// Makes an error of `kind` out of a sentence: what it is, then what was expected.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self::of(kind, text.into().into())
    }

    /// Makes an [`Kind::Io`] error that names what was being done to which file.
    ///
    /// Whatever the system says is its own failure, also that a connection ended early: only who reads a
    /// file's own numbers can say that the file is damaged.
    #[must_use]
    pub fn io(doing: &'static str, path: &Path, error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::Interrupted => Kind::Interrupted,
            _ => Kind::Io,
        };
        let cause = Box::new(IoCause { doing, error });
        Self::of(kind, cause).in_file(path)
    }

    /// Makes the [`Kind::Io`] error of a name under which there is nothing, as the system says it of a file.
    pub(crate) fn nothing_at(path: &Path, expected: &str) -> Self {
        let text = format!("there is nothing of that name, expected {expected}");
        Self::new(Kind::Io, text).in_file(path)
    }

    /// Makes an [`Kind::Invalid`] error: the request itself cannot be met.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, text)
    }

    /// Makes a [`Kind::Corrupt`] error out of a sentence.
    pub fn corrupt(text: impl Into<String>) -> Self {
        Self::new(Kind::Corrupt, text)
    }

    /// Makes the error of a run that the user stopped. The code that holds the output adds what became of it:
    /// [`Error::leaving`].
    #[must_use]
    pub fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "stopped on request")
    }

    /// Returns the kind to branch on.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Returns the file that the failure is about, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// Returns the byte offset in that file, where one is known.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// Returns what the user can do next, where there is something.
    #[must_use]
    pub fn advice(&self) -> Option<&Advice> {
        self.0.advice.as_ref()
    }

    /// Returns which of the request's volumes the failure is about, where it has several: the name of
    /// an argument, as `old`, or a device.
    #[must_use]
    pub fn input(&self) -> Option<&str> {
        self.0.input.as_deref()
    }

    /// Adds the byte offset in the file where the bad field starts, unless one is known already.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        self.0.offset.get_or_insert(offset);
        self
    }

    /// Adds the file that the failure is about, unless one is known already.
    #[must_use]
    pub fn in_file(mut self, path: &Path) -> Self {
        self.0.path.get_or_insert_with(|| path.to_owned());
        self
    }

    /// Shows a file as it is known to the user, where it was reached by another path: `from`, or something in
    /// it, is shown as `to`.
    #[must_use]
    pub fn shown_as(mut self, from: &Path, to: &Path) -> Self {
        if let Some(inside) = self.0.path.as_deref().and_then(|path| path.strip_prefix(from).ok()) {
            let nothing = inside.as_os_str().is_empty();
            self.0.path = Some(if nothing { to.to_owned() } else { to.join(inside) });
        }
        self
    }

    /// Adds what became of the output, unless that is known already: a failure may leave it changed.
    #[must_use]
    pub fn leaving(mut self, output: impl Into<String>) -> Self {
        self.0.left.get_or_insert_with(|| output.into());
        self
    }

    /// Makes the same failure one of another kind, where a caller knows better whose it is.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<Advice>) -> Self {
        self.0.advice = Some(advice.into());
        self
    }

    /// Adds which of the request's volumes the failure is about, unless that is known already.
    #[must_use]
    pub fn of_input(mut self, name: &str) -> Self {
        self.0.input.get_or_insert_with(|| name.to_owned());
        self
    }
}

impl<F: Fault> From<F> for Error {
    fn from(fault: F) -> Self {
        Self::of(fault.kind(), Box::new(fault))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_without_advice(f)?;
        match &self.0.advice {
            Some(Advice::Do(sentence)) => write!(f, "; {sentence}"),
            _ => Ok(()),
        }
    }
}

/// Shows what is wrong and where, without what to do about it.
struct WithoutAdvice<'a>(&'a Error);

impl fmt::Display for WithoutAdvice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_without_advice(f)
    }
}

impl Error {
    /// Shows the error without its advice, for a caller that renders that itself.
    #[must_use]
    pub fn without_advice(&self) -> impl fmt::Display {
        WithoutAdvice(self)
    }

    fn fmt_without_advice(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.0.path {
            // A name with a newline or an escape must not forge a line of its own.
            write!(f, "{}: ", shown(path))?;
        }
        if let Some(offset) = self.0.offset {
            write!(f, "at byte {offset} ({offset:#x}): ")?;
        }
        write!(f, "{}", self.0.cause)?;
        match &self.0.left {
            Some(left) => write!(f, "; {left}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.source()
    }
}

/// Returns a path as it is shown in a sentence: on one line, whatever is in the name.
#[must_use]
pub fn shown(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}

/// A failed system call: what was being done, and what the system said.
#[derive(Debug)]
struct IoCause {
    doing: &'static str,
    error: io::Error,
}

impl fmt::Display for IoCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.error)
    }
}

impl StdError for IoCause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_the_place_before_the_cause() {
        let error =
            Error::corrupt("count is 7, expected 3").at(16).in_file(Path::new("a.snap")).at(99);
        assert_eq!(error.to_string(), "a.snap: at byte 16 (0x10): count is 7, expected 3");
    }

    #[test]
    fn what_became_of_the_output_stands_between_the_cause_and_the_advice() {
        let error = Error::interrupted().leaving("a.raw is unchanged").leaving("b");
        assert_eq!(
            error.advise("try again").to_string(),
            "stopped on request; a.raw is unchanged; try again"
        );
    }

    #[test]
    fn what_the_system_says_is_no_damage() {
        for kind in [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData] {
            assert_eq!(Error::io("read", Path::new("x"), kind.into()).kind(), Kind::Io);
        }
    }

    #[test]
    fn a_path_cannot_forge_a_line() {
        let error = Error::invalid("no").in_file(Path::new("a\nerror: fine"));
        assert_eq!(error.to_string(), "a\\nerror: fine: no");
    }
}
