//! `serve ...`: volumes and stores for other programs, over a socket.

mod aws;
mod listen;
mod nbd;

pub use aws::AwsListening;
pub use aws::AwsRequest;
pub use aws::aws;
pub use listen::ListenOn;
pub use nbd::DEFAULT_CACHE;
pub use nbd::ListedExport;
pub use nbd::Listening;
pub use nbd::NbdRequest;
pub use nbd::nbd;
