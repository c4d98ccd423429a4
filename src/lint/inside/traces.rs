//! What a machine leaves behind that was started once: keys, ids, logs, caches, histories.

use crate::error::Result;
use crate::guest::FileKind;
use crate::guest::escape;
use crate::guest::matches_pattern;
use crate::lint::inside::files::Files;
use crate::lint::inside::files::Item;
use crate::lint::inside::files::lines;
use crate::lint::inside::files::lossy;
use crate::lint::inside::files::many;
use crate::lint::inside::hits::Hits;

/// Directories of which every file with content is left over, each with what it is.
const LEFT: &[(&str, &str)] = &[
    ("/var/log", "logs"),
    ("/var/lib/dhcp", "DHCP leases"),
    ("/var/lib/dhcpcd", "DHCP leases"),
    ("/var/lib/dhclient", "DHCP leases"),
    ("/var/lib/systemd/network/leases", "DHCP leases"),
    ("/var/lib/dnf/history.sqlite", "a history of packages"),
    ("/var/lib/yum/history", "a history of packages"),
    ("/var/cache/dnf", "a cache of packages"),
    ("/var/cache/yum", "a cache of packages"),
    ("/var/cache/libdnf5", "a cache of packages"),
    ("/usr/lib/sysimage/libdnf5/transaction_history.sqlite", "a history of packages"),
    ("/var/cache/apt/archives", "a cache of packages"),
    ("/var/tmp", "temporary files"),
    ("/tmp", "temporary files"),
    ("/var/lib/systemd/random-seed", "a random seed"),
    ("/var/lib/urandom/random-seed", "a random seed"),
    ("/var/lib/random-seed", "a random seed"),
    ("/boot/efi/loader/random-seed", "a random seed"),
    ("/boot/loader/random-seed", "a random seed"),
    ("/efi/loader/random-seed", "a random seed"),
    ("/loader/random-seed", "a random seed"),
    ("/var/lib/systemd/credential.secret", "a key of the machine"),
    ("/var/lib/NetworkManager/secret_key", "a key of the machine"),
    ("/var/lib/amazon/ssm/Vault", "a registration with Systems Manager"),
    ("/etc/udev/rules.d/70-persistent-net.rules", "the name of a network card"),
];

/// Names of files that ships of packages put into directories of `LEFT`.
const KEPT: &[&str] = &["README", "lock", ".keep", ".gitkeep", ".updated"];

/// Configuration of the network that may name one card: directory, pattern, and what names it.
const MACS: &[(&str, &str, &[&str])] = &[
    ("/etc/netplan", "*.yaml", &["macaddress:"]),
    ("/etc/NetworkManager/system-connections", "*", &["mac-address="]),
    ("/etc/sysconfig/network-scripts", "ifcfg-*", &["HWADDR=", "MACADDR="]),
    ("/etc/systemd/network", "*.network", &["MACAddress="]),
    ("/etc/systemd/network", "*.link", &["MACAddress="]),
    ("/etc/network/interfaces.d", "*", &["hwaddress "]),
    ("/etc/network", "interfaces", &["hwaddress "]),
];

/// Files that histories are kept in beside those whose names end in `history`.
const HISTORIES: &[&str] = &[
    "*_history",
    ".*history",
    ".lesshst",
    ".viminfo",
    ".*.sw[op]",
    "*~",
    "#*#",
    ".wget-hsts",
    ".rediscli_history",
];

/// What sets a machine up when it first starts.
const FIRST_BOOT: [&[u8]; 12] = [
    b"/usr/bin/cloud-init",
    b"/etc/cloud/cloud.cfg",
    b"/usr/local/bin/cloud-init",
    b"/usr/bin/ignition",
    b"/usr/lib/dracut/modules.d/30ignition",
    b"/usr/bin/afterburn",
    b"/usr/bin/coreos-metadata",
    b"/usr/bin/coreos-cloudinit",
    b"/etc/init.d/tiny-cloud",
    b"/etc/tiny-cloud.conf",
    b"/etc/init.d/tiny-ec2-bootstrap",
    b"/etc/nixos",
];

/// Looks for all of it.
pub(super) fn look(files: &Files<'_, '_>, homes: &[Vec<u8>], hits: &mut Hits) -> Result<()> {
    host_keys(files, hits)?;
    machine_id(files, hits)?;
    cloud_init(files, hits)?;
    leftovers(files, hits)?;
    network(files, hits)?;
    histories(files, homes, hits)
}

fn host_keys(files: &Files<'_, '_>, hits: &mut Hits) -> Result<()> {
    let found: Vec<String> = files
        .list(b"/etc/ssh")?
        .iter()
        .filter(|item| item.name.starts_with(b"ssh_host_") && item.node.kind != FileKind::Directory)
        .map(|item| escape(&item.name))
        .collect();
    if let Some(first) = found.first() {
        let more = many(found.len(), "file");
        let found = format!("{first}, {more} of that kind");
        let instead = "no host keys: sshd or cloud-init makes new ones at the first start";
        hits.add("guest-host-keys", files.place(b"/etc/ssh"), found, instead);
    }
    Ok(())
}

fn machine_id(files: &Files<'_, '_>, hits: &mut Hits) -> Result<()> {
    let is_id = |text: &[u8]| !matches!(text.trim_ascii(), b"" | b"uninitialized");
    let path = b"/etc/machine-id";
    if files.text(path)?.is_some_and(|text| is_id(&text)) {
        let instead = "an empty file: each machine makes its own id";
        hits.add("guest-machine-id", files.place(path), "a fixed machine id", instead);
    }
    for path in [&b"/var/lib/dbus/machine-id"[..], b"/var/db/dbus/machine-id"] {
        let is_file = files.find_itself(path)?.is_some_and(|it| it.kind == FileKind::Regular);
        if is_file && files.text(path)?.is_some_and(|text| is_id(&text)) {
            let found = "a second copy of a fixed machine id";
            let instead = "a link to /etc/machine-id, or no file";
            hits.add("guest-machine-id", files.place(path), found, instead);
        }
    }
    Ok(())
}

