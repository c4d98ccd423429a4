//! Plans replayed block by block, against the volume that they must give.

use std::borrow::Cow;
use std::num::NonZero;

use super::*;
use crate::ami::Ami;
use crate::ami::Architecture;
use crate::ami::DeregistrationProtection;
use crate::ami::Distribution;
use crate::ami::Ebs;
use crate::ami::LaunchPermission;
use crate::ami::Mapping;
use crate::ami::Tag;
use crate::ami::Upload;
use crate::ami::Virtualization;
use crate::digest::Digest;
use crate::digest::Sha256;
use crate::error::Advice;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;
use crate::io::Input;
use crate::io::OutputFile;
use crate::manifest::Builder;
use crate::manifest::Manifest;
use crate::manifest::zero_block_digest;
use crate::units::BLOCK_SIZE;
use crate::units::ExtentKind;

/// A block of a test volume: a number above 1 is data of that content.
const HOLE: u8 = 0;
const ZERO: u8 = 1;

fn digest(content: u8) -> Digest {
    if content == ZERO { zero_block_digest() } else { Digest([content; 32]) }
}

/// Makes the manifest of a volume, in a folder that is gone again: the file stays mapped.
fn manifest(blocks: &[u8]) -> Manifest {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.snap");
    let out = OutputFile::create(&path).unwrap();
    let mut builder = Builder::new(&out);
    for block in blocks {
        match *block {
            HOLE => builder.push_run(ExtentKind::Hole, 1).unwrap(),
            ZERO => builder.push_run(ExtentKind::Zero, 1).unwrap(),
            content => builder.push_data(&digest(content)).unwrap(),
        }
    }
    builder.finish(u64::try_from(blocks.len()).unwrap() * BLOCK_SIZE).unwrap();
    out.commit().unwrap();
    Manifest::open(&Input::open(&path).unwrap()).unwrap()
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % end
    }

    fn index(&mut self, end: u64) -> usize {
        usize::try_from(self.below(end)).unwrap()
    }

    fn block(&mut self) -> u8 {
        u8::try_from(self.below(5)).unwrap()
    }

    /// A volume of up to 2,048 blocks, with long holes.
    fn volume(&mut self) -> Vec<u8> {
        let len = 1 + self.index(2048);
        (0..len).map(|at| if at / 300 % 2 == 0 { HOLE } else { self.block() }).collect()
    }

    /// The same volume with some ranges rewritten, and another end.
    fn changed(&mut self, old: &[u8]) -> Vec<u8> {
        let mut new = old.to_vec();
        new.resize(1 + self.index(2048), HOLE);
        for _ in 0..self.below(8) {
            let start = self.index(2048).min(new.len());
            let end = (start + self.index(400)).min(new.len());
            let content = self.block();
            new[start..end].fill(content);
        }
        new
    }
}

/// What a volume of 2,048 blocks is after the puts, starting from `old`.
fn replay(old: &[u8], puts: Puts<'_>) -> Vec<u8> {
    let mut volume = old.to_vec();
    volume.resize(2048, HOLE);
    let mut next = 0;
    for put in puts {
        let put = put.unwrap();
        assert!(put.first.0 >= next && put.count > 0, "puts ascend");
        next = put.first.0 + put.count;
        let content = if put.is_zero() { ZERO } else { put.digest.0[0] };
        assert_eq!(put.digest, digest(content));
        for index in put.first.0..next {
            volume[usize::try_from(index).unwrap()] = content;
        }
    }
    volume
}

/// What must be there: the target, where a hole over what the parent wrote is zeros.
fn expected(old: &[u8], new: &[u8], send: bool) -> Vec<u8> {
    let end = old.len().max(new.len());
    (0..2048)
        .map(|at| {
            let side = |blocks: &[u8]| blocks.get(at).copied().unwrap_or(HOLE);
            match (side(old), side(new)) {
                (HOLE, HOLE) if send && at < end => ZERO,
                (HOLE, HOLE) => HOLE,
                (_, HOLE) => ZERO,
                (_, block) => block,
            }
        })
        .collect()
}

