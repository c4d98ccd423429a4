//! With a network: everything.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use super::gate::Fate;
use super::gate::Gate;
use super::gate::Head;
use crate::common::amikit;
use crate::common::fixture;
use crate::common::installed;
use crate::common::names;
use crate::common::run_badly;
use crate::common::run_well;
use crate::common::stderr;
use crate::faults::signal;
use crate::oci::Registry;
use crate::schemas;

/// A folder with a bundle, a newer one, its thin form, and a registry behind a gate.
struct Scene {
    folder: tempfile::TempDir,
    registry: Registry,
}

impl Scene {
    fn new() -> Option<Self> {
        if !installed("docker-registry") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let mut random = crate::common::Random::with_seed(18);
        let mut old = random.bytes(6 << 20);
        fs::write(here.join("old.raw"), &old).unwrap();
        for page in [3, 700, 1200] {
            let bytes = random.bytes(4096);
            old[page * 4096..(page + 1) * 4096].copy_from_slice(&bytes);
        }
        fs::write(here.join("new.raw"), &old).unwrap();
        run_well(here, "pack old.raw -o old.ami --name old");
        run_well(here, "pack new.raw --base old.ami -o new.ami --name new");
        run_well(here, "pack new.raw --base old.ami --thin -o thin.ami --name new");
        for name in ["test-signer", "signers"] {
            fs::copy(fixture("signature").join(name), here.join(name)).unwrap();
            fs::set_permissions(here.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let registry = Registry::start(here);
        Some(Self { folder, registry })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn gate(&self, judge: impl Fn(&Head) -> Fate + Send + Sync + 'static) -> Gate {
        Gate::before(self.registry.port, judge)
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.registry.port)
    }

    /// Runs a line, and returns its document, which follows its schema.
    fn report(&self, line: &str) -> Value {
        let text = run_well(self.path(), &format!("{line} --json"));
        let document = serde_json::from_str(&text).unwrap();
        let name = line.split(' ').next().unwrap();
        let faults = schemas::check::faults(&schemas::schema(name), &document);
        assert!(faults.is_empty(), "{line}: {faults:#?}\n{text}");
        document
    }

    fn blobs(&self, bundle: &str) -> BTreeSet<String> {
        names(&self.path().join(bundle).join("blobs/sha256")).into_iter().collect()
    }

    /// Expects that nothing is there under a name or beside it.
    fn nothing(&self, name: &str) {
        let left: Vec<_> = names(self.path())
            .into_iter()
            .filter(|it| it.contains(name) || it.ends_with("amikit-part"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("{name}: {report}"))
}

#[test]
fn what_is_pushed_is_pulled_bit_for_bit_into_a_folder_an_archive_and_a_store() {
    let Some(scene) = Scene::new() else { return };
    let host = scene.host();
    let pushed = scene.report(&format!("push old.ami {host}/web:v1"));
    assert!(number(&pushed, "blobs_sent") >= 3, "{pushed}");
    let again = scene.report(&format!("push old.ami {host}/web:v1"));
    assert_eq!((number(&again, "blobs_sent"), number(&again, "sent_bytes")), (0, 0));

    let pulled = scene.report(&format!("pull {host}/web:v1 -o back.ami"));
    assert_eq!(pulled["digest"], pushed["digest"]);
    assert_eq!(scene.blobs("old.ami"), scene.blobs("back.ami"));
    run_well(scene.path(), "verify back.ami --against old.raw");
    // By digest, into an archive; and over it again, as any output.
    let digest = pushed["digest"].as_str().unwrap();
    for _ in 0..2 {
        scene.report(&format!("pull {host}/web@{digest} -o back.tar"));
        run_well(scene.path(), "verify back.tar --against old.raw");
    }
    run_well(scene.path(), "store init images");
    scene.report(&format!("pull {host}/web:v1 -o images@v1"));
    run_well(scene.path(), "verify images@v1 --against old.raw");
    // What the store has is not fetched.
    scene.report(&format!("push new.ami {host}/web:v2"));
    let second = scene.report(&format!("pull {host}/web:v2 -o images@v2"));
    assert!(number(&second, "blobs_had") >= 1, "{second}");
    assert!(number(&second, "fetched_bytes") < 1 << 20, "{second}");
    run_well(scene.path(), "verify images@v2 --against new.raw");
    // And out of the store it goes as it came in.
    let third = scene.report(&format!("push images@v2 {host}/web:v3"));
    assert_eq!((number(&third, "blobs_sent"), &third["digest"]), (0, &second["digest"]));
}

#[test]
fn a_thin_push_costs_its_own_packs_and_a_pull_over_a_base_fetches_only_them() {
    let Some(scene) = Scene::new() else { return };
    let gate = scene.gate(|_| Fate::Pass);
    let host = format!("127.0.0.1:{}", gate.port);
    let text = run_badly(scene.path(), &format!("push thin.ami {host}/web:v2"), 2);
    assert!(text.contains("it leaves out the blob sha256:"), "{text}");
    run_well(scene.path(), &format!("push old.ami {host}/base:v1"));
    gate.sent();
    // Mounted from the repository that has the base: own blobs, and little more.
    let line = format!("push thin.ami {host}/web:v2 --mount-from nothing --mount-from base");
    let pushed = scene.report(&line);
    assert!(number(&pushed, "blobs_mounted") >= 1, "{pushed}");
    let own: u64 = fs::read_dir(scene.path().join("thin.ami/blobs/sha256"))
        .unwrap()
        .map(|it| it.unwrap().metadata().unwrap().len())
        .sum();
    assert!(number(&pushed, "sent_bytes") <= own, "{pushed}: {own}");
    // Heads of requests are 400 bytes each; a volume of the test's size is small beside them.
    let sent = gate.sent();
    let heads = u64::try_from(gate.lines.lock().unwrap().len()).unwrap() * 600;
    assert!(sent <= own + own / 100 + heads, "{sent} bytes went out for {own}");

    let over = scene.report(&format!("pull {host}/web:v2 -o over.ami --base old.ami"));
    assert!(number(&over, "blobs_had") >= 1, "{over}");
    assert!(number(&over, "fetched_bytes") <= own, "{over}");
    assert_eq!(number(&over, "blobs_left_out"), 0);
    run_well(scene.path(), "verify over.ami --against new.raw");
    // Over the image alone it stays thin, and was verified over that.
    let thin = scene.report(&format!("pull {host}/web:v2 -o again.ami --base old.raw"));
    assert!(number(&thin, "blobs_left_out") >= 1, "{thin}");
    run_well(scene.path(), "apply again.ami --to old.raw -o applied.raw");
    let applied = fs::read(scene.path().join("applied.raw")).unwrap();
    assert!(applied == fs::read(scene.path().join("new.raw")).unwrap());
    let text =
        run_badly(scene.path(), &format!("pull {host}/web:v2 -o never.ami --base new.raw"), 7);
    assert!(text.contains("nothing was written") || text.contains("was packed against"), "{text}");
    scene.nothing("never");
}

/// Asks the registry something that amikit does not ask, and returns the whole answer.
fn ask(scene: &Scene, line: &str, headers: &str, body: &str) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", scene.registry.port)).unwrap();
    let text = format!(
        "{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        scene.host(),
        body.len()
    );
    connection.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_tag_is_moved_from_an_ami_to_another_and_from_nothing_else() {
    let Some(scene) = Scene::new() else { return };
    let host = scene.host();
    let first = scene.report(&format!("push old.ami {host}/web:latest"));
    assert_eq!(first.get("replaced"), None, "{first}");
    let again = scene.report(&format!("push old.ami {host}/web:latest"));
    assert_eq!(again.get("replaced"), None, "{again}");
    let text = run_well(scene.path(), &format!("push new.ami {host}/web:latest"));
    let digest = first["digest"].as_str().unwrap();
    assert!(text.contains(&format!("the tag meant {digest} before")), "{text}");
    // A container's image, an index of such, and a signature under a tag stay what they are.
    let empty = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let config = format!(r#""config":{{"mediaType":"TYPE","size":2,"digest":"sha256:{empty}"}}"#);
    let begun = ask(&scene, "POST /v2/web/blobs/uploads/", "", "");
    let (_, upload) = begun.split_once("Location: ").unwrap();
    let path = upload.lines().next().unwrap().split_once(&host).unwrap().1;
    let answer = ask(&scene, &format!("PUT {path}&digest=sha256:{empty}"), "", "{}");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let image = "application/vnd.oci.image.manifest.v1+json";
    let list = "application/vnd.oci.image.index.v1+json";
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let of =
        |kind: &str, rest: &str| format!(r#"{{"schemaVersion":2,"mediaType":"{kind}",{rest}}}"#);
    let oci_config = config.replace("TYPE", "application/vnd.oci.image.config.v1+json");
    let docker_config = config.replace("TYPE", "application/vnd.docker.container.image.v1+json");
    for (tag, kind, document) in [
        ("image", image, of(image, &format!(r#"{oci_config},"layers":[]"#))),
        ("list", list, of(list, r#""manifests":[]"#)),
        ("docker", docker, of(docker, &format!(r#"{docker_config},"layers":[]"#))),
    ] {
        let kind = format!("Content-Type: {kind}\r\nAccept: {kind}\r\n");
        let answer = ask(&scene, &format!("PUT /v2/web/manifests/{tag}"), &kind, &document);
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        let text = run_badly(scene.path(), &format!("push new.ami {host}/web:{tag}"), 2);
        assert!(text.contains(&format!("the tag {tag} in")), "{text}");
        assert!(text.contains("push to another tag"), "{text}");
        let answer = ask(&scene, &format!("GET /v2/web/manifests/{tag}"), &kind, "");
        assert!(answer.ends_with(&document), "{answer}");
    }
}

#[test]
fn skopeo_pulls_what_we_push_and_the_reverse() {
    let Some(scene) = Scene::new() else { return };
    if !installed("skopeo") {
        return;
    }
    let skopeo = |args: &[&str]| {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--preserve-digests"]);
        crate::common::run_tool(command.current_dir(scene.path()).args(args));
    };
    let host = scene.host();
    run_well(scene.path(), &format!("push old.ami {host}/ours:1"));
    skopeo(&["--src-tls-verify=false", &format!("docker://{host}/ours:1"), "oci:theirs:web"]);
    assert_eq!(scene.blobs("old.ami"), scene.blobs("theirs"));
    run_well(scene.path(), "verify theirs --against old.raw");
    skopeo(&["--dest-tls-verify=false", "oci:new.ami:new", &format!("docker://{host}/theirs:1")]);
    run_well(scene.path(), &format!("pull {host}/theirs:1 -o pulled.ami"));
    assert_eq!(scene.blobs("new.ami"), scene.blobs("pulled.ami"));
}

#[test]
fn a_network_that_is_cut_at_every_fifth_request_is_enough() {
    let Some(scene) = Scene::new() else { return };
    let gate = scene.gate(|head| match head.number {
        number if number % 5 == 4 && head.is("GET", "/blobs/") => Fate::CutAnswer(1000),
        number if number % 5 == 4 => Fate::Cut,
        _ => Fate::Pass,
    });
    let host = format!("127.0.0.1:{}", gate.port);
    scene.report(&format!("push old.ami {host}/web:v1 --at-once 1"));
    scene.report(&format!("push new.ami {host}/web:v2 --chunk 1MiB"));
    scene.report(&format!("pull {host}/web:v2 -o back.ami"));
    assert_eq!(scene.blobs("new.ami"), scene.blobs("back.ami"));
}

#[test]
fn a_registry_that_takes_little_at_once_gets_little() {
    let Some(scene) = Scene::new() else { return };
    let gate = scene.gate(|head| match head.len() {
        len if len > 1 << 20 => Fate::Answer(
            "HTTP/1.1 413 Request Entity Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".into(),
        ),
        _ => Fate::Pass,
    });
    let host = format!("127.0.0.1:{}", gate.port);
    scene.report(&format!("push old.ami {host}/web:v1"));
    assert!(gate.count("PATCH", "/uploads/") >= 6, "{:?}", gate.lines.lock().unwrap());
    run_well(scene.path(), &format!("pull {host}/web:v1 -o back.ami"));
    assert_eq!(scene.blobs("old.ami"), scene.blobs("back.ami"));
}

#[test]
fn tokens_that_expire_in_the_middle_are_bought_again() {
    let Some(scene) = Scene::new() else { return };
    let (sold, left) = (AtomicU64::new(0), AtomicU64::new(0));
    let gate = scene.gate(move |head| {
        let host = head.header("host").unwrap();
        if head.is("GET", "/token?") {
            // "user:secret", as the file of docker below has it.
            assert_eq!(head.header("authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
            assert!(head.line.contains("scope=repository%3Aweb%3A"), "{}", head.line);
            left.store(4, Ordering::SeqCst);
            let body = format!(r#"{{"token":"t{}"}}"#, sold.fetch_add(1, Ordering::SeqCst) + 1);
            return Fate::Answer(format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
        }
        let wanted = format!("Bearer t{}", sold.load(Ordering::SeqCst));
        let spent = left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1))
            .is_err();
        if spent || head.header("authorization") != Some(&*wanted) {
            return Fate::Answer(format!(
                "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\
                 WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"registry\"\r\n\r\n"
            ));
        }
        Fate::Pass
    });
    let host = format!("127.0.0.1:{}", gate.port);
    let config = format!(r#"{{"auths":{{"{host}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#);
    fs::create_dir(scene.path().join("docker")).unwrap();
    fs::write(scene.path().join("docker/config.json"), config).unwrap();
    let with_docker = |line: &str| {
        let output = amikit()
            .current_dir(scene.path())
            .env("DOCKER_CONFIG", "docker")
            .env_remove("REGISTRY_AUTH_FILE")
            .env_remove("XDG_RUNTIME_DIR")
            .args(line.split(' '))
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}: {}", stderr(&output));
    };
    with_docker(&format!("push old.ami {host}/web:v1 --at-once 1 --trace trace"));
    with_docker(&format!("pull {host}/web:v1 -o back.ami --at-once 1 --trace trace"));
    assert_eq!(scene.blobs("old.ami"), scene.blobs("back.ami"));
    assert!(gate.count("GET", "/token?") > 3);
    let trace = fs::read_to_string(scene.path().join("trace")).unwrap();
    assert!(trace.contains("> PUT http://127.0.0.1:") && trace.contains("< 201 after"), "{trace}");
    for secret in ["secret", "dXNlcjpzZWNyZXQ", "Bearer t", "_state=A"] {
        assert!(!trace.contains(secret), "{secret} is in the trace");
    }
}

/// What a registry does with a blob.
type Lie = fn(&Head) -> Fate;

#[test]
fn a_registry_that_lies_is_named_and_nothing_is_left() {
    let Some(scene) = Scene::new() else { return };
    let host = scene.host();
    run_well(scene.path(), &format!("push old.ami {host}/web:v1"));
    let is_pack = |head: &Head| head.is("GET", "/blobs/sha256:");
    let lies: [(Lie, i32, &str); 5] = [
        (|_| Fate::Wrong, 7, "sends a blob whose SHA-256 is"),
        (|_| Fate::Announce(17), 7, "announces 17 bytes of the blob"),
        (|_| Fate::Announce(1 << 40), 7, "announces 1099511627776 bytes of the blob"),
        (|_| Fate::CutAnswer(0), 3, "cannot fetch the blob sha256:"),
        (
            |_| Fate::Answer("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nshort".into()),
            3,
            "the blob ends after 5 of",
        ),
    ];
    for (lie, code, expected) in lies {
        let gate = scene.gate(move |head| if is_pack(head) { lie(head) } else { Fate::Pass });
        let line = format!("pull 127.0.0.1:{}/web:v1 -o never.ami --at-once 1", gate.port);
        let text = run_badly(scene.path(), &line, code);
        assert!(text.contains(expected), "{text}");
        scene.nothing("never");
    }
    // A manifest that is not the one of the digest, one without an end, and what is none.
    let digest = run_well(scene.path(), "inspect old.ami --json");
    let digest: Value = serde_json::from_str(&digest).unwrap();
    let gate =
        scene.gate(|head| if head.is("GET", "/manifests/") { Fate::Wrong } else { Fate::Pass });
    let digest = digest["digest"].as_str().unwrap();
    let line = format!("pull 127.0.0.1:{}/web@{digest} -o never.ami", gate.port);
    let text = run_badly(scene.path(), &line, 7);
    assert!(text.contains("sends a manifest whose SHA-256 is"), "{text}");
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi";
    let gate = scene.gate(move |_| Fate::Answer(page.into()));
    let text =
        run_badly(scene.path(), &format!("pull 127.0.0.1:{}/web:v1 -o never.ami", gate.port), 5);
    assert!(text.contains("\"text/html\""), "{text}");
    scene.nothing("never");
    // 200 for a range is passed over, whatever broke before.
    let first = AtomicU64::new(0);
    let gate = scene.gate(move |head| {
        if !head.is("GET", "/blobs/sha256:") {
            Fate::Pass
        } else if first.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            Fate::CutAnswer(100_000)
        } else {
            Fate::WithoutRange
        }
    });
    run_well(scene.path(), &format!("pull 127.0.0.1:{}/web:v1 -o back.ami --at-once 1", gate.port));
    assert_eq!(scene.blobs("old.ami"), scene.blobs("back.ami"));
}

#[test]
fn signatures_go_along_and_are_asked_for() {
    let Some(scene) = Scene::new() else { return };
    let host = scene.host();
    run_well(scene.path(), &format!("push old.ami {host}/unsigned:v1"));
    let line = format!("pull {host}/unsigned:v1 -o never.ami --signers signers");
    let text = run_badly(scene.path(), &line, 7);
    assert!(text.contains("it is not signed"), "{text}");
    scene.nothing("never");

    run_well(scene.path(), "sign old.ami --key test-signer --counter 7 --as web");
    run_well(scene.path(), "sign new.ami --key test-signer --counter 6 --as web");
    let pushed = scene.report(&format!("push old.ami {host}/web:v7"));
    assert_eq!(number(&pushed, "signatures"), 1);
    scene.report(&format!("push new.ami {host}/web:v6"));
    let pulled = scene.report(&format!("pull {host}/web:v7 -o back.ami --signers signers"));
    assert_eq!(pulled["vouchers"][0]["counter"], 7);
    run_well(scene.path(), "verify back.ami --signers signers");
    assert_eq!(scene.blobs("old.ami"), scene.blobs("back.ami"));
    // An older version is refused against the base, and against what the store has of the name.
    let older = format!("pull {host}/web:v6 -o never.ami --base back.ami --signers signers");
    let text = run_badly(scene.path(), &older, 7);
    assert!(text.contains("this one is older"), "{text}");
    run_well(scene.path(), "store init images");
    run_well(scene.path(), &format!("pull {host}/web:v7 -o images@web --signers signers"));
    let older = format!("pull {host}/web:v6 -o images@older --signers signers");
    let text = run_badly(scene.path(), &older, 7);
    assert!(text.contains("this one is older"), "{text}");
    run_well(scene.path(), &format!("{older} --allow-downgrade"));
    // A store remembers what it has accepted, also when nothing of it is left.
    run_well(scene.path(), "store init other");
    run_well(scene.path(), &format!("pull {host}/web:v7 -o other@web --signers signers"));
    run_well(scene.path(), "store remove other@web");
    run_well(scene.path(), "store gc other --all");
    let older = format!("pull {host}/web:v6 -o other@web --signers signers");
    let text = run_badly(scene.path(), &older, 7);
    assert!(text.contains("a version with 7 is known: this one is older"), "{text}");
    run_well(scene.path(), &format!("{older} --allow-downgrade"));
    let text = run_badly(scene.path(), "verify other@web --signers signers", 7);
    assert!(text.contains("a version with 7 is known"), "{text}");
    run_well(scene.path(), &format!("pull {host}/web:v7 -o other@newer --signers signers"));
    // What nobody vouched for raises nothing.
    run_well(scene.path(), "store init open");
    run_well(scene.path(), &format!("pull {host}/web:v7 -o open@web"));
    run_well(scene.path(), "store remove open@web");
    run_well(scene.path(), "store gc open --all");
    run_well(scene.path(), &format!("pull {host}/web:v6 -o open@web --signers signers"));
    // Before trust nothing but the manifest and what refers to it is asked for.
    let gate = scene.gate(|_| Fate::Pass);
    let line = format!("pull 127.0.0.1:{}/web:v7 -o never.ami --signers others", gate.port);
    let other =
        "x ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBv7+7Bt4IZ8ChGA5HcLvpEm8PbAWrlu2LF2Qph7YJvf\n";
    fs::write(scene.path().join("others"), other).unwrap();
    run_badly(scene.path(), &line, 7);
    assert_eq!(gate.count("GET", "/blobs/"), 3, "statement, signature and the empty config");
    scene.nothing("never");
}

#[test]
fn what_nobody_answers_ends_when_the_user_stops() {
    let Some(scene) = Scene::new() else { return };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut child = amikit()
        .current_dir(scene.path())
        .args(["push", "old.ami", &format!("127.0.0.1:{port}/web:v1")])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let connection = silent.accept().unwrap();
    signal(&child, "-INT");
    let began = Instant::now();
    let status = child.wait().unwrap();
    drop(connection);
    assert_eq!(status.code(), Some(130));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn plain_http_is_not_spoken_with_others() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody is at this address; with TLS nobody is either, and no plain request is made.
    let mut command = amikit();
    for proxy in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(proxy);
    }
    let line = ["pull", "registry.invalid/web:v1", "-o", "never.ami", "--trace", "-"];
    let output = command.current_dir(folder.path()).args(line).output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("> GET https://registry.invalid/v2/web/manifests/v1"), "{text}");
    assert!(!text.contains("http://"), "{text}");
}
