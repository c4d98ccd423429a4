//! The command line: parse, call one operation, render, exit code. Only here is anything printed.

mod advice;
mod ami_args;
mod amis;
mod args;
mod delta_args;
mod deltas;
mod instance_store;
mod progress;
mod render;
mod render_ami;
mod shared_args;

use std::io;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format::sidecar;
use crate::instance_store::InstanceBundle;
use crate::io::catch_bus_errors;
use crate::ops;
use crate::work::Watch;
use anstream::AutoStream;
use clap::CommandFactory;
use clap::FromArgMatches;
use serde::Serialize;

use self::advice::AtHand;
use self::args::Cli;
use self::args::Command;
use self::args::Made;
use self::progress::Follower;
use self::shared_args::Zeros;

/// Exit code of a run that was done and whose answer is no.
const NO: u8 = 1;

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
        complain("amikit itself failed; please report the lines above");
        INTERNAL
    });
    ExitCode::from(code)
}

/// Prints what clap has to say, which may be the help, and returns the exit code.
fn usage(error: &clap::Error) -> i32 {
    let json = std::env::args_os().any(|arg| arg == "--json");
    if json && error.use_stderr() {
        let (error_of_use, advice) = usage_error(&error.render().to_string());
        Output { json, quiet: false }.error(&error_of_use, advice);
        return error.exit_code();
    }
    match error.print() {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("error: {}", lost(e)));
            exit_code(Kind::Io)
        }
        _ => error.exit_code(),
    }
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

/// Prints a line on standard error, if there is one to print on.
fn complain(line: &str) {
    let _ = writeln!(AutoStream::auto(io::stderr().lock()), "amikit: {line}");
}

fn run(cli: &Cli, at_hand: &AtHand) -> u8 {
    let follower = match Follower::new(cli.quiet) {
        Ok(follower) => follower,
        Err(error) => {
            complain(&format!("cannot handle signals: {error}"));
            return INTERNAL;
        }
    };
    let output = Output { json: cli.json, quiet: cli.quiet };
    let done = catch_bus_errors().and_then(|()| command(&cli.command, output, &follower));
    follower.end();
    match done {
        Ok(code) => code,
        Err(error) if error.kind() == Kind::Interrupted => {
            output.error(&error, at_hand.sentence(&error));
            // The shell's way to say which signal it was; a write cut short by none is a failure.
            128_u8.saturating_add(follower.signal())
        }
        Err(error) => {
            output.error(&error, at_hand.sentence(&error));
            u8::try_from(exit_code(error.kind())).unwrap_or(INTERNAL)
        }
    }
}

/// How results are printed.
#[derive(Clone, Copy, Debug)]
struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    /// Prints a report as JSON, or as text by `text`.
    fn report<T: Serialize>(
        self,
        report: &T,
        text: impl FnOnce(&T, &mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        print(|out| {
            let written = if self.json {
                serde_json::to_writer_pretty(&mut *out, report)
                    .map_err(io::Error::from)
                    .and_then(|()| writeln!(out))
            } else {
                text(report, out)
            };
            written.map_err(lost)
        })
    }

    fn notes(self, notes: &[String]) {
        if !self.json && !self.quiet {
            for note in notes {
                complain(&format!("note: {note}"));
            }
        }
    }

    /// Prints an error, and what to do about it.
    fn error(self, error: &Error, advice: Option<String>) {
        let text = match &advice {
            Some(advice) => format!("{}; {advice}", error.without_advice()),
            None => error.to_string(),
        };
        if self.json {
            let document = serde_json::json!({ "error": {
                "kind": error.kind().name(),
                "message": text,
                "path": error.path().map(|path| path.display().to_string()),
                "offset_bytes": error.offset(),
                "advice": advice,
            }});
            let _ = writeln!(io::stderr().lock(), "{document}");
        } else {
            complain(&format!("error: {text}"));
        }
    }
}

/// Calls `print` with standard output. A reader that went away is no failure; a full disk is.
fn print(print: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = io::BufWriter::new(Stdout { lost: false });
    print(&mut out)?;
    out.flush().map_err(lost)
}

/// Says that standard output takes no more.
fn lost(error: io::Error) -> Error {
    Error::io("write to", Path::new("standard output"), error)
}

