//! Registries, as the OCI distribution specification has them: blobs by digest, manifests by digest or tag, and what
//! refers to a manifest.
//!
//! A registry is believed in nothing that it does not prove: `docs/formats/registry.md`.

mod blobs;
mod challenge;
mod credentials;
mod manifests;
mod reference;
mod referrers;
mod session;
#[cfg(test)]
mod tests;

pub use blobs::Pushed;
pub use blobs::Upload;
pub use blobs::download;
pub use blobs::download_small;
pub use blobs::had;
pub use blobs::has;
pub use blobs::upload;
pub use credentials::Credentials;
pub use credentials::Helper;
pub use credentials::find_credentials;
pub use manifests::Document;
pub use manifests::get_any_manifest;
pub use manifests::get_manifest;
pub use manifests::head_manifest;
pub use manifests::put_manifest;
pub use reference::Reference;
pub use referrers::add_referrer;
pub use referrers::referrers;
pub use session::Access;
pub use session::Registry;
