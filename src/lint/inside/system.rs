//! Other things that a system says of itself: labels of `SELinux`, and what Windows was prepared with.

use crate::error::Result;
use crate::guest::FileKind;
use crate::lint::inside::files::Files;
use crate::lint::inside::files::lines;
use crate::lint::inside::files::lossy;
use crate::lint::inside::hits::Hits;

/// Files that have a label wherever labels are kept.
const LABELLED: [&[u8]; 6] = [
    b"/etc/passwd",
    b"/etc/shadow",
    b"/etc/ssh/sshd_config",
    b"/usr/sbin/sshd",
    b"/usr/bin/bash",
    b"/usr/lib/systemd/systemd",
];

/// Programs that prepare Windows on EC2.
const LAUNCHERS: [&[u8]; 3] = [
    b"/Program Files/Amazon/EC2Launch/EC2Launch.exe",
    b"/ProgramData/Amazon/EC2-Windows/Launch/Scripts/InitializeInstance.ps1",
    b"/Program Files/Amazon/Ec2ConfigService/Ec2Config.exe",
];

/// Finds files without a label where labels are enforced.
pub(super) fn selinux(files: &Files<'_, '_>, hits: &mut Hits) -> Result<()> {
    let config = b"/etc/selinux/config";
    let text = files.text(config)?.unwrap_or_default();
    let is_enforcing = lines(&text).any(|(_, line)| {
        let line = lossy(line).replace(' ', "");
        line.eq_ignore_ascii_case("SELINUX=enforcing")
    });
    if !is_enforcing || files.exists(b"/.autorelabel")? {
        return Ok(());
    }
    for path in LABELLED {
        let Some((spot, node)) = files.find(path)? else { continue };
        if node.kind != FileKind::Regular {
            continue;
        }
        let attributes = files.tree.system(spot).attributes(spot.id);
        let is_bare = attributes
            .is_ok_and(|all| all.iter().all(|attribute| attribute.name != b"security.selinux"));
        if is_bare {
            let instead = "labels, or a file /.autorelabel";
            hits.add(
                "guest-selinux",
                files.place(path),
                "no label, and SELinux is enforcing",
                instead,
            );
        }
    }
    Ok(())
}

/// Looks at what files tell of Windows.
pub(super) fn windows(files: &Files<'_, '_>, hits: &mut Hits) -> Result<()> {
    let state = b"/Windows/Setup/State/State.ini";
    let text = files.text(state)?.unwrap_or_default();
    // The file may be in UTF-16.
    let plain: Vec<u8> = text.iter().copied().filter(|byte| *byte != 0).collect();
    let value = lines(&plain).find_map(|(_, line)| {
        let line = lossy(line);
        line.split_once("ImageState=").map(|(_, value)| value.trim().to_owned())
    });
    match value.as_deref() {
        Some(state) if state.contains("GENERALIZE_RESEAL_TO_OOBE") => {}
        other => {
            let found = match other {
                Some("IMAGE_STATE_COMPLETE") => "the state of a machine in use",
                Some(_) => "another state than that of a generalized image",
                None => "no state of a generalized image",
            };
            let instead = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE: shut down with Sysprep";
            hits.add("guest-windows-sysprep", files.place(state), found, instead);
        }
    }
    if !files.any_exists(&LAUNCHERS)? {
        let instead = "EC2Launch v2, which sets passwords and runs user data";
        let found = "neither EC2Launch nor EC2Config";
        hits.add("guest-windows-launch", files.place(b"/Program Files/Amazon"), found, instead);
    }
    let folder = b"/Windows/System32/drivers";
    let drivers = files.list(folder)?;
    let has =
        |name: &str| drivers.iter().any(|item| item.name.eq_ignore_ascii_case(name.as_bytes()));
    for (names, what) in [
        (&["AWSNVMe.sys", "stornvme.sys"][..], "AWS NVMe"),
        (&["ena.sys"], "ENA"),
        (&["xenvbd.sys", "xenbus.sys"], "AWS PV"),
    ] {
        if !names.iter().any(|name| has(name)) {
            let found = format!("no {what} driver");
            let instead = format!("the {what} driver, installed before the image is made");
            hits.add("guest-windows-drivers", files.place(folder), found, instead);
        }
    }
    Ok(())
}
