//! Accounts: their passwords, homes and authorized keys.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::guest::escape;
use crate::lint::inside::files::Files;
use crate::lint::inside::files::lines;
use crate::lint::inside::files::lossy;
use crate::lint::inside::files::many;
use crate::lint::inside::hits::Hits;
use crate::lint::inside::sshd::Sshd;

const SHADOW: &[u8] = b"/etc/shadow";
const PASSWD: &[u8] = b"/etc/passwd";

/// Most accounts and homes that are looked at: an image has a few dozen.
const MAX_ACCOUNTS: usize = 1000;

/// An account of `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: Vec<u8>,
    pub(super) uid: Vec<u8>,
    pub(super) home: Vec<u8>,
}

/// What the field of a password says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Password {
    /// Anybody may log in.
    Empty,
    /// A hash: its password works on every machine.
    Set,
    /// Locked, or kept elsewhere.
    None,
}

impl Password {
    fn of(field: &[u8]) -> Self {
        let is_des = field.len() == 13
            && field.iter().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'/'));
        match field {
            b"" => Self::Empty,
            [b'$' | b'_', ..] => Self::Set,
            _ if is_des => Self::Set,
            _ => Self::None,
        }
    }
}

/// Reads the accounts, and looks at their passwords.
pub(super) fn look(files: &Files<'_, '_>, hits: &mut Hits) -> Result<Vec<Account>> {
    let mut accounts = Vec::new();
    for (number, line) in lines(&files.text(PASSWD)?.unwrap_or_default()) {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let [name, password, uid, _, _, home, ..] = fields[..] else { continue };
        if is_remark(name) {
            continue;
        }
        judge(files.line(PASSWD, number), name, password, hits);
        if accounts.len() < MAX_ACCOUNTS {
            let (name, uid, home) = (name.to_vec(), uid.to_vec(), home.to_vec());
            accounts.push(Account { name, uid, home });
        }
    }
    for (number, line) in lines(&files.text(SHADOW)?.unwrap_or_default()) {
        let mut fields = line.split(|byte| *byte == b':');
        if let (Some(name), Some(password)) = (fields.next(), fields.next())
            && !is_remark(name)
        {
            judge(files.line(SHADOW, number), name, password, hits);
        }
    }
    Ok(accounts)
}

/// Tells whether a line is of no account: a comment, or what refers to accounts of a directory service.
fn is_remark(name: &[u8]) -> bool {
    name.is_empty() || matches!(name[0], b'#' | b'+' | b'-')
}

fn judge(place: String, name: &[u8], password: &[u8], hits: &mut Hits) {
    let name = escape(name);
    match Password::of(password) {
        Password::Empty => {
            let found = format!("the account {name} has an empty password");
            let instead = format!("a locked account, with ! in that field: passwd -l {name}");
            hits.add("guest-password-empty", place, found, instead);
        }
        Password::Set => {
            let found = format!("the account {name} has a password");
            let instead = format!("a locked account, and keys from the launch: passwd -l {name}");
            hits.add("guest-password", place, found, instead);
        }
        Password::None => {}
    }
}

/// Looks for keys that log in on every machine, in all homes and wherever sshd looks for them.
pub(super) fn authorized_keys(
    files: &Files<'_, '_>,
    accounts: &[Account],
    sshd: &Sshd,
    hits: &mut Hits,
) -> Result<()> {
    let mut paths = BTreeSet::new();
    let own = [&b"root"[..], b"/root"];
    let root = Account { name: own[0].to_vec(), uid: b"0".to_vec(), home: own[1].to_vec() };
    let mut all: Vec<Account> = accounts.to_vec();
    if !all.iter().any(|account| account.home == root.home) {
        all.push(root);
    }
    for item in files.list(b"/home")?.into_iter().take(MAX_ACCOUNTS) {
        if !all.iter().any(|account| account.home == item.path) {
            all.push(Account { name: item.name, uid: Vec::new(), home: item.path });
        }
    }
    for account in &all {
        for pattern in &sshd.key_files {
            paths.extend(expand(pattern, account));
        }
        if !matches!(&account.home[..], b"" | b"/" | b"/nonexistent") {
            for name in [&b"authorized_keys"[..], b"authorized_keys2"] {
                paths.insert([&account.home, &b"/.ssh/"[..], name].concat());
            }
        }
    }
    for path in paths {
        let text = files.text(&path)?.unwrap_or_default();
        let is_key = |line: &[u8]| !line.is_empty() && !line.starts_with(b"#");
        let count = lines(&text).filter(|(_, line)| is_key(line)).count();
        if count > 0 {
            let instead = "an empty file: cloud-init writes the key of the launch";
            hits.add("guest-authorized-keys", files.place(&path), many(count, "key"), instead);
        }
    }
    Ok(())
}

