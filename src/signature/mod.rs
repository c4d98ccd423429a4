//! Who vouches for an AMI: SSH signatures over a statement. The format is `docs/formats/signature.md`.

mod fault;
mod keys;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod mutations;
mod namespace;
mod signers;
mod sshsig;
mod statement;
#[cfg(test)]
mod tests;
mod wire;

pub use fault::SignatureFault;
pub use keys::KeyFile;
pub use keys::MAX_KEY_LEN;
pub use keys::PrivateKey;
pub use keys::PublicKey;
pub use namespace::NAMESPACE;
pub use signers::MAX_SIGNERS_LEN;
pub use signers::Rejected;
pub use signers::Signers;
pub use sshsig::armor;
pub use sshsig::sign;
pub use sshsig::to_be_signed;
pub use sshsig::verify;
pub use statement::MAX_COUNTER;
pub use statement::Statement;
