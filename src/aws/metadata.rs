//! Addresses that give keys, asked over the network. Nothing of it is traced.

use std::borrow::Cow;

use zeroize::Zeroizing;

use crate::aws::keys::Ask;
use crate::aws::keys::Web;
use crate::error::Result;
use crate::http::Body;
use crate::http::Call;
use crate::http::Options;
use crate::http::Patience;
use crate::http::Request;
use crate::http::Timeouts;
use crate::http::Url;
use crate::http::connected;
use crate::work::Watch;

/// How often an address is asked.
const ATTEMPTS: u32 = 3;

/// Asks over the network.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// PEM of the authorities to trust, in the place of those that browsers trust: STS may stand behind one's own.
    pub roots: Option<Vec<u8>>,
}

impl Web for Metadata {
    fn ask(
        &self,
        ask: &Ask<'_>,
        most: u64,
        watch: &dyn Watch,
    ) -> Result<(u16, Zeroizing<Vec<u8>>)> {
        let timeouts =
            Timeouts { connect: ask.patience, first_byte: ask.patience, stall: ask.patience };
        // Which addresses are asked was decided before. Those of containers and instances speak plain HTTP, and never leave
        // the machine.
        let insecure = ask.insecure;
        let roots = self.roots.clone();
        let options = Options { insecure, timeouts, connections: 1, roots, ..Options::default() };
        let mut request = Request::new(ask.method, Url::parse(ask.url)?);
        if !ask.body.is_empty() {
            request.body = Body::Bytes(Cow::Borrowed(ask.body));
        }
        for (name, value) in ask.headers {
            request.headers.set(name, *value);
        }
        let mut call = Call::new("ask for credentials", request);
        call.patience = Patience {
            attempts: ATTEMPTS,
            whole: ask.patience,
            deadline: ask.patience.saturating_mul(ATTEMPTS),
        };
        let answer = connected(options, watch, |client| client.fetch(&call, most))?;
        Ok((answer.status, Zeroizing::new(answer.body)))
    }
}
