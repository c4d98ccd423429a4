//! `serve aws`: mistakes in what scripts send, each with the code that EC2's reference has for it. Requests are raw, since
//! SDKs stop some of them before they are sent.

use crate::common::quick_folder;
use crate::common::run_well;
use crate::ebs::client::Client;
use crate::serve_aws::Server;

const ME: (&str, &str) = ("123456789012", "us-east-1");
const OTHER: (&str, &str) = ("210987654321", "us-east-1");
const ELSEWHERE: (&str, &str) = ("123456789012", "eu-west-1");

fn ask(client: &mut Client, who: (&'static str, &'static str), form: &str) -> (u16, String) {
    let form = format!("{form}&Version=2016-11-15");
    let answer = client.ask(who, "ec2", "POST /", &[], form.as_bytes());
    (answer.status, String::from_utf8(answer.body).unwrap())
}

/// Returns the text of the first such element.
fn text_of<'a>(text: &'a str, element: &str) -> &'a str {
    let rest = text.split_once(&format!("<{element}>")).unwrap_or_else(|| panic!("{text}")).1;
    rest.split('<').next().unwrap()
}

#[test]
#[allow(clippy::too_many_lines)]
fn each_mistake_gives_the_code_of_ec2s_reference() {
    let folder = quick_folder();
    let here = folder.path();
    std::fs::write(here.join("disk"), vec![7; 1 << 20]).unwrap();
    run_well(here, "store init images");
    for name in ["web-1", "web-2"] {
        run_well(here, &format!("pack disk -o images@{name}"));
    }
    let server = Server::start(here, "");
    let mut client = Client::new(&server.url);
    let by_name =
        |name: &str| format!("Action=DescribeImages&Filter.1.Name=name&Filter.1.Value.1={name}");
    let (_, found) = ask(&mut client, ME, &by_name("web-1"));
    let (image, snapshot) = (text_of(&found, "imageId"), text_of(&found, "snapshotId"));
    let (_, found) = ask(&mut client, ME, &by_name("web-2"));
    let gone = text_of(&found, "imageId");
    let (status, _) = ask(&mut client, ME, &format!("Action=DeregisterImage&ImageId={gone}"));
    assert_eq!(status, 200);

    let values: Vec<String> = (1..=201).map(|it| format!("&Filter.1.Value.{it}=x")).collect();
    let values = values.concat();
    let tags: Vec<String> =
        (1..=51).map(|it| format!("&Tag.{it}.Key=k{it}&Tag.{it}.Value=")).collect();
    let tags = tags.concat();
    let root = "BlockDeviceMapping.1.DeviceName=/dev/xvda&BlockDeviceMapping.1.Ebs.SnapshotId";
    let register = format!("RegisterImage&RootDeviceName=/dev/xvda&{root}={snapshot}");
    let copy = format!("CopyImage&SourceRegion=us-east-1&SourceImageId={image}");
    let never = "ami-0123456789abcdef0";
    let no_snapshot = "snap-0123456789abcdef0";
    let rows: Vec<((&str, &str), &str, String)> = vec![
        (ME, "MissingAction", String::new()),
        (ME, "InvalidAction", "RunInstances".to_owned()),
        (ME, "InvalidAction", "describeimages".to_owned()),
        // Lists.
        (ME, "UnknownParameter", "DescribeImages&Colour=red".to_owned()),
        (ME, "InvalidParameterValue", "DescribeImages&MaxResults=0".to_owned()),
        (ME, "InvalidParameterValue", "DescribeImages&MaxResults=1".to_owned()),
        (ME, "InvalidParameterValue", "DescribeSnapshots&MaxResults=4".to_owned()),
        (ME, "InvalidParameterValue", "DescribeTags&MaxResults=1001".to_owned()),
        (ME, "InvalidParameterValue", "DescribeImages&MaxResults=five".to_owned()),
        (ME, "InvalidParameterValue", "DescribeImages&MaxResults=-5".to_owned()),
        (
            ME,
            "InvalidParameterCombination",
            format!("DescribeImages&MaxResults=5&ImageId.1={image}"),
        ),
        (ME, "InvalidNextToken", "DescribeImages&NextToken=made-up".to_owned()),
        (
            ME,
            "InvalidParameterValue",
            "DescribeImages&Filter.1.Name=colour&Filter.1.Value.1=red".to_owned(),
        ),
        (ME, "MissingParameter", "DescribeImages&Filter.1.Value.1=red".to_owned()),
        (ME, "FilterLimitExceeded", format!("DescribeImages&Filter.1.Name=name{values}")),
        (ME, "InvalidParameterValue", "DescribeImages&DryRun=maybe".to_owned()),
        (ME, "InvalidUserID.Malformed", "DescribeImages&Owner.1=nobody".to_owned()),
        (ME, "InvalidUserID.Malformed", "DescribeSnapshots&Owner.1=12345".to_owned()),
        // Ids: what is not one, what never was, what is gone, and what is not for everyone.
        (ME, "InvalidAMIID.Malformed", "DescribeImages&ImageId.1=web-1".to_owned()),
        (ME, "InvalidAMIID.Malformed", "DescribeImages&ImageId.1=ami-XYZ".to_owned()),
        (ME, "InvalidAMIID.NotFound", format!("DescribeImages&ImageId.1={never}")),
        (
            ME,
            "InvalidAMIID.NotFound",
            format!("DescribeImages&ImageId.1={image}&ImageId.2={never}"),
        ),
        (ELSEWHERE, "InvalidAMIID.NotFound", format!("DescribeImages&ImageId.1={image}")),
        (OTHER, "InvalidAMIID.NotFound", format!("DescribeImages&ImageId.1={image}")),
        (ME, "InvalidAMIID.NotFound", format!("DescribeImages&ImageId.1={gone}")),
        (ME, "MissingParameter", "DeregisterImage".to_owned()),
        (ME, "InvalidAMIID.Malformed", "DeregisterImage&ImageId=web-1".to_owned()),
        (ME, "InvalidAMIID.NotFound", format!("DeregisterImage&ImageId={never}")),
        (ME, "InvalidAMIID.Unavailable", format!("DeregisterImage&ImageId={gone}")),
        (OTHER, "InvalidAMIID.NotFound", format!("DeregisterImage&ImageId={gone}")),
        (OTHER, "InvalidAMIID.NotFound", format!("DeregisterImage&ImageId={image}")),
        (ELSEWHERE, "InvalidAMIID.NotFound", format!("DeregisterImage&ImageId={image}")),
        (ME, "DryRunOperation", format!("DeregisterImage&ImageId={image}&DryRun=true")),
        (ME, "InvalidSnapshotID.Malformed", "DescribeSnapshots&SnapshotId.1=vol-1".to_owned()),
        (ME, "InvalidSnapshot.NotFound", format!("DescribeSnapshots&SnapshotId.1={no_snapshot}")),
        (ME, "MissingParameter", "DeleteSnapshot".to_owned()),
        (ME, "InvalidSnapshotID.Malformed", "DeleteSnapshot&SnapshotId=snap".to_owned()),
        (ME, "InvalidSnapshot.NotFound", format!("DeleteSnapshot&SnapshotId={no_snapshot}")),
        (ME, "InvalidSnapshot.InUse", format!("DeleteSnapshot&SnapshotId={snapshot}")),
        // Calls that make something.
        (ME, "MissingParameter", register.clone()),
        (ME, "InvalidAMIName.Malformed", format!("{register}&Name=a")),
        (ME, "InvalidAMIName.Duplicate", format!("{register}&Name=web-1")),
        (ME, "InvalidParameterValue", format!("{register}&Name=web-3&Architecture=vax")),
        (ME, "InvalidParameterValue", format!("{register}&Name=web-3&BootMode=floppy")),
        (
            ME,
            "InvalidSnapshotID.Malformed",
            format!("RegisterImage&Name=web-3&RootDeviceName=/dev/xvda&{root}=x"),
        ),
        (
            ME,
            "InvalidSnapshot.NotFound",
            format!("RegisterImage&Name=web-3&RootDeviceName=/dev/xvda&{root}={no_snapshot}"),
        ),
        (ELSEWHERE, "InvalidSnapshot.NotFound", format!("{register}&Name=web-3")),
        (ME, "MissingParameter", copy.clone()),
        (ME, "MissingParameter", format!("CopyImage&Name=web-3&SourceImageId={image}")),
        (ME, "MissingParameter", "CopyImage&Name=web-3&SourceRegion=us-east-1".to_owned()),
        (ME, "InvalidAMIName.Malformed", format!("{copy}&Name=a:b")),
        (ME, "InvalidAMIName.Duplicate", format!("{copy}&Name=web-1")),
        (
            ME,
            "InvalidAMIID.NotFound",
            format!("CopyImage&Name=web-3&SourceRegion=eu-west-1&SourceImageId={image}"),
        ),
        (
            ME,
            "InvalidSnapshot.NotFound",
            format!("CopySnapshot&SourceRegion=us-east-1&SourceSnapshotId={no_snapshot}"),
        ),
        (ME, "MissingParameter", "CopySnapshot&SourceRegion=us-east-1".to_owned()),
        // Calls that change something.
        (ME, "InvalidParameterCombination", format!("ModifyImageAttribute&ImageId={image}")),
        (
            ME,
            "InvalidAMIAttributeItemValue",
            format!("ModifyImageAttribute&ImageId={image}&LaunchPermission.Add.1.UserId=1"),
        ),
        (
            ME,
            "InvalidAMIID.NotFound",
            format!("ModifyImageAttribute&ImageId={never}&Description.Value=x"),
        ),
        (ME, "MissingParameter", format!("EnableImageDeprecation&ImageId={image}")),
        (
            ME,
            "InvalidParameterValue",
            format!("EnableImageDeprecation&ImageId={image}&DeprecateAt=2001-01-01T00:00:00Z"),
        ),
        (
            ME,
            "InvalidParameterValue",
            format!("EnableImageDeprecation&ImageId={image}&DeprecateAt=tomorrow"),
        ),
        (ME, "MissingParameter", "CreateTags&Tag.1.Key=a&Tag.1.Value=b".to_owned()),
        (ME, "MissingParameter", format!("CreateTags&ResourceId.1={image}")),
        (ME, "InvalidID", "CreateTags&ResourceId.1=web-1&Tag.1.Key=a&Tag.1.Value=b".to_owned()),
        (
            ME,
            "InvalidAMIID.NotFound",
            format!("CreateTags&ResourceId.1={never}&Tag.1.Key=a&Tag.1.Value=b"),
        ),
        (
            ME,
            "InvalidParameterValue",
            format!("CreateTags&ResourceId.1={image}&Tag.1.Key=aws:a&Tag.1.Value=b"),
        ),
        (ME, "TagLimitExceeded", format!("CreateTags&ResourceId.1={image}{tags}")),
    ];
    let mut wrong = Vec::new();
    for (who, code, call) in &rows {
        let form = if call.is_empty() { String::new() } else { format!("Action={call}") };
        let (status, text) = ask(&mut client, *who, &form);
        let found = if text.contains("<Code>") { text_of(&text, "Code") } else { "none" };
        let shown: String = call.chars().take(120).collect();
        if found != *code || !(400..500).contains(&status) {
            wrong.push(format!("{shown}: {status} {found}, expected {code}: {text}"));
        } else if text_of(&text, "Message").is_empty() || text_of(&text, "RequestID").is_empty() {
            wrong.push(format!("{shown}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    // Nothing of that did anything.
    let (_, text) = ask(&mut client, ME, "Action=DescribeImages&Owner.1=self");
    assert_eq!(text.matches("<imageId>").count(), 1, "{text}");
    assert!(text.contains("<name>web-1</name>") && !text.contains("<key>a"), "{text}");
}
