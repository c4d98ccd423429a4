//! The client over a wire and in a world that tests make.
#![allow(clippy::arithmetic_side_effects)]

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::error::Kind;
use crate::http::bucket::Bucket;
use crate::http::call::Patience;
use crate::http::fake::FakeWire;
use crate::http::fake::FakeWorld;
use crate::http::fake::Seen;
use crate::http::fake::broken;
use crate::http::fake::endless;
use crate::http::fake::reply;
use crate::http::message::Body;
use crate::http::message::Phase;
use crate::http::message::Reply;
use crate::work::Unwatched;

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn get<'a>() -> Call<'a> {
    Call::new("look", Request::new(Method::Get, url("https://service.example/thing?token=hush")))
}

fn client(
    world: &Arc<FakeWorld>,
    service: impl Fn(Seen) -> Result<Reply, Cut> + Send + Sync + 'static,
) -> Client<'static> {
    Client::over(FakeWire::new(service), Arc::clone(world), Options::default(), &Unwatched)
}

#[test]
fn what_fails_for_a_while_is_tried_with_growing_pauses_until_it_works() {
    let world = Arc::new(FakeWorld::default());
    let count = AtomicUsize::new(0);
    let client = client(&world, move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Err(broken(Phase::Connect)),
        1 => reply(500, &[], b"x"),
        2 => reply(503, &[("Retry-After", "7")], b""),
        3 => reply(503, &[("Retry-After", "86400")], b""),
        _ => reply(200, &[], b"here"),
    });
    let answer = client.fetch(&get(), 4).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"here"[..]));
    let naps: Vec<_> = world.naps().iter().map(Duration::as_millis).collect();
    assert_eq!(naps, [250, 500, 7000, 60_000]);
}

#[test]
fn pauses_are_capped_and_attempts_and_time_end() {
    let world = Arc::new(FakeWorld::default());
    let always = client(&world, |_| reply(500, &[], b"why"));
    let mut call = get();
    call.patience.attempts = 12;
    let answer = always.fetch(&call, 100).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (500, &b"why"[..]), "the last answer");
    assert_eq!(world.naps().len(), 11);
    assert_eq!(world.naps().last(), Some(&LONGEST_PAUSE));

    let world = Arc::new(FakeWorld::default());
    let cut = client(&world, |_| Err(broken(Phase::FirstByte)));
    call.patience = Patience { attempts: 1000, deadline: Duration::from_secs(1), ..call.patience };
    let error = cut.send(&call).unwrap_err();
    assert_eq!(error.kind(), Kind::Io);
    assert_eq!(
        error.to_string(),
        "cannot look: https://service.example: no answer: connection reset"
    );
    assert_eq!(world.naps().len(), 3, "250 + 500 + 1000 ms are over a second");
}

#[test]
fn a_body_that_breaks_off_is_fetched_again_and_an_endless_one_is_not() {
    let world = Arc::new(FakeWorld::default());
    let count = AtomicUsize::new(0);
    let short = client(&world, move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => reply(200, &[("Content-Length", "10")], b"half"),
        _ => reply(200, &[], b"whole"),
    });
    assert_eq!(short.fetch(&get(), 10).unwrap().body, b"whole");

    let without =
        client(&world, |_| Ok(Reply { status: 200, headers: Headers::new(), body: endless() }));
    assert_eq!(without.fetch(&get(), 1 << 20).unwrap_err().kind(), Kind::Limit);
    let announced = client(&world, |_| reply(200, &[("Content-Length", "11")], b""));
    let error = announced.fetch(&get(), 10).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot look: https://service.example: the answer has more than 10 bytes"
    );
}

#[test]
fn a_streamed_body_names_where_it_broke() {
    let world = Arc::new(FakeWorld::default());
    let short = client(&world, |_| reply(200, &[("Content-Length", "10")], b"half"));
    let mut response = short.send(&get()).unwrap();
    let mut buf = [0; 16];
    assert_eq!(response.read(&mut buf).unwrap(), 4);
    let error = response.read(&mut buf).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot look: https://service.example: the answer broke off: after 4 of 10 bytes"
    );
    // More than was announced is not looked at.
    let long = client(&world, |_| reply(200, &[("Content-Length", "2")], b"more"));
    assert_eq!(long.send(&get()).unwrap().bytes(9).unwrap(), b"mo");
    // And a HEAD has no body, whatever its headers say.
    let mut head = get();
    head.request.method = Method::Head;
    let response = short.send(&head).unwrap();
    assert_eq!(response.headers.number("content-length"), Some(10));
    assert_eq!(response.bytes(9).unwrap(), b"");
}

