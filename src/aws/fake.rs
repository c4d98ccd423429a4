//! AWS over a wire and in a world that tests make.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use zeroize::Zeroizing;

use super::*;
use crate::error::Result;
use crate::http::Client;
use crate::http::Cut;
use crate::http::Options;
use crate::http::Reply;
use crate::http::fake::FakeWire;
use crate::http::fake::FakeWorld;
use crate::http::fake::Seen;
use crate::work::Unwatched;
use crate::work::Watch;

/// Gives a new key each time.
#[derive(Clone, Default)]
struct Containers(Arc<AtomicUsize>);

impl Web for Containers {
    fn ask(&self, _: &Ask<'_>, _: u64, _: &dyn Watch) -> Result<(u16, Zeroizing<Vec<u8>>)> {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        let body = format!("{{\"AccessKeyId\":\"KEY{number}\",\"SecretAccessKey\":\"s\"}}");
        Ok((200, Zeroizing::new(body.into_bytes())))
    }
}

/// Runs something with AWS that answers by a function of the number of the request.
pub(crate) fn with<R>(
    vars: &[(&str, &str)],
    answer: impl Fn(usize, Seen) -> Result<Reply, Cut> + Send + Sync + 'static,
    run: impl FnOnce(&Aws<'_, '_>, &FakeWorld) -> R,
) -> (R, usize) {
    let world = Arc::new(FakeWorld::default());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let wire = FakeWire::new(move |seen| answer(counted.fetch_add(1, Ordering::Relaxed), seen));
    let http = Client::over(wire, Arc::clone(&world), Options::default(), &Unwatched);
    let environment = Environment::of(vars);
    let profile = Profile::default();
    let keys =
        Keys::find(environment.clone(), profile.clone(), false, Box::new(Containers::default()));
    let aws = Aws::new(&http, keys.unwrap(), environment, profile, None);
    let done = run(&aws, &world);
    (done, count.load(Ordering::Relaxed))
}
