//! `serve aws` and AMIs of instance store: a location is one plain name in the store's folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::common::copy_tree;
use crate::common::fixture;
use crate::common::quick_folder;
use crate::common::run_well;
use crate::ebs::client::Client;
use crate::serve_aws::Server;

const ME: (&str, &str) = ("123456789012", "us-east-1");

/// Asks EC2 for something, and returns the status and the answer.
fn ask(client: &mut Client, form: &str) -> (u16, String) {
    let form = format!("{form}&Version=2016-11-15");
    let answer = client.ask(ME, "ec2", "POST /", &[], form.as_bytes());
    (answer.status, String::from_utf8(answer.body).unwrap())
}

/// Registers what is at a location, under the same name.
fn register(client: &mut Client, location: &str) -> (u16, String) {
    ask(client, &format!("Action=RegisterImage&Name=at-{location}&ImageLocation={location}"))
}

fn within<'a>(text: &'a str, element: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("<{element}>")).unwrap_or_else(|| panic!("{text}"));
    rest.split('<').next().unwrap()
}

/// A copy of the bundle that euca2ools made, in which the test changes something.
fn place(images: &Path, name: &str, change: impl FnOnce(&Path)) {
    let folder = images.join(name);
    copy_tree(&fixture("instance-store/euca"), &folder);
    fs::remove_file(folder.join("unsigned.manifest.xml")).unwrap();
    change(&folder);
}

#[test]
fn a_bundle_in_the_stores_folder_is_registered_listed_copied_and_deregistered() {
    let folder = quick_folder();
    run_well(folder.path(), "store init images");
    place(&folder.path().join("images"), "euca", |_| {});
    let server = Server::start(folder.path(), "");
    let mut client = Client::new(&server.url);
    let (status, text) = register(&mut client, "euca");
    assert_eq!(status, 200, "{text}");
    let id = within(&text, "imageId").to_owned();
    let filter = "Filter.1.Name=root-device-type&Filter.1.Value.1=instance-store";
    let (_, text) = ask(&mut client, &format!("Action=DescribeImages&{filter}"));
    for (element, value) in [
        ("imageId", &*id),
        ("imageLocation", "euca"),
        ("rootDeviceType", "instance-store"),
        ("rootDeviceName", "/dev/sda1"),
        ("architecture", "x86_64"),
    ] {
        assert_eq!(within(&text, element), value, "{text}");
    }
    let (_, text) = ask(
        &mut client,
        "Action=DescribeImages&Filter.1.Name=manifest-location&Filter.1.Value.1=euca",
    );
    assert!(text.contains(&id), "{text}");
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let copy = format!("Action=CopyImage&SourceImageId={id}&SourceRegion=us-east-1&Name=copied");
    let (status, text) = ask(&mut client, &copy);
    assert_eq!(status, 200, "{text}");
    let copied = within(&text, "imageId").to_owned();
    for id in [id, copied] {
        let (status, text) = ask(&mut client, &format!("Action=DeregisterImage&ImageId={id}"));
        assert_eq!(status, 200, "{text}");
    }
    let (_, text) = ask(&mut client, "Action=DescribeImages&Owner.1=self");
    assert!(!text.contains("<imageId>"), "{text}");
    // What it names is the user's, and stays.
    assert!(folder.path().join("images/euca/disk.part.04").exists());
    run_well(folder.path(), "store verify images");
}

#[test]
fn nothing_outside_the_stores_folder_is_reached_and_what_ec2_refuses_is_refused() {
    let folder = quick_folder();
    let here = folder.path();
    run_well(here, "store init images");
    let images = here.join("images");
    place(here, "outside", |_| {});
    symlink(here.join("outside"), images.join("link")).unwrap();
    place(&images, "linked-manifest", |it| {
        fs::remove_file(it.join("disk.manifest.xml")).unwrap();
        symlink(here.join("outside/disk.manifest.xml"), it.join("disk.manifest.xml")).unwrap();
    });
    place(&images, "linked-part", |it| {
        fs::remove_file(it.join("disk.part.01")).unwrap();
        symlink(here.join("outside/disk.part.01"), it.join("disk.part.01")).unwrap();
    });
    place(&images, "no-part", |it| fs::remove_file(it.join("disk.part.01")).unwrap());
    place(&images, "short-part", |it| fs::write(it.join("disk.part.01"), "short").unwrap());
    place(&images, "two", |it| {
        fs::copy(it.join("disk.manifest.xml"), it.join("other.manifest.xml")).unwrap();
    });
    place(&images, "none", |it| fs::remove_file(it.join("disk.manifest.xml")).unwrap());
    place(&images, "garbage", |it| fs::write(it.join("disk.manifest.xml"), "<a>").unwrap());
    let unsigned = fixture("instance-store/euca/unsigned.manifest.xml");
    place(&images, "unsigned", |it| {
        fs::copy(unsigned, it.join("disk.manifest.xml")).unwrap();
    });
    place(&images, "machine", |it| {
        let path = it.join("disk.manifest.xml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("<architecture>x86_64<"));
        fs::write(path, text.replace("<architecture>x86_64<", "<architecture>vax<")).unwrap();
    });
    fs::write(images.join("file"), "").unwrap();
    let server = Server::start(here, "");
    let mut client = Client::new(&server.url);
    for (location, code, said) in [
        ("..%2Foutside", "InvalidParameterValue", "must be the name of a folder"),
        ("outside%2Fdisk.manifest.xml", "InvalidParameterValue", "must be the name of a folder"),
        ("%2Fetc", "InvalidParameterValue", "must be the name of a folder"),
        ("..", "InvalidParameterValue", "must be the name of a folder"),
        ("blobs", "InvalidParameterValue", "must be the name of a folder"),
        ("serve-aws", "InvalidParameterValue", "must be the name of a folder"),
        ("missing", "InvalidManifest", "404"),
        ("file", "InvalidManifest", "not a folder"),
        ("link", "InvalidManifest", "not a folder"),
        ("linked-manifest", "InvalidManifest", "a link or special file"),
        ("linked-part", "InvalidManifest", "a link or special file"),
        ("no-part", "InvalidManifest", "disk.part.01 is missing"),
        ("short-part", "InvalidManifest", "bytes, expected"),
        ("two", "InvalidManifest", "2 files"),
        ("none", "InvalidManifest", "0 files"),
        ("garbage", "InvalidManifest", ""),
        ("unsigned", "InvalidManifest", "no signature"),
        ("machine", "InvalidManifest", "vax"),
    ] {
        let (status, text) = ask(
            &mut client,
            &format!("Action=RegisterImage&Name=some-name&ImageLocation={location}"),
        );
        assert_eq!((status, within(&text, "Code")), (400, code), "{location}: {text}");
        assert!(text.contains(said), "{location}: {text}");
    }
}