/// Fills in what stands for an account in `AuthorizedKeysFile`; `None` if no file is meant.
fn expand(pattern: &[u8], account: &Account) -> Option<Vec<u8>> {
    if pattern.is_empty() || pattern.eq_ignore_ascii_case(b"none") {
        return None;
    }
    let mut path = Vec::new();
    let mut bytes = pattern.iter();
    while let Some(byte) = bytes.next() {
        match (byte, byte == &b'%') {
            (_, true) => match bytes.next()? {
                b'%' => path.push(b'%'),
                b'h' => path.extend_from_slice(&account.home),
                b'u' => path.extend_from_slice(&account.name),
                b'U' => path.extend_from_slice(&account.uid),
                _ => return None,
            },
            (byte, _) => path.push(*byte),
        }
    }
    if path.starts_with(b"/") {
        return Some(path);
    }
    let has_home = account.home.len() > 1 && account.home != b"/nonexistent";
    has_home.then(|| [&account.home, &b"/"[..], &path].concat())
}

/// Returns the homes of accounts, and the folders in `/home`, each once.
pub(super) fn homes(files: &Files<'_, '_>, accounts: &[Account]) -> Result<Vec<Vec<u8>>> {
    let mut homes: BTreeSet<Vec<u8>> = BTreeSet::from([b"/root".to_vec()]);
    homes.extend(files.list(b"/home")?.into_iter().take(MAX_ACCOUNTS).map(|item| item.path));
    // Accounts of services live where their data are; only people have histories.
    let lives = |home: &[u8]| {
        let home = lossy(home);
        ["/home/", "/var/lib/", "/srv/", "/opt/"].iter().any(|it| home.starts_with(it))
    };
    homes.extend(accounts.iter().map(|it| it.home.clone()).filter(|home| lives(home)));
    Ok(homes.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_passwords_are_told_apart() {
        for field in ["!", "*", "!!", "!*", "x", "!$6$salt$hash", "*LK*", "NP"] {
            assert_eq!(Password::of(field.as_bytes()), Password::None, "{field}");
        }
        for field in
            ["$6$salt$hash", "$y$j9T$abc", "$1$a$b", "abJnggxhB/yWI", "_J9..rasmBYk8r9AiWNc"]
        {
            assert_eq!(Password::of(field.as_bytes()), Password::Set, "{field}");
        }
        assert_eq!(Password::of(b""), Password::Empty);
    }

    #[test]
    fn signs_in_the_place_of_keys_stand_for_the_account() {
        let account =
            Account { name: b"ann".to_vec(), uid: b"7".to_vec(), home: b"/home/ann".to_vec() };
        let path = |pattern: &str| expand(pattern.as_bytes(), &account).map(|it| lossy(&it));
        assert_eq!(path("/etc/keys/%u").as_deref(), Some("/etc/keys/ann"));
        assert_eq!(path("%h/k%%").as_deref(), Some("/home/ann/k%"));
        assert_eq!(path(".ssh/k").as_deref(), Some("/home/ann/.ssh/k"));
        assert_eq!(path("/k/%U").as_deref(), Some("/k/7"));
        assert_eq!((path("none"), path("/k/%Z")), (None, None));
    }
}
