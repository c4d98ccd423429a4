//! SHA-1 of a stream beside the work on it.

use std::num::NonZero;
use std::thread;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::bounded;

use crate::digest::Algorithm;
use crate::digest::Hasher;

/// Pieces that may wait for the digest.
const WAITING: usize = 4;

/// SHA-1 of a stream, on a thread of its own where there is one: it takes as long as unpacking.
pub(super) enum Digesting<'scope> {
    Here(Hasher, Vec<u8>),
    There {
        send: Sender<Vec<u8>>,
        back: Receiver<Vec<u8>>,
        thread: thread::ScopedJoinHandle<'scope, String>,
    },
}

impl<'scope> Digesting<'scope> {
    pub(super) fn start<'env>(
        scope: &'scope thread::Scope<'scope, 'env>,
        threads: NonZero<usize>,
    ) -> Self {
        let hasher = Hasher::new(Algorithm::Sha1);
        if threads.get() == 1 {
            return Self::Here(hasher, Vec::new());
        }
        let (send, take) = bounded::<Vec<u8>>(WAITING);
        let (give, back) = bounded(WAITING.strict_mul(2));
        let mut own = hasher.clone();
        let body = move || {
            for piece in take {
                own.update(&piece);
                // Nobody wants buffers back once the stream is over.
                let _ = give.try_send(piece);
            }
            own.finish_hex()
        };
        match thread::Builder::new().name("amikit-sha1".to_owned()).spawn_scoped(scope, body) {
            Ok(thread) => Self::There { send, back, thread },
            Err(_) => Self::Here(hasher, Vec::new()),
        }
    }

    /// Returns a buffer that is not in use.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        match self {
            Self::Here(_, buffer) => std::mem::take(buffer),
            Self::There { back, .. } => back.try_recv().unwrap_or_default(),
        }
    }

    pub(super) fn update(&mut self, piece: Vec<u8>) {
        match self {
            Self::Here(hasher, buffer) => {
                hasher.update(&piece);
                *buffer = piece;
            }
            Self::There { send, .. } => {
                send.send(piece).expect("the thread takes pieces until the queue closes");
            }
        }
    }

    pub(super) fn finish(self) -> String {
        match self {
            Self::Here(hasher, _) => hasher.finish_hex(),
            Self::There { send, thread, .. } => {
                drop(send);
                thread.join().expect("hashing does not panic")
            }
        }
    }
}
