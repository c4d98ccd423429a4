//! What refers to a manifest: by the registry's own list, and where it has none, by an index under a tag of the
//! manifest's digest.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;

use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::http::Call;
use crate::http::Method;
use crate::http::Url;
use crate::layout::Descriptor;
use crate::layout::oci;
use crate::registry::manifests::get_manifest;
use crate::registry::manifests::put_manifest;
use crate::registry::session::Registry;

/// Most bytes of a list, or of one page of it.
const MAX_LIST_LEN: u64 = 4 << 20;

/// Most pages of a list.
const MOST_PAGES: usize = 64;

/// How often an index under a tag is written again because another program changed it meanwhile.
const TRIES: u32 = 5;

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    manifests: Vec<Value>,
}

/// Returns the tag that stands for the list of a registry without one.
fn tag_of(digest: &Digest) -> String {
    format!("sha256-{digest}")
}

/// Lists what refers to a manifest and says that it is of a type, each once.
///
/// # Errors
///
/// `Corrupt` if the list is none, `Limit` if it is too long; `Io` if it cannot be fetched.
pub fn referrers(
    registry: &Registry<'_>,
    subject: &Digest,
    artifact_type: &str,
) -> Result<Vec<Descriptor>> {
    let listed = match listed(registry, subject, artifact_type)? {
        Some(listed) => listed,
        None => match get_manifest(registry, &tag_of(subject), MAX_LIST_LEN)? {
            Some(index) => parse(registry, &index.bytes)?,
            None => Vec::new(),
        },
    };
    let mut seen = BTreeSet::new();
    // A registry need not filter, and an index says of others too.
    let is_it = |it: &Descriptor| it.artifact_type.as_deref() == Some(artifact_type);
    Ok(listed.into_iter().filter(|it| is_it(it) && seen.insert(it.digest)).collect())
}

fn parse(registry: &Registry<'_>, bytes: &[u8]) -> Result<Vec<Descriptor>> {
    let list: List = serde_json::from_slice(bytes).map_err(|e| {
        Error::corrupt(format!("{}: the list of referrers: {e}", registry.origin()))
    })?;
    // What has another kind of digest is not one of ours.
    Ok(list.manifests.into_iter().filter_map(|it| serde_json::from_value(it).ok()).collect())
}

/// Asks the registry itself; `None` if it keeps no list.
fn listed(
    registry: &Registry<'_>,
    subject: &Digest,
    artifact_type: &str,
) -> Result<Option<Vec<Descriptor>>> {
    let mut request = registry.request(Method::Get, &format!("referrers/sha256:{subject}"))?;
    request.url = request.url.with_query("artifactType", artifact_type);
    request.headers.set("Accept", oci::INDEX_TYPE);
    let mut call = Call::new("list what refers to the manifest", request);
    let mut all = Vec::new();
    for page in 0..MOST_PAGES {
        let answer = registry.fetch(&call, MAX_LIST_LEN)?;
        let media_type = answer.headers.get("content-type").unwrap_or_default();
        match answer.status {
            200 if media_type.starts_with(oci::INDEX_TYPE) => {}
            // Registries of before the list do not know the address, or refuse it as such; and a page that greets
            // whatever is asked is not a list either.
            200 | 400 | 404 | 405 if page == 0 => return Ok(None),
            _ => return Err(registry.refusal(&call.what, &answer)),
        }
        all.extend(parse(registry, &answer.body)?);
        match next_page(&answer.url, answer.headers.all("link"))? {
            Some(next) => call.request.url = next,
            None => return Ok(Some(all)),
        }
    }
    let text = format!("{}: the list of referrers has over {MOST_PAGES} pages", registry.origin());
    Err(Error::new(Kind::Limit, text))
}

/// Reads `Link: <address>; rel="next"`.
fn next_page<'a>(from: &Url, links: impl Iterator<Item = &'a str>) -> Result<Option<Url>> {
    for link in links {
        let (address, rest) = link.trim().split_once('>').unwrap_or_default();
        let is_next = rest.contains("rel=\"next\"") || rest.contains("rel=next");
        if let Some(address) = address.strip_prefix('<').filter(|_| is_next) {
            let next = from.join(address)?;
            if next.origin() != from.origin() {
                let text = format!("{} continues its list at {}", from.origin(), next.origin());
                return Err(Error::corrupt(text));
            }
            return Ok(Some(next));
        }
    }
    Ok(None)
}

/// Puts a manifest that refers to `subject`, and sees to it that it is listed. `entry` is what the list says of it.
///
/// # Errors
///
/// `Io` if another program keeps changing the list; as [`put_manifest`].
pub fn add_referrer(
    registry: &Registry<'_>,
    subject: &Digest,
    entry: &Descriptor,
    manifest: &[u8],
) -> Result<()> {
    let target = format!("sha256:{}", entry.digest);
    if put_manifest(registry, &target, manifest, &entry.media_type)? {
        return Ok(());
    }
    let tag = tag_of(subject);
    for attempt in 1..=TRIES {
        let found = get_manifest(registry, &tag, MAX_LIST_LEN)?;
        let mut index = match &found {
            Some(found) => Tagged::parse(&found.bytes)
                .map_err(|e| Error::corrupt(format!("{}: {tag}: {e}", registry.origin())))?,
            None => Tagged::default(),
        };
        if index.has(&entry.digest) {
            return Ok(());
        }
        index.add(entry);
        put_manifest(registry, &tag, &index.to_bytes(), oci::INDEX_TYPE)?;
        // Two programs can replace each other's index, so the tag is read again after it was written.
        let after = get_manifest(registry, &tag, MAX_LIST_LEN)?;
        let after = after.and_then(|it| Tagged::parse(&it.bytes).ok());
        if after.is_some_and(|it| it.has(&entry.digest)) {
            return Ok(());
        }
        let call = format!("list the signature {target}");
        let reason = format!("{}: another program keeps changing {tag}", registry.origin());
        registry.client().back_off(attempt, &call, &reason)?;
    }
    let text = format!("{}: another program keeps changing {tag}", registry.origin());
    Err(Error::new(Kind::Io, text).advise("try again later"))
}

/// An index under a tag: what others wrote into it stays as it is.
#[derive(Default)]
struct Tagged {
    manifests: Vec<Value>,
    others: Map<String, Value>,
}

impl Tagged {
    /// Reads one. What has no list is something else, which is not to be written over.
    fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        let mut others: Map<String, Value> = serde_json::from_slice(bytes)?;
        let manifests = others.remove("manifests").unwrap_or_default();
        Ok(Self { manifests: serde_json::from_value(manifests)?, others })
    }

    fn has(&self, digest: &Digest) -> bool {
        let digest = format!("sha256:{digest}");
        self.manifests.iter().any(|it| it.get("digest").and_then(Value::as_str) == Some(&*digest))
    }

    fn add(&mut self, entry: &Descriptor) {
        self.manifests.push(serde_json::to_value(entry).expect("plain data always serialises"));
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut all = self.others.clone();
        all.insert("schemaVersion".to_owned(), 2.into());
        all.insert("mediaType".to_owned(), oci::INDEX_TYPE.into());
        all.insert("manifests".to_owned(), Value::Array(self.manifests.clone()));
        oci::to_bytes(&all)
    }
}
