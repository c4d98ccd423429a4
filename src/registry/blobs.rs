//! Blobs: whether they are there, sending them, fetching them.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::digest::Digest;
use crate::digest::Sha256;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::http::Body;
use crate::http::Call;
use crate::http::Headers;
use crate::http::Method;
use crate::http::Phase;
use crate::http::Request;
use crate::http::Response;
use crate::http::Url;
use crate::http::Verdict;
use crate::http::answered;
use crate::io::ReadAt;
use crate::io::WriteAt;
use crate::registry::session::MAX_REFUSAL_LEN;
use crate::registry::session::Registry;

/// How often a blob is begun.
const TRIES: u32 = 6;

/// Length of a piece where the registry takes no whole blob.
const CHUNK_LEN: u64 = 32 << 20;

/// Shortest piece that is tried where even pieces are too long.
const LEAST_CHUNK_LEN: u64 = 1 << 20;

/// Bytes that are read at once.
const PIECE_LEN: usize = 256 << 10;

/// What was done about a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    WasThere,
    /// It was in another repository of the registry.
    Mounted,
    /// It was sent.
    Sent,
}

/// A blob that is to be sent.
#[derive(Clone, Copy)]
pub struct Upload<'a> {
    /// Its digest.
    pub digest: Digest,
    /// Its length.
    pub size: u64,
    /// Its bytes.
    pub source: &'a dyn ReadAt,
    /// Length of pieces; whole where none is given and the registry takes that.
    pub chunk: Option<u64>,
    /// Repositories of the registry that may have it.
    pub mount_from: &'a [String],
    /// Hears of bytes that are sent, or need not be.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

impl std::fmt::Debug for Upload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// How an attempt to send a blob ended.
enum Attempt {
    Done,
    /// The registry wants less at once.
    TooLong,
    /// It has to be begun again.
    Lost {
        why: String,
        while_sending: bool,
    },
}

/// Tells whether the repository has a blob.
///
/// # Errors
///
/// `Mismatch` if it has it with another length; as sending.
pub fn has(registry: &Registry<'_>, digest: &Digest, size: u64) -> Result<bool> {
    let request = registry.request(Method::Head, &format!("blobs/sha256:{digest}"))?;
    let call = Call::new(format!("look for the blob sha256:{digest}"), request);
    let response = registry.follow(&call)?;
    match response.status {
        200 => match response.headers.number("content-length") {
            Some(found) if found != size => {
                let text = format!(
                    "says that the blob sha256:{digest} has {found} bytes, expected {size}"
                );
                Err(registry.lies(&text))
            }
            _ => Ok(true),
        },
        404 => Ok(false),
        _ => Err(registry.refused(&call.what, response)),
    }
}

