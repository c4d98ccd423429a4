//! What sshd would do: its configuration with `Include`, in which the first value of a keyword wins.

use crate::error::Result;
use crate::guest::matches_pattern;
use crate::lint::inside::files::Files;
use crate::lint::inside::files::lines;
use crate::lint::inside::files::lossy;
use crate::lint::inside::hits::Hits;

/// Its configuration, and what stands in for it where that is the system's own.
const CONFIGS: [&[u8]; 2] = [b"/etc/ssh/sshd_config", b"/usr/etc/ssh/sshd_config"];

/// Where the program is.
const PROGRAMS: [&[u8]; 3] = [b"/usr/sbin/sshd", b"/sbin/sshd", b"/usr/bin/sshd"];

/// Most files that include each other, as OpenSSH has it.
const MAX_DEPTH: usize = 16;

/// Most files altogether.
const MAX_FILES: usize = 256;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    value: String,
    place: String,
}

/// The effective configuration, as far as rules need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sshd {
    is_there: bool,
    /// Its configuration, as it is shown.
    config: String,
    password: Option<Setting>,
    root_login: Option<Setting>,
    methods: Option<Setting>,
    /// Whether it asks as PAM wants, which asks for a password.
    keyboard: Option<Setting>,
    pam: Option<Setting>,
    /// Patterns of `AuthorizedKeysFile`.
    pub(super) key_files: Vec<Vec<u8>>,
    /// Values of either keyword in blocks of `Match`, with the keyword.
    matches: Vec<(&'static str, Setting)>,
    files: usize,
}

impl Sshd {
    /// Reads the configuration.
    pub(super) fn read(files: &Files<'_, '_>) -> Result<Self> {
        let mut config = CONFIGS[0];
        for path in CONFIGS.into_iter().rev() {
            if files.exists(path)? {
                config = path;
            }
        }
        let is_there = files.exists(config)? || files.any_exists(&PROGRAMS)?;
        let mut sshd = Self { is_there, config: files.place(config), ..Self::default() };
        sshd.take(files, config, false, 0)?;
        if sshd.key_files.is_empty() {
            sshd.key_files =
                vec![b".ssh/authorized_keys".to_vec(), b".ssh/authorized_keys2".to_vec()];
        }
        Ok(sshd)
    }

