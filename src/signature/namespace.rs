//! What signatures are made for.

/// What signatures over AMIs are made for, and nothing else.
pub const NAMESPACE: &str = "amikit-ami-v1";
