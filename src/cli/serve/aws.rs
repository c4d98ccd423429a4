//! `serve aws`: a local EBS direct and EC2 over a store.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use crate::cli::shared::options::Threads;
use crate::cli::shared::output::Output;
use crate::cli::shared::output::complain;
use crate::cli::shared::output::lost;
use crate::cli::shared::output::print;
use crate::cli::shared::progress::Follower;
use crate::error::Result;
use crate::ops::serve;
use crate::ops::serve::AwsListening;
use crate::ops::serve::AwsRequest;
use crate::serve::aws::Event;
use crate::units::parse_size;

/// Port where none is named.
const PORT: u16 = 4580;

/// Serves a store as EBS direct and as EC2's image calls, for coldsnap, boto3 and the AWS CLI
///
/// Runs until it is interrupted or terminated, then exits with 0. Prints the endpoint once clients can connect. Snapshots
/// that clients complete become snapshots of the store, and images that they register become AMIs of it. An access key
/// id of twelve digits is an account; every other key is of --account. Signatures are verified with --keys only. With
/// --json each event is an object on a line of its own (JSON Lines).
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit serve aws images\n  AWS_ENDPOINT_URL=http://127.0.0.1:4580 aws ec2 describe-images --owners self"
)]
pub(in crate::cli) struct Aws {
    /// The store
    #[arg(value_name = "STORE")]
    store: PathBuf,

    /// Listen on this address; the port is 4580 unless named, or a free one if it is 0
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = parse_address, default_value = "127.0.0.1")]
    listen: SocketAddr,

    /// A name by which clients reach it, beside localhost and the address
    #[arg(long, value_name = "NAME")]
    host: Option<String>,

    /// Account of everyone who is in no other, and of what is in the store already
    #[arg(long, default_value = "123456789012")]
    account: String,

    /// Region of what is in the store already; a request's own region is the one that it is signed for
    #[arg(long, default_value = "us-east-1")]
    region: String,

    /// Verify signatures with these keys: a key id, a secret and, if need be, an account on each line; of mode 0600
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,

    /// Fail on purpose, as this file says; docs/formats/serve-aws.md has its form
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,

    /// Largest volume that clients may make
    #[arg(long, default_value = "1TiB", value_parser = parse_size, value_name = "SIZE")]
    max_size: u64,

    /// Most connections at a time; further clients wait
    #[arg(long, default_value_t = 256, value_parser = parse_connections)]
    connections: usize,

    #[command(flatten)]
    threads: Threads,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, PORT));
    }
    text.parse().map_err(|_| {
        "use an IP address such as 127.0.0.1 or [::1], with a port if needed: 127.0.0.1:4580"
            .to_owned()
    })
}

fn parse_connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=10_000) => Ok(count),
        _ => Err("use a number from 1 to 10000".to_owned()),
    }
}

impl Aws {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let request = AwsRequest {
            host: self.host.clone(),
            account: self.account.clone(),
            region: self.region.clone(),
            keys: self.keys.clone(),
            faults: self.faults.clone(),
            max_size: self.max_size,
            connections: self.connections,
            threads: self.threads.count(),
            ..AwsRequest::new(&self.store, self.listen)
        };
        let said = Mutex::new(None);
        let hear = |event: Event<'_>| hear(output, &said, &event);
        let served = serve::aws(
            &request,
            follower,
            &mut |listening| {
                follower.end();
                announce(output, listening)
            },
            &hear,
        )?;
        output.notes(&follower.farewell());
        if output.json {
            print(|out| {
                writeln!(out, "{}", json!({ "schema": "amikit.serve-aws.v1", "sum": served }))
                    .map_err(lost)
            })?;
        }
        Ok(0)
    }
}

/// Says where clients connect: at once, since scripts wait for it.
fn announce(output: Output, listening: &AwsListening) -> Result<()> {
    if !listening.local {
        let text = "anyone who can reach this address can read and change the store: there is no encryption";
        output.notes(&[text.to_owned()]);
    }
    print(|out| {
        let line = if output.json {
            json!({ "listening": listening }).to_string()
        } else {
            listening.url.clone()
        };
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(lost)
    })
}

/// Time between two lines about calls that failed: a disk that is full fails every one.
const BETWEEN_FAILURES: Duration = Duration::from_secs(5);

fn hear(output: Output, said: &Mutex<Option<Instant>>, event: &Event<'_>) {
    let line = match event {
        Event::Called { peer, call, status, milliseconds } => json!({ "called": {
            "peer": peer, "call": call, "status": status, "milliseconds": milliseconds,
        }}),
        Event::Failed { call, error } => json!({ "failed": { "call": call, "error": error } }),
        Event::Finished { snapshot, error } => {
            json!({ "finished": { "snapshot": snapshot, "error": error } })
        }
    };
    if output.json {
        // A log whose reader has gone stops nothing.
        let _ = print(|out| writeln!(out, "{line}").map_err(lost));
    } else if let Event::Finished { snapshot, error: Some(error) } = event
        && !output.quiet
    {
        complain(&format!("note: {snapshot} is in error: {error}"));
    } else if let Event::Failed { call, error } = event {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|it| it.elapsed() >= BETWEEN_FAILURES) {
            complain(&format!("error: {call} failed: {error}"));
            *said = Some(Instant::now());
        }
    }
}
