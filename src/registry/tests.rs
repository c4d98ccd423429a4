//! Sessions with a registry in memory, which can be made to lie and to fail.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::io;
use std::io::Read;
use std::sync::Arc;
use std::sync::Mutex;

use crate::digest::Digest;
use crate::digest::sha256;
use crate::error::Error;
use crate::error::Kind;
use crate::http::Client;
use crate::http::Cut;
use crate::http::Headers;
use crate::http::Method;
use crate::http::Options;
use crate::http::Phase;
use crate::http::Reply;
use crate::http::Url;
use crate::http::fake::FakeWire;
use crate::http::fake::FakeWorld;
use crate::http::fake::Seen;
use crate::http::fake::broken;
use crate::http::fake::endless;
use crate::http::fake::reply;
use crate::layout::Descriptor;
use crate::layout::oci;
use crate::registry::Access;
use crate::registry::Credentials;
use crate::registry::Pushed;
use crate::registry::Registry;
use crate::registry::Upload;
use crate::registry::add_referrer;
use crate::registry::download_small;
use crate::registry::get_manifest;
use crate::registry::had;
use crate::registry::has;
use crate::registry::put_manifest;
use crate::registry::referrers;
use crate::registry::upload;
use crate::work::Unwatched;

/// What a registry does that it should not, or need not.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
struct Manners {
    /// Numbers of requests, from 1, whose connection breaks before the answer.
    cut: Vec<u64>,
    /// Most bytes of a body; more is 413.
    most_body: Option<usize>,
    least_chunk: Option<u64>,
    /// Bytes of a blob after which its connection breaks, once each.
    breaks_at: Vec<usize>,
    ignores_ranges: bool,
    wrong_range: bool,
    wrong_bytes: bool,
    announces: Option<u64>,
    is_endless: bool,
    says_digest: Option<String>,
    /// A token is needed, and lives for so many requests.
    token_life: Option<u64>,
    asks_password: bool,
    lists_referrers: bool,
    /// Uploads that go nowhere the second time.
    keeps_no_session: bool,
    has_less: bool,
    /// Another program's index comes between, so many times.
    overwrites: u64,
    elsewhere: bool,
    /// Where tokens are to be had.
    realm: Option<&'static str>,
    /// How bodies are said to be coded.
    coding: Option<&'static str>,
    /// A blob whose length is not said breaks off behind its last byte, or before it.
    has_no_end: Option<usize>,
}

#[derive(Default)]
struct State {
    manners: Manners,
    blobs: BTreeMap<(String, String), Vec<u8>>,
    manifests: BTreeMap<String, (String, Vec<u8>)>,
    sessions: BTreeMap<String, Vec<u8>>,
    count: u64,
    token: u64,
    token_left: u64,
    log: Vec<String>,
}

/// A connection that breaks.
struct Torn;

impl Read for Torn {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

/// A registry in memory.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

impl Fake {
    fn with(manners: Manners) -> Self {
        let fake = Self::default();
        fake.0.lock().unwrap().manners = manners;
        fake
    }

    fn client(&self) -> Client<'static> {
        let fake = self.clone();
        let wire = FakeWire::new(move |seen| fake.answer(&seen));
        Client::over(wire, FakeWorld::default(), Options::default(), &Unwatched)
    }

    fn put(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = sha256(bytes);
        let key = (repository.to_owned(), format!("sha256:{digest}"));
        self.0.lock().unwrap().blobs.insert(key, bytes.to_vec());
        digest
    }

    fn has(&self, repository: &str, digest: &Digest) -> bool {
        let key = (repository.to_owned(), format!("sha256:{digest}"));
        self.0.lock().unwrap().blobs.contains_key(&key)
    }

    fn log(&self) -> Vec<String> {
        self.0.lock().unwrap().log.clone()
    }

