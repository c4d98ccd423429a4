//! Options of commands that ask AWS.

use clap::Args;

use crate::cli::shared::network::NetworkArgs;
use crate::error::Result;
use crate::ops::AwsRequest;

/// How AWS is asked.
#[derive(Debug, Args)]
pub(in crate::cli) struct AwsArgs {
    /// Profile of the shared files of AWS's tools [default: AWS_PROFILE, or default]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,

    /// Endpoint of all services [default: AWS_ENDPOINT_URL_EBS, _EC2, _SSM, _STS, AWS_ENDPOINT_URL, or AWS's own]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,

    #[command(flatten)]
    network: NetworkArgs,
}

impl AwsArgs {
    pub(in crate::cli) fn request(&self) -> Result<AwsRequest> {
        Ok(AwsRequest {
            profile: self.profile.clone(),
            endpoint: self.endpoint.clone(),
            network: self.network.options()?,
        })
    }
}