#[test]
fn a_replay_gives_the_target_for_random_pairs() {
    let mut random = Random(3);
    for round in 0..60 {
        let old = random.volume();
        let new = random.changed(&old);
        let (base, target) = (manifest(&old), manifest(&new));
        for send in [false, true] {
            let puts = Puts::new(&target, Some(&base), send);
            assert_eq!(replay(&old, puts), expected(&old, &new, send), "{round} {send}");
            let puts = Puts::new(&target, None, send);
            assert_eq!(replay(&[], puts), expected(&[], &new, send), "{round} {send}");
        }
    }
}

/// Nothing is sent twice, nothing that the parent has, and neighbours go together.
#[test]
fn only_what_changed_is_put() {
    let old = [2, 2, ZERO, HOLE, 3, 3, ZERO, HOLE, 2];
    let new = [2, 4, ZERO, HOLE, HOLE, HOLE, HOLE, ZERO, 2];
    let (base, target) = (manifest(&old), manifest(&new));
    let puts: Vec<Put> = Puts::new(&target, Some(&base), false).map(Result::unwrap).collect();
    let put = |first, count, content| Put {
        first: crate::units::BlockIndex(first),
        count,
        digest: digest(content),
    };
    assert_eq!(puts, [put(1, 1, 4), put(4, 2, ZERO), put(7, 1, ZERO)]);
    assert_eq!(Puts::new(&base, Some(&base), false).count(), 0);
}

/// A bundle's description of one volume, to be shared, deprecated and copied.
fn ami(target: &Manifest) -> Ami {
    Ami {
        name: "web".to_owned(),
        architecture: Some(Architecture::X86_64),
        virtualization_type: Some(Virtualization::Hvm),
        root_device_name: "/dev/xvda".to_owned(),
        block_device_mappings: vec![Mapping {
            device_name: "/dev/xvda".to_owned(),
            ebs: Some(Ebs {
                snapshot_digest: Some(target.root()),
                volume_size: Some(1),
                ..Ebs::default()
            }),
            ..Mapping::default()
        }],
        tags: vec![Tag { key: "Team".to_owned(), value: "web".to_owned() }],
        launch_permissions: vec![LaunchPermission::of("123456789012")],
        deprecate_at: "2028-01-31T12:00:00Z".parse().ok(),
        deregistration_protection: Some(DeregistrationProtection::Enabled),
        ..Ami::default()
    }
}

fn request<'a>(
    ami: &'a Ami,
    target: &'a Manifest,
    base: Option<&'a Manifest>,
    upload: &'a Upload,
    distribution: &'a [Distribution],
) -> PlanRequest<'a> {
    let base = base.map(|manifest| Base { manifest, snapshot_id: "snap-0a" });
    PlanRequest {
        bundle: Digest([0; 32]),
        ami: Cow::Borrowed(ami),
        volumes: vec![PlanVolume { device: "/dev/xvda", manifest: target, base }],
        upload,
        distribution,
        connections: NonZero::new(64).unwrap(),
    }
}

fn copy(region: &str) -> Distribution {
    Distribution { region: region.to_owned(), ..Distribution::default() }
}

