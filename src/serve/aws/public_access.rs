//! Whether an account lets its images and snapshots be public, region by region.

use crate::serve::aws::access::Caller;
use crate::serve::aws::ec2_error::Ec2Error;
use crate::serve::aws::params::Params;
use crate::serve::aws::query::Done;
use crate::serve::aws::query::dry_run;
use crate::serve::aws::server::Server;
use crate::serve::aws::state::State;
use crate::serve::aws::xml::Xml;

/// The state in which nothing is blocked.
const UNBLOCKED: &str = "unblocked";

/// What may be public.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Images,
    Snapshots,
}

impl Kind {
    /// The element of the answer, the parameter, and the states that something is blocked in.
    fn words(self) -> (&'static str, &'static str, &'static [&'static str]) {
        match self {
            Self::Images => (
                "imageBlockPublicAccessState",
                "ImageBlockPublicAccessState",
                &["block-new-sharing"],
            ),
            Self::Snapshots => ("state", "State", &["block-all-sharing", "block-new-sharing"]),
        }
    }

    fn key(self, caller: &Caller) -> String {
        let kind = match self {
            Self::Images => "images",
            Self::Snapshots => "snapshots",
        };
        format!("{} {} {kind}", caller.account, caller.region)
    }
}

/// Fails if the account does not let such things become public.
pub(super) fn check(state: &State, caller: &Caller, kind: Kind) -> Result<(), Ec2Error> {
    if state.blocked.contains_key(&kind.key(caller)) {
        let text = "Public sharing is blocked by block public access of the account.";
        return Err(Ec2Error::new("OperationNotPermitted", text));
    }
    Ok(())
}

fn get(server: &Server<'_>, caller: &Caller, params: &Params, kind: Kind) -> Done {
    params.only(&[])?;
    let state = server.state();
    let blocked = state.blocked.get(&kind.key(caller));
    let mut xml = Xml::new();
    xml.text(kind.words().0, blocked.map_or(UNBLOCKED, String::as_str));
    xml.text("managedBy", "account");
    Ok(xml)
}

fn set(
    server: &Server<'_>,
    caller: &Caller,
    params: &Params,
    kind: Kind,
    wanted: Option<&str>,
) -> Done {
    dry_run(params)?;
    let mut state = server.state();
    match wanted {
        Some(wanted) => state.blocked.insert(kind.key(caller), wanted.to_owned()),
        None => state.blocked.remove(&kind.key(caller)),
    };
    server.save(&mut state)?;
    let mut xml = Xml::new();
    xml.text(kind.words().0, wanted.unwrap_or(UNBLOCKED));
    Ok(xml)
}

fn block(server: &Server<'_>, caller: &Caller, params: &Params, kind: Kind) -> Done {
    let (_, name, states) = kind.words();
    params.only(&[name])?;
    let wanted = params.need(name)?;
    if !states.contains(&wanted) {
        let text = format!("Invalid value '{wanted}' for {name}");
        return Err(Ec2Error::new("InvalidParameterValue", text));
    }
    set(server, caller, params, kind, Some(wanted))
}

fn unblock(server: &Server<'_>, caller: &Caller, params: &Params, kind: Kind) -> Done {
    params.only(&[])?;
    set(server, caller, params, kind, None)
}

pub(super) fn of_images(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    get(server, caller, params, Kind::Images)
}

pub(super) fn block_images(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    block(server, caller, params, Kind::Images)
}

pub(super) fn unblock_images(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    unblock(server, caller, params, Kind::Images)
}

pub(super) fn of_snapshots(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    get(server, caller, params, Kind::Snapshots)
}

pub(super) fn block_snapshots(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    block(server, caller, params, Kind::Snapshots)
}

pub(super) fn unblock_snapshots(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    unblock(server, caller, params, Kind::Snapshots)
}
