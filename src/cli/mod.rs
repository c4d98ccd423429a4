//! The command line: parse, call one operation, render, exit code. Only here is anything printed.
//!
//! One file a command: its arguments, its request, what it prints. A new command is that file and a row
//! of the table below.

#![allow(
    clippy::doc_markdown,
    reason = "comments on arguments are the help, where backticks would show"
)]

mod advice;
mod shared;

use std::io;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::process::ExitCode;

use clap::CommandFactory;
use clap::FromArgMatches;
use clap::Parser;
use clap::Subcommand;
use clap::error::ErrorKind;

use crate::cli::advice::AtHand;
use crate::cli::shared::misplaced::explained;
use crate::cli::shared::output::Output;
use crate::cli::shared::output::check_standard_output;
use crate::cli::shared::output::complain;
use crate::cli::shared::output::lost;
use crate::cli::shared::progress::Follower;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::catch_bus_errors;
use crate::io::take_leftovers;

#[doc(hidden)]
pub use crate::cli::shared::output::look_at_standard_output;

/// Declares the commands, in the order of the help: a module and its arguments each.
macro_rules! commands {
    ($($module:ident::$name:ident,)*) => {
        $(mod $module;)*

        #[derive(Debug, Subcommand)]
        enum Command {
            $($name(Box<$module::$name>),)*
        }

        impl Command {
            fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
                match self {
                    $(Self::$name(command) => command.run(output, follower),)*
                }
            }
        }
    };
}

commands! {
    init::Init,
    build::Build,
    pack::Pack,
    unpack::Unpack,
    verify::Verify,
    sign::Sign,
    inspect::Inspect,
    map::Map,
    ls::Ls,
    cat::Cat,
    tar::Tar,
    packages::Packages,
    snapshot::Snapshot,
    convert::Convert,
    instance_store::InstanceStore,
    compare::Compare,
    diff::Diff,
    churn::Churn,
    report::Report,
    apply::Apply,
    complete::Complete,
    merge::Merge,
    rebase::Rebase,
    lint::Lint,
    register::Register,
    plan::Plan,
    publish::Publish,
    unpublish::Unpublish,
    fetch::Fetch,
    store::Store,
    push::Push,
    pull::Pull,
    serve::Serve,
    boot::Boot,
    export::Export,
    fleet::Fleet,
    join::Join,
    import::Import,
    schema::Schema,
    doctor::Doctor,
    bench::Bench,
    completions::Completions,
    man::Man,
}

/// Packs, compares, checks and ships Amazon Machine Images, offline
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Print one JSON document on standard output, and errors as JSON on standard error
    #[arg(long, global = true)]
    json: bool,

    /// Show no progress and no notes
    #[arg(long, short, global = true)]
    quiet: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    success
  1    the answer is no: damaged, different, or a rule is broken
  2    the request cannot be met as it is
  3    the system refused: no such file, no space, in use, changed while it was read
  4    an input breaks its own format
  5    an input uses something that this version cannot read
  6    an input is over a limit
  7    wrong digest or signature
  20+  boot: the guest did not come up; its help says which
  70   a bug in amikit; please report it
  128+n  stopped by signal n; the message says what became of the output";

/// Exit code of a failure of amikit itself.
const INTERNAL: u8 = 70;

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let program = Cli::command();
    let typed = program.clone().try_get_matches();
    let parsed = typed.and_then(|it| Ok((Cli::from_arg_matches(&it)?, AtHand::of(&program, &it))));
    let (cli, at_hand) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            return ExitCode::from(u8::try_from(usage(&error)).unwrap_or(INTERNAL));
        }
    };
    let code = catch_unwind(AssertUnwindSafe(|| run(&cli, &at_hand))).unwrap_or_else(|_| {
        complain("this is a bug in amikit; please report the lines above");
        INTERNAL
    });
    ExitCode::from(code)
}

/// What people begin with: the answer to `amikit` alone.
const BEGINNING: &str = "\
Packs, compares, checks and ships Amazon Machine Images, offline

