//! What a serial console says, and what it means. Pure: bytes in, a verdict out.

/// Most bytes of a line that are looked at.
const MOST_LINE: usize = 4096;

/// How a start ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// What was waited for appeared.
    Reached,
    /// The kernel gave up.
    Panic,
    /// The shell of an initramfs: the root file system was not found.
    Initramfs,
    /// systemd's emergency or rescue mode.
    Emergency,
    /// The prompt of a boot loader.
    Loader,
    /// The firmware found nothing to start.
    NoBoot,
    /// The guest powered off or restarted, or QEMU ended.
    Stopped,
    /// Time is over, and the kernel never wrote to the console.
    Silent,
    /// Time is over.
    Timeout,
}

impl Verdict {
    /// Returns the stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Panic => "panic",
            Self::Initramfs => "initramfs",
            Self::Emergency => "emergency",
            Self::Loader => "loader",
            Self::NoBoot => "no-boot",
            Self::Stopped => "stopped",
            Self::Silent => "silent",
            Self::Timeout => "timeout",
        }
    }
}

/// Where a pattern must stand in its line.
#[derive(Clone, Copy, Debug)]
enum At {
    Start,
    Anywhere,
}

/// When a sign counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// At once: a prompt waits in its line.
    Prompt,
    /// When its line has ended: the rest of it is the reason, and may come with a later read.
    Line,
}

/// What decides, in the words of those who print it.
const SIGNS: &[(At, &str, Ends, Verdict)] = &[
    (At::Anywhere, "Kernel panic - not syncing", Ends::Line, Verdict::Panic),
    (At::Start, "(initramfs)", Ends::Prompt, Verdict::Initramfs),
    (At::Start, "dracut:/#", Ends::Prompt, Verdict::Initramfs),
    (At::Start, "dracut:/ #", Ends::Prompt, Verdict::Initramfs),
    (
        At::Anywhere,
        "Entering emergency mode. Exit the shell to continue",
        Ends::Line,
        Verdict::Initramfs,
    ),
    (At::Anywhere, "You are in emergency mode", Ends::Line, Verdict::Emergency),
    (At::Anywhere, "You are in rescue mode", Ends::Line, Verdict::Emergency),
    (At::Anywhere, "Give root password for maintenance", Ends::Prompt, Verdict::Emergency),
    (At::Anywhere, "Press Enter for maintenance", Ends::Prompt, Verdict::Emergency),
    (
        At::Anywhere,
        "Cannot open access to console, the root account is locked",
        Ends::Line,
        Verdict::Emergency,
    ),
    (At::Start, "grub rescue>", Ends::Prompt, Verdict::Loader),
    (At::Start, "grub>", Ends::Prompt, Verdict::Loader),
    (At::Anywhere, "Failed to boot both default and fallback entries", Ends::Line, Verdict::Loader),
    (At::Start, "No bootable device.", Ends::Line, Verdict::NoBoot),
    (At::Anywhere, "BdsDxe: No bootable option or device was found", Ends::Line, Verdict::NoBoot),
    (At::Start, "UEFI Interactive Shell", Ends::Line, Verdict::NoBoot),
    (At::Start, "Shell>", Ends::Prompt, Verdict::NoBoot),
];

/// What explains a verdict that comes later, and how well: the best one is kept, and of equals the first.
const HINTS: &[(At, &str, u32)] = &[
    (At::Anywhere, "ALERT!", 9),
    (At::Anywhere, "VFS: Cannot open root device", 8),
    (At::Anywhere, "Timed out waiting for device", 8),
    (At::Anywhere, "Initramfs unpacking failed", 7),
    (At::Anywhere, "Failed to execute /init", 7),
    (At::Anywhere, "cannot mount root", 6),
    (At::Anywhere, "Failed to mount", 6),
    (At::Anywhere, "does not exist", 6),
    (At::Anywhere, "VFS: Unable to mount root fs", 5),
    (At::Anywhere, "Dependency failed for", 4),
    (At::Anywhere, "Gave up waiting for", 3),
    (At::Anywhere, "Failed to start", 2),
];

/// As [`HINTS`], of firmware and boot loaders.
const LOADER_HINTS: &[(At, &str, u32)] = &[
    (At::Start, "error:", 3),
    (At::Anywhere, "BdsDxe: failed to load", 2),
    (At::Anywhere, "Boot failed", 1),
];

/// Where an escape sequence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    No,
    Begun,
    Control,
    Title,
}