#[test]
fn a_plan_has_its_steps_in_order_and_its_sums() {
    let (old, new) = ([2, 2, 2, HOLE], [2, 3, HOLE, ZERO]);
    let (base, target) = (manifest(&old), manifest(&new));
    let upload = Upload { region: Some("eu-central-1".to_owned()), ..Upload::default() };
    let mut to = copy("us-east-1");
    to.launch_permissions = Some(vec![LaunchPermission::of("all")]);
    let copies = [to];
    let ami = ami(&target);
    let request = request(&ami, &target, Some(&base), &upload, &copies);
    let steps: Vec<Step> = Plan::new(request).unwrap().map(Result::unwrap).collect();
    let json: Vec<serde_json::Value> =
        steps.iter().map(|step| serde_json::to_value(step).unwrap()).collect();
    let names: Vec<&str> = json.iter().map(|line| line["Step"].as_str().unwrap()).collect();
    let expected = [
        "Plan",
        "StartSnapshot",
        "PutSnapshotBlock",
        "PutSnapshotBlock",
        "CompleteSnapshot",
        "WaitForSnapshot",
        "RegisterImage",
        "WaitForImage",
        "ModifyImageAttribute",
        "EnableImageDeprecation",
        "EnableImageDeregistrationProtection",
        "CopyImage",
        "WaitForImage",
        "ModifyImageAttribute",
        "EnableImageDeprecation",
        "EnableImageDeregistrationProtection",
        "Totals",
    ];
    assert_eq!(names, expected);
    assert_eq!(json[1]["Parameters"]["ParentSnapshotId"], "snap-0a");
    let token = json[1]["Parameters"]["ClientToken"].as_str().unwrap();
    assert!(token.len() == 64 && token.bytes().all(|b| b.is_ascii_hexdigit()), "{token}");
    assert_eq!((&json[3]["BlockIndex"], &json[3]["BlockCount"]), (&2.into(), &2.into()));
    assert_eq!(json[2].get("BlockCount"), None);

    let mut linear = Sha256::new();
    for content in [3, ZERO, ZERO] {
        linear.update(&digest(content).0);
    }
    assert_eq!(json[4]["Parameters"]["ChangedBlocksCount"], 3);
    assert_eq!(json[4]["Parameters"]["Checksum"], linear.finish().base64());
    let ebs = &json[6]["Parameters"]["BlockDeviceMappings"][0]["Ebs"];
    assert_eq!(
        (&ebs["SnapshotId"], &ebs["VolumeSize"]),
        (&"${snapshot:/dev/xvda}".into(), &1.into())
    );
    assert_eq!(ebs.get("SnapshotDigest"), None);
    let tags = &json[11]["Parameters"]["TagSpecifications"];
    assert_eq!(
        (&tags[0]["ResourceType"], &tags[0]["Tags"][0]["Key"]),
        (&"image".into(), &"Team".into())
    );
    assert_eq!(tags[1]["ResourceType"], "snapshot");
    assert_eq!(json[13]["Parameters"]["ImageId"], "${image:1}");
    assert_eq!(json[13]["Parameters"]["LaunchPermission"]["Add"][0]["Group"], "all");
    let Some(Step::Totals(totals)) = steps.last() else { panic!("the totals come last") };
    assert_eq!((totals.blocks, totals.data_blocks, totals.zero_blocks), (3, 1, 2));
    // Three puts, and one call for each other step but the first and the last.
    assert_eq!((totals.bytes, totals.requests), (3 * BLOCK_SIZE, 3 + 13));
}

/// Which states a call needs of what it names; each is waited for before, and nothing else is.
#[test]
fn every_call_waits_for_what_it_names() {
    let target = manifest(&[2, 3]);
    let ami = ami(&target);
    let shared = |id: &str| Some(vec![LaunchPermission::of(id)]);
    let upload = Upload {
        region: Some("eu-central-1".to_owned()),
        create_volume_permissions: vec![LaunchPermission::of("123456789012")],
        ..Upload::default()
    };
    let mut quiet = copy("us-west-2");
    quiet.launch_permissions = Some(Vec::new());
    quiet.create_volume_permissions = Some(Vec::new());
    let mut own = copy("us-east-1");
    own.create_volume_permissions = shared("210987654321");
    for copies in
        [vec![], vec![quiet.clone()], vec![own.clone()], vec![copy("us-west-1"), own, quiet]]
    {
        let request = request(&ami, &target, None, &upload, &copies);
        let (mut known, mut ready) = (Vec::new(), Vec::new());
        for step in Plan::new(request).unwrap().map(Result::unwrap) {
            let Step::Action(action) = step else {
                if let Step::StartSnapshot { result, not_yet, .. } = step {
                    assert!(not_yet.seconds >= 120 && !not_yet.errors.is_empty());
                    known.push(result);
                }
                continue;
            };
            let json = serde_json::to_value(&action).unwrap();
            for text in json["Parameters"].to_string().split('"') {
                let id = Id::parse(text);
                if id.made().is_none() {
                    continue;
                }
                assert!(known.contains(&id), "{id} is made before {json}");
                if action.is_wait() {
                    assert!(!ready.contains(&id), "{id} is waited for once");
                    ready.push(id);
                } else {
                    assert!(ready.contains(&id), "{id} is waited for before {json}");
                }
            }
            known.extend(action.result.clone());
            for found in &action.snapshots {
                // A copy that is available has its snapshots complete.
                known.push(found.result.clone());
                ready.push(found.result.clone());
            }
            if let Some(until) = action.until {
                let expected =
                    if action.step == "WaitForImage" { "available" } else { "completed" };
                assert_eq!(until.state, expected);
                assert!(!until.fails.contains(&expected) && until.every_seconds > 0);
            }
            assert_eq!(action.not_yet.is_some(), action.result.is_some());
        }
        let sorted = |ids: Vec<Id>| {
            let mut texts: Vec<String> = ids.iter().map(Id::to_string).collect();
            texts.sort();
            texts
        };
        assert_eq!(sorted(known), sorted(ready), "whatever is made is waited for");
    }
}

