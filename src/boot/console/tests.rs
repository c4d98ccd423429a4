//! Recorded consoles, and what is made of them.
#![allow(clippy::arithmetic_side_effects)]

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
    assert_eq!(console.feed(b"[    0.000000] Linux version 6.1\r\n[    2.000000] busy\r\n"), None);
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

/// Says how it ends when nothing more comes after a recorded text.
fn at_the_end(text: &str) -> (Verdict, String) {
    let until = || vec!["login:".to_owned()];
    let mut console = Console::new(until());
    assert_eq!(console.feed(text.as_bytes()), None, "{text}");
    let mut pieces = Console::new(until());
    assert!(text.as_bytes().iter().all(|byte| pieces.feed(&[*byte]).is_none()), "{text}");
    assert_eq!(console.timeout(), pieces.timeout(), "{text}");
    console.timeout()
}

/// The beginning of a kernel with `earlyprintk=serial`.
const EARLY: &str = "\
Loading Linux 6.1.0-18-amd64 ...\r\nLoading initial ramdisk ...\r\n\
[    0.000000] Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0)\r\n\
[    0.000000] Command line: BOOT_IMAGE=/boot/vmlinuz-6.1.0-18-amd64 root=UUID=7d ro earlyprintk=serial\r\n\
[    0.000000] printk: bootconsole [earlyser0] enabled\r\n\
[    0.099076] NR_IRQS: 524544, nr_irqs: 440, preallocated irqs: 16\r\n\
[    0.105764] Console: colour VGA+ 80x25\r\n";

#[test]
fn an_early_console_that_ends_leaves_silence() {
    for text in [
        format!(
            "{EARLY}[    0.106024] printk: console [tty0] enabled\r\n\
             [    0.106534] printk: bootconsole [earlyser0] disabled\r\n"
        ),
        // As newer kernels say it, with the thread that wrote, and to each of two boot consoles.
        format!(
            "{EARLY}[    1.829978][    T0] printk: legacy console [tty0] enabled\r\n\
             [    1.831736][    T0] printk: legacy bootconsole [earlyser0] disabled\r\n\
             [    1.831736][    T0] printk: legacy bootconsole [earlyser0] disabled\r\n"
        ),
        // `earlycon=uart8250,io,0x3f8`.
        format!(
            "{EARLY}[    0.106534] bootconsole [uart8250] uses init memory and must be disabled \
             even before the real one is ready\r\n[    0.106534] bootconsole [uart8250] disabled\r\n"
        ),
        // Without times.
        "Linux version 5.14.0\r\nCommand line: earlyprintk=ttyS0\r\nprintk: bootconsole [earlyser0] enabled\r\n\
         Console: colour VGA+ 80x25\r\nprintk: console [tty0] enabled\r\nprintk: bootconsole [earlyser0] disabled\r\n"
            .to_owned(),
    ] {
        let (verdict, reason) = at_the_end(&text);
        assert_eq!(verdict, Verdict::Silent, "{text}");
        assert!(reason.contains("early console only") && reason.contains("console=ttyS0"), "{reason}");
    }
}

#[test]
fn a_kernel_that_goes_on_behind_its_early_console_is_heard() {
    for (text, last) in [
        // It stopped on its early console: that one is not over.
        (EARLY.to_owned(), "Console: colour VGA+ 80x25"),
        (
            format!(
                "{EARLY}[    0.106024] printk: console [ttyS0] enabled\r\n\
                 [    0.106534] printk: bootconsole [earlyser0] disabled\r\n"
            ),
            "bootconsole [earlyser0] disabled",
        ),
        (
            format!(
                "{EARLY}[    0.106534] printk: bootconsole [earlyser0] disabled\r\n\
                 [    0.107161] ACPI: Core revision 20220331\r\n"
            ),
            "ACPI: Core revision",
        ),
        // `earlyprintk=serial,keep`.
        (
            EARLY.replace("bootconsole [earlyser0] enabled", "console [earlyser0] enabled")
                + "[    0.106024] printk: console [tty0] enabled\r\n",
            "console [tty0] enabled",
        ),
    ] {
        let (verdict, reason) = at_the_end(&text);
        assert_eq!(verdict, Verdict::Timeout, "{text}");
        assert!(reason.contains(last), "{reason}");
    }
}