/// A console that is read as it comes.
#[derive(Debug)]
pub struct Console {
    until: Vec<String>,
    line: Vec<u8>,
    escape: Escape,
    returned: bool,
    hint: Option<(u32, String)>,
    loader_hint: Option<(u32, String)>,
    has_kernel: bool,
    last: String,
}

impl Console {
    /// Waits for any of the texts in `until`.
    #[must_use]
    pub fn new(until: Vec<String>) -> Self {
        Self {
            until,
            line: Vec::new(),
            escape: Escape::No,
            returned: false,
            hint: None,
            loader_hint: None,
            has_kernel: false,
            last: String::new(),
        }
    }

    /// Takes what the console wrote next. Once a verdict is there, the rest is not looked at.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<(Verdict, String)> {
        for byte in bytes {
            if let Some(done) = self.byte(*byte) {
                return Some(done);
            }
        }
        // A prompt has no end of a line.
        self.look(Ends::Prompt)
    }

    /// Tells whether a line of the kernel was seen.
    #[must_use]
    pub fn has_kernel(&self) -> bool {
        self.has_kernel
    }

    /// Says how it ended when time is over.
    #[must_use]
    pub fn timeout(&self) -> (Verdict, String) {
        if let Some(done) = self.look(Ends::Line) {
            return done;
        }
        if self.has_kernel {
            let last = if self.last.is_empty() { "nothing" } else { &self.last };
            return (Verdict::Timeout, self.explained(&format!("the last line is: {last}")));
        }
        let text = "the kernel wrote nothing to the serial console; its command line may lack console=ttyS0";
        (
            Verdict::Silent,
            self.loader_hint.as_ref().map_or(text.to_owned(), |(_, hint)| hint.clone()),
        )
    }

    /// Says how it ended when the machine has.
    #[must_use]
    pub fn stopped(&self) -> (Verdict, String) {
        if let Some(done) = self.look(Ends::Line) {
            return done;
        }
        let text = if self.last.is_empty() {
            "it wrote nothing".to_owned()
        } else {
            format!("the last line is: {}", self.last)
        };
        (Verdict::Stopped, self.explained(&text))
    }

    fn explained(&self, otherwise: &str) -> String {
        self.hint.as_ref().map_or(otherwise.to_owned(), |(_, hint)| hint.clone())
    }

    fn byte(&mut self, byte: u8) -> Option<(Verdict, String)> {
        match (self.escape, byte) {
            (Escape::No | Escape::Title, 0x1b) => self.escape = Escape::Begun,
            (Escape::Begun, b'[') => self.escape = Escape::Control,
            (Escape::Begun, b']') => self.escape = Escape::Title,
            (Escape::Begun, _) | (Escape::Title, 0x07 | b'\n') => self.escape = Escape::No,
            (Escape::Control, b'@'..=b'~') => {
                self.escape = Escape::No;
                // A cursor that is set elsewhere begins another line.
                if matches!(byte, b'H' | b'f') {
                    return self.end_line();
                }
            }
            (Escape::Control | Escape::Title, _) => {}
            (Escape::No, b'\n') => {
                self.returned = false;
                return self.end_line();
            }
            (Escape::No, b'\r') => self.returned = true,
            (Escape::No, byte) => {
                let done = if std::mem::take(&mut self.returned) { self.end_line() } else { None };
                if self.line.len() < MOST_LINE && (byte >= b' ' || byte == b'\t') {
                    self.line.push(byte);
                }
                return done;
            }
        }
        None
    }

    fn end_line(&mut self) -> Option<(Verdict, String)> {
        let done = self.look(Ends::Line);
        let line = self.text();
        if is_kernels(&line) {
            self.has_kernel = true;
        }
        keep(&mut self.hint, HINTS, &line);
        keep(&mut self.loader_hint, LOADER_HINTS, &line);
        if !line.is_empty() {
            self.last = line;
        }
        self.line.clear();
        done
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.line).trim().to_owned()
    }

    /// Judges the line as far as it came: only prompts, or all signs of a line that has ended.
    fn look(&self, ends: Ends) -> Option<(Verdict, String)> {
        let line = self.text();
        if line.is_empty() {
            return None;
        }
        // The end of a line may come later, and its hint then.
        let mut hint = self.hint.clone();
        keep(&mut hint, HINTS, &line);
        for (at, sign, needs, verdict) in SIGNS {
            if !stands(*at, sign, &line) || ends == Ends::Prompt && *needs == Ends::Line {
                continue;
            }
            // What comes behind a prompt depends on where a read ended.
            let line = if *needs == Ends::Prompt { up_to(&line, sign) } else { line };
            let hint = hint.map(|(_, hint)| hint);
            let of_loader = self.loader_hint.as_ref().map(|(_, hint)| hint.clone());
            let reason = match verdict {
                Verdict::Panic => {
                    let panic = line[line.find(sign).unwrap_or(0)..].to_owned();
                    match hint.filter(|hint| !hint.contains(sign)).or(of_loader) {
                        Some(hint) => format!("{panic}; {hint}"),
                        None => panic,
                    }
                }
                Verdict::Loader | Verdict::NoBoot => of_loader.unwrap_or(line),
                _ => hint.unwrap_or(line),
            };
            return Some((*verdict, reason));
        }
        let reached = self.until.iter().find(|text| line.contains(text.trim()))?;
        Some((Verdict::Reached, up_to(&line, reached.trim())))
    }
}

