//! Packs, compares, checks and ships Amazon Machine Images, offline.
//!
//! amikit reads disk images in any of its [formats], cuts their volumes into blocks of 512 KiB, and
//! writes bundles: AMIs as OCI image layouts, without duplicates, compressed, and checked to the last
//! bit. It keeps the three states that a block can have: *data*, *zero* (zeros were written) and
//! *hole* (never written). Nothing here needs a network, root or a kernel module.
//!
//! This is the library behind the program of the same name. Each of its commands is a function of
//! [`verbs`]: a request in, a report out, nothing printed. Those that programs need most stand on this
//! page, with what they take and return.
//!
//! # Reading an image
//!
//! [`open`] takes what a user types: an image in any format, `ARCHIVE:MEMBER` or `BUNDLE:DEVICE`. It
//! returns a [`ReadVolume`], which never changes and can be read by any number of threads.
//!
//! ```
//! use amikit::Unwatched;
//! use amikit::VolumeRequest;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("disk.raw");
//! # std::fs::write(&path, vec![7; 1 << 20])?;
//! let opened = amikit::open(&VolumeRequest::new(&path), &Unwatched)?;
//! let volume = opened.volume();
//! for extent in amikit::extents(volume) {
//!     let extent = extent?;
//!     println!("{:?} {}", extent.range, extent.kind.name());
//! }
//! let mut sector = [0; 512];
//! volume.read_at(4096, &mut sector)?;
//! # assert_eq!(sector, [7; 512]);
//! # Ok(())
//! # }
//! ```
//!
//! # Packing and verifying
//!
//! A bundle is a folder, or one file if its name ends in `.tar`. It appears whole or not at all, and the
//! same input makes the same bytes, whatever the number of threads.
//!
//! ```
//! use amikit::Ami;
//! use amikit::MappedVolume;
//! use amikit::PackOptions;
//! use amikit::PackRequest;
//! use amikit::Unwatched;
//! use amikit::VerifyRequest;
//! use amikit::VolumeRequest;
//! use amikit::verbs::with_defaults;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (image, bundle) = (folder.path().join("disk.raw"), folder.path().join("web.ami"));
//! # std::fs::write(&image, vec![7; 1 << 20])?;
//! let ami = with_defaults(Ami { name: "web".into(), ..Ami::default() }, false);
//! let root = MappedVolume::new(&ami.root_device_name, VolumeRequest::new(&image));
//! let mut request = PackRequest::new(vec![root], PackOptions::new(&bundle, ami));
//! request.options.groups.level = Some(9);
//! let packed = amikit::pack(&request, &Unwatched)?;
//! println!("{}: {}", bundle.display(), packed.digest);
//!
//! let verified = amikit::verify(&VerifyRequest::new(&bundle), &Unwatched)?;
//! assert!(verified.sound, "{:?}", verified.damage);
//! # Ok(())
//! # }
//! ```
//!
//! # Judging a description
//!
//! EC2's rules are a table, [`RULES`]; [`lint`] applies them to a description and to what is known of its
//! volumes, before anything is uploaded.
//!
//! ```
//! use amikit::Ami;
//! use amikit::Level;
//! use amikit::Subject;
//!
//! let ami = Ami { name: "no".into(), root_device_name: "/dev/xvda".into(), ..Ami::default() };
//! let findings = amikit::lint(&Subject::of(&ami), &[]);
//! for finding in &findings {
//!     println!("{}: {}: {}", finding.level.name(), finding.place, finding.found);
//! }
//! assert!(findings.iter().any(|it| it.level == Level::Error));
//! ```
//!
//! # Errors and long runs
//!
//! An [`Error`] has a [`Kind`], which says what the caller can do about it, and where it can, a place and
//! what to do next. Whatever may run for long takes a [`Watch`], which hears how far it is and can stop
//! it; [`Unwatched`] is nobody.
//!
//! # Features
//!
//! `cli`, on by default, is for the program: it brings its arguments, progress and signals. A library
//! needs none of that: `amikit = { version = "0.2", default-features = false }`.
//!
//! `network`, off by default, is for what talks to other machines: [`verbs::push`] and [`verbs::pull`]. Without
//! it they exist and fail.
//!
//! `parquet` lets `export` write tables as Parquet.
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests make their own files"))]

pub(crate) mod ami;
#[cfg(feature = "network")]
pub(crate) mod aws;
pub(crate) mod boot;
pub(crate) mod bundle;
pub(crate) mod calls;
pub(crate) mod chunking;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub(crate) mod compress;
pub(crate) mod delta;
pub(crate) mod digest;
pub(crate) mod error;
pub(crate) mod explain;
pub(crate) mod field;
pub(crate) mod format;
pub mod formats;
pub(crate) mod guest;
#[cfg(feature = "network")]
pub(crate) mod http;
pub(crate) mod instance_store;
pub(crate) mod io;
pub(crate) mod layout;
pub(crate) mod lint;
pub(crate) mod manifest;
pub(crate) mod ops;
pub(crate) mod pack;
pub(crate) mod picture;
pub(crate) mod recipe;
#[cfg(feature = "network")]
pub(crate) mod registry;
pub(crate) mod report;
pub(crate) mod serve;
pub(crate) mod signature;
pub(crate) mod store;
pub(crate) mod tables;
pub(crate) mod tar;
pub(crate) mod units;
pub(crate) mod volume;
pub(crate) mod work;