#[test]
fn a_request_is_signed_anew_and_its_body_is_sent_from_the_beginning() {
    let world = Arc::new(FakeWorld::default());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let client = client(&world, move |request| {
        let mut seen = kept.lock().unwrap();
        seen.push((request.headers.get("x-at").map(str::to_owned), request.body));
        if seen.len() < 3 { Err(broken(Phase::Send)) } else { reply(201, &[], b"") }
    });
    let source = b"0123456789".to_vec();
    let mut call = get();
    call.request.method = Method::Put;
    call.request.body = Body::Part { of: &source, range: 2..9 };
    let began = client.now();
    let sign = |request: &mut Request<'_>, now: SystemTime| {
        let at = now.duration_since(began).unwrap();
        request.headers.set("X-At", at.as_millis().to_string());
        Ok(())
    };
    call.prepare = Some(&sign);
    let heard = AtomicU64::new(0);
    let progress = |bytes| {
        heard.fetch_add(bytes, Ordering::Relaxed);
    };
    call.progress = Some(&progress);
    assert_eq!(client.send(&call).unwrap().status, 201);
    let at = |ms: &str| (Some(ms.to_owned()), b"2345678".to_vec());
    assert_eq!(*seen.lock().unwrap(), [at("0"), at("250"), at("750")]);
    assert_eq!(heard.into_inner(), 7, "a byte is heard of once");
}

#[test]
fn throttling_slows_the_bucket_down_and_each_attempt_draws_a_token() {
    let world = Arc::new(FakeWorld::default());
    let count = AtomicUsize::new(0);
    let client = client(&world, move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => reply(429, &[], b""),
        _ => reply(200, &[], b""),
    });
    let bucket = Bucket::new(1, 1);
    let mut call = get();
    call.bucket = Some(&bucket);
    client.send(&call).unwrap();
    assert!(bucket.rate(world.ticks()) < 0.6, "{}", bucket.rate(world.ticks()));
    let naps = world.naps();
    assert_eq!(naps.len(), 2, "{naps:?}");
    assert!(naps[1] > Duration::from_secs(1), "the second token took its time: {naps:?}");
}

