//! Where requests go: regions and endpoints, as AWS's own tools find them.

use crate::aws::fault::AwsFault;
use crate::aws::profile::Environment;
use crate::aws::profile::Profile;

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The EBS direct APIs.
    Ebs,
    /// EC2.
    Ec2,
    /// S3.
    S3,
    /// Systems Manager.
    Ssm,
    /// Who one is.
    Sts,
}

impl Service {
    /// Returns the service's name in signatures, host names and settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ebs => "ebs",
            Self::Ec2 => "ec2",
            Self::S3 => "s3",
            Self::Ssm => "ssm",
            Self::Sts => "sts",
        }
    }
}

/// Longest name of a region; the longest that there is has 16 letters.
const MAX_REGION_LEN: usize = 32;

/// Finds the region: of the request, else of the environment, else of the profile.
///
/// # Errors
///
/// `NoRegion` if none of them has one; `Region` if it is not the name of one.
pub fn region(
    asked: Option<&str>,
    environment: &Environment,
    profile: &Profile,
) -> Result<String, AwsFault> {
    let found = asked
        .or_else(|| environment.get("AWS_REGION"))
        .or_else(|| environment.get("AWS_DEFAULT_REGION"))
        .or_else(|| profile.get("region"))
        .ok_or(AwsFault::NoRegion)?;
    check_region(found)?;
    Ok(found.to_owned())
}

/// Checks that a text is the name of a region: it becomes a part of a host's name.
///
/// # Errors
///
/// `Region`.
pub fn check_region(found: &str) -> Result<(), AwsFault> {
    let plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    if (1..=MAX_REGION_LEN).contains(&found.len()) && found.bytes().all(plain) {
        return Ok(());
    }
    Err(AwsFault::Region { found: found.to_owned() })
}

/// Finds the endpoint of a service in a region: of the request, else of the environment, else of the profile, else AWS's.
///
/// # Errors
///
/// `Endpoints` if a kind of endpoint is asked for that is not known here.
pub fn endpoint(
    service: Service,
    region: &str,
    asked: Option<&str>,
    environment: &Environment,
    profile: &Profile,
) -> Result<String, AwsFault> {
    let name = service.name();
    let profiles = |name: &str| profile.get(name).is_some_and(|it| it.eq_ignore_ascii_case("true"));
    // What the environment says counts, also where it says no. Returns what says yes.
    let says = |variable: &'static str, member: &'static str| match environment.get(variable) {
        Some(_) => environment.is_true(variable).then_some(variable),
        None => profiles(member).then_some(member),
    };
    let ignored = says("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls");
    let own = format!("AWS_ENDPOINT_URL_{}", name.to_ascii_uppercase());
    let said = || {
        environment
            .get(&own)
            .or_else(|| environment.get("AWS_ENDPOINT_URL"))
            .or_else(|| profile.endpoint(name))
    };
    let said = asked.or_else(|| if ignored.is_some() { None } else { said() });
    if let Some(url) = said {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    for (variable, member) in [
        ("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
        ("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"),
    ] {
        if let Some(name) = says(variable, member) {
            return Err(AwsFault::Endpoints { name });
        }
    }
    Ok(format!("https://{name}.{region}.{}", suffix(region)))
}

/// What host names end in, by the partition of a region.
fn suffix(region: &str) -> &'static str {
    const KNOWN: &[(&str, &str)] = &[
        ("cn-", "amazonaws.com.cn"),
        ("us-iso-", "c2s.ic.gov"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("eu-isoe-", "cloud.adc-e.uk"),
        ("us-isof-", "csp.hci.ic.gov"),
        ("eu-isof-", "csp.hci.ic.gov"),
        ("eusc-", "amazonaws.eu"),
    ];
    let found = KNOWN.iter().find(|(start, _)| region.starts_with(start));
    found.map_or("amazonaws.com", |(_, suffix)| suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_that_of_the_request_or_the_environment_or_the_profile() {
        let mut profile = Profile::default();
        let none = Environment::of(&[]);
        assert_eq!(region(None, &none, &profile), Err(AwsFault::NoRegion));
        profile.config.insert("region".to_owned(), "eu-west-3".to_owned().into());
        let both = Environment::of(&[("AWS_DEFAULT_REGION", "b"), ("AWS_REGION", "a")]);
        let one = Environment::of(&[("AWS_DEFAULT_REGION", "b"), ("AWS_REGION", "")]);
        for (asked, environment, expected) in [
            (Some("x"), &both, "x"),
            (None, &both, "a"),
            (None, &one, "b"),
            (None, &none, "eu-west-3"),
        ] {
            assert_eq!(region(asked, environment, &profile).as_deref(), Ok(expected));
        }
        for bad in ["", "evil.example/", "EU", "a b", &"a".repeat(33)] {
            assert!(matches!(check_region(bad), Err(AwsFault::Region { .. })), "{bad}");
        }
    }

    #[test]
    fn an_endpoint_is_found_as_by_awss_tools() {
        let plain = Profile::default();
        let of = |vars: &[(&str, &str)], asked, service| {
            endpoint(service, "eu-west-1", asked, &Environment::of(vars), &plain)
        };
        let all = ("AWS_ENDPOINT_URL", "http://localhost:1/");
        let ebs = ("AWS_ENDPOINT_URL_EBS", "http://localhost:2");
        for (vars, asked, service, expected) in [
            (vec![], None, Service::Ebs, "https://ebs.eu-west-1.amazonaws.com"),
            (vec![], None, Service::Sts, "https://sts.eu-west-1.amazonaws.com"),
            (vec![all], None, Service::Ec2, "http://localhost:1"),
            (vec![all, ebs], None, Service::Ebs, "http://localhost:2"),
            (vec![all, ebs], Some("http://[::1]:3"), Service::Ebs, "http://[::1]:3"),
            (
                vec![all, ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")],
                None,
                Service::Ec2,
                "https://ec2.eu-west-1.amazonaws.com",
            ),
        ] {
            assert_eq!(of(&vars, asked, service).as_deref(), Ok(expected), "{vars:?}");
        }
        let fips = of(&[("AWS_USE_FIPS_ENDPOINT", "true")], None, Service::Ec2);
        assert_eq!(fips, Err(AwsFault::Endpoints { name: "AWS_USE_FIPS_ENDPOINT" }));
        let mut asking = Profile::default();
        asking.config.insert("use_fips_endpoint".to_owned(), "TRUE".to_owned().into());
        let fips =
            |vars| endpoint(Service::S3, "us-gov-west-1", None, &Environment::of(vars), &asking);
        assert_eq!(fips(&[]), Err(AwsFault::Endpoints { name: "use_fips_endpoint" }));
        assert_eq!(
            fips(&[("AWS_USE_FIPS_ENDPOINT", "false")]).as_deref(),
            Ok("https://s3.us-gov-west-1.amazonaws.com")
        );
        let mut ignoring = Profile::default();
        for (name, value) in
            [("ignore_configured_endpoint_urls", "true"), ("endpoint_url", "http://x")]
        {
            ignoring.config.insert(name.to_owned(), value.to_owned().into());
        }
        let of = |vars| endpoint(Service::S3, "r", None, &Environment::of(vars), &ignoring);
        assert_eq!(of(&[]).as_deref(), Ok("https://s3.r.amazonaws.com"));
        let no = [("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "false")];
        assert_eq!(of(&no).as_deref(), Ok("http://x"));
        assert_eq!(suffix("cn-north-1"), "amazonaws.com.cn");
        assert_eq!(suffix("us-isob-east-1"), "sc2s.sgov.gov");
    }
}