/// Brings a blob to the repository, unless it is there.
///
/// # Errors
///
/// `Mismatch` if the registry says that it has another digest; `Io` if it cannot be sent; as [`has`].
pub fn upload(registry: &Registry<'_>, blob: &Upload<'_>) -> Result<Pushed> {
    if has(registry, &blob.digest, blob.size)? {
        (blob.progress)(blob.size);
        return Ok(Pushed::WasThere);
    }
    let mut session = None;
    for from in blob.mount_from {
        match mount(registry, blob, from)? {
            Mount::Done => {
                (blob.progress)(blob.size);
                return Ok(Pushed::Mounted);
            }
            Mount::Upload(begun) => session = Some(begun),
            Mount::Refused => {}
        }
    }
    let (mut chunk, mut lost_while_sending) = (blob.chunk, 0_u32);
    let heard = Heard { all: AtomicU64::new(0), to: blob.progress };
    let mut attempt = 1;
    loop {
        let begun = match session.take() {
            Some(begun) => begun,
            None => begin(registry, blob)?,
        };
        let done = match chunk {
            Some(len) => send_pieces(registry, blob, begun, len, &heard)?,
            None => send_whole(registry, blob, begun, &heard)?,
        };
        match done {
            Attempt::Done => return Ok(Pushed::Sent),
            Attempt::TooLong => {
                let shorter = chunk.map_or(CHUNK_LEN, |len| len.strict_div(2));
                if shorter < LEAST_CHUNK_LEN {
                    let text = format!(
                        "cannot send the blob sha256:{}: {} does not even take {} bytes at once",
                        blob.digest,
                        registry.origin(),
                        chunk.unwrap_or(CHUNK_LEN)
                    );
                    return Err(Error::new(Kind::Limit, text));
                }
                chunk = Some(shorter);
            }
            Attempt::Lost { why, .. } if attempt >= TRIES => {
                let text = format!(
                    "cannot send the blob sha256:{}: {}: {why}; {attempt} times",
                    blob.digest,
                    registry.origin()
                );
                return Err(Error::new(Kind::Io, text).advise(
                    "run it again: what is there already is not sent again; shorter pieces may pass",
                ));
            }
            Attempt::Lost { why, while_sending } => {
                // What stands between may cut what is long.
                lost_while_sending = lost_while_sending.strict_add(u32::from(while_sending));
                if lost_while_sending >= 2 && chunk.is_none() && blob.size > CHUNK_LEN {
                    chunk = Some(CHUNK_LEN);
                }
                let call = format!("send the blob sha256:{}", blob.digest);
                let reason = format!("{}: {why}", registry.origin());
                registry.client().back_off(attempt, &call, &reason)?;
                attempt = attempt.strict_add(1);
                // The answer may be all that was lost.
                if has(registry, &blob.digest, blob.size)? {
                    heard.up_to(blob.size);
                    return Ok(Pushed::Sent);
                }
            }
        }
    }
}

/// Finds a blob that cannot be sent: in the repository, or in others of the registry. `None` if none has it.
///
/// # Errors
///
/// As [`has`].
pub fn had(registry: &Registry<'_>, blob: &Upload<'_>) -> Result<Option<Pushed>> {
    let mut found = has(registry, &blob.digest, blob.size)?.then_some(Pushed::WasThere);
    for from in blob.mount_from {
        if found.is_none() && matches!(mount(registry, blob, from)?, Mount::Done) {
            found = Some(Pushed::Mounted);
        }
    }
    if found.is_some() {
        (blob.progress)(blob.size);
    }
    Ok(found)
}

/// An upload that was begun: where its bytes go, and the shortest piece.
struct Begun {
    location: Url,
    least_chunk: u64,
}

enum Mount {
    Done,
    Upload(Begun),
    Refused,
}

/// Counts bytes once, however often they are sent.
struct Heard<'a> {
    all: AtomicU64,
    to: &'a (dyn Fn(u64) + Sync),
}

impl Heard<'_> {
    fn up_to(&self, end: u64) {
        let before = self.all.fetch_max(end, Ordering::Relaxed);
        if let Some(more @ 1..) = end.checked_sub(before) {
            (self.to)(more);
        }
    }
}

fn begun(response: &Response) -> Result<Begun> {
    let from = &response.url;
    let location = response.headers.get("location").ok_or_else(|| {
        Error::corrupt(format!("{} begins an upload without saying where it goes", from.origin()))
    })?;
    let location = from
        .join(location)
        .map_err(|e| Error::corrupt(format!("{}: Location: {e}", from.origin())))?;
    if from.is_secure() && !location.is_secure() {
        let text = format!("{} sends the upload to {}", from.origin(), location.origin());
        return Err(Error::invalid(format!("{text}, without TLS")));
    }
    Ok(Begun {
        location,
        least_chunk: response.headers.number("oci-chunk-min-length").unwrap_or(0),
    })
}

