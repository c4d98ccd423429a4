//! `serve nbd`: volumes as network block devices.

use std::io;
use std::io::Write;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::shared::output::Output;
use crate::cli::shared::output::complain;
use crate::cli::shared::output::lost;
use crate::cli::shared::output::print;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::many;
use crate::cli::shared::volumes::Reading;
use crate::error::Result;
use crate::ops::serve;
use crate::ops::serve::ListenOn;
use crate::ops::serve::Listening;
use crate::ops::serve::NbdRequest;
use crate::serve::nbd::Event;
use crate::units::format_size;
use crate::units::parse_size;

/// The port that IANA has assigned to NBD.
const NBD_PORT: u16 = 10809;

/// Serves a volume read-only as a network block device, for qemu, nbdcopy, nbdfuse and the kernel
///
/// Runs until it is interrupted or terminated, then exits with 0. Prints the NBD URI of each export once clients can
/// connect. A bundle of several volumes has an export for each device, such as sdf, and its root device is the default
/// export. Without --socket and --listen, a socket passed by the service manager is used, or else a Unix socket in a
/// new private folder. With --json each event is an object on a line of its own (JSON Lines).
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit serve nbd web.ami --socket /run/user/1000/web.sock\n  \
                        qemu-img info 'nbd+unix:///?socket=/run/user/1000/web.sock'\n  amikit serve \
                        nbd thin.ami --base old.ami --listen 127.0.0.1"
)]
pub(in crate::cli) struct Nbd {
    /// The image, BUNDLE or BUNDLE:DEVICE; - for standard input
    #[arg(value_name = "IMAGE")]
    image: PathBuf,

    /// Listen on a Unix socket of this name, for this user only
    #[arg(long, value_name = "PATH", conflicts_with = "listen")]
    socket: Option<PathBuf>,

    /// Listen on a TCP address; the port is 10809 unless named, or a free one if it is 0
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = parse_address)]
    listen: Option<SocketAddr>,

    /// Unpacked data to keep on disk in TMPDIR for each packed volume
    #[arg(long, default_value = "4GiB", value_parser = parse_size, value_name = "SIZE")]
    cache: u64,

    /// Most connections at a time; further clients wait
    #[arg(long, default_value_t = 128, value_parser = parse_connections)]
    connections: usize,

    #[command(flatten)]
    reading: Reading,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, NBD_PORT));
    }
    text.parse().map_err(|_| {
        "use an IP address such as 127.0.0.1 or [::1], with a port if needed: 127.0.0.1:10809"
            .to_owned()
    })
}

fn parse_connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=10_000) => Ok(count),
        _ => Err("use a number from 1 to 10000".to_owned()),
    }
}

impl Nbd {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let mut request = NbdRequest::new(self.reading.only(&self.image)?);
        request.listen = match (&self.socket, self.listen) {
            (Some(path), _) => ListenOn::Socket(path.clone()),
            (None, Some(address)) => ListenOn::Tcp(address),
            (None, None) => ListenOn::Private,
        };
        request.cache = self.cache;
        request.connections = self.connections;
        let hear = |event: Event<'_>| hear(output, &event);
        let served = serve::nbd(
            &request,
            follower,
            &mut |listening| {
                follower.end();
                output.notes(&listening.notes);
                if !listening.local {
                    let text = "anyone who can reach this address can read the volume: there is no \
                                encryption and no password";
                    output.notes(&[text.to_owned()]);
                }
                print(|out| announce(output, listening, out).map_err(lost))
            },
            &hear,
        )?;
        output.notes(&follower.farewell());
        print(|out| {
            if output.json {
                writeln!(out, "{}", json!({ "schema": "amikit.serve-nbd.v1", "sum": served }))
                    .map_err(lost)
            } else if served.failed_reads > 0 {
                let reads = many(served.failed_reads, "read");
                writeln!(out, "{reads} failed").map_err(lost)
            } else {
                Ok(())
            }
        })
        .map(|()| 0)
    }
}

/// Says where clients connect: at once, since scripts wait for it.
fn announce(output: Output, listening: &Listening, out: &mut dyn Write) -> io::Result<()> {
    if output.json {
        writeln!(out, "{}", json!({ "listening": listening }))?;
    } else {
        for export in &listening.exports {
            let size = format_size(export.size_bytes);
            writeln!(out, "{}  {size}, {}", export.uri, export.description)?;
        }
    }
    out.flush()
}

fn hear(output: Output, event: &Event<'_>) {
    if output.json {
        let line = match event {
            Event::Connected { peer, export } => {
                json!({ "connected": { "peer": peer, "export": export } })
            }
            Event::Disconnected { peer, reason } => {
                json!({ "disconnected": { "peer": peer, "reason": reason } })
            }
            Event::Failed { peer, export, error } => json!({ "failed": {
                "peer": peer, "export": export, "error": error.to_string(),
            }}),
        };
        // A log whose reader has gone stops nothing.
        let _ = print(|out| writeln!(out, "{line}").map_err(lost));
    } else if let Event::Failed { error, .. } = event {
        complain(&format!("error: {error}"));
    }
}