    fn answer(&self, seen: &Seen) -> Result<Reply, Cut> {
        let mut state = self.0.lock().unwrap();
        state.count += 1;
        let path = seen.url.path().to_owned();
        let range = seen.headers.get("content-range").or(seen.headers.get("range"));
        let line = format!("{} {path} {}", seen.method.name(), range.unwrap_or_default());
        state.log.push(line.trim_end().to_owned());
        if seen.url.host() == "auth.example" {
            let user = seen.headers.get("authorization") == Some("Basic dTpw");
            let scope = seen.url.query().unwrap_or_default().contains("scope=repository%3Aweb");
            let body = String::from_utf8(seen.body.clone()).unwrap();
            if !(user && scope || body.contains("refresh_token=hush")) {
                return reply(
                    401,
                    &[],
                    br#"{"errors":[{"code":"DENIED","message":"who are you"}]}"#,
                );
            }
            state.token += 1;
            state.token_left = state.manners.token_life.unwrap_or(u64::MAX);
            return reply(200, &[], format!(r#"{{"token":"t{}"}}"#, state.token).as_bytes());
        }
        if seen.url.host() == "cdn.example" {
            assert_eq!(seen.headers.get("authorization"), None, "a token went elsewhere");
        } else if state.manners.asks_password {
            if seen.headers.get("authorization") != Some("Basic dTpw") {
                return reply(401, &[("WWW-Authenticate", "Basic realm=r")], b"");
            }
        } else if state.manners.token_life.is_some() {
            let wanted = format!("Bearer t{}", state.token);
            let is_right = seen.headers.get("authorization") == Some(&*wanted);
            if !is_right || state.token == 0 || state.token_left == 0 {
                let realm = state.manners.realm.unwrap_or("https://auth.example/token");
                let ask = format!(r#"Bearer realm="{realm}",service="s""#);
                return reply(401, &[("WWW-Authenticate", &ask)], b"");
            }
            state.token_left -= 1;
        }
        if state.manners.cut.contains(&state.count) {
            return Err(broken(if seen.body.is_empty() { Phase::FirstByte } else { Phase::Send }));
        }
        if state.manners.most_body.is_some_and(|most| seen.body.len() > most) {
            return reply(413, &[], b"");
        }
        let (repository, rest) = path.strip_prefix("/v2/").unwrap().split_once('/').unwrap();
        let (kind, rest) = rest.split_once('/').unwrap();
        match kind {
            "blobs" if rest.starts_with("uploads/") => state.upload(seen, repository, rest),
            "blobs" => state.blob(seen, repository, rest),
            "manifests" => state.manifest(seen, rest),
            "referrers" if state.manners.lists_referrers => state.list(rest),
            _ => reply(404, &[], b"404 page not found"),
        }
    }
}

impl State {
    fn upload(&mut self, seen: &Seen, repository: &str, rest: &str) -> Result<Reply, Cut> {
        let query: BTreeMap<_, _> = seen
            .url
            .query()
            .iter()
            .flat_map(|it| it.split('&'))
            .filter_map(|it| it.split_once('='))
            .map(|(name, value)| (name, value.replace("%3A", ":")))
            .collect();
        if seen.method == Method::Post {
            if let (Some(mount), Some(from)) = (query.get("mount"), query.get("from"))
                && let Some(bytes) = self.blobs.get(&(from.clone(), mount.clone())).cloned()
            {
                self.blobs.insert((repository.to_owned(), mount.clone()), bytes);
                return reply(201, &[], b"");
            }
            let id = format!("s{}", self.count);
            self.sessions.insert(id.clone(), Vec::new());
            return self.next(repository, &id, 0);
        }
        let id = rest.strip_prefix("uploads/").unwrap().to_owned();
        // Each answer's Location replaces the one before.
        let Some(mut bytes) = self.sessions.remove(&id) else {
            return reply(404, &[], br#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#);
        };
        if let Some(range) = seen.headers.get("content-range") {
            let start = range.split('-').next().unwrap();
            assert_eq!(start, bytes.len().to_string(), "a piece at the wrong place");
        }
        bytes.extend_from_slice(&seen.body);
        if seen.method == Method::Patch {
            if self.manners.keeps_no_session {
                return self.next(repository, "gone", bytes.len());
            }
            let id = format!("s{}", self.count);
            let len = if self.manners.has_less { bytes.len() - 1 } else { bytes.len() };
            self.sessions.insert(id.clone(), bytes);
            return self.next(repository, &id, len);
        }
        let digest = query["digest"].clone();
        if format!("sha256:{}", sha256(&bytes)) != digest {
            return reply(400, &[], br#"{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}"#);
        }
        let said = self.manners.says_digest.clone().unwrap_or_else(|| digest.clone());
        self.blobs.insert((repository.to_owned(), digest), bytes);
        reply(201, &[("Docker-Content-Digest", &said)], b"")
    }

    fn next(&self, repository: &str, id: &str, len: usize) -> Result<Reply, Cut> {
        let host = if self.manners.elsewhere { "https://cdn.example" } else { "" };
        let location = format!("{host}/v2/{repository}/blobs/uploads/{id}?_state=x");
        let range = format!("0-{}", i64::try_from(len).unwrap() - 1);
        let least = self.manners.least_chunk.unwrap_or(0).to_string();
        let headers =
            [("Location", &*location), ("Range", &range), ("OCI-Chunk-Min-Length", &least)];
        reply(202, &headers, b"")
    }

    fn blob(&mut self, seen: &Seen, repository: &str, digest: &str) -> Result<Reply, Cut> {
        let Some(bytes) = self.blobs.get(&(repository.to_owned(), digest.to_owned())) else {
            return reply(404, &[], b"");
        };
        let mut bytes = bytes.clone();
        if seen.method == Method::Head {
            let len = self.manners.announces.unwrap_or(length(&bytes)).to_string();
            return reply(200, &[("Content-Length", &len)], b"");
        }
        if self.manners.is_endless {
            return Ok(Reply { status: 200, headers: Headers::new(), body: endless() });
        }
        if self.manners.wrong_bytes {
            bytes[0] ^= 1;
        }
        if let Some(len) = self.manners.has_no_end {
            let body = io::Cursor::new(bytes[..len].to_vec()).chain(Torn);
            return Ok(Reply { status: 200, headers: Headers::new(), body: Box::new(body) });
        }
        let range = seen.headers.get("range").filter(|_| !self.manners.ignores_ranges);
        let start = range.map_or(0, |it| {
            it.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse::<usize>().unwrap()
        });
        let len = self.manners.announces.unwrap_or(length(&bytes[start..]));
        let mut headers = Headers::new();
        headers.add("Content-Length", len.to_string());
        if range.is_some() {
            let said = if self.manners.wrong_range { start + 1 } else { start };
            headers
                .add("Content-Range", format!("bytes {said}-{}/{}", bytes.len() - 1, bytes.len()));
        }
        let mut body = bytes[start..].to_vec();
        if !self.manners.breaks_at.is_empty() {
            body.truncate(self.manners.breaks_at.remove(0));
        }
        let status = if range.is_some() { 206 } else { 200 };
        Ok(Reply { status, headers, body: Box::new(io::Cursor::new(body)) })
    }

    fn manifest(&mut self, seen: &Seen, target: &str) -> Result<Reply, Cut> {
        if seen.method == Method::Put {
            let media_type = seen.headers.get("content-type").unwrap().to_owned();
            let digest = format!("sha256:{}", sha256(&seen.body));
            if target.starts_with("sha256-") && self.manners.overwrites > 0 {
                self.manners.overwrites -= 1;
                let other = br#"{"schemaVersion":2,"manifests":[{"digest":"sha256:x","platform":{}}],"a":1}"#;
                self.manifests.insert(target.to_owned(), (media_type, other.to_vec()));
            } else {
                self.manifests.insert(target.to_owned(), (media_type.clone(), seen.body.clone()));
                self.manifests.insert(digest.clone(), (media_type, seen.body.clone()));
            }
            let said = self.manners.says_digest.clone().unwrap_or(digest);
            let mut headers = vec![("Docker-Content-Digest", &*said)];
            if self.manners.lists_referrers {
                headers.push(("OCI-Subject", "sha256:it"));
            }
            return reply(201, &headers, b"");
        }
        match self.manifests.get(target) {
            Some((media_type, bytes)) => {
                let mut bytes = bytes.clone();
                if self.manners.wrong_bytes {
                    bytes.push(b' ');
                }
                let media_type = format!("{media_type}; charset=utf-8");
                let mut headers = vec![("Content-Type", &*media_type)];
                headers.extend(self.manners.coding.map(|it| ("Content-Encoding", it)));
                reply(200, &headers, &bytes)
            }
            None => reply(404, &[], br#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
        }
    }

    fn list(&self, subject: &str) -> Result<Reply, Cut> {
        let of_it = |(_, (_, bytes)): &(&String, &(String, Vec<u8>))| {
            String::from_utf8_lossy(bytes).contains(subject)
        };
        let entries: Vec<_> = self
            .manifests
            .iter()
            .filter(of_it)
            .map(|(digest, (media_type, bytes))| {
                format!(
                    r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{},"artifactType":"x/sig"}}"#,
                    bytes.len()
                )
            })
            .collect();
        let body = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        reply(200, &[("Content-Type", oci::INDEX_TYPE)], body.as_bytes())
    }
}

fn registry<'a>(
    client: &'a Client<'a>,
    access: Access,
    credentials: Option<Credentials>,
) -> Registry<'a> {
    let base = Url::parse("https://registry.example/").unwrap();
    Registry::new(client, base, "web", access, &["base".to_owned()], credentials)
}

#[allow(clippy::unnecessary_wraps, reason = "it is what a session takes")]
fn user() -> Option<Credentials> {
    Some(Credentials::User { name: "u".into(), password: "p".into() })
}

/// Sends a blob to a registry with such manners. Returns what was done, the bytes that were heard of, and the registry.
fn send(
    manners: Manners,
    len: usize,
    chunk: Option<u64>,
) -> (crate::error::Result<Pushed>, u64, Fake, Digest) {
    let fake = Fake::with(manners);
    let client = fake.client();
    let registry = registry(&client, Access::Push, user());
    let source: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let heard = Mutex::new(0);
    let progress = |bytes: u64| *heard.lock().unwrap() += bytes;
    let mount_from = ["base".to_owned()];
    let digest = sha256(&source);
    let blob = Upload {
        digest,
        size: length(&source),
        source: &source,
        chunk,
        mount_from: &mount_from,
        progress: &progress,
    };
    let done = upload(&registry, &blob);
    let heard = *heard.lock().unwrap();
    (done, heard, fake, digest)
}

fn sent(manners: Manners, len: usize, chunk: Option<u64>) -> Vec<String> {
    let (done, heard, fake, digest) = send(manners, len, chunk);
    assert_eq!(done.unwrap(), Pushed::Sent);
    assert!(fake.has("web", &digest));
    assert_eq!(heard, u64::try_from(len).unwrap(), "bytes are heard of once: {:?}", fake.log());
    fake.log().iter().map(|it| it.split(' ').next().unwrap().to_owned()).collect()
}

fn fetched(manners: Manners) -> crate::error::Result<Vec<u8>> {
    let fake = Fake::with(manners);
    let digest = fake.put("web", b"0123456789");
    let client = fake.client();
    download_small(&registry(&client, Access::Pull, user()), &digest, 10)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap()
}

fn text(error: &Error) -> String {
    error.to_string()
}

#[test]
fn a_blob_is_sent_whole_unless_the_registry_has_it() {
    // Is it there, can it be mounted (which begins an upload), all of it.
    assert_eq!(sent(Manners::default(), 1000, None), ["HEAD", "POST", "PUT"]);
    let fake = Fake::default();
    let client = fake.client();
    let registry = registry(&client, Access::Push, None);
    let source = b"here".to_vec();
    let mount_from = ["other".to_owned(), "base".to_owned()];
    let blob = Upload {
        digest: sha256(&source),
        size: 4,
        source: &source,
        chunk: None,
        mount_from: &mount_from,
        progress: &|_| (),
    };
    assert_eq!(had(&registry, &blob).unwrap(), None);
    fake.put("base", b"here");
    assert_eq!(had(&registry, &blob).unwrap(), Some(Pushed::Mounted));
    assert_eq!(upload(&registry, &blob).unwrap(), Pushed::WasThere);
}

#[test]
fn a_registry_that_wants_less_gets_pieces() {
    let pieces = sent(Manners::default(), 2500, Some(1000));
    assert_eq!(pieces, ["HEAD", "POST", "PATCH", "PATCH", "PATCH", "PUT"]);
    let least = Manners { least_chunk: Some(2000), ..Manners::default() };
    assert_eq!(sent(least, 2500, Some(1000)), ["HEAD", "POST", "PATCH", "PATCH", "PUT"]);
    // 413 to the whole, then to pieces of 32 and 16 MiB; 8 MiB pass.
    let most = Manners { most_body: Some(9 << 20), ..Manners::default() };
    let log = sent(most, 20 << 20, None);
    let count = |what: &str| log.iter().filter(|it| *it == what).count();
    assert_eq!((count("PUT"), count("PATCH")), (2, 1 + 1 + 3), "{log:?}");
    let none = Manners { most_body: Some(1000), ..Manners::default() };
    let (done, ..) = send(none, 3 << 20, None);
    assert_eq!(done.unwrap_err().kind(), Kind::Limit);
}

#[test]
fn a_blob_whose_connection_breaks_is_begun_again() {
    // The third request is the one with the bytes.
    let once = Manners { cut: vec![3], ..Manners::default() };
    assert_eq!(sent(once, 1000, None), ["HEAD", "POST", "PUT", "HEAD", "POST", "PUT"]);
    let in_pieces = Manners { cut: vec![4], ..Manners::default() };
    let log = sent(in_pieces, 2500, Some(1000));
    assert_eq!(log[..7], ["HEAD", "POST", "PATCH", "PATCH", "HEAD", "POST", "PATCH"]);
    // What breaks twice while it is sent goes in pieces.
    let twice = Manners { cut: vec![3, 6], ..Manners::default() };
    assert!(sent(twice, 33 << 20, None).contains(&"PATCH".to_owned()));
    let never = Manners { cut: (3..100).collect(), ..Manners::default() };
    let (done, ..) = send(never, 1000, None);
    let error = done.unwrap_err();
    assert_eq!(error.kind(), Kind::Io);
}

#[test]
fn an_upload_that_the_registry_forgot_is_begun_again_and_ends() {
    let forgets = Manners { keeps_no_session: true, ..Manners::default() };
    let (done, _, fake, digest) = send(forgets, 2500, Some(1000));
    let error = done.unwrap_err();
    assert!(text(&error).contains("it answered 404 (BLOB_UPLOAD_UNKNOWN); 6 times"), "{error}");
    assert!(!fake.has("web", &digest));
    let less = Manners { has_less: true, ..Manners::default() };
    let error = send(less, 2500, Some(1000)).0.unwrap_err();
    assert!(text(&error).contains("it has 999 bytes of it, expected 1000"), "{error}");
}

#[test]
fn a_registry_that_says_it_has_something_else_is_named() {
    let lies = || Some(format!("sha256:{}", sha256(b"else")));
    let (done, ..) = send(Manners { says_digest: lies(), ..Manners::default() }, 1000, None);
    let error = done.unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
    assert!(text(&error).starts_with("https://registry.example says that it has "), "{error}");

    let fake = Fake::with(Manners { says_digest: lies(), ..Manners::default() });
    let client = fake.client();
    let registry_ = registry(&client, Access::Push, None);
    let error = put_manifest(&registry_, "v1", b"{}", oci::MANIFEST_TYPE).unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);

    let fake = Fake::with(Manners { announces: Some(7), ..Manners::default() });
    let digest = fake.put("web", b"0123456789");
    let client = fake.client();
    let error = has(&registry(&client, Access::Pull, None), &digest, 10).unwrap_err();
    assert!(text(&error).contains("has 7 bytes, expected 10"), "{error}");
}

#[test]
fn a_blob_that_breaks_off_goes_on_where_it_was() {
    assert_eq!(fetched(Manners::default()).unwrap(), b"0123456789");
    let breaks = || Manners { breaks_at: vec![3, 0, 4], ..Manners::default() };
    assert_eq!(fetched(breaks()).unwrap(), b"0123456789");
    // A registry without ranges sends it from the beginning, which is passed over.
    let whole = Manners { ignores_ranges: true, ..breaks() };
    assert_eq!(fetched(whole).unwrap(), b"0123456789");
    let never = Manners { breaks_at: vec![0; 100], ..Manners::default() };
    assert_eq!(fetched(never).unwrap_err().kind(), Kind::Io);
}

#[test]
fn a_blob_is_whole_whether_its_answer_ends_or_not() {
    let without = |len| Manners { has_no_end: Some(len), ..Manners::default() };
    assert_eq!(fetched(without(10)).unwrap(), b"0123456789");
    let error = fetched(without(9)).unwrap_err();
    assert_eq!(error.kind(), Kind::Io, "{error}");
    let wrong = Manners { wrong_bytes: true, ..without(10) };
    assert_eq!(fetched(wrong).unwrap_err().kind(), Kind::Mismatch);
}

#[test]
fn a_password_goes_to_no_place_without_tls() {
    for realm in ["http://auth.example/token", "http://127.0.0.1:1/token"] {
        let manners = Manners { token_life: Some(9), realm: Some(realm), ..Manners::default() };
        let error = fetched(manners).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(text(&error).contains("without TLS"), "{error}");
    }
    let file = Some("file:///etc/passwd");
    let manners = Manners { token_life: Some(9), realm: file, ..Manners::default() };
    assert!(text(&fetched(manners).unwrap_err()).contains("invalid address for tokens"));
}

#[test]
fn a_blob_that_is_not_the_one_is_refused() {
    let wrong = Manners { wrong_bytes: true, ..Manners::default() };
    let error = fetched(wrong).unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
    assert!(text(&error).contains("sends a blob whose SHA-256 is "), "{error}");
    let range = Manners { wrong_range: true, breaks_at: vec![3], ..Manners::default() };
    let error = fetched(range).unwrap_err();
    assert!(text(&error).contains("sends the range \"bytes 4-9/10\" of a blob"), "{error}");
    for announces in [9, 11] {
        let error = fetched(Manners { announces: Some(announces), ..Manners::default() });
        let error = error.unwrap_err();
        assert!(text(&error).contains(&format!("announces {announces} bytes")), "{error}");
    }
    let endless = Manners { is_endless: true, ..Manners::default() };
    let error = fetched(endless).unwrap_err();
    assert!(text(&error).contains("sends more than 10 bytes"), "{error}");
    let fake = Fake::default();
    let client = fake.client();
    let registry = registry(&client, Access::Pull, None);
    let error = download_small(&registry, &sha256(b"none"), 4).unwrap_err();
    assert!(text(&error).contains("does not have the blob"), "{error}");
}

#[test]
fn a_token_is_bought_and_bought_again_when_it_ends_in_the_middle() {
    for life in [1, 2, 3] {
        let manners = || Manners { token_life: Some(life), ..Manners::default() };
        let log = sent(manners(), 2500, Some(1000));
        assert!(log.len() > 6, "{log:?}");
        assert_eq!(fetched(manners()).unwrap(), b"0123456789");
    }
    let fake = Fake::with(Manners { token_life: Some(9), ..Manners::default() });
    let digest = fake.put("web", b"0123456789");
    let client = fake.client();
    let identity = Some(Credentials::Identity("hush".into()));
    assert!(has(&registry(&client, Access::Pull, identity), &digest, 10).unwrap());
    let error = has(&registry(&client, Access::Pull, None), &digest, 10).unwrap_err();
    assert_eq!(
        text(&error).split(';').next().unwrap(),
        "cannot get a token for https://registry.example: https://auth.example answered 401 (DENIED: who are you)"
    );
}

#[test]
fn a_password_is_tried_once() {
    let manners = || Manners { asks_password: true, ..Manners::default() };
    assert_eq!(fetched(manners()).unwrap(), b"0123456789");
    let fake = Fake::with(manners());
    let client = fake.client();
    let wrong = Some(Credentials::User { name: "u".into(), password: "wrong".into() });
    for (credentials, requests) in [(wrong, 2), (None, 1)] {
        let before = fake.log().len();
        let registry = registry(&client, Access::Push, credentials);
        let error = has(&registry, &sha256(b"x"), 1).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(text(&error).contains("answered 401"), "{error}");
        assert_eq!(fake.log().len() - before, requests);
    }
}

#[test]
fn an_upload_that_goes_elsewhere_takes_no_token_along() {
    let manners = Manners { elsewhere: true, token_life: Some(100), ..Manners::default() };
    sent(manners, 2500, Some(1000));
}

#[test]
fn a_manifest_is_the_one_that_was_asked_for() {
    let fake = Fake::default();
    let client = fake.client();
    let registry = registry(&client, Access::Push, None);
    let body = br#"{"schemaVersion":2}"#;
    let digest = sha256(body);
    assert_eq!(get_manifest(&registry, "v1", 100).unwrap(), None);
    assert!(!put_manifest(&registry, "v1", body, oci::MANIFEST_TYPE).unwrap());
    let found = get_manifest(&registry, "v1", 100).unwrap().unwrap();
    assert_eq!((found.digest, &*found.media_type), (digest, oci::MANIFEST_TYPE));
    let by_digest = format!("sha256:{digest}");
    assert_eq!(get_manifest(&registry, &by_digest, 100).unwrap().unwrap(), found);
    assert_eq!(get_manifest(&registry, "v1", 10).unwrap_err().kind(), Kind::Limit);
    fake.0.lock().unwrap().manners.coding = Some("gzip");
    let error = get_manifest(&registry, "v1", 100).unwrap_err();
    assert!(text(&error).contains("as \"gzip\", which was not asked for"), "{error}");
    fake.0.lock().unwrap().manners.coding = Some("identity");
    assert_eq!(get_manifest(&registry, "v1", 100).unwrap().unwrap(), found);
    fake.0.lock().unwrap().manners.wrong_bytes = true;
    let error = get_manifest(&registry, &by_digest, 100).unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
}

#[test]
fn what_refers_is_listed_with_and_without_a_list_and_between_other_programs() {
    for (lists_referrers, overwrites) in [(true, 0), (false, 0), (false, 3)] {
        let fake = Fake::with(Manners { lists_referrers, overwrites, ..Manners::default() });
        let client = fake.client();
        let registry = registry(&client, Access::Push, None);
        let subject = sha256(b"subject");
        assert!(referrers(&registry, &subject, "x/sig").unwrap().is_empty());
        let mut expected = Vec::new();
        for number in 0..2 {
            let manifest =
                format!(r#"{{"subject":{{"digest":"sha256:{subject}"}},"number":{number}}}"#);
            let digest = sha256(manifest.as_bytes());
            let size = length(manifest.as_bytes());
            let mut entry = Descriptor::new(oci::MANIFEST_TYPE, digest, size);
            entry.artifact_type = Some("x/sig".to_owned());
            // Twice is as good as once.
            for _ in 0..2 {
                add_referrer(&registry, &subject, &entry, manifest.as_bytes()).unwrap();
            }
            expected.push(entry);
        }
        let mut found = referrers(&registry, &subject, "x/sig").unwrap();
        found.sort_by_key(|it| it.digest);
        expected.sort_by_key(|it| it.digest);
        assert_eq!(found, expected);
        assert!(referrers(&registry, &subject, "x/other").unwrap().is_empty());
    }
}

#[test]
fn an_index_that_others_keep_changing_is_given_up() {
    let fake = Fake::with(Manners { overwrites: 100, ..Manners::default() });
    let client = fake.client();
    let registry = registry(&client, Access::Push, None);
    let entry = Descriptor::new(oci::MANIFEST_TYPE, sha256(b"{}"), 2);
    let error = add_referrer(&registry, &sha256(b"subject"), &entry, b"{}").unwrap_err();
    assert!(text(&error).contains("another program keeps changing sha256-"), "{error}");
}