/// Returns a line as far as a text in it goes.
fn up_to(line: &str, text: &str) -> String {
    line.split_once(text).map_or_else(|| line.to_owned(), |(before, _)| format!("{before}{text}"))
}

fn stands(at: At, sign: &str, line: &str) -> bool {
    match at {
        At::Start => line.starts_with(sign),
        At::Anywhere => line.contains(sign),
    }
}

fn keep(best: &mut Option<(u32, String)>, hints: &[(At, &str, u32)], line: &str) {
    let rank = hints.iter().filter(|(at, sign, _)| stands(*at, sign, line)).map(|it| it.2).max();
    if let Some(rank) = rank
        && best.as_ref().is_none_or(|(known, _)| rank > *known)
    {
        *best = Some((rank, without_time(line).to_owned()));
    }
}

/// Leaves out the kernel's time in front of a line.
fn without_time(line: &str) -> &str {
    match line.split_once("] ") {
        Some((time, rest)) if is_time(time) => rest.trim_start(),
        _ => line,
    }
}

/// Tells a time as the kernel writes it: `[    1.234567`.
fn is_time(text: &str) -> bool {
    let Some(number) = text.strip_prefix('[') else { return false };
    let Some((seconds, fraction)) = number.trim_start().split_once('.') else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    digits(seconds) && fraction.len() == 6 && digits(fraction)
}

