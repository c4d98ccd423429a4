//! Storages that are neither files nor memory: they count their calls, and fail one of them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use amikit::internals::error::Error;
use amikit::internals::error::Kind;
use amikit::internals::io::Input;
use amikit::internals::io::ReadAt;
use amikit::internals::layout::Blob;
use amikit::internals::layout::BlobStore;
use amikit::internals::layout::Name;
use amikit::internals::units::Extent;
use amikit::internals::units::ExtentKind;

/// How the systems that amikit may be put on say no, in turn.
const REFUSALS: [io::ErrorKind; 5] = [
    io::ErrorKind::Other,
    io::ErrorKind::UnexpectedEof,
    io::ErrorKind::PermissionDenied,
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::TimedOut,
];

/// The number that stands for each call.
const ALL: usize = usize::MAX - 1;

/// The calls of some storages, counted together. One of them fails.
#[derive(Debug)]
pub(crate) struct Calls {
    count: AtomicUsize,
    fails_at: usize,
}

impl Calls {
    /// Counts calls of which none fails.
    pub(crate) fn all_well() -> Arc<Self> {
        Arc::new(Self { count: AtomicUsize::new(0), fails_at: usize::MAX })
    }

    /// Fails each call.
    pub(crate) fn all_fail() -> Arc<Self> {
        Arc::new(Self { count: AtomicUsize::new(0), fails_at: ALL })
    }

    fn next(&self, path: &Path) -> Result<(), Error> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        if number != self.fails_at && self.fails_at != ALL {
            return Ok(());
        }
        let refusal = io::Error::new(REFUSALS[number % REFUSALS.len()], "the backend says no");
        Err(Error::io("read", path, refusal))
    }
}

/// Bytes behind calls.
#[derive(Debug)]
pub(crate) struct Far {
    bytes: Vec<u8>,
    extents: Vec<Extent>,
    calls: Arc<Calls>,
}

impl Far {
    /// Makes an input of bytes of which nothing more is known.
    pub(crate) fn input(name: &str, bytes: &[u8], calls: &Arc<Calls>) -> Arc<Input> {
        let len = u64::try_from(bytes.len()).unwrap();
        let whole = Extent { range: 0..len, kind: ExtentKind::Data };
        Self::with_extents(name, bytes, if len > 0 { vec![whole] } else { Vec::new() }, calls)
    }

    pub(crate) fn with_extents(
        name: &str,
        bytes: &[u8],
        extents: Vec<Extent>,
        calls: &Arc<Calls>,
    ) -> Arc<Input> {
        let far = Self { bytes: bytes.to_vec(), extents, calls: Arc::clone(calls) };
        Arc::new(Input::of_storage(Path::new(name), Arc::new(far)))
    }
}

impl ReadAt for Far {
    fn len(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Error> {
        self.calls.next(Path::new("far away"))?;
        buf.copy_from_slice(&self.bytes[usize::try_from(offset).unwrap()..][..buf.len()]);
        Ok(())
    }

    fn extents(&self, _limit: usize) -> Result<Vec<Extent>, Error> {
        self.calls.next(Path::new("far away")).map(|()| self.extents.clone())
    }

    fn check_unchanged(&self) -> Result<(), Error> {
        self.calls.next(Path::new("far away"))
    }
}

/// A layout whose every question is a call.
#[derive(Debug)]
pub(crate) struct FarStore<S> {
    pub(crate) store: S,
    pub(crate) calls: Arc<Calls>,
}

impl<S: BlobStore> BlobStore for FarStore<S> {
    fn path(&self) -> &Path {
        self.store.path()
    }

    fn file(&self, name: Name) -> Result<Option<Blob>, Error> {
        self.calls.next(self.path())?;
        self.store.file(name)
    }
}

/// Runs `work` once without a failure, and then with one at each call, up to so many of them that are
/// spread over all. Each failure must come out as one of the system.
pub(crate) fn fail_at_each_call<T>(
    what: &str,
    most: usize,
    work: impl Fn(&Arc<Calls>) -> Result<T, Error>,
) {
    let run = |fails_at: usize| {
        let calls = Arc::new(Calls { count: AtomicUsize::new(0), fails_at });
        let result = work(&calls);
        (result, calls.count.load(Ordering::Relaxed))
    };
    let (sound, count) = run(usize::MAX);
    sound.unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(count > 0, "{what}: no call was made");
    for number in (0..count).step_by(count.div_ceil(most)) {
        let (result, _) = run(number);
        match result {
            Err(error) => {
                assert_eq!(error.kind(), Kind::Io, "{what}, call {number} of {count}: {error}");
            }
            Ok(_) => panic!("{what}, call {number} of {count}: the failure was not told"),
        }
    }
}