fn begin(registry: &Registry<'_>, blob: &Upload<'_>) -> Result<Begun> {
    let request = registry.request(Method::Post, "blobs/uploads/")?;
    let call = Call::new(format!("send the blob sha256:{}", blob.digest), request);
    let response = registry.send(&call)?;
    match response.status {
        202 => begun(&response),
        _ => Err(registry.refused(&call.what, response)),
    }
}

fn mount(registry: &Registry<'_>, blob: &Upload<'_>, from: &str) -> Result<Mount> {
    let mut request = registry.request(Method::Post, "blobs/uploads/")?;
    request.url = request
        .url
        .with_query("mount", &format!("sha256:{}", blob.digest))
        .with_query("from", from);
    let call = Call::new(format!("mount the blob sha256:{}", blob.digest), request);
    let response = registry.send(&call)?;
    Ok(match response.status {
        201 => Mount::Done,
        202 => Mount::Upload(begun(&response)?),
        // It may not be there, or be nothing for us.
        400..=405 => Mount::Refused,
        _ => return Err(registry.refused(&call.what, response)),
    })
}

/// Makes a part of an upload, which is sent once: what becomes of a second time, nobody knows.
fn part<'a>(
    blob: &Upload<'a>,
    method: Method,
    url: Url,
    range: std::ops::Range<u64>,
    progress: &'a (dyn Fn(u64) + Sync),
) -> Call<'a> {
    let mut request = Request::new(method, url);
    request.headers.set("Content-Type", "application/octet-stream");
    if !range.is_empty() {
        request.body = Body::Part { of: blob.source, range };
    }
    let mut call = Call::new(format!("send the blob sha256:{}", blob.digest), request);
    call.progress = Some(progress);
    call.judge = &|_| Verdict::Take;
    call
}

fn send_whole(
    registry: &Registry<'_>,
    blob: &Upload<'_>,
    begun: Begun,
    heard: &Heard<'_>,
) -> Result<Attempt> {
    let sent = AtomicU64::new(0);
    // After a new token it is sent once more.
    let progress = |bytes| {
        let sent = sent.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        heard.up_to(sent.min(blob.size));
    };
    let url = begun.location.with_query("digest", &format!("sha256:{}", blob.digest));
    let call = part(blob, Method::Put, url, 0..blob.size, &progress);
    let response = match registry.once(&call)? {
        Ok(response) => response,
        Err(cut) => {
            let while_sending = cut.phase == Phase::Send;
            return Ok(Attempt::Lost { why: cut.to_string(), while_sending });
        }
    };
    finished(registry, blob, &call.what, response)
}

/// Judges the answer to the end of an upload.
fn finished(
    registry: &Registry<'_>,
    blob: &Upload<'_>,
    what: &str,
    response: Response,
) -> Result<Attempt> {
    match response.status {
        201 | 204 => {
            check_said(registry, &response.headers, &blob.digest)?;
            Ok(Attempt::Done)
        }
        413 => Ok(Attempt::TooLong),
        // The upload is gone, or the registry is not well.
        404 | 408 | 416 | 429 | 500 | 502 | 503 | 504 => {
            Ok(Attempt::Lost { why: why(response), while_sending: false })
        }
        _ => Err(registry.refused(what, response)),
    }
}

/// Returns what the registry says of an upload that it has lost.
fn why(response: Response) -> String {
    let (status, headers) = (response.status, response.headers.clone());
    // What cannot be read explains nothing.
    let body = response.bytes(MAX_REFUSAL_LEN).unwrap_or_default();
    format!("it {}", answered(status, &headers, &body))
}

/// Fails if the registry says that it got something else.
pub(super) fn check_said(
    registry: &Registry<'_>,
    headers: &Headers,
    digest: &Digest,
) -> Result<()> {
    match headers.get("docker-content-digest") {
        Some(said) if said.starts_with("sha256:") && said != format!("sha256:{digest}") => {
            Err(registry.lies(&format!("says that it has {said:?}, expected sha256:{digest}")))
        }
        _ => Ok(()),
    }
}

