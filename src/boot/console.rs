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
    /// Time is over, and the kernel never wrote to the console, or only until its real one took over.
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
    (At::Start, "EFI stub: ERROR:", 4),
    (At::Start, "error:", 3),
    (At::Anywhere, "BdsDxe: failed to load", 2),
    (At::Anywhere, "BdsDxe: failed to start", 2),
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

/// How far the kernel came on the serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    /// Not one line of it was seen.
    Unheard,
    /// It writes. Whether to its early console or to the real one shows later.
    Heard,
    /// It said that it will go on writing to the serial port.
    Stays,
    /// Its early console ended, and nothing came after that: the real console is elsewhere.
    Left,
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
    kernel: Kernel,
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
            kernel: Kernel::Unheard,
            last: String::new(),
        }
    }

    /// Says what it waits for, as people read it: `"login:" or "ready"`.
    #[must_use]
    pub fn awaited(&self) -> String {
        let texts: Vec<_> = self.until.iter().map(|it| format!("{it:?}")).collect();
        texts.join(" or ")
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

    /// Tells whether a line of the kernel was seen, on whichever console of its.
    #[must_use]
    pub fn has_kernel(&self) -> bool {
        self.kernel != Kernel::Unheard
    }

    /// Says how it ended when time is over.
    #[must_use]
    pub fn timeout(&self) -> (Verdict, String) {
        if let Some(done) = self.look(Ends::Line) {
            return done;
        }
        if matches!(self.kernel, Kernel::Heard | Kernel::Stays) {
            let last = if self.last.is_empty() { "nothing" } else { &self.last };
            return (Verdict::Timeout, self.explained(&format!("the last line is: {last}")));
        }
        if self.kernel == Kernel::Left {
            let text = "the kernel wrote to its early console only; its command line may lack console=ttyS0";
            return (Verdict::Silent, text.to_owned());
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
        self.kernel = self.kernel.after(&line);
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

impl Kernel {
    /// Returns how far it is after one more line.
    ///
    /// A kernel with `earlyprintk` or `earlycon` writes to the serial port until its real console takes over, and says
    /// both: `console [ttyS0] enabled` if that is the serial port too, and `bootconsole [earlyser0] disabled`. Such
    /// lines come twice, once for each console, with a time in front or without.
    fn after(self, line: &str) -> Self {
        if line.contains("bootconsole [") && line.contains("] disabled") {
            return if self == Self::Stays { self } else { Self::Left };
        }
        // After `keep`, the early console goes on under this name.
        if ["console [ttyS0] enabled", "console [earlyser0] enabled"]
            .iter()
            .any(|sign| line.contains(sign) && !line.contains("bootconsole ["))
        {
            return Self::Stays;
        }
        match self {
            Self::Unheard | Self::Left if is_kernels(line) => Self::Heard,
            _ => self,
        }
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

/// Leaves out the kernel's time in front of a line, and who wrote it: `[    1.234567][    T1] `.
fn without_time(line: &str) -> &str {
    match line.split_once(']') {
        Some((time, rest)) if is_time(time) => {
            let rest = rest.trim_start();
            let caller = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
            let is_caller = |text: &str| {
                let number = text.trim_start().strip_prefix(['T', 'C']).unwrap_or_default();
                !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit())
            };
            caller.filter(|(who, _)| is_caller(who)).map_or(rest, |(_, rest)| rest.trim_start())
        }
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
mod tests;
