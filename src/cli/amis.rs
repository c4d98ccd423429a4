//! The commands for the AMI itself: recipes, rules, registration, plans.

use crate::ami::Ami;
use crate::ami::Tag;
use crate::calls::Step;
use crate::error::Error;
use crate::error::Result;
use crate::lint::RULES;
use crate::ops;
use crate::ops::TemplateRequest;

use crate::cli::NO;
use crate::cli::Output;
use crate::cli::ami_args;
use crate::cli::ami_args::HolePolicy;
use crate::cli::args;
use crate::cli::default_name;
use crate::cli::lost;
use crate::cli::print;
use crate::cli::progress::Follower;
use crate::cli::render_ami;
use crate::cli::warn_of_states;

/// Makes the description that `pack` is asked for: a file's, and over it what is typed.
pub(super) fn description(args: &args::Pack) -> Result<Ami> {
    let mut ami = match &args.ami {
        Some(path) => ops::read_ami(path, &TemplateRequest::default())?,
        None => Ami::default(),
    };
    match &args.name {
        Some(name) => ami.name.clone_from(name),
        None if ami.name.is_empty() => ami.name = default_name(&args.output)?,
        None => {}
    }
    if args.description.is_some() {
        ami.description.clone_from(&args.description);
    }
    let stated = args.ami.is_some();
    // The defaults are the program's own; a file that leaves them out means EC2's, which rules tell.
    ami.architecture = args.arch.or(ami.architecture);
    ami.virtualization_type = args.virtualization.or(ami.virtualization_type);
    if !stated {
        ami.architecture = ami.architecture.or(Some(crate::ami::Architecture::X86_64));
        let hvm = crate::ami::Virtualization::Hvm;
        ami.virtualization_type = ami.virtualization_type.or(Some(hvm));
    }
    ami.boot_mode = args.boot_mode.or(ami.boot_mode);
    match &args.root_device {
        Some(device) => ami.root_device_name.clone_from(device),
        None if ami.root_device_name.is_empty() => {
            "/dev/xvda".clone_into(&mut ami.root_device_name);
        }
        None => {}
    }
    if args.ena_support {
        ami.ena_support = Some(true);
    }
    ami.imds_support = args.imds_support.or(ami.imds_support);
    ami.tpm_support = args.tpm_support.or(ami.tpm_support);
    for (key, value) in &args.tag {
        ami.tags.retain(|tag| tag.key != *key);
        ami.tags.push(Tag { key: key.clone(), value: value.clone() });
    }
    Ok(ami)
}

pub(super) fn build(args: &ami_args::Build, output: Output, follower: &Follower) -> Result<u8> {
    let request = ops::BuildRequest {
        recipe: args.recipe.clone(),
        output: args.output.clone(),
        plan: args.plan.clone(),
        images: args.image.clone(),
        templates: args.templates.request(),
        allow: args.allow.clone(),
        level: args.level,
        pack_size: args.closing_size,
        threads: args.threads.count(),
        states: args.states.states(),
    };
    warn_of_states(args.states.states().zeros_as_holes, output);
    let report = ops::build(&request, follower)?;
    follower.end();
    output.notes(&report.notes);
    output.report(&report, render_ami::build)?;
    Ok(if report.passed { 0 } else { NO })
}

pub(super) fn init(args: &ami_args::Init, output: Output) -> Result<u8> {
    ops::init(&args.recipe)?;
    let report = serde_json::json!({ "output": args.recipe.to_string_lossy() });
    output
        .report(&report, |_, out| {
            writeln!(out, "{}: recipe; `amikit build` makes a bundle of it", args.recipe.display())
        })
        .map(|()| 0)
}

pub(super) fn schema() -> Result<u8> {
    print(|out| out.write_all(crate::recipe::SCHEMA.as_bytes()).map_err(lost)).map(|()| 0)
}

pub(super) fn import(args: &ami_args::Import, output: Output) -> Result<u8> {
    let request = ops::ImportRequest {
        path: args.path.clone(),
        image: args.image_id.clone(),
        output: args.output.clone(),
    };
    let report = ops::import(&request)?;
    output.report(&report, render_ami::import).map(|()| 0)
}

pub(super) fn lint(args: &ami_args::Lint, output: Output, follower: &Follower) -> Result<u8> {
    let Some(path) = &args.path else {
        return output.report(&RULES, |rules, out| render_ami::rules(rules, out)).map(|()| 0);
    };
    let request = ops::LintRequest {
        path: path.clone(),
        allow: args.allow.clone(),
        encrypted: args.encrypted,
        templates: args.templates.request(),
    };
    let report = ops::lint(&request, follower)?;
    follower.end();
    output.notes(&report.notes);
    output.report(&report, render_ami::lint)?;
    Ok(if report.errors == 0 { 0 } else { NO })
}

pub(super) fn register(
    args: &ami_args::Register,
    output: Output,
    follower: &Follower,
) -> Result<u8> {
    let request = ops::RegisterRequest {
        path: args.path.clone(),
        snapshots: args.snapshot.clone(),
        image_id: args.image_id.clone(),
        region: args.region.clone(),
        copy_to: args.copy_to.clone(),
        delete_snapshots: args.delete_snapshots,
        allow: args.allow.clone(),
        templates: args.templates.request(),
    };
    let report = ops::register(&request, follower)?;
    follower.end();
    if let Some(folder) = &args.output {
        let names = ops::write_documents(&report.documents, folder)?;
        return output
            .report(&names, |names, out| {
                names.iter().try_for_each(|name| writeln!(out, "{}", folder.join(name).display()))
            })
            .map(|()| 0);
    }
    let command = args.call.command();
    let wanted: Vec<_> = report.documents.iter().filter(|it| it.command == command).collect();
    if wanted.is_empty() {
        let text = format!("there is no {command} to make");
        return Err(Error::invalid(text).advise(if args.image_id.is_some() {
            "the AMI asks for none; its description or recipe would say so"
        } else {
            "name the AMI with --image-id ami-…: all calls but register-image need it"
        }));
    }
    if output.json {
        return output.report(&report, |_, _| Ok(())).map(|()| 0);
    }
    print(|out| wanted.iter().try_for_each(|it| out.write_all(it.json().as_bytes()).map_err(lost)))
        .map(|()| 0)
}

pub(super) fn plan(args: &ami_args::Plan, output: Output, follower: &Follower) -> Result<u8> {
    let bases = args
        .base
        .iter()
        .map(|(path, id)| ops::BaseSnapshotRequest { path: path.clone(), snapshot_id: id.clone() });
    let request = ops::PlanRequest {
        bundle: args.bundle.clone(),
        bases: bases.collect(),
        recipe: args.recipe.clone(),
        templates: args.templates.request(),
        region: args.region.clone(),
        encrypted: args.encrypted,
        kms_key_arn: args.kms_key_arn.clone(),
        send_holes: args.holes.map(|holes| holes == HolePolicy::Send),
        copy_to: args.copy_to.clone(),
        connections: args.connections,
    };
    if let Some(path) = &args.output {
        let report = ops::write_plan(&request, path, follower)?;
        return output
            .report(&report, |report, out| render_ami::totals(path, &report.totals, out))
            .map(|()| 0);
    }
    print(|out| {
        let mut text = render_ami::PlanText::default();
        ops::plan(&request, follower, &mut |step: &Step| {
            if output.json {
                serde_json::to_writer(&mut *out, step)
                    .map_err(std::io::Error::from)
                    .and_then(|()| writeln!(out))
                    .map_err(lost)
            } else {
                text.step(step, out).map_err(lost)
            }
        })
        .map(|_| ())
    })
    .map(|()| 0)
}