fn send_pieces(
    registry: &Registry<'_>,
    blob: &Upload<'_>,
    begun: Begun,
    len: u64,
    heard: &Heard<'_>,
) -> Result<Attempt> {
    let len = len.max(begun.least_chunk).max(1);
    let mut location = begun.location;
    let mut at = 0;
    while at < blob.size {
        let end = at.saturating_add(len).min(blob.size);
        let sent = AtomicU64::new(at);
        let progress = |bytes| {
            let sent = sent.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
            heard.up_to(sent.min(end));
        };
        let mut call = part(blob, Method::Patch, location.clone(), at..end, &progress);
        // Both ends are of the piece.
        call.request.headers.set("Content-Range", format!("{at}-{}", end.strict_sub(1)));
        let response = match registry.once(&call)? {
            Ok(response) => response,
            Err(cut) => return Ok(Attempt::Lost { why: cut.to_string(), while_sending: false }),
        };
        match response.status {
            202 => {}
            413 => return Ok(Attempt::TooLong),
            404 | 408 | 416 | 429 | 500 | 502 | 503 | 504 => {
                return Ok(Attempt::Lost { why: why(response), while_sending: false });
            }
            _ => return Err(registry.refused(&call.what, response)),
        }
        let has = response.headers.get("range").and_then(end_of_range);
        if has.is_some_and(|has| has != end) {
            let why = format!("it has {} bytes of it, expected {end}", has.unwrap_or(0));
            return Ok(Attempt::Lost { why, while_sending: false });
        }
        location = self::begun(&response)?.location;
        at = end;
    }
    let url = location.with_query("digest", &format!("sha256:{}", blob.digest));
    let call = part(blob, Method::Put, url, 0..0, blob.progress);
    match registry.once(&call)? {
        Ok(response) => finished(registry, blob, &call.what, response),
        Err(cut) => Ok(Attempt::Lost { why: cut.to_string(), while_sending: false }),
    }
}

/// Returns how many bytes `0-LAST`, with or without `bytes=`, are. Of nothing some registries say `0-0`, others `0--1`.
fn end_of_range(range: &str) -> Option<u64> {
    let range = range.trim().trim_start_matches("bytes=");
    let last = range.strip_prefix("0-")?.parse::<i64>().ok()?;
    u64::try_from(last.checked_add(1)?).ok()
}

/// Fetches a blob and proves that it is the one. What was written before a failure is worth nothing.
///
/// # Errors
///
/// `Mismatch` if the registry sends something else, or more or less than it must; `Invalid` if it does not have the
/// blob; `Io` if it cannot be fetched.
pub fn download(
    registry: &Registry<'_>,
    digest: &Digest,
    size: u64,
    to: &dyn WriteAt,
    progress: &dyn Fn(u64),
) -> Result<()> {
    let mut sum = Sha256::new();
    let (mut done, mut attempt) = (0, 1);
    let call = format!("fetch the blob sha256:{digest}");
    let reason = |error: &Error| {
        let text = error.to_string();
        let reason = text.strip_prefix(&format!("cannot {call}: ")).map(str::to_owned);
        reason.unwrap_or(text)
    };
    loop {
        let before = done;
        let why = match fetch_rest(registry, digest, size, (&mut done, &mut sum), to, progress) {
            Ok(()) if done == size => break,
            Ok(()) => {
                format!("{}: the blob ends after {done} of {size} bytes", registry.origin())
            }
            // All of it is there, and only the end of the answer is not: the digest decides.
            Err(error) if error.kind() == Kind::Io && error.path().is_none() && done == size => {
                break;
            }
            Err(error) if error.kind() == Kind::Io && error.path().is_none() => reason(&error),
            Err(error) => return Err(error),
        };
        // A connection that breaks now and then is no reason to give up.
        if done > before {
            attempt = 1;
        }
        if attempt >= TRIES {
            let text = format!("cannot {call}: {why}; {attempt} times");
            return Err(Error::new(Kind::Io, text));
        }
        registry.client().back_off(attempt, &call, &why)?;
        attempt = attempt.strict_add(1);
    }
    let found = sum.finish();
    if found == *digest {
        return Ok(());
    }
    Err(registry.lies(&format!("sends a blob whose SHA-256 is {found}, expected {digest}")))
}

