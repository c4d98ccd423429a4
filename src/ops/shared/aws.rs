//! AWS for one run: whose keys, which region, which endpoint.

use std::path::Path;

use crate::aws;
use crate::aws::Aws;
use crate::aws::AwsFault;
use crate::aws::Environment;
use crate::aws::Keys;
use crate::aws::Metadata;
use crate::aws::Profile;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Setting;
use crate::ops::shared::account::AwsRequest;
use crate::ops::shared::network::roots;
use crate::ops::shared::network::trusting;
use crate::work::Watch;

/// Runs `run` with AWS in a region: `region`, else that of the environment or the profile.
///
/// # Errors
///
/// `Invalid` if there is no region, or nowhere a key; whatever `run` returns.
pub(in crate::ops) fn with_aws<R>(
    request: &AwsRequest,
    region: Option<&str>,
    connections: usize,
    watch: &dyn Watch,
    run: impl FnOnce(&Aws<'_, '_>, &str) -> Result<R>,
) -> Result<R> {
    let environment = Environment::of_process();
    let profile = Profile::read(&environment, request.profile.as_deref())?;
    let region = aws::region(region, &environment, &profile).map_err(advised)?;
    let is_asked = request.profile.is_some();
    let (asked, insecure) = (request.endpoint.as_deref(), request.network.insecure);
    // What AWS's own tools have for them counts before what is for all programs.
    let bundle = environment.get("AWS_CA_BUNDLE").or_else(|| profile.get("ca_bundle"));
    let roots = roots(bundle.map(Path::new), watch)?;
    let web = Box::new(Metadata { roots: roots.clone() });
    let keys = Keys::find(environment.clone(), profile.clone(), is_asked, web)
        .and_then(|keys| keys.in_region(&region, asked, insecure))
        .map_err(advised)?;
    let endpoint = request.endpoint.clone();
    trusting(roots, &request.network, connections, watch, |http| {
        run(&Aws::new(http, keys, environment, profile, endpoint), &region)
    })
    .map_err(|error| match error.advice() {
        None if error.to_string().starts_with("no AWS credentials") => {
            error.advise(Advice::GiveKey { profile: None })
        }
        _ => error,
    })
}

fn advised(fault: AwsFault) -> Error {
    let advice = match &fault {
        AwsFault::NoCredentials { .. } => Advice::GiveKey { profile: None },
        AwsFault::Way { name, .. } => Advice::GiveKey { profile: Some(name.clone()) },
        AwsFault::NoRegion | AwsFault::Region { .. } => {
            Advice::Give { setting: Setting::Region, example: "REGION".into() }
        }
        _ => return fault.into(),
    };
    Error::from(fault).advise(advice)
}
