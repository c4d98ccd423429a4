//! The formats, byte by byte: those that amikit defines and those of others that it reads and writes.
//!
//! Each page is a document of the package. Own formats: bundles are OCI layouts ([`bundle`]) with a
//! description ([`ami`]), manifests of snapshots ([`manifest`]) and packs of chunks ([`pack`],
//! [`patch`]); [`page_index`] and [`in_place`] are about deltas, [`recipe`] and [`plan`] about building
//! and uploading, [`guest`] about what is inside a volume,
//! [`churn`] about why two builds differ.
#![allow(clippy::doc_markdown, reason = "documents that are read as files, too")]

/// Declares a page for each document, in which links between documents lead to pages.
macro_rules! pages {
    ($($name:ident $file:literal)*) => {
        $(
            #[doc = "[ami.md]: crate::formats::ami"]
            #[doc = "[android-sparse.md]: crate::formats::android_sparse"]
            #[doc = "[boot.md]: crate::formats::boot"]
            #[doc = "[bundle.md]: crate::formats::bundle"]
            #[doc = "[churn.md]: crate::formats::churn"]
            #[doc = "[compressed-raw.md]: crate::formats::compressed_raw"]
            #[doc = "[guest.md]: crate::formats::guest"]
            #[doc = "[in-place.md]: crate::formats::in_place"]
            #[doc = "[instance-store.md]: crate::formats::instance_store"]
            #[doc = "[manifest.md]: crate::formats::manifest"]
            #[doc = "[nbd.md]: crate::formats::nbd"]
            #[doc = "[network.md]: crate::formats::network"]
            #[doc = "[ova.md]: crate::formats::ova"]
            #[doc = "[pack.md]: crate::formats::pack"]
            #[doc = "[page-index.md]: crate::formats::page_index"]
            #[doc = "[patch.md]: crate::formats::patch"]
            #[doc = "[plan.md]: crate::formats::plan"]
            #[doc = "[publish.md]: crate::formats::publish"]
            #[doc = "[publish-journal.md]: crate::formats::publish_journal"]
            #[doc = "[qcow2.md]: crate::formats::qcow2"]
            #[doc = "[raw.md]: crate::formats::raw"]
            #[doc = "[readers.md]: crate::formats::readers"]
            #[doc = "[recipe.md]: crate::formats::recipe"]
            #[doc = "[registry.md]: crate::formats::registry"]
            #[doc = "[report.md]: crate::formats::report"]
            #[doc = "[sidecar.md]: crate::formats::sidecar"]
            #[doc = "[signature.md]: crate::formats::signature"]
            #[doc = "[tar-sparse.md]: crate::formats::tar_sparse"]
            #[doc = "[store.md]: crate::formats::store"]
            #[doc = "[vhd.md]: crate::formats::vhd"]
            #[doc = "[vhdx.md]: crate::formats::vhdx"]
            #[doc = "[vmdk.md]: crate::formats::vmdk"]
            #[doc = ""]
            #[doc = include_str!(concat!("../docs/formats/", $file))]
            pub mod $name {}
        )*
    };
}

pages! {
    ami "ami.md"
    android_sparse "android-sparse.md"
    boot "boot.md"
    bundle "bundle.md"
    churn "churn.md"
    compressed_raw "compressed-raw.md"
    guest "guest.md"
    in_place "in-place.md"
    instance_store "instance-store.md"
    manifest "manifest.md"
    nbd "nbd.md"
    network "network.md"
    ova "ova.md"
    pack "pack.md"
    page_index "page-index.md"
    patch "patch.md"
    plan "plan.md"
    publish "publish.md"
    publish_journal "publish-journal.md"
    qcow2 "qcow2.md"
    raw "raw.md"
    readers "readers.md"
    recipe "recipe.md"
    registry "registry.md"
    serve_aws "serve-aws.md"
    report "report.md"
    sidecar "sidecar.md"
    store "store.md"
    signature "signature.md"
    tar_sparse "tar-sparse.md"
    vhd "vhd.md"
    vhdx "vhdx.md"
    vmdk "vmdk.md"
}
