//! Whose AWS is asked, and where.

use crate::ops::shared::network::NetworkOptions;

/// How AWS is asked.
#[derive(Clone, Debug, Default)]
pub struct AwsRequest {
    /// Profile of the shared files, over that of the environment.
    pub profile: Option<String>,
    /// Endpoint of all services, over those of the environment and the profile.
    pub endpoint: Option<String>,
    /// What is said of every network.
    pub network: NetworkOptions,
}
