//! `push` and `pull`, against a registry behind a gate that can cut, lie and ask for tokens: `docs/formats/registry.md`.
#![allow(clippy::arithmetic_side_effects)]

use crate::common::run_badly;

#[cfg(feature = "network")]
mod gate;
#[cfg(feature = "network")]
mod tls;
#[cfg(feature = "network")]
mod with_network;

/// The commands are there, and say how to get what they need.
#[cfg(not(feature = "network"))]
#[test]
fn a_build_without_a_network_says_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    for line in ["push web.ami r.example/web", "pull r.example/web -o web.ami"] {
        let text = run_badly(folder.path(), line, 5);
        assert!(text.contains("built without a network"), "{text}");
        assert!(text.contains("--features network"), "{text}");
    }
    assert_eq!(crate::common::names(folder.path()), Vec::<String>::new());
}

#[test]
fn what_names_no_registry_is_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let code = if cfg!(feature = "network") { 2 } else { 5 };
    for reference in ["web", "r.example", "https://r.example/web", "r.example/Web"] {
        let text = run_badly(folder.path(), &format!("pull {reference} -o web.ami"), code);
        if cfg!(feature = "network") {
            assert!(text.contains("expected HOST[:PORT]/PATH[:TAG]"), "{text}");
        }
    }
}