#[test]
fn secrets_do_not_follow_to_another_host_and_nothing_follows_to_plain_http() {
    let world = Arc::new(FakeWorld::default());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let client = client(&world, move |request| {
        let auth = request.headers.get("authorization").is_some();
        let token = request.headers.get("x-amz-security-token").is_some();
        kept.lock().unwrap().push(format!("{} {auth} {token}", request.url.origin()));
        match request.url.path() {
            "/thing" => reply(307, &[("Location", "/second")], b""),
            "/second" => reply(307, &[("Location", "https://cdn.example/third")], b""),
            "/third" => reply(302, &[("Location", "https://service.example/fourth")], b""),
            "/plain" => reply(302, &[("Location", "http://cdn.example/")], b""),
            "/nowhere" => reply(302, &[], b""),
            "/circle" => reply(302, &[("Location", "/circle")], b""),
            _ => reply(206, &[], b"bytes"),
        }
    });
    let mut call = get();
    call.request.headers.set("Authorization", "Bearer hush");
    call.request.headers.set("X-Amz-Security-Token", "hush");
    call.request.headers.set("Range", "bytes=0-");
    assert_eq!(client.follow(&call, 5).unwrap().status, 206);
    let expected = [
        "https://service.example true true",
        "https://service.example true true",
        "https://cdn.example false false",
        "https://service.example false false",
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!(client.send(&call).unwrap().status, 307, "a redirect is an answer");
    for (path, text) in [
        ("/plain", "redirects to http://cdn.example, without TLS"),
        ("/nowhere", "redirects without a Location"),
        ("/circle", "over 5 redirects"),
    ] {
        call.request.url = url(&format!("https://service.example{path}"));
        let error = client.follow(&call, 5).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn plain_http_is_for_this_machine_or_by_wish() {
    let world = Arc::new(FakeWorld::default());
    let mut client = client(&world, |_| reply(200, &[], b""));
    let mut call = get();
    call.request.url = url("http://127.0.0.1:5000/");
    client.send(&call).unwrap();
    call.request.url = url("http://registry.example/");
    let error = client.send(&call).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    let setting =
        matches!(error.advice(), Some(Advice::Give { setting: Setting::InsecureEndpoint, .. }));
    assert!(setting, "{error}");
    client.options.insecure = true;
    client.send(&call).unwrap();
}

#[test]
fn a_trace_tells_what_happened_and_no_secret() {
    let world = Arc::new(FakeWorld::default());
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&lines);
    let count = AtomicUsize::new(0);
    let mut client = client(&world, move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Err(broken(Phase::FirstByte)),
        _ => reply(202, &[("Location", "/next?_state=hush"), ("Set-Cookie", "hush")], b"hush"),
    });
    client.options.trace = Some(Trace::new(move |line| kept.lock().unwrap().push(line.to_owned())));
    let mut call = get();
    call.request.headers.set("Authorization", "Basic hush");
    call.request.headers.set("Accept", "text/plain");
    client.send(&call).unwrap();
    let lines = lines.lock().unwrap().join("\n");
    assert!(!lines.contains("hush"), "{lines}");
    assert_eq!(
        lines,
        "1 > GET https://service.example/thing?token=... Authorization: ...; Accept: text/plain; 0 bytes\n\
         1 < no answer: connection reset after 0 ms\n\
         look: no answer: connection reset; again in 250 ms\n\
         2 > GET https://service.example/thing?token=... Authorization: ...; Accept: text/plain; 0 bytes\n\
         2 < 202 after 0 ms Location: /next; Set-Cookie: ...; Content-Length: 4;"
    );
}

#[test]
fn a_clock_that_is_wrong_is_known_from_the_answer() {
    let world = Arc::new(FakeWorld::default());
    // The world's date is 2027-01-15, 08:00.
    let client =
        client(&world, |_| reply(403, &[("Date", "Fri, 15 Jan 2027 08:20:00 GMT")], b"denied"));
    let answer = client.fetch(&get(), 100).unwrap();
    let skew = answer.skew.unwrap();
    assert!(skew.is_large());
    assert_eq!(skew.to_string(), "20 minutes behind");
}

#[test]
fn what_fails_is_heard_once_in_a_while_and_the_last_words_are_in_the_error() {
    #[derive(Default)]
    struct Hears(Mutex<Vec<Retry>>);
    impl Watch for Hears {
        fn retries(&self, retry: &Retry) {
            self.0.lock().unwrap().push(retry.clone());
        }
    }
    let (watch, count) = (Hears::default(), AtomicUsize::new(0));
    let wire = FakeWire::new(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0..10 => reply(503, &[], b"no space"),
        _ => Err(broken(Phase::Connect)),
    });
    let client = Client::over(wire, FakeWorld::default(), Options::default(), &watch);
    let mut call = get();
    call.patience.attempts = 12;
    let error = client.send(&call).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot look: https://service.example: cannot connect: connection reset; before that it \
         answered 503 (no space)"
    );
    // The pauses before are 0.25, 0.5, 1, 2, 4, 8, 16 and then 20 s.
    let heard = watch.0.lock().unwrap();
    let attempts: Vec<_> = heard.iter().map(|it| it.attempts).collect();
    assert_eq!(attempts, [3, 6, 7, 8, 9, 10, 11]);
    assert_eq!(heard[0].reason, "https://service.example answered 503 (no space)");
    assert_eq!(heard[6].reason, "https://service.example: cannot connect: connection reset");
    assert_eq!(
        heard[1].to_string(),
        "cannot look yet: https://service.example answered 503 (no space); attempt 6 failed, next in 8.0 s"
    );
    // What EBS throttles is heard only when it takes long.
    let (watch, count) = (Hears::default(), AtomicUsize::new(0));
    let wire = FakeWire::new(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0..4 => reply(503, &[], b""),
        _ => reply(200, &[], b""),
    });
    let client = Client::over(wire, FakeWorld::default(), Options::default(), &watch);
    let bucket = Bucket::new(1_000_000, 1);
    call.bucket = Some(&bucket);
    assert_eq!(client.send(&call).unwrap().status, 200);
    assert!(watch.0.lock().unwrap().is_empty(), "{:?}", watch.0.lock().unwrap());
}

#[test]
fn who_stops_is_heard_before_an_attempt_and_in_a_pause() {
    #[derive(Default)]
    struct After(AtomicUsize);
    impl Watch for After {
        fn stopped(&self) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed) >= 1
        }
    }
    let watch = After::default();
    let wire = FakeWire::new(|_| Err(broken(Phase::Connect)));
    let client = Client::over(wire, FakeWorld::default(), Options::default(), &watch);
    assert_eq!(client.send(&get()).unwrap_err().kind(), Kind::Interrupted);
}

/// Of the clients of this crate only this one opens a socket.
#[test]
#[allow(clippy::disallowed_methods, reason = "a service that never answers")]
fn a_blocked_socket_lets_go_when_the_user_stops() {
    struct Stops(AtomicBool);
    impl Watch for Stops {
        fn stopped(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let watch = Stops(AtomicBool::new(false));
    let mut call = get();
    call.request.url = url(&format!("http://{}/", silent.local_addr().unwrap()));
    thread::scope(|scope| {
        scope.spawn(|| {
            let accepted = silent.accept().unwrap();
            watch.0.store(true, Ordering::Relaxed);
            accepted
        });
        let error = connected(Options::default(), &watch, |client| client.send(&call)).unwrap_err();
        assert_eq!(error.kind(), Kind::Interrupted);
    });
}