/// Lines of firmware, boot loaders and the EFI stub do not count as lines of the kernel.
#[test]
fn firmware_loaders_and_stubs_are_no_kernel() {
    for (text, reason) in [
        (
            "SeaBIOS (version 1.16.2-debian-1.16.2-1)\r\nMachine UUID ec201234-5678-49ab-acde-f00000000000\r\n\
             iPXE (http://ipxe.org) 00:03.0 CA00 PCI2.10 PnP PMM+3EFC9330+3EF09330 CA00\r\n\
             Booting from Hard Disk...\r\nGRUB loading.\r\nWelcome to GRUB!\r\n\r\n",
            "may lack console=ttyS0",
        ),
        (
            "BdsDxe: loading Boot0001 \"UEFI QEMU NVMe Ctrl vol00000000000000001 1\" from \
             PciRoot(0x0)/Pci(0x3,0x0)/NVMe(0x1,00-00-00-00-00-00-00-00)\r\n\
             BdsDxe: starting Boot0001 \"UEFI QEMU NVMe Ctrl vol00000000000000001 1\" from \
             PciRoot(0x0)/Pci(0x3,0x0)/NVMe(0x1,00-00-00-00-00-00-00-00)\r\n",
            "may lack console=ttyS0",
        ),
        (
            "\x1b[0m\x1b[30m\x1b[47mWelcome to GRUB!\r\n\r\n\x1b[0m\x1b[37m\x1b[40m\x1b[2J\x1b[01;01H\
             \x1b[3;30HGNU GRUB  version 2.06-13+deb12u1\r\n \x1b[7m*Debian GNU/Linux\x1b[0m\r\n\
             The highlighted entry will be executed automatically in 5s.\r\n  Booting `Debian GNU/Linux'\r\n\r\n\
             Loading Linux 6.1.0-18-amd64 ...\r\nLoading initial ramdisk ...\r\n",
            "may lack console=ttyS0",
        ),
        (
            "EFI stub: Loaded initrd from LINUX_EFI_INITRD_MEDIA_GUID device path\r\n\
             EFI stub: Measured initrd data into PCR 9\r\nEFI stub: UEFI Secure Boot is enabled.\r\n",
            "may lack console=ttyS0",
        ),
        (
            "EFI stub: Loaded initrd from command line option\r\nEFI stub: ERROR: Failed to allocate memory for files\r\n",
            "Failed to allocate memory for files",
        ),
        (
            "early console in setup code\r\nProbing EDD (edd=off to disable)... ok\r\nearly console in extract_kernel\r\n\
             input_data: 0x0000000002d8f40d\r\n\r\nDecompressing Linux... Parsing ELF... done.\r\nBooting the kernel.\r\n\
             KASLR disabled: 'nokaslr' on cmdline.\r\n",
            "may lack console=ttyS0",
        ),
        (
            "systemd-boot 252.22-1~deb12u1\r\nBoot in 3 s.\r\nBdsDxe: failed to start Boot0001 \"Linux\" from HD(1): Aborted\r\n",
            "failed to start Boot0001",
        ),
    ] {
        let (verdict, why) = at_the_end(text);
        assert_eq!(verdict, Verdict::Silent, "{text}");
        assert!(why.contains(reason), "{why:?} does not say {reason:?}");
    }
}

#[test]
fn a_reason_has_neither_time_nor_thread() {
    for text in [
        "[    3.100000] VFS: Cannot open root device \"sda1\"\n[    3.200000] end Kernel panic - not syncing: x\n",
        "[    3.100000][    T1] VFS: Cannot open root device \"sda1\"\n\
         [    3.200000][    T1] Kernel panic - not syncing: x\n",
        "[    3.100000] [   C12] VFS: Cannot open root device \"sda1\"\n[    3.200000] Kernel panic - not syncing: x\n",
    ] {
        let (_, reason) = judge(text).unwrap();
        assert_eq!(reason, "Kernel panic - not syncing: x; VFS: Cannot open root device \"sda1\"");
    }
    assert_eq!(without_time("[    3.100000] [drm] no root"), "[drm] no root");
}