/// Tags, sharing, deprecation and protection of a copy are what the AMI has, or what the copy says.
#[test]
fn copies_get_what_the_ami_gets() {
    let target = manifest(&[2, 3]);
    let ami = ami(&target);
    let upload = Upload {
        region: Some("eu-central-1".to_owned()),
        snapshot_tags: vec![Tag { key: "Kind".to_owned(), value: "root".to_owned() }],
        create_volume_permissions: vec![LaunchPermission::of("123456789012")],
        ..Upload::default()
    };
    let all_of = |copies: &[Distribution]| -> Vec<serde_json::Value> {
        let plan = Plan::new(request(&ami, &target, None, &upload, copies)).unwrap();
        plan.map(|step| serde_json::to_value(step.unwrap()).unwrap()).collect()
    };
    let steps = all_of(&[copy("us-east-1")]);
    let of = |image: &str, step: &str| -> Vec<serde_json::Value> {
        let named = |it: &&serde_json::Value| {
            let text = it["Parameters"].to_string();
            it["Step"] == step && text.contains(image)
        };
        let mut found: Vec<serde_json::Value> = steps.iter().filter(named).cloned().collect();
        for step in &mut found {
            let parameters = step["Parameters"].as_object_mut().unwrap();
            parameters.retain(|name, _| name != "ImageId" && name != "SnapshotId");
        }
        found.into_iter().map(|it| it["Parameters"].clone()).collect()
    };
    for step in
        ["ModifyImageAttribute", "EnableImageDeprecation", "EnableImageDeregistrationProtection"]
    {
        let own = of("${image:0}", step);
        assert!(!own.is_empty() && own == of("${image:1}", step), "{step}");
    }
    let shared = of("${snapshot:/dev/xvda}", "ModifySnapshotAttribute");
    assert!(
        !shared.is_empty() && shared == of("${snapshot:1:/dev/xvda}", "ModifySnapshotAttribute")
    );
    let start = steps.iter().find(|it| it["Step"] == "StartSnapshot").unwrap();
    let copied = steps.iter().find(|it| it["Step"] == "CopyImage").unwrap();
    let tags = &copied["Parameters"]["TagSpecifications"];
    assert_eq!(tags[1]["Tags"], start["Parameters"]["Tags"]);
    let register = steps.iter().find(|it| it["Step"] == "RegisterImage").unwrap();
    assert_eq!(tags[0], register["Parameters"]["TagSpecifications"][0]);
    let bare = Distribution {
        launch_permissions: Some(Vec::new()),
        create_volume_permissions: Some(Vec::new()),
        deregistration_protection: Some(DeregistrationProtection::Disabled),
        ..copy("us-east-1")
    };
    let quiet = all_of(&[bare]);
    let last: Vec<&str> =
        quiet.iter().rev().take(4).map(|it| it["Step"].as_str().unwrap()).collect();
    assert_eq!(last, ["Totals", "EnableImageDeprecation", "WaitForImage", "CopyImage"]);
}