Commands to begin with:
  amikit inspect root.qcow2            what an image is, and what is inside
  amikit lint root.qcow2               what would not boot, and what must not be shared
  amikit pack root.qcow2 -o web.ami    makes a bundle of an image: an AMI on disk
  amikit verify web.ami                checks every byte of it
  amikit diff web.ami next.ami         what changed between two; --files: in which files
  amikit unpack web.ami -o root.raw    makes an image of a bundle

`amikit help` lists all commands; `amikit doctor` shows what this machine offers.
";

/// Prints what clap has to say, which may be the help, and returns the exit code.
fn usage(error: &clap::Error) -> i32 {
    let json = std::env::args_os().any(|arg| arg == "--json");
    if is_nothing(error) {
        if json {
            let output = Output { json, quiet: false, program: Cli::command };
            output.error(&Error::invalid("no command is given"), Some("`amikit help` lists them"));
        } else {
            // As what clap prints: where standard error is closed, the exit code says it.
            let _ = write!(io::stderr().lock(), "{BEGINNING}");
        }
        return error.exit_code();
    }
    if json && error.use_stderr() {
        let (error_of_use, advice) = usage_error(&error.render().to_string());
        Output { json, quiet: false, program: Cli::command }
            .error(&error_of_use, advice.as_deref());
        return error.exit_code();
    }
    if !error.use_stderr()
        && let Err(error) = check_standard_output()
    {
        complain(&format!("error: {error}"));
        return exit_code(Kind::Io);
    }
    match error.print() {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("error: {}", lost(e)));
            exit_code(Kind::Io)
        }
        _ => error.exit_code(),
    }
}

/// Tells whether no command was typed at all: that of a group, as of `store`, is another matter.
fn is_nothing(error: &clap::Error) -> bool {
    // The first is of no argument at all, the second of options alone.
    let kinds = [ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, ErrorKind::MissingSubcommand];
    kinds.contains(&error.kind())
        && std::env::args_os().skip(1).all(|arg| arg.as_encoded_bytes().starts_with(b"-"))
}

/// Makes an error of what clap prints: its first paragraph says what is wrong, the others what to do.
fn usage_error(rendered: &str) -> (Error, Option<String>) {
    let line = |paragraph: &str| paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut paragraphs = rendered.split("\n\n").map(line).filter(|it| !it.is_empty());
    let message = paragraphs.next().unwrap_or_default();
    let error = Error::invalid(message.strip_prefix("error: ").unwrap_or(&message));
    let advice: Vec<_> = paragraphs.map(|it| it.trim_end_matches('.').to_owned()).collect();
    (error, (!advice.is_empty()).then(|| advice.join("; ")))
}

/// Returns the exit code of a kind of failure.
fn exit_code(kind: Kind) -> i32 {
    match kind {
        Kind::Invalid => 2,
        Kind::Io => 3,
        Kind::Corrupt => 4,
        Kind::Unsupported => 5,
        Kind::Limit => 6,
        Kind::Mismatch => 7,
        _ => i32::from(INTERNAL),
    }
}

fn run(cli: &Cli, at_hand: &AtHand) -> u8 {
    let follower = match Follower::new(cli.quiet, cli.json) {
        Ok(follower) => follower,
        Err(error) => {
            complain(&format!("cannot handle signals: {error}"));
            return INTERNAL;
        }
    };
    let output = Output { json: cli.json, quiet: cli.quiet, program: Cli::command };
    let done = check_standard_output()
        .and_then(|()| catch_bus_errors())
        .and_then(|()| cli.command.run(output, &follower));
    follower.end();
    output.leftovers(&take_leftovers());
    match done {
        Ok(code) => code,
        Err(error) if error.kind() == Kind::Interrupted => {
            output.error(&error, at_hand.sentence(&error).as_deref());
            // The shell's way to say which signal it was; a write cut short by none is a failure.
            128_u8.saturating_add(follower.signal())
        }
        Err(error) => {
            let error = explained(error, at_hand);
            output.error(&error, at_hand.sentence(&error).as_deref());
            u8::try_from(exit_code(error.kind())).unwrap_or(INTERNAL)
        }
    }
}
