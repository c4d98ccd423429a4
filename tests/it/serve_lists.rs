//! `serve aws`: what scripts put into lists of images, snapshots, tags and regions, and what calls that are only tried do.

use crate::common::quick_folder;
use crate::common::run_well;
use crate::ebs::client::Client;
use crate::serve_aws::Server;

const ME: (&str, &str) = ("123456789012", "us-east-1");

fn ask_in(client: &mut Client, caller: (&'static str, &'static str), form: &str) -> String {
    let form = format!("Action={form}&Version=2016-11-15");
    let answer = client.ask(caller, "ec2", "POST /", &[], form.as_bytes());
    String::from_utf8(answer.body).unwrap()
}

/// All texts of an element, in their order.
fn all<'a>(text: &'a str, element: &str) -> Vec<&'a str> {
    let open = format!("<{element}>");
    text.split(&open).skip(1).map(|it| it.split('<').next().unwrap()).collect()
}

/// A server with two AMIs of one volume, `web-1` and `web*2`-like in its description.
fn scene() -> (tempfile::TempDir, Server) {
    let folder = quick_folder();
    let here = folder.path();
    std::fs::write(here.join("disk"), vec![7; 1 << 20]).unwrap();
    run_well(here, "store init images");
    for (name, description) in [("web-1", "a*b?c\\d"), ("web-2", "aXbYc")] {
        let line =
            format!("pack disk -o images@{name} --tag Role={name} --description {description}");
        run_well(here, &line);
    }
    let server = Server::start(here, "");
    (folder, server)
}

#[test]
fn a_list_has_what_its_filters_say() {
    let (_folder, server) = scene();
    let mut client = Client::new(&server.url);
    let mut names = |filter: &str| -> String {
        let text = ask_in(&mut client, ME, &format!("DescribeImages&{filter}"));
        let mut found = all(&text, "Code");
        if found.is_empty() {
            let images: Vec<&str> = text.split("<imageId>").skip(1).collect();
            found = images.iter().map(|it| all(it, "name")[0]).collect();
            found.sort_unstable();
        }
        found.join(" ")
    };
    let mut filter = |name: &str, value: &str| {
        let bytes: Vec<String> = value.bytes().map(|it| format!("%{it:02X}")).collect();
        let value = bytes.concat();
        names(&format!("Filter.1.Name={name}&Filter.1.Value.1={value}"))
    };
    for (name, value, expected) in [
        ("name", "web-*", "web-1 web-2"),
        ("name", "*-1", "web-1"),
        ("name", "we?-2", "web-2"),
        ("name", "WEB-1", ""),
        // What stands behind a backslash is itself.
        ("description", "a*b?c?d", "web-1"),
        ("description", r"a\*b\?c\\d", "web-1"),
        ("description", r"a\*b*", "web-1"),
        ("description", "a*c*", "web-1 web-2"),
        ("tag:Role", "web-2", "web-2"),
        ("tag:role", "web-2", ""),
        ("tag-key", "Ro*", "web-1 web-2"),
        ("image-allowed", "true", "web-1 web-2"),
        ("block-device-mapping.encrypted", "false", "web-1 web-2"),
        ("block-device-mapping.encrypted", "true", ""),
        ("sriov-net-support", "simple", ""),
        ("product-code.type", "marketplace", ""),
        ("state-reason-message", "*", ""),
        ("source-instance-id", "i-*", ""),
        ("image-watermark.watermark-key", "*", ""),
        ("platform-details", "Linux/UNIX", "InvalidParameterValue"),
        ("colour", "red", "InvalidParameterValue"),
    ] {
        assert_eq!(filter(name, value), expected, "{name}={value}");
    }
    for (filter, expected) in [
        ("Owner.1=self&Owner.2=amazon", "web-1 web-2"),
        ("Owner.1=amazon", ""),
        ("Owner.1=aws-marketplace&Owner.2=210987654321", ""),
        ("Owner.1=me", "InvalidUserID.Malformed"),
        ("ExecutableBy.1=all", ""),
        ("ImageId.1=ami-0123456789abcdef0", "InvalidAMIID.NotFound"),
        ("ImageId.1=web-1", "InvalidAMIID.Malformed"),
        ("MaxResults=0", "InvalidParameterValue"),
        ("MaxResults=5&ImageId.1=ami-0123456789abcdef0", "InvalidParameterCombination"),
        ("NextToken=x", "InvalidNextToken"),
        ("DryRun=true", "DryRunOperation"),
        ("DryRun=maybe", "InvalidParameterValue"),
        ("Colour=red", "UnknownParameter"),
    ] {
        assert_eq!(names(filter), expected, "{filter}");
    }
}

