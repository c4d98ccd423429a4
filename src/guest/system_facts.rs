//! Which operating system a guest is, and which processor its programs are for.

use crate::error::Error;
use crate::error::Result;
use crate::field;
use crate::guest::failure::Failure;
use crate::guest::tree::Tree;

/// Where a system says what it is, the first one that is there.
const OS_RELEASE: [&[u8]; 2] = [b"/etc/os-release", b"/usr/lib/os-release"];

/// Programs that every system has one of.
const PROGRAMS: [&[u8]; 6] = [
    b"/usr/lib/systemd/systemd",
    b"/sbin/init",
    b"/bin/sh",
    b"/usr/bin/env",
    b"/bin/busybox",
    b"/lib/systemd/systemd",
];

/// What a system says of itself in `os-release`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// `ID`, as `debian`.
    pub id: Option<String>,
    /// `VERSION_ID`, as `12`.
    pub version_id: Option<String>,
    /// `PRETTY_NAME`.
    pub name: Option<String>,
}

/// Reads what the system says of itself.
///
/// # Errors
///
/// If the volume cannot be read.
pub fn os_release(tree: &Tree<'_>) -> Result<Option<OsRelease>> {
    for path in OS_RELEASE {
        let Some(spot) = tree.try_find(path)? else { continue };
        match tree.text(spot) {
            Ok(text) => return Ok(Some(parse(&String::from_utf8_lossy(&text)))),
            Err(Failure::Fault(_)) => {}
            Err(Failure::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

fn parse(text: &str) -> OsRelease {
    let mut release = OsRelease::default();
    for line in text.lines() {
        let Some((key, value)) = line.trim().split_once('=') else { continue };
        let place = match key {
            "ID" => &mut release.id,
            "VERSION_ID" => &mut release.version_id,
            "PRETTY_NAME" => &mut release.name,
            _ => continue,
        };
        *place = Some(unquote(value));
    }
    release
}

/// Undoes the quotes of a shell.
fn unquote(value: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|it| it.strip_suffix(quote)) {
            let mut plain = String::new();
            let mut chars = inner.chars();
            while let Some(c) = chars.next() {
                plain.push(if c == '\\' && quote == '"' { chars.next().unwrap_or(c) } else { c });
            }
            return plain;
        }
    }
    value.to_owned()
}

/// Returns the name of the processor that the system's programs are for, as `uname -m` has it.
///
/// # Errors
///
/// If the volume cannot be read.
pub fn architecture(tree: &Tree<'_>) -> Result<Option<&'static str>> {
    for path in PROGRAMS {
        let Some(spot) = tree.try_find(path)? else { continue };
        match tree.head(spot, 20) {
            Ok(head) => {
                if let Some(machine) = elf_machine(&head) {
                    return Ok(Some(machine));
                }
            }
            Err(Failure::Fault(_)) => {}
            Err(Failure::Error(error)) => return Err::<_, Error>(error),
        }
    }
    Ok(None)
}

/// Tells which processor an ELF program is for.
fn elf_machine(head: &[u8]) -> Option<&'static str> {
    if head.len() < 20 || !head.starts_with(b"\x7fELF") {
        return None;
    }
    let machine = if head[5] == 2 { field::u16_be(head, 18) } else { field::u16_le(head, 18) };
    Some(match machine {
        3 => "i386",
        20 => "ppc",
        21 => "ppc64",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        258 => "loongarch64",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_read_with_its_quotes() {
        let text = "PRETTY_NAME=\"Debian \\\"12\\\"\"\nID=debian\nVERSION_ID='12'\nx\n# ID=no\n";
        let release = parse(text);
        assert_eq!(release.name.as_deref(), Some("Debian \"12\""));
        assert_eq!(release.id.as_deref(), Some("debian"));
        assert_eq!(release.version_id.as_deref(), Some("12"));
    }

    #[test]
    fn a_program_names_its_processor_in_either_byte_order() {
        let mut head = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0";
        assert_eq!(elf_machine(&head), Some("aarch64"));
        head[5] = 2;
        (head[18], head[19]) = (0, 22);
        assert_eq!(elf_machine(&head), Some("s390x"));
        assert_eq!(elf_machine(&head[..19]), None);
        assert_eq!(elf_machine(b"#!/bin/sh -e and so on"), None);
    }
}