/// Standard output; once its reader has gone, writes go nowhere in silence.
struct Stdout {
    lost: bool,
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.lost {
            return Ok(bytes.len());
        }
        match io::stdout().lock().write(bytes) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.lost = true;
                Ok(bytes.len())
            }
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match io::stdout().lock().flush() {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

fn command(command: &Command, output: Output, follower: &Follower) -> Result<u8> {
    match command {
        Command::Init(args) => amis::init(args, output),
        Command::Build(args) => amis::build(args, output, follower),
        Command::Lint(args) => amis::lint(args, output, follower),
        Command::Register(args) => amis::register(args, output, follower),
        Command::Plan(args) => amis::plan(args, output, follower),
        Command::Import(args) => amis::import(args, output),
        Command::Schema(_) => amis::schema(),
        Command::Pack(args) => pack(args, output, follower),
        Command::Unpack(args) => {
            let request = ops::UnpackRequest {
                bundle: args.bundle.clone(),
                device: args.device.clone(),
                output: args.output.clone(),
                format: shared_args::format_of(args.format, &args.output),
                base: args.base.as_deref().map(ops::ImageRequest::of),
                level: args.level,
                threads: args.threads.count(),
            };
            let report = ops::unpack(&request, follower)?;
            follower.end();
            output.notes(&report.notes);
            output.report(&report, render::unpack).map(|()| 0)
        }
        Command::Verify(args) => verify(args, output, follower),
        Command::Inspect(args) => {
            let read = args.read.then(|| args.threads.count());
            let report = ops::inspect(&args.image.request(), read, follower)?;
            follower.end();
            output.report(&report, render::inspect).map(|()| 0)
        }
        Command::Map(args) => map(args, output, follower),
        Command::Snapshot(args) => snapshot(args, output, follower),
        Command::Convert(args) => convert(args, output, follower),
        Command::InstanceStore(args) => instance_store::run(args, output, follower),
        Command::Compare(args) => {
            let [left, right] = args.requests()?;
            let request = ops::CompareRequest {
                left,
                right,
                states: args.states,
                threads: args.threads.count(),
            };
            let report = ops::compare(&request, follower)?;
            follower.end();
            output.report(&report, render::compare)?;
            Ok(if report.equal { 0 } else { NO })
        }
        Command::Diff(args) => deltas::diff(args, output, follower),
        Command::Apply(args) => deltas::apply(args, output, follower),
        Command::Complete(args) => deltas::complete(args, output, follower),
        Command::Merge(args) => deltas::merge(args, output, follower),
        Command::Rebase(args) => deltas::rebase(args, output, follower),
        Command::Bench(args) => {
            let request = ops::BenchRequest {
                image: args.image.clone(),
                size_bytes: args.size,
                rounds: args.rounds,
                level: args.level,
                threads: args.threads.count(),
            };
            let report = ops::bench(&request, follower)?;
            output.report(&report, render::bench).map(|()| 0)
        }
        Command::Completions(args) => {
            // Into memory first: the generator panics where it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "amikit", &mut script);
            print(|out| out.write_all(&script).map_err(lost)).map(|()| 0)
        }
        Command::Man(args) => man(&args.folder, output),
    }
}

fn convert(args: &args::Convert, output: Output, follower: &Follower) -> Result<u8> {
    let from_instance_store =
        args.input_format.is_none() && args.path.is_file() && InstanceBundle::is_at(&args.path);
    let zeros_as_holes = args.zeros == Zeros::Hole;
    let format = match args.made()? {
        Made::Image(format) if !from_instance_store => format,
        Made::Bundle if !from_instance_store => {
            let text = "--format bundle is for an instance-store bundle, and IN is none";
            return Err(Error::invalid(text).advise("amikit pack makes a bundle of an image"));
        }
        _ if zeros_as_holes => {
            let text = "--zeros hole is for images, expected neither bundle nor instance-store";
            return Err(Error::invalid(text).advise("amikit pack takes --zeros too"));
        }
        _ => return instance_store::convert(args, output, follower),
    };
    warn_of_states(zeros_as_holes, output);
    let request = ops::ConvertRequest {
        image: args.request(),
        output: args.output.clone(),
        format,
        level: args.level,
        zeros_as_holes,
        threads: args.threads.count(),
    };
    let report = ops::convert(&request, follower)?;
    follower.end();
    output.notes(&report.notes);
    output.report(&report, render::convert).map(|()| 0)
}

fn pack(args: &args::Pack, output: Output, follower: &Follower) -> Result<u8> {
    let ami = amis::description(args)?;
    let device = ami.root_device_name.clone();
    let root = ops::VolumeRequest { device, image: args.image.request() };
    let others = args.map.iter().map(|(device, path)| ops::VolumeRequest {
        device: device.clone(),
        image: ops::ImageRequest { force: args.image.force, ..ops::ImageRequest::of(path) },
    });
    let request = ops::PackRequest {
        volumes: std::iter::once(root).chain(others).collect(),
        output: args.output.clone(),
        ami,
        allow: args.allow.clone(),
        level: args.level,
        pack_size: args.closing_size,
        threads: args.threads.count(),
        states: args.states.states(),
        base: args.base.as_deref().map(|path| ops::BaseRequest {
            image: ops::ImageRequest { force: args.image.force, ..ops::ImageRequest::of(path) },
            manifest: args.base_manifest.clone(),
            index: args.base_index.clone(),
            thin: args.thin,
        }),
    };
    warn_of_states(args.states.states().zeros_as_holes, output);
    let report = ops::pack(&request, follower)?;
    follower.end();
    for volume in &report.volumes {
        output.notes(&volume.snapshot.notes);
    }
    output.report(&report, render::pack).map(|()| 0)
}

/// Takes the AMI's name from the bundle's: `web` for `web.ami` and for `web.ami.tar`.
fn default_name(output: &Path) -> Result<String> {
    let name = output.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = name.strip_suffix(".tar").unwrap_or(name);
    let name = name.strip_suffix(".ami").unwrap_or(name);
    crate::ami::check_name(name).map_err(|fault| {
        Error::from(fault).advise("the name comes from the bundle's; give another with --name")
    })?;
    Ok(name.to_owned())
}

fn warn_of_states(zeros_as_holes: bool, output: Output) {
    if zeros_as_holes {
        output.notes(&[
            "--zeros hole leaves out zeros that somebody wrote; on an encrypted volume \
                        those blocks read as garbage"
                .to_owned(),
        ]);
    }
}

fn snapshot(args: &args::Snapshot, output: Output, follower: &Follower) -> Result<u8> {
    let request = ops::SnapshotRequest {
        image: args.image.request(),
        output: args.output.clone(),
        threads: args.threads.count(),
        states: args.states.states(),
    };
    warn_of_states(args.states.states().zeros_as_holes, output);
    let report = ops::snapshot(&request, follower)?;
    follower.end();
    output.notes(&report.notes);
    output.report(&report, |report, out| render::snapshot(&args.output, report, out)).map(|()| 0)
}

fn verify(args: &args::Verify, output: Output, follower: &Follower) -> Result<u8> {
    let against = args.against.iter().map(|(device, path)| ops::Against {
        device: device.clone(),
        image: ops::ImageRequest { force: args.force, ..ops::ImageRequest::of(path) },
    });
    let request = ops::VerifyRequest {
        bundle: args.bundle.clone(),
        quick: args.quick,
        base: args
            .base
            .as_deref()
            .map(|path| ops::ImageRequest { force: args.force, ..ops::ImageRequest::of(path) }),
        against: against.collect(),
        threads: args.threads.count(),
    };
    let report = ops::verify(&request, follower)?;
    follower.end();
    output.report(&report, |report, out| render::verify(&args.bundle, report, out))?;
    Ok(if report.sound { 0 } else { NO })
}

fn map(args: &args::Map, output: Output, follower: &Follower) -> Result<u8> {
    let image = ops::open_image(&args.image.request(), follower)?;
    follower.end();
    output.notes(&image.notes);
    print(|out| {
        if args.bmap {
            follower.begin(Some(crate::volume::ReadVolume::size(&image.volume)));
            sidecar::write_bmap(&image.volume, out, follower, args.threads.count())
        } else if output.json {
            sidecar::write_qemu_map(&image.volume, out)
        } else {
            render::map(&image.volume, out)
        }
    })
    .map(|()| 0)
}

fn man(folder: &Path, output: Output) -> Result<u8> {
    let fail = |e| Error::io("write the manual pages into", folder, e);
    // Generating for a folder names the pages, and the commands in them, as `amikit-pack`.
    clap_mangen::generate_to(Cli::command(), folder).map_err(fail)?;
    let mut names = vec![folder.join("amikit.1").display().to_string()];
    let mut left: Vec<_> =
        Cli::command().get_subcommands().map(|it| ("amikit".to_owned(), it.clone())).collect();
    left.reverse();
    while let Some((above, command)) = left.pop() {
        let name = format!("{above}-{}", command.get_name());
        names.push(folder.join(format!("{name}.1")).display().to_string());
        let below: Vec<_> = command.get_subcommands().cloned().collect();
        left.extend(below.into_iter().rev().map(|it| (name.clone(), it)));
    }
    output
        .report(&names, |names, out| names.iter().try_for_each(|it| writeln!(out, "{it}")))
        .map(|()| 0)
}
