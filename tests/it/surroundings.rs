//! What surrounds a run: proxies, authorities and files of passwords, as AWS's and docker's own tools find them.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use crate::common::run_well;
use crate::common::stderr;
use crate::publish::client;

fn packed(here: &Path) {
    fs::write(here.join("a.raw"), vec![1; 1 << 20]).unwrap();
    run_well(here, "pack a.raw -o a.ami --name web");
}

/// What gives keys to containers and instances is asked through no proxy: it would have the token.
#[test]
fn a_proxy_is_not_told_what_is_for_this_link() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    packed(here);
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    for (name, value) in [
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"),
        ("AWS_REGION", "eu-central-1"),
    ] {
        let mut command = client(here, "http://127.0.0.1:1", "publish a.ami");
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        command.env("http_proxy", &address).env("ALL_PROXY", &address).env(name, value);
        command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "hush");
        let output = command.output().unwrap();
        assert_ne!(output.status.code(), Some(0), "{name}");
        assert!(proxy.accept().is_err(), "{name}: the proxy was asked: {}", stderr(&output));
    }
}

/// The file of authorities that counts is the one that is missed if it is missing.
#[test]
fn authorities_are_those_of_aws_before_those_for_all_programs() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    packed(here);
    fs::create_dir(here.join(".aws")).unwrap();
    let run = |vars: &[(&str, &str)], config: &str| -> Output {
        fs::write(here.join(".aws/config"), config).unwrap();
        let mut command = client(here, "http://127.0.0.1:1", "publish a.ami");
        for name in ["SSL_CERT_FILE", "AWS_CA_BUNDLE"] {
            command.env_remove(name);
        }
        command.envs(vars.iter().copied()).output().unwrap()
    };
    let (own, all) = (("AWS_CA_BUNDLE", "own.pem"), ("SSL_CERT_FILE", "all.pem"));
    let profile = "[default]\n    ca_bundle = profile.pem\n    region = eu-west-1\n";
    for (vars, config, missed) in [
        (vec![own, all], profile, "own.pem"),
        (vec![all], profile, "profile.pem"),
        (vec![all], "[default]\n", "all.pem"),
    ] {
        let output = run(&vars, config);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains(&format!("{missed}: cannot open")), "{missed}: {text}");
    }
}

/// Each place where docker and podman keep passwords: what stands there is read, or this error would not come.
#[test]
fn passwords_are_looked_for_where_docker_and_podman_keep_them() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    packed(here);
    let home = here.display().to_string();
    let broken = r#"{"auths": {"127.0.0.1:1": {"auth": "hush"}}}"#;
    for (path, vars, where_from) in [
        ("run/containers/auth.json", vec![("XDG_RUNTIME_DIR", "run")], "run/containers/auth.json"),
        (".config/containers/auth.json", vec![], ".config/containers/auth.json"),
        ("x/containers/auth.json", vec![("XDG_CONFIG_HOME", "x")], "x/containers/auth.json"),
        (".docker/config.json", vec![], ".docker/config.json"),
        ("d/config.json", vec![("DOCKER_CONFIG", "d")], "d/config.json"),
        ("a.json", vec![("REGISTRY_AUTH_FILE", "a.json"), ("DOCKER_AUTH_CONFIG", "{")], "a.json"),
        ("none", vec![("DOCKER_AUTH_CONFIG", broken)], "DOCKER_AUTH_CONFIG"),
    ] {
        let file = here.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, broken).unwrap();
        let mut command = client(here, "", "push a.ami 127.0.0.1:1/web:v1");
        for name in ["XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "DOCKER_AUTH_CONFIG"] {
            command.env_remove(name);
        }
        command.env_remove("REGISTRY_AUTH_FILE").env("HOME", &home);
        let output = command.envs(vars).output().unwrap();
        let text = stderr(&output);
        fs::remove_file(&file).unwrap();
        assert_eq!(output.status.code(), Some(4), "{path}: {text}");
        assert!(text.contains(where_from) && text.contains("USER:PASSWORD"), "{path}: {text}");
        assert!(!text.contains("hush"), "{text}");
    }
}