fn cloud_init(files: &Files<'_, '_>, hits: &mut Hits) -> Result<()> {
    if !files.any_exists(&FIRST_BOOT)? {
        let instead =
            "cloud-init, Ignition, Afterburn or another agent that handles keys and user data";
        let found = "no first-boot agent";
        hits.add("guest-cloud-init", files.place(b"/"), found, instead);
    }
    for name in ["instances", "sem", "data", "instance"] {
        let path = format!("/var/lib/cloud/{name}");
        let count = if name == "instance" {
            usize::from(files.find_itself(path.as_bytes())?.is_some())
        } else {
            files.list(path.as_bytes())?.len()
        };
        if count > 0 {
            let instead = "no state: cloud-init clean --logs";
            let place = files.place(path.as_bytes());
            hits.add("guest-cloud-init-state", place, many(count, "file"), instead);
        }
    }
    Ok(())
}

/// Says of each directory how many files with content there are.
fn leftovers(files: &Files<'_, '_>, hits: &mut Hits) -> Result<()> {
    for (path, what) in LEFT {
        let (mut count, mut bytes) = (0_usize, 0_u64);
        files.walk(path.as_bytes(), &|_| true, &mut |item: &Item| {
            let is_kept = KEPT.iter().any(|kept| item.name == kept.as_bytes());
            if item.is_file() && item.node.size > 0 && !is_kept {
                count = count.strict_add(1);
                bytes = bytes.saturating_add(item.node.size);
            }
            Ok(())
        })?;
        if count > 0 {
            let found = format!("{} with {bytes} bytes: {what}", many(count, "file"));
            hits.add(
                "guest-leftovers",
                files.place(path.as_bytes()),
                found,
                "no machine-specific data",
            );
        }
    }
    let path = b"/etc/hostname";
    if let Some(text) = files.text(path)? {
        let name = lossy(text.trim_ascii());
        if !matches!(&name[..], "" | "localhost" | "localhost.localdomain" | "(none)") {
            let instead = "an empty file or localhost: the name comes from DHCP or cloud-init";
            hits.add("guest-leftovers", files.place(path), "a fixed host name", instead);
        }
    }
    let path = b"/var/lib/amazon/ssm";
    let ids = files.list(path)?.into_iter().filter(|item| {
        item.node.kind == FileKind::Directory
            && (item.name.starts_with(b"i-") || item.name.starts_with(b"mi-"))
    });
    let count = ids.count();
    if count > 0 {
        let found = format!("data of {}", many(count, "machine"));
        hits.add("guest-leftovers", files.place(path), found, "no machine-specific data");
    }
    let path = b"/var/lib/NetworkManager";
    let leases = files.list(path)?;
    let is_lease = |item: &&Item| item.is_file() && item.name.ends_with(b".lease");
    let count = leases.iter().filter(is_lease).count();
    if count > 0 {
        let found = many(count, "DHCP lease");
        hits.add("guest-leftovers", files.place(path), found, "no machine-specific data");
    }
    Ok(())
}

/// Finds configuration that fits one network card.
fn network(files: &Files<'_, '_>, hits: &mut Hits) -> Result<()> {
    for (folder, pattern, signs) in MACS {
        for item in files.list(folder.as_bytes())? {
            if !item.is_file() || !matches_pattern(pattern.as_bytes(), &item.name) {
                continue;
            }
            let text = files.head(&item.path, item.spot, 64 << 10)?.unwrap_or_default();
            for (number, line) in lines(&text) {
                let line = lossy(line);
                let names = |sign: &str| {
                    line.split_once(sign)
                        .is_some_and(|(before, after)| !before.contains('#') && has_mac(after))
                };
                if signs.iter().any(|sign| names(sign)) {
                    let instead = "no MAC address: it differs on every instance";
                    let found = "the MAC address of one network card";
                    hits.add("guest-leftovers", files.line(&item.path, number), found, instead);
                }
            }
        }
    }
    Ok(())
}

/// Tells whether a text has six bytes in hexadecimal between colons.
fn has_mac(text: &str) -> bool {
    let is_byte = |it: &str| it.len() == 2 && it.bytes().all(|b| b.is_ascii_hexdigit());
    let is_mac =
        |word: &str| word.len() == 17 && word.split(':').filter(|it| is_byte(it)).count() == 6;
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != ':').any(is_mac)
}

fn histories(files: &Files<'_, '_>, homes: &[Vec<u8>], hits: &mut Hits) -> Result<()> {
    for home in homes {
        for item in files.list(home)? {
            let is_one = HISTORIES.iter().any(|it| matches_pattern(it.as_bytes(), &item.name));
            if is_one && item.is_file() && item.node.size > 0 {
                let found = format!("{} bytes", item.node.size);
                let instead = "no histories and no copies of editors";
                hits.add("guest-history", files.place(&item.path), found, instead);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_cards_are_known_by_their_shape() {
        assert!(has_mac(" 02:00:5e:10:00:01") && has_mac("\"02:00:5E:10:00:01\""));
        assert!(
            has_mac("{name: x, macaddress: 02:00:5e:10:00:01}")
                && has_mac("ether 02:00:5e:10:00:01")
        );
        assert!(!has_mac("02:00:5e:10:00:01:02") && !has_mac("fe80::200:5eff:fe10:1"));
        assert!(!has_mac("stable") && !has_mac("02:00:5e") && !has_mac("02:00:5e:10:00:0g"));
    }
}
