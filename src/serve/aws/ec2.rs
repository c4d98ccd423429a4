//! EC2's image calls in the query protocol, version 2016-11-15, and who one is, by STS and S3.

use crate::serve::aws::access::Caller;
use crate::serve::aws::ec2_error::Ec2Error;
use crate::serve::aws::params::Params;
use crate::serve::aws::query::Done;
use crate::serve::aws::query::dry_run;
use crate::serve::aws::server::Server;
use crate::serve::aws::tags::partition;
use crate::serve::aws::xml;
use crate::serve::aws::xml::Xml;
use crate::serve::http::Answer;
use crate::serve::http::Request;
use crate::serve::http::form;

/// What serves a call.
type Call = fn(&Server<'_>, &Caller, &Params) -> Done;

macro_rules! calls {
    ($($name:literal $module:ident::$function:ident,)*) => {
        /// The calls that are served.
        const CALLS: &[(&str, Call)] = &[$(($name, crate::serve::aws::$module::$function)),*];
    };
}

calls! {
    "RegisterImage" register::register,
    "DescribeImages" image_list::describe,
    "DescribeImageAttribute" image_list::describe_attribute,
    "ModifyImageAttribute" image_changes::modify,
    "ResetImageAttribute" image_changes::reset,
    "CopyImage" image_copy::copy,
    "DeregisterImage" image_changes::deregister,
    "EnableImage" image_changes::enable,
    "DisableImage" image_changes::disable,
    "EnableImageDeprecation" image_changes::deprecate,
    "DisableImageDeprecation" image_changes::undeprecate,
    "EnableImageDeregistrationProtection" image_changes::protect,
    "DisableImageDeregistrationProtection" image_changes::unprotect,
    "GetImageBlockPublicAccessState" public_access::of_images,
    "EnableImageBlockPublicAccess" public_access::block_images,
    "DisableImageBlockPublicAccess" public_access::unblock_images,
    "GetSnapshotBlockPublicAccessState" public_access::of_snapshots,
    "EnableSnapshotBlockPublicAccess" public_access::block_snapshots,
    "DisableSnapshotBlockPublicAccess" public_access::unblock_snapshots,
    "DescribeSnapshots" snapshots::describe,
    "DescribeSnapshotAttribute" snapshots::describe_attribute,
    "ModifySnapshotAttribute" snapshots::modify,
    "ResetSnapshotAttribute" snapshots::reset,
    "CopySnapshot" snapshots::copy,
    "DeleteSnapshot" snapshots::delete,
    "CreateTags" tags::create,
    "DeleteTags" tags::delete,
    "DescribeTags" tags::describe,
    "DescribeRegions" tags::regions,
}

/// Answers a request, and says which call it was.
pub(super) fn answer(
    server: &Server<'_>,
    caller: &Caller,
    request: &Request,
    id: &str,
) -> (&'static str, Answer) {
    let fail = |error: &Ec2Error| xml::error(error.status, &error.code, &error.message, id);
    let text = String::from_utf8_lossy(&request.body).into_owned();
    let body = if request.method == "POST" { &text } else { &request.query };
    let params = match Params::new(form(body)) {
        Ok(params) => params,
        Err(error) => return ("-", fail(&error)),
    };
    let asked = params.get("Action").unwrap_or_default();
    if asked.is_empty() {
        let text = "The request is missing an action";
        return ("-", fail(&Ec2Error::new("MissingAction", text)));
    }
    let Some((name, call)) = CALLS.iter().find(|(name, _)| *name == asked) else {
        let text = format!("The action {asked} is not valid for this web service.");
        return ("-", fail(&Ec2Error::new("InvalidAction", text)));
    };
    if let Some(fault) = server.fault(name) {
        return (name, xml::error(fault.status, &fault.code, &fault.message, id));
    }
    // A call that changes nothing may be made before it is known to be a try; the others look before they change.
    let tried = |xml| {
        if name.starts_with("Describe") || name.starts_with("Get") {
            dry_run(&params)?;
        }
        Ok(xml)
    };
    match call(server, caller, &params).and_then(tried) {
        Ok(xml) => (name, xml.answer(name, id)),
        Err(error) => {
            server.tell_own(name, error.status, &error.message);
            (name, fail(&error))
        }
    }
}

/// Answers what STS is asked.
pub(super) fn sts(
    server: &Server<'_>,
    caller: &Caller,
    request: &Request,
    id: &str,
) -> (&'static str, Answer) {
    let pairs = form(&String::from_utf8_lossy(&request.body));
    let asked = pairs.iter().find(|(name, _)| name == "Action").map(|(_, value)| value.as_str());
    if asked != Some("GetCallerIdentity") {
        let text = "Could not find operation";
        return ("-", xml::sts_error(400, "InvalidAction", text, id));
    }
    if let Some(fault) = server.fault("GetCallerIdentity") {
        let answer = xml::sts_error(fault.status, &fault.code, &fault.message, id);
        return ("GetCallerIdentity", answer);
    }
    let (arn, user) = identity(caller);
    let mut xml = Xml::new();
    xml.text("Arn", arn).text("UserId", user).text("Account", &caller.account);
    ("GetCallerIdentity", xml.sts("GetCallerIdentity", id))
}

/// Answers what S3 is asked: a list of buckets, of which there are none. Uploaders ask for it to learn who they are.
pub(super) fn s3(
    server: &Server<'_>,
    caller: &Caller,
    request: &Request,
    id: &str,
) -> (&'static str, Answer) {
    if request.method != "GET" || request.path != "/" {
        let text = "Of S3, only the list of buckets is served";
        return ("-", xml::s3_error(501, "NotImplemented", text, id));
    }
    if let Some(fault) = server.fault("ListBuckets") {
        return ("ListBuckets", xml::s3_error(fault.status, &fault.code, &fault.message, id));
    }
    // As long as EC2's canonical ids, and the same for an account at any time.
    let owner = crate::digest::sha256(caller.account.as_bytes()).hex();
    ("ListBuckets", xml::no_buckets(&owner))
}

/// Returns what `GetCallerIdentity` says.
fn identity(caller: &Caller) -> (String, String) {
    let (partition, _) = partition(&caller.region);
    let arn = format!("arn:{partition}:iam::{}:user/{}", caller.account, caller.key);
    (arn, caller.key.clone())
}