    fn take(
        &mut self,
        files: &Files<'_, '_>,
        path: &[u8],
        in_match: bool,
        depth: usize,
    ) -> Result<()> {
        self.files = self.files.strict_add(1);
        if depth > MAX_DEPTH || self.files > MAX_FILES {
            return Ok(());
        }
        let text = files.text(path)?.unwrap_or_default();
        // A block of `Match` ends with its file.
        let mut in_match = in_match;
        for (number, line) in lines(&text) {
            let Some((keyword, values)) = split(line) else { continue };
            let setting = || Setting {
                value: values.first().cloned().unwrap_or_default().to_ascii_lowercase(),
                place: files.line(path, number),
            };
            match &keyword.to_ascii_lowercase()[..] {
                "match" => {
                    // `Match all` is not a condition.
                    let all = values.first().is_some_and(|it| it.eq_ignore_ascii_case("all"));
                    in_match = !(all && values.len() == 1);
                }
                "include" => {
                    for pattern in &values {
                        for path in included(files, pattern)? {
                            self.take(files, &path, in_match, depth.strict_add(1))?;
                        }
                    }
                }
                "passwordauthentication" if in_match => {
                    self.matches.push(("PasswordAuthentication", setting()));
                }
                "permitrootlogin" if in_match => {
                    self.matches.push(("PermitRootLogin", setting()));
                }
                "passwordauthentication" => {
                    self.password.get_or_insert_with(setting);
                }
                "permitrootlogin" => {
                    self.root_login.get_or_insert_with(setting);
                }
                "kbdinteractiveauthentication" | "challengeresponseauthentication" if !in_match => {
                    self.keyboard.get_or_insert_with(setting);
                }
                "usepam" if !in_match => {
                    self.pam.get_or_insert_with(setting);
                }
                "authenticationmethods" if !in_match => {
                    let value = values.join(" ").to_ascii_lowercase();
                    self.methods.get_or_insert_with(|| Setting { value, ..setting() });
                }
                "authorizedkeysfile" if self.key_files.is_empty() || in_match => {
                    self.key_files.extend(values.iter().map(|it| it.as_bytes().to_vec()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// With PAM, a password is asked for in another way, too.
    fn look_at_keyboard(&self, hits: &mut Hits) {
        let Some(pam) = self.pam.as_ref().filter(|it| it.value == "yes") else { return };
        let place = match &self.keyboard {
            Some(Setting { value, .. }) if value == "no" => return,
            Some(keyboard) => &keyboard.place,
            None => &pam.place,
        };
        let found =
            "UsePAM yes without KbdInteractiveAuthentication no, by which PAM asks for passwords";
        hits.add("guest-sshd-password", &**place, found, "KbdInteractiveAuthentication no");
    }

    /// Applies the rules.
    pub(super) fn look(&self, hits: &mut Hits) {
        if !self.is_there {
            return;
        }
        let without = |it: &Setting| {
            let any = ["any", "password", "keyboard-interactive"];
            !any.iter().any(|method| it.value.contains(method))
        };
        let keys_only = self.methods.as_ref().is_some_and(without);
        match &self.password {
            _ if keys_only => {}
            None => {
                let found = "no PasswordAuthentication, which means yes";
                let instead = "PasswordAuthentication no";
                hits.add("guest-sshd-password", &*self.config, found, instead);
            }
            Some(Setting { value, place }) if value != "no" => {
                let instead = "PasswordAuthentication no";
                hits.add(
                    "guest-sshd-password",
                    place,
                    says("PasswordAuthentication", value),
                    instead,
                );
            }
            Some(_) => self.look_at_keyboard(hits),
        }
        if let Some(Setting { value, place }) = &self.root_login
            && value == "yes"
        {
            let instead = "PermitRootLogin prohibit-password, or no";
            hits.add("guest-sshd-root", place, says("PermitRootLogin", value), instead);
        }
        for (keyword, Setting { value, place }) in &self.matches {
            let rule = if *keyword == "PermitRootLogin" {
                "guest-sshd-root"
            } else if keys_only {
                continue;
            } else {
                "guest-sshd-password"
            };
            if value == "yes" {
                let found = format!("{keyword} yes in a block of Match");
                hits.add(rule, place, found, format!("{keyword} no there too"));
            }
        }
    }
}

/// Says what a line sets; what is not one of the usual values is not shown.
fn says(keyword: &str, value: &str) -> String {
    match value {
        "yes" | "no" | "prohibit-password" | "without-password" | "forced-commands-only" => {
            format!("{keyword} {value}")
        }
        _ => format!("{keyword} with an unknown value"),
    }
}

/// Splits a line into its keyword and values; `None` for a comment.
fn split(line: &[u8]) -> Option<(String, Vec<String>)> {
    let line = lossy(line);
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(line.len());
    let (keyword, rest) = line.split_at(end);
    let rest = rest.trim_start().strip_prefix('=').unwrap_or(rest).trim();
    let mut values = Vec::new();
    let mut left = rest;
    while let Some(first) = left.chars().next() {
        let (value, behind) = if first == '"' {
            left[1..].split_once('"').unwrap_or((&left[1..], ""))
        } else if first == '#' {
            break;
        } else {
            let end = left.find(char::is_whitespace).unwrap_or(left.len());
            left.split_at(end)
        };
        values.push(value.to_owned());
        left = behind.trim_start();
    }
    Some((keyword.to_owned(), values))
}

/// Returns the files that a pattern of `Include` names, in order.
fn included(files: &Files<'_, '_>, pattern: &str) -> Result<Vec<Vec<u8>>> {
    let pattern =
        if pattern.starts_with('/') { pattern.to_owned() } else { format!("/etc/ssh/{pattern}") };
    let (folder, name) = pattern.rsplit_once('/').unwrap_or(("", &pattern));
    if !name.contains(['*', '?', '[']) {
        return Ok(vec![pattern.into_bytes()]);
    }
    let is_hidden = |it: &[u8]| it.starts_with(b".") && !name.starts_with('.');
    let items = files.list(folder.as_bytes())?.into_iter();
    let named =
        items.filter(|item| matches_pattern(name.as_bytes(), &item.name) && !is_hidden(&item.name));
    Ok(named.map(|item| item.path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_split_as_sshd_splits_them() {
        let all = |line: &str| split(line.as_bytes());
        let two = |a: &str, b: &[&str]| {
            Some((a.to_owned(), b.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()))
        };
        assert_eq!(all("PermitRootLogin yes # why"), two("PermitRootLogin", &["yes"]));
        assert_eq!(all("PermitRootLogin=no"), two("PermitRootLogin", &["no"]));
        assert_eq!(all("Include \"a b\" c"), two("Include", &["a b", "c"]));
        assert_eq!((all("# x"), all("")), (None, None));
    }
}