/// The facts' own vectors: what EBS wants of these blocks.
#[test]
fn linear_is_over_the_blocks_that_are_put() {
    let complete = |blocks: &[u8]| {
        let target = manifest(blocks);
        let (ami, upload) = (ami(&target), Upload::default());
        let plan = Plan::new(request(&ami, &target, None, &upload, &[])).unwrap();
        let mut found = None;
        for step in plan {
            if let Step::CompleteSnapshot { parameters, .. } = step.unwrap() {
                found = Some((parameters.changed_blocks_count, parameters.checksum));
            }
        }
        found.unwrap()
    };
    let empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".to_owned();
    assert_eq!(complete(&[HOLE, HOLE]), (0, empty));
    assert_eq!(complete(&[2, ZERO, HOLE]).0, 2);
}

/// Each refusal, tripped by one change.
#[test]
fn what_would_lie_is_refused() {
    let holes = manifest(&[2, HOLE]);
    let full = manifest(&[2, 3]);
    let large = manifest(&[2; 2049]);
    let fault =
        |target: &Manifest, base: Option<&Manifest>, upload: Upload, copies: &[Distribution]| {
            let ami = ami(target);
            let request = request(&ami, target, base, &upload, copies);
            Plan::new(request).err().map(|error| (error.kind(), error.advice().cloned()))
        };
    let region = || Some("eu-central-1".to_owned());
    let plain = || Upload { region: region(), ..Upload::default() };
    let encrypted = || Upload { encrypted: true, ..plain() };
    let refused = |found: Option<(Kind, Option<Advice>)>, advice: &Advice| {
        assert_eq!(found, Some((Kind::Invalid, Some(advice.clone()))));
    };
    let send = Advice::Give { setting: Setting::Holes, example: "send".into() };
    let no_base = Advice::Omit(Setting::Base);
    let named = Advice::Give { setting: Setting::Region, example: "REGION".into() };
    assert_eq!(fault(&holes, Some(&full), plain(), &[copy("us-east-1")]), None);
    assert_eq!(fault(&full, None, encrypted(), &[]), None);
    assert_eq!(fault(&holes, None, Upload { send_holes: true, ..encrypted() }, &[]), None);
    refused(fault(&holes, None, encrypted(), &[]), &send);
    refused(fault(&holes, Some(&holes), encrypted(), &[]), &send);
    let to = Distribution { encrypted: true, ..copy("us-east-1") };
    refused(fault(&holes, None, plain(), &[to]), &send);
    refused(fault(&full, Some(&large), plain(), &[]), &no_base);
    let kms_key_arn = Some("arn:aws:kms:eu-central-1:123456789012:key/a".to_owned());
    refused(fault(&full, Some(&full), Upload { kms_key_arn, ..encrypted() }, &[]), &no_base);
    refused(fault(&full, None, Upload::default(), &[copy("us-east-1")]), &named);
}

/// Encryption is asked for without a parent only; a parent has its own.
#[test]
fn encrypted_is_not_sent_beside_a_parent() {
    let full = manifest(&[2, 3]);
    let ami = ami(&full);
    let upload = Upload { encrypted: true, ..Upload::default() };
    for (base, expected) in [(None, Some(true)), (Some(&full), None)] {
        let plan = Plan::new(request(&ami, &full, base, &upload, &[])).unwrap();
        let found = plan.map(Result::unwrap).find_map(|step| match step {
            Step::StartSnapshot { parameters, .. } => Some(parameters.encrypted),
            _ => None,
        });
        assert_eq!(found, Some(expected));
    }
}

#[test]
fn a_token_is_that_of_content_and_parameters() {
    let (one, two) = (manifest(&[2, 3]), manifest(&[2, 4]));
    let token = |target: &Manifest, region: &str| {
        let ami = ami(target);
        let upload = Upload { region: Some(region.to_owned()), ..Upload::default() };
        let plan = Plan::new(request(&ami, target, None, &upload, &[])).unwrap();
        plan.map(Result::unwrap).find_map(|step| match step {
            Step::StartSnapshot { parameters, .. } => Some(parameters.client_token),
            _ => None,
        })
    };
    assert_eq!(token(&one, "eu-central-1"), token(&one, "eu-central-1"));
    assert_ne!(token(&one, "eu-central-1"), token(&two, "eu-central-1"));
    assert_ne!(token(&one, "eu-central-1"), token(&one, "us-east-1"));
}
