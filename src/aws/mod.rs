//! AWS, asked over a network: who one is, what requests are signed with, where they go, and EBS's and EC2's calls.
//!
//! What is sent is data of the room `calls`; this room makes requests of it and results of the answers.

mod blocks;
mod client;
mod credentials;
mod ebs;
mod ec2;
mod encode;
#[cfg(test)]
pub(crate) mod fake;
mod fault;
mod ini;
mod keys;
mod metadata;
mod place;
mod profile;
mod role;
mod s3;
mod sign;
mod ssm;
#[cfg(test)]
mod tests;
mod xml;

pub use blocks::BlockList;
pub use blocks::ListedBlock;
pub use client::Aws;
pub use client::Source;
pub use credentials::Credentials;
pub use ebs::Pending;
pub use ebs::Started;
pub use ebs::is_id;
pub use ec2::Until;
pub use fault::AwsFault;
pub use fault::Refusal;
pub use keys::Ask;
pub use keys::Keys;
pub use keys::Web;
pub use metadata::Metadata;
pub use place::Service;
pub use place::check_region;
pub use place::endpoint;
pub use place::region;
pub use profile::Environment;
pub use profile::Profile;
pub use s3::Bucket as S3Bucket;
pub use s3::Object;
pub use s3::Put;
pub use sign::Payload;
pub use sign::Scope;
pub use sign::Unsigned;
pub use sign::sign;
