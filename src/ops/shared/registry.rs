//! A registry that a verb talks to: who we are there, and how it is spoken to.

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::http::Client;
use crate::io::Node;
use crate::ops::shared::network::NetworkOptions;
use crate::ops::shared::recipe::read_small;
use crate::registry::Access;
use crate::registry::Credentials;
use crate::registry::Reference;
use crate::registry::Registry;
use crate::registry::find_credentials;
use crate::work::Watch;

/// Most bytes of a file of credentials.
const MAX_CONFIG_LEN: u64 = 1 << 20;

/// What a helper says of a registry that it does not know.
const NOT_FOUND: &[u8] = b"credentials not found";

/// Opens a session with the registry of a reference.
///
/// # Errors
///
/// `Corrupt` if a file of credentials is not one; `Io` if it cannot be read, or nobody answers.
pub(in crate::ops) fn session<'a>(
    client: &'a Client<'a>,
    reference: &Reference,
    (access, mount_from): (Access, &[String]),
    network: &NetworkOptions,
    watch: &dyn Watch,
) -> Result<Registry<'a>> {
    let credentials = credentials(reference, watch)?;
    let base = Registry::base_of(client, reference, network.insecure)?;
    Ok(Registry::new(client, base, &reference.path, access, mount_from, credentials))
}

/// What has a file of docker's itself, as docker's own program reads it.
const CONFIG_VARIABLE: &str = "DOCKER_AUTH_CONFIG";

/// What names the only file.
const FILE_VARIABLE: &str = "REGISTRY_AUTH_FILE";

/// Looks in the environment and in the files of docker and podman: the first one that has something for the registry counts.
fn credentials(reference: &Reference, watch: &dyn Watch) -> Result<Option<Credentials>> {
    let variable = |name| std::env::var_os(name).filter(|it| !it.is_empty());
    // Who names a file means that one alone.
    let config = variable(CONFIG_VARIABLE).filter(|_| variable(FILE_VARIABLE).is_none());
    if let Some(config) = config {
        let found = find_credentials(config.as_encoded_bytes(), reference, &ask_helper);
        let found = found.map_err(|error| error.in_file(Path::new(CONFIG_VARIABLE)));
        if let Some(found) = found? {
            return Ok(Some(found));
        }
    }
    for file in files() {
        if Node::at(&file)?.is_none() {
            continue;
        }
        let config = read_small(&file, MAX_CONFIG_LEN, watch)?;
        let found = find_credentials(&config, reference, &ask_helper);
        if let Some(found) = found.map_err(|error| error.in_file(&file))? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Returns where credentials may be, podman's places first.
fn files() -> Vec<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    if let Some(file) = folder(FILE_VARIABLE) {
        return vec![file];
    }
    let in_home = |name: &str| folder("HOME").map(|it| it.join(name));
    // Where nobody has logged in, as in a container, there is no folder of a session.
    let run = || PathBuf::from(format!("/run/containers/{}", rustix::process::getuid().as_raw()));
    let podman = folder("XDG_RUNTIME_DIR").map_or_else(run, |it| it.join("containers"));
    let kept = folder("XDG_CONFIG_HOME").or_else(|| in_home(".config"));
    let docker = folder("DOCKER_CONFIG").or_else(|| in_home(".docker"));
    let files = [
        Some(podman.join("auth.json")),
        kept.map(|it| it.join("containers/auth.json")),
        docker.map(|it| it.join("config.json")),
    ];
    files.into_iter().flatten().collect()
}

/// Asks `docker-credential-NAME`, which docker's and podman's files name.
fn ask_helper(name: &str, server: &str) -> Result<Option<Vec<u8>>> {
    let program = format!("docker-credential-{name}");
    let fail = |error: std::io::Error| {
        Error::new(Kind::Io, format!("{program}, which has the password for {server}: {error}"))
            .in_file(Path::new(&program))
            .advise("install the helper, or remove it from the credentials file")
    };
    #[expect(clippy::disallowed_methods, reason = "the user's own configuration names it")]
    let mut helper = Command::new(&program);
    let helper = helper.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = helper.stderr(Stdio::null()).spawn().map_err(fail)?;
    let mut input = child.stdin.take().expect("it is piped");
    // A helper that does not want to know says why when it ends.
    let _ = input.write_all(server.as_bytes());
    drop(input);
    let done = child.wait_with_output().map_err(fail)?;
    if done.status.success() {
        return Ok(Some(done.stdout));
    }
    if done.stdout.starts_with(NOT_FOUND) {
        return Ok(None);
    }
    let text = format!("{program} has no password for {server}: {}", done.status);
    Err(Error::new(Kind::Io, text).advise("log in again, with the tool that it belongs to"))
}