pub use crate::ami::Ami;
pub use crate::bundle::Bundle;
pub use crate::digest::Digest;
pub use crate::error::Error;
pub use crate::error::Kind;
pub use crate::error::Result;
pub use crate::lint::Finding;
pub use crate::lint::Level;
pub use crate::lint::RULES;
pub use crate::lint::Subject;
pub use crate::lint::lint;
pub use crate::ops::MappedVolume;
pub use crate::ops::PackOptions;
pub use crate::ops::PackRequest;
pub use crate::ops::VerifyRequest;
pub use crate::ops::VolumeRequest;
pub use crate::ops::open;
pub use crate::ops::pack;
pub use crate::ops::verify;
pub use crate::units::Extent;
pub use crate::units::ExtentKind;
pub use crate::volume::ReadVolume;
pub use crate::volume::extents;
pub use crate::work::Retry;
pub use crate::work::Unwatched;
pub use crate::work::Wait;
pub use crate::work::Watch;

/// What a description says, part by part: the types behind the fields of [`Ami`].
pub mod description {
    pub use crate::ami::*;
}

/// Images and bundles that are not files: in memory, in a registry, behind an interface of one's own.
///
/// An [`Input`](storage::Input) is made of anything that can be read by position, and is opened as an image by
/// [`open`]; a bundle's files come out of a [`BlobStore`](storage::BlobStore), by [`Bundle::open_in`].
///
/// ```
/// use std::sync::Arc;
///
/// use amikit::Bundle;
/// use amikit::Unwatched;
/// use amikit::storage::InArchive;
/// use amikit::storage::Input;
///
/// fn sizes(image: Vec<u8>, archive: Vec<u8>) -> amikit::Result<(u64, u64)> {
///     let image = amikit::open(&Input::memory("image", image).into(), &Unwatched)?;
///     let archive = InArchive::open(Arc::new(Input::memory("archive", archive)))?;
///     let bundle = Bundle::open_in(Arc::new(archive), None)?;
///     Ok((image.volume().size(), bundle.manifest(bundle.find(None)?)?.volume_size()))
/// }
/// ```
pub mod storage {
    pub use crate::io::Input;
    pub use crate::io::Part;
    pub use crate::io::ReadAt;
    pub use crate::layout::Blob;
    pub use crate::layout::BlobStore;
    pub use crate::layout::InArchive;
    pub use crate::layout::InInputs;
    pub use crate::layout::Name;
}

/// The commands of the program: a request in, a report out, nothing printed.
///
/// A request is made by its `new`, from what it needs, and has public fields for the rest.
pub mod verbs {
    pub use crate::boot::Accelerator;
    pub use crate::boot::Disk;
    pub use crate::boot::Verdict;
    pub use crate::format::FORMATS;
    pub use crate::format::Format;
    pub use crate::format::WRITERS;
    pub use crate::format::Writer;
    pub use crate::ops::*;
    pub use crate::report::Report;
    pub use crate::report::ReportRequest;
    pub use crate::report::report;
}

/// The rooms themselves, for the tests, benches and fuzz targets of this package. Nothing here is a promise.
#[doc(hidden)]
#[allow(missing_docs, reason = "the rooms have their own")]
pub mod internals {
    pub mod ami {
        pub use crate::ami::*;
    }
    #[cfg(feature = "network")]
    pub mod aws {
        pub use crate::aws::*;
    }
    pub mod boot {
        pub use crate::boot::*;
    }
    pub mod bundle {
        pub use crate::bundle::*;
    }
    pub mod calls {
        pub use crate::calls::*;
    }
    pub mod chunking {
        pub use crate::chunking::*;
    }
    pub mod compress {
        pub use crate::compress::*;
    }
    pub mod delta {
        pub use crate::delta::*;
    }
    pub mod digest {
        pub use crate::digest::*;
    }
    pub mod error {
        pub use crate::error::*;
    }
    pub mod explain {
        pub use crate::explain::*;
    }
    pub mod field {
        pub use crate::field::*;
    }
    pub mod format {
        pub use crate::format::*;
    }
    pub mod guest {
        pub use crate::guest::*;
    }
    #[cfg(feature = "network")]
    pub mod http {
        pub use crate::http::*;
    }
    pub mod instance_store {
        pub use crate::instance_store::*;
    }
    pub mod io {
        pub use crate::io::*;
    }
    pub mod layout {
        pub use crate::layout::*;
    }
    pub mod lint {
        pub use crate::lint::*;
    }
    pub mod manifest {
        pub use crate::manifest::*;
    }
    pub mod ops {
        pub use crate::ops::*;
    }
    pub mod pack {
        pub use crate::pack::*;
    }
    pub mod picture {
        pub use crate::picture::*;
    }
    pub mod recipe {
        pub use crate::recipe::*;
    }
    #[cfg(feature = "network")]
    pub mod registry {
        pub use crate::registry::*;
    }
    pub mod report {
        pub use crate::report::*;
    }
    pub mod serve {
        pub use crate::serve::*;
    }
    pub mod signature {
        pub use crate::signature::*;
    }
    pub mod store {
        pub use crate::store::*;
    }
    pub mod tar {
        pub use crate::tar::*;
    }
    pub mod tables {
        pub use crate::tables::*;
    }
    pub mod units {
        pub use crate::units::*;
    }
    pub mod volume {
        pub use crate::volume::*;
    }
    pub mod work {
        pub use crate::work::*;
    }
}