#[test]
fn snapshots_tags_and_regions_are_listed_likewise() {
    let (_folder, server) = scene();
    let mut client = Client::new(&server.url);
    let mut count = |form: &str, element: &str| -> String {
        let text = ask_in(&mut client, ME, form);
        all(&text, "Code")
            .first()
            .map_or_else(|| all(&text, element).len().to_string(), |it| (*it).to_owned())
    };
    for (form, element, expected) in [
        ("DescribeSnapshots&Owner.1=self", "snapshotId", "2"),
        ("DescribeSnapshots&Owner.1=nobody", "snapshotId", "InvalidUserID.Malformed"),
        ("DescribeSnapshots&RestorableBy.1=x", "snapshotId", "InvalidUserID.Malformed"),
        ("DescribeSnapshots&Filter.1.Name=owner-alias&Filter.1.Value.1=amazon", "snapshotId", "0"),
        ("DescribeSnapshots&Filter.1.Name=volume-size&Filter.1.Value.1=1", "snapshotId", "2"),
        ("DescribeSnapshots&DryRun=true", "snapshotId", "DryRunOperation"),
        ("DescribeTags&Filter.1.Name=tag:Role&Filter.1.Value.1=web-1", "resourceId", "1"),
        ("DescribeTags&Filter.1.Name=tag:Other&Filter.1.Value.1=*", "resourceId", "0"),
        ("DescribeTags&DryRun=true", "resourceId", "DryRunOperation"),
        ("DescribeRegions&Filter.1.Name=region-name&Filter.1.Value.1=eu-*", "regionName", "2"),
        ("DescribeRegions&Filter.1.Name=endpoint&Filter.1.Value.1=*us-west-2*", "regionName", "1"),
        (
            "DescribeRegions&Filter.1.Name=opt-in-status&Filter.1.Value.1=not-opted-in",
            "regionName",
            "0",
        ),
        (
            "DescribeRegions&Filter.1.Name=colour&Filter.1.Value.1=red",
            "regionName",
            "InvalidParameterValue",
        ),
        ("DescribeRegions&RegionName.1=mars-1", "regionName", "InvalidParameterValue"),
    ] {
        assert_eq!(count(form, element), expected, "{form}");
    }
}

#[test]
fn a_partition_has_its_own_regions_hosts_and_names() {
    let (_folder, server) = scene();
    let mut client = Client::new(&server.url);
    for (region, regions, host, arn) in [
        (
            "cn-north-1",
            vec!["cn-north-1", "cn-northwest-1"],
            "ec2.cn-north-1.amazonaws.com.cn",
            "arn:aws-cn:",
        ),
        (
            "us-gov-west-1",
            vec!["us-gov-east-1", "us-gov-west-1"],
            "ec2.us-gov-west-1.amazonaws.com",
            "arn:aws-us-gov:",
        ),
    ] {
        let caller = ("123456789012", region);
        let text = ask_in(&mut client, caller, "DescribeRegions");
        assert_eq!(all(&text, "regionName"), regions);
        assert!(all(&text, "regionEndpoint").contains(&host), "{text}");
        let form = b"Action=GetCallerIdentity&Version=2011-06-15";
        let answer = client.ask(caller, "sts", "POST /", &[], form);
        let text = String::from_utf8(answer.body).unwrap();
        assert!(all(&text, "Arn")[0].starts_with(arn), "{text}");
    }
    let text = ask_in(&mut client, ME, "DescribeRegions");
    assert!(all(&text, "regionName").iter().all(|it| !it.starts_with("cn-")), "{text}");
}

#[test]
fn an_account_that_blocks_public_access_cannot_share_with_all() {
    let (_folder, server) = scene();
    let mut client = Client::new(&server.url);
    let mut ask = |form: &str| ask_in(&mut client, ME, form);
    let id = all(&ask("DescribeImages&Owner.1=self"), "imageId")[0].to_owned();
    let snapshot = all(&ask("DescribeSnapshots&Owner.1=self"), "snapshotId")[0].to_owned();
    let image = format!("ModifyImageAttribute&ImageId={id}&LaunchPermission.Add.1.Group=all");
    let volume = format!(
        "ModifySnapshotAttribute&SnapshotId={snapshot}&CreateVolumePermission.Add.1.Group=all"
    );
    for (kind, member, element, state, share) in [
        (
            "Image",
            "ImageBlockPublicAccessState",
            "imageBlockPublicAccessState",
            "block-new-sharing",
            image,
        ),
        ("Snapshot", "State", "state", "block-all-sharing", volume),
    ] {
        let get = format!("Get{kind}BlockPublicAccessState");
        assert_eq!(all(&ask(&get), element), ["unblocked"]);
        let block = format!("Enable{kind}BlockPublicAccess&{member}={state}");
        assert_eq!(all(&ask(&format!("{block}&DryRun=true")), "Code"), ["DryRunOperation"]);
        let wrong = ask(&format!("Enable{kind}BlockPublicAccess&{member}=all"));
        assert_eq!(all(&wrong, "Code"), ["InvalidParameterValue"]);
        assert_eq!(all(&ask(&block), element), [state]);
        assert_eq!(all(&ask(&get), element), [state]);
        assert_eq!(all(&ask(&share), "Code"), ["OperationNotPermitted"]);
        assert_eq!(all(&ask(&format!("Disable{kind}BlockPublicAccess")), element), ["unblocked"]);
        assert_eq!(all(&ask(&share), "return"), ["true"]);
    }
}
