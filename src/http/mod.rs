//! HTTP as a client of services speaks it: requests that can be sent again, answers that are not believed further than
//! they prove themselves, and waiting that ends when the user stops.
//!
//! What carries a request is a [`Wire`], and what time it is says a [`World`], so that all that is decided here is
//! tested without a socket and without waiting. No request follows a redirect by itself, nothing secret leaves the
//! host that it is for, and plain HTTP is refused where others could listen. `docs/formats/network.md` says why.

mod bucket;
mod call;
mod client;
pub mod fake;
mod headers;
mod lookup;
mod message;
mod redact;
mod response;
mod said;
mod skew;
mod url;
mod wire;
mod world;

pub use bucket::Bucket;
pub use call::Call;
pub use call::Outcome;
pub use call::Patience;
pub use call::Prepare;
pub use call::Verdict;
pub use call::usual;
pub use client::Client;
pub use client::Options;
pub use client::connected;
pub use headers::Headers;
pub use message::Body;
pub use message::Cut;
pub use message::Limits;
pub use message::Method;
pub use message::Phase;
pub use message::Reply;
pub use message::Request;
pub use message::Timeouts;
pub use message::Wire;
pub use response::Answer;
pub use response::Response;
pub use said::answered;
pub use said::said;
pub use skew::Skew;
pub use url::Url;
pub use url::escaped;
pub use world::System;
pub use world::World;