/// Fetches a blob into memory and proves that it is the one.
///
/// # Errors
///
/// As [`download`].
pub fn download_small(registry: &Registry<'_>, digest: &Digest, size: u64) -> Result<Vec<u8>> {
    let memory = Memory::default();
    download(registry, digest, size, &memory, &|_| ())?;
    Ok(memory.0.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Bytes that come in order.
#[derive(Default)]
struct Memory(Mutex<Vec<u8>>);

impl WriteAt for Memory {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What is fetched again from the beginning replaces what was there.
        all.truncate(usize::try_from(offset).unwrap_or(usize::MAX));
        all.extend_from_slice(bytes);
        Ok(())
    }

    fn make_hole_at(&self, len: u64, offset: u64) -> Result<()> {
        self.write_zeros_at(len, offset)
    }

    fn set_size(&self, _size: u64) -> Result<()> {
        Ok(())
    }
}

/// Fetches what is not there yet of a blob, as far as that comes.
fn fetch_rest(
    registry: &Registry<'_>,
    digest: &Digest,
    size: u64,
    (done, sum): (&mut u64, &mut Sha256),
    to: &dyn WriteAt,
    progress: &dyn Fn(u64),
) -> Result<()> {
    let mut request = registry.request(Method::Get, &format!("blobs/sha256:{digest}"))?;
    if *done > 0 {
        request.headers.set("Range", format!("bytes={done}-"));
    }
    let call = Call::new(format!("fetch the blob sha256:{digest}"), request);
    let mut response = registry.follow(&call)?;
    // What is sent again is passed over, and never written to the wrong place.
    let mut skip = match response.status {
        200 => *done,
        206 if *done > 0 => {
            let range = response.headers.get("content-range").unwrap_or_default().to_owned();
            if !range.starts_with(&format!("bytes {done}-")) {
                let text = format!("sends the range {range:?} of a blob, expected bytes {done}-");
                return Err(registry.lies(&text));
            }
            0
        }
        404 => {
            let text = format!("{} does not have the blob sha256:{digest}", registry.origin());
            return Err(Error::invalid(text));
        }
        _ => return Err(registry.refused(&call.what, response)),
    };
    let expected = size.strict_sub(*done).strict_add(skip);
    if let Some(announced) = response.announced_len().filter(|it| *it != expected) {
        let text =
            format!("announces {announced} bytes of the blob sha256:{digest}, expected {expected}");
        return Err(registry.lies(&text));
    }
    let mut piece = vec![0; PIECE_LEN];
    loop {
        let len = response.read(&mut piece)?;
        if len == 0 {
            return Ok(());
        }
        let passed = usize::try_from(skip).unwrap_or(usize::MAX).min(len);
        skip = skip.strict_sub(u64::try_from(passed).expect("at most a piece"));
        let bytes = &piece[passed..len];
        let more = u64::try_from(bytes.len()).expect("at most a piece");
        if more > size.strict_sub(*done) {
            let text = format!("sends more than {size} bytes of the blob sha256:{digest}");
            return Err(registry.lies(&text));
        }
        to.write_all_at(bytes, *done)?;
        sum.update(bytes);
        *done = done.strict_add(more);
        progress(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_says_how_much_there_is() {
        for (range, bytes) in [
            ("0-1023", Some(1024)),
            ("bytes=0-0", Some(1)),
            ("0--1", Some(0)),
            ("1-7", None),
            ("0-", None),
            ("0-9223372036854775807", None),
            ("", None),
        ] {
            assert_eq!(end_of_range(range), bytes, "{range}");
        }
    }
}
