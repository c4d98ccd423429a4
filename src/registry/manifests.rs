//! Manifests, by digest or tag.

use crate::digest::Digest;
use crate::digest::sha256;
use crate::error::Error;
use crate::error::Result;
use crate::http::Body;
use crate::http::Call;
use crate::http::Headers;
use crate::http::Method;
use crate::layout::oci;
use crate::registry::blobs::check_said;
use crate::registry::session::Registry;

/// Manifests of docker's, and whatever else there may be.
const FOREIGN_TYPES: &str = "application/vnd.docker.distribution.manifest.v2+json, \
                             application/vnd.docker.distribution.manifest.list.v2+json, */*";

/// A document of a registry, with its digest proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What the registry says it is.
    pub media_type: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Returns what is asked for where any manifest of OCI will do.
fn accepted() -> String {
    format!("{}, {}", oci::MANIFEST_TYPE, oci::INDEX_TYPE)
}

/// Fetches the manifest of a tag, or of a digest with `sha256:` in front; `None` if there is none.
///
/// # Errors
///
/// `Mismatch` if it has another digest; `Limit` if it has more than `limit` bytes; `Io` if it cannot be fetched.
pub fn get_manifest(registry: &Registry<'_>, target: &str, limit: u64) -> Result<Option<Document>> {
    get(registry, target, &accepted(), limit)
}

/// As [`get_manifest`], and takes manifests of other programs as they are: some registries convert those that the
/// client does not know.
///
/// # Errors
///
/// As [`get_manifest`].
pub fn get_any_manifest(
    registry: &Registry<'_>,
    target: &str,
    limit: u64,
) -> Result<Option<Document>> {
    get(registry, target, &format!("{}, {FOREIGN_TYPES}", accepted()), limit)
}

fn get(
    registry: &Registry<'_>,
    target: &str,
    accepted: &str,
    limit: u64,
) -> Result<Option<Document>> {
    let mut request = registry.request(Method::Get, &format!("manifests/{target}"))?;
    request.headers.set("Accept", accepted);
    let call = Call::new(format!("fetch the manifest {target}"), request);
    let answer = registry.fetch(&call, limit)?;
    match answer.status {
        200 => {}
        404 => return Ok(None),
        _ => return Err(registry.refusal(&call.what, &answer)),
    }
    if let Some(coding) = unasked(&answer.headers) {
        let text = format!("sends the manifest {target} as {coding:?}, which was not asked for");
        return Err(registry.lies(&text));
    }
    let digest = sha256(&answer.body);
    let wanted = target.strip_prefix("sha256:").and_then(Digest::from_hex);
    if let Some(wanted) = wanted.filter(|it| *it != digest) {
        let text = format!("sends a manifest whose SHA-256 is {digest}, expected {wanted}");
        return Err(registry.lies(&text));
    }
    check_said(registry, &answer.headers, &digest)?;
    let media_type = answer.headers.get("content-type").unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
    Ok(Some(Document { media_type, digest, bytes: answer.body }))
}

/// Returns the coding of a body that is not sent as it is.
pub(super) fn unasked(headers: &Headers) -> Option<&str> {
    headers.get("content-encoding").filter(|it| !it.is_empty() && *it != "identity")
}

/// Tells whether a manifest is there.
///
/// # Errors
///
/// As [`get_manifest`].
pub fn head_manifest(registry: &Registry<'_>, target: &str) -> Result<bool> {
    let mut request = registry.request(Method::Head, &format!("manifests/{target}"))?;
    request.headers.set("Accept", accepted());
    let call = Call::new(format!("look for the manifest {target}"), request);
    let response = registry.send(&call)?;
    match response.status {
        200 => Ok(true),
        404 => Ok(false),
        _ => Err(registry.refused(&call.what, response)),
    }
}

/// Puts a manifest under a tag or its digest. Returns whether the registry keeps it as a referrer by itself.
///
/// # Errors
///
/// `Mismatch` if the registry says that it got another one; `Invalid` if it does not take it; `Io` if it cannot be
/// sent.
pub fn put_manifest(
    registry: &Registry<'_>,
    target: &str,
    bytes: &[u8],
    media_type: &str,
) -> Result<bool> {
    let mut request = registry.request(Method::Put, &format!("manifests/{target}"))?;
    request.headers.set("Content-Type", media_type);
    request.body = Body::Bytes(bytes.into());
    let call = Call::new(format!("put the manifest {target}"), request);
    let response = registry.send(&call)?;
    if !matches!(response.status, 200..=202) {
        let error: Error = registry.refused(&call.what, response);
        return Err(error);
    }
    check_said(registry, &response.headers, &sha256(bytes))?;
    Ok(response.headers.get("oci-subject").is_some())
}