/// Tells a line of a kernel, or of the first program that it starts.
fn is_kernels(line: &str) -> bool {
    let time = line.split_once(']').is_some_and(|(time, _)| is_time(time));
    // grub welcomes, too.
    let system = line.strip_prefix("Welcome to ").is_some_and(|rest| !rest.starts_with("GRUB"));
    time || system
        || line.starts_with("Linux version ")
        || ["[  OK  ]", "Begin: ", "Loading, please wait"].iter().any(|sign| line.contains(sign))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// Judges recorded text, whole and in pieces of one byte: where a read ends must not matter.
    fn judge(text: &str) -> Option<(Verdict, String)> {
        let until = || vec!["login:".to_owned()];
        let whole = Console::new(until()).feed(text.as_bytes());
        let mut console = Console::new(until());
        let pieces = text.as_bytes().iter().find_map(|byte| console.feed(&[*byte]));
        assert_eq!(whole, pieces, "{text}");
        whole
    }

    #[track_caller]
    fn expect(text: &str, verdict: Verdict, reason: &str) {
        let (found, why) = judge(text).unwrap_or_else(|| panic!("no verdict: {text}"));
        assert_eq!(found, verdict, "{why}");
        assert!(why.contains(reason), "{why:?} does not say {reason:?}");
    }

    #[test]
    fn a_login_prompt_is_reached_through_colours() {
        expect(
            "\x1b[?7l\x1b[2J\x1b[01;01HGRUB loading.\r\n[    0.000000] Linux version 6.1\r\n\
             [\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39mGetty\x1b[0m.\r\n\r\n\
             Debian GNU/Linux 12 web ttyS0\r\n\r\nweb login: ",
            Verdict::Reached,
            "web login:",
        );
    }

    #[test]
    fn a_panic_says_what_it_missed() {
        expect(
            "[    1.2] x\n[    1.234567] VFS: Cannot open root device \"UUID=ab\" or unknown-block(0,0): error -6\n\
             [    1.234580] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n",
            Verdict::Panic,
            "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0); VFS: Cannot \
             open root device",
        );
        expect(
            "error: file `/boot/initrd.img-6.1' not found.\r\n\
             [    0.500000] Kernel panic - not syncing: No working init found.\r\n",
            Verdict::Panic,
            "initrd.img-6.1' not found",
        );
    }

    #[test]
    fn shells_of_an_initramfs_are_known_by_their_prompts() {
        expect(
            "Gave up waiting for root file system device.  Common problems:\n\
             ALERT!  UUID=00000000-0000-0000-0000-000000000000 does not exist.  Dropping to a shell!\n\n\
             BusyBox v1.35.0 (Debian) built-in shell (ash)\n\n(initramfs) ",
            Verdict::Initramfs,
            "UUID=00000000-0000-0000-0000-000000000000 does not exist",
        );
        expect(
            "[  131.0] dracut-initqueue\nWarning: /dev/disk/by-uuid/12 does not exist\n\ndracut:/# ",
            Verdict::Initramfs,
            "/dev/disk/by-uuid/12 does not exist",
        );
    }

    #[test]
    fn an_emergency_shell_names_the_unit() {
        expect(
            "[\x1b[0;1;31m TIME \x1b[0m] Timed out waiting for device \x1b[0;1;39m/dev/disk/by-uuid/7\x1b[0m.\r\n\
             [\x1b[0;1;38:5:185mDEPEND\x1b[0m] Dependency failed for \x1b[0;1;39m/mnt/data\x1b[0m.\r\n\
             You are in emergency mode. After logging in, type \"journalctl -xb\" to view\r\n",
            Verdict::Emergency,
            "Timed out waiting for device /dev/disk/by-uuid/7",
        );
    }

    #[test]
    fn prompts_of_boot_loaders_say_the_error_before() {
        expect(
            "GRUB loading.\r\nWelcome to GRUB!\r\n\r\nerror: no such device: 1234.\r\nerror: unknown filesystem.\r\n\
             Entering rescue mode...\r\ngrub rescue> ",
            Verdict::Loader,
            "no such device: 1234",
        );
        expect("\x1b[m\x1b[H\rgrub> \x1b[5n", Verdict::Loader, "grub>");
    }

    #[test]
    fn firmware_that_finds_nothing_says_so() {
        expect(
            "SeaBIOS (version 1.16)\r\nBooting from Hard Disk...\r\nBoot failed: not a bootable disk\r\n\r\n\
             No bootable device.\r\n",
            Verdict::NoBoot,
            "not a bootable disk",
        );
        expect(
            "BdsDxe: failed to load Boot0001 \"UEFI QEMU NVMe Ctrl\" from PciRoot(0x0): Not Found\r\n\
             \x1b[2J\x1b[01;01H\x1b[0m\x1b[37m\x1b[40mUEFI Interactive Shell v2.2\r\n",
            Verdict::NoBoot,
            "failed to load Boot0001",
        );
    }

    #[test]
    fn words_in_the_middle_of_a_line_are_no_prompt() {
        for text in [
            "[    5.000000] cloud-init: run update-grub> /dev/null\n",
            "Setting up linux (initramfs) tools\n",
            "grub\n>\n",
            "last log",
        ] {
            assert_eq!(judge(text), None, "{text}");
        }
    }

    #[test]
    fn without_a_prompt_the_clock_decides_and_silence_is_named() {
        let mut console = Console::new(vec!["login:".into()]);
        assert_eq!(console.feed(b"SeaBIOS\r\nWelcome to GRUB!\r\nBooting `Debian'\r\n"), None);
        assert_eq!(console.timeout().0, Verdict::Silent);
        assert!(console.timeout().1.contains("console=ttyS0"));
        assert_eq!(
            console.feed(b"[    0.000000] Linux version 6.1\r\n[    2.000000] busy\r\n"),
            None
        );
        let (verdict, reason) = console.timeout();
        assert_eq!(verdict, Verdict::Timeout);
        assert!(reason.contains("busy"), "{reason}");
        assert_eq!(console.stopped().0, Verdict::Stopped);
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut console = Console::new(vec!["login:".into()]);
        for _ in 0..1000 {
            assert_eq!(console.feed(&[b'a'; 10_000]), None);
        }
        assert!(console.line.capacity() <= 4 * MOST_LINE);
        let garbage: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let _ = console.feed(&garbage);
    }
}
