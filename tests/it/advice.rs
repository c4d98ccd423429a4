//! What an error advises can be done, with the command that failed, for the volume that it is about.
//!
//! Each scene is a volume that cannot be opened without an option, in each place where a command takes
//! a volume. The test runs the command, takes the options out of the advice, runs it again with them,
//! and expects that the same complaint is gone.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common;

/// A volume that needs something: its file, what must be in the advice, and what the options become.
struct Scene {
    file: &'static str,
    advised: &'static str,
    /// What stands for the placeholder of a value in the advice.
    value: &'static str,
}

const SCENES: &[Scene] = &[
    Scene { file: "top.qcow2", advised: "--backing", value: "" },
    Scene { file: "away.qcow2", advised: "--parent", value: "below/base.raw" },
    Scene { file: "luks.img", advised: "--input-format", value: "" },
    Scene { file: "half.raw", advised: "--force", value: "" },
    Scene { file: "wide.raw.zst", advised: "--max-window", value: "" },
];

/// Every place where a command takes a volume, `{}` being the volume.
const PLACES: &[&str] = &[
    "inspect {}",
    "inspect --read {}",
    "map {}",
    "serve nbd {} --socket nbd.sock",
    "map --bmap {}",
    "snapshot {} -o out.snap",
    "convert {} out.vhdx",
    "bench {} --size 512KiB --rounds 1",
    "pack {} -o out.ami --name test",
    "pack good.raw --map /dev/sdf={} -o out.ami --name test",
    "pack good.raw --base {} --thin -o out.ami --name test",
    "compare {} good.raw",
    "compare good.raw {}",
    "diff {} good.raw",
    "diff good.raw {}",
    "verify good.ami --against {}",
    "verify good.ami --against /dev/xvda={}",
    "verify thin.ami --base {}",
    "unpack thin.ami --base {} -o out.raw",
    "rebase thin.ami --base {} --onto good.ami -o out.ami",
    "rebase good.ami --onto {} --thin -o out.ami",
    "merge thin.ami thin.ami --base {} -o out.ami",
    "build ami.toml --image /dev/xvda={} -o out.ami",
    "init out.toml --image {}",
];

/// Makes the volumes, and what the commands need beside them.
fn scene(here: &Path) {
    let bytes: Vec<u8> = (0..=250).cycle().take(1 << 20).collect();
    fs::create_dir(here.join("below")).unwrap();
    for name in ["good.raw", "base.raw", "below/base.raw", "half.raw"] {
        fs::write(here.join(name), &bytes).unwrap();
    }
    fs::write(here.join("luks.img"), [b"LUKS\xba\xbe\x00\x01", &bytes[8..]].concat()).unwrap();
    // A zstd frame that may refer back over 256 MiB, of stored blocks.
    let mut wide = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x90];
    for (number, block) in bytes.chunks(1 << 17).enumerate() {
        let head = 1_u32 << 20 | u32::from(number == 7);
        wide.extend_from_slice(&head.to_le_bytes()[..3]);
        wide.extend_from_slice(block);
    }
    fs::write(here.join("wide.raw.zst"), wide).unwrap();
    // As an interrupted apply leaves it.
    fs::write(here.join("half.raw.amikit-journal.tar"), b"").unwrap();
    for (name, backing) in [("top.qcow2", "base.raw"), ("away.qcow2", "below/base.raw")] {
        fs::write(here.join(name), overlay(backing)).unwrap();
    }
    let recipe = "version = 1\n[ami]\nname = \"test\"\narchitecture = \"x86_64\"\nvirtualization-type = \
                  \"hvm\"\nroot-device-name = \"/dev/xvda\"\n[[volume]]\ndevice-name = \"/dev/xvda\"\nimage = \"good.raw\"\n";
    fs::write(here.join("ami.toml"), recipe).unwrap();
    let mut newer = bytes.clone();
    newer[700_000] ^= 1;
    fs::write(here.join("new.raw"), newer).unwrap();
    for line in [
        "pack good.raw -o good.ami --name test",
        "pack new.raw --base good.raw --thin -o thin.ami --name test",
    ] {
        assert!(amikit(line, here).output().unwrap().status.success(), "{line}");
    }
}

/// A qcow2 image of a mebibyte over a backing file, all of whose clusters are that one's.
fn overlay(backing: &str) -> Vec<u8> {
    let mut image = vec![0; 4 << 16];
    let mut put = |at: usize, bytes: &[u8]| image[at..][..bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb");
    put(4, &3_u32.to_be_bytes());
    put(8, &512_u64.to_be_bytes());
    put(16, &u32::try_from(backing.len()).unwrap().to_be_bytes());
    put(20, &16_u32.to_be_bytes());
    put(24, &(1_u64 << 20).to_be_bytes());
    put(36, &1_u32.to_be_bytes());
    put(40, &(3_u64 << 16).to_be_bytes());
    put(48, &(1_u64 << 16).to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    // The format of the backing file, and the end of the extensions.
    put(104, &0xe279_2aca_u32.to_be_bytes());
    put(108, &3_u32.to_be_bytes());
    put(112, b"raw");
    put(512, backing.as_bytes());
    // One refcount block, and each of the four clusters in use once.
    put(1 << 16, &(2_u64 << 16).to_be_bytes());
    for cluster in (2 << 16..).step_by(2).take(4) {
        put(cluster, &1_u16.to_be_bytes());
    }
    image
}

fn amikit(line: &str, here: &Path) -> Command {
    let mut command = common::amikit();
    if line.contains("serve ") {
        // A server that could open its volume runs until it is told to stop.
        let server = command.get_program().to_owned();
        command = Command::new("timeout");
        command.args(["--preserve-status", "--signal=TERM", "1"]).arg(server);
    }
    command.args(line.split(' ')).current_dir(here);
    command
}

fn run(here: &Path, line: &str) -> (i32, Value) {
    let _ = fs::remove_dir_all(here.join("out.ami"));
    let _ = fs::remove_file(here.join("out.toml"));
    let mut command: Command = amikit(&format!("--json {line}"), here);
    let done = command.output().unwrap();
    let error = serde_json::from_slice(&done.stderr).unwrap_or(Value::Null);
    (done.status.code().unwrap(), error)
}

/// Takes the option of that name out of a sentence, with its value.
fn option_in(sentence: &str, name: &str, value: &str) -> Option<String> {
    let at = sentence.find(name)?;
    let mut words = sentence[at..].split([' ', ',']);
    let option = words.next()?.to_owned();
    if matches!(name, "--backing" | "--force") {
        return Some(option);
    }
    Some(format!("{option} {}", words.next()?.replace("FILE", value)))
}

/// Each advice, in each place of each command: what is advised can be typed, and helps.
#[test]
fn what_is_advised_can_be_done_with_the_command_that_failed() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    scene(here);
    let step = common::step();
    for (number, place) in PLACES.iter().enumerate() {
        for Scene { file, advised, value } in SCENES.iter().skip(number % step).step_by(step) {
            let line = place.replace("{}", file);
            let (code, error) = run(here, &line);
            let advice = error["error"]["advice"].as_str().unwrap_or_default();
            assert!(matches!(code, 2..=6), "{line}: {code} {error}");
            let option = option_in(advice, advised, value)
                .unwrap_or_else(|| panic!("{line}: {advised} is not advised: {error}"));
            let (code, again) = run(here, &format!("{line} {option}"));
            // It may differ from what the command wants, which is its answer; the complaint is gone.
            let gone = again["error"]["message"] != error["error"]["message"];
            let other = again["error"]["advice"].as_str().unwrap_or_default();
            assert!(gone && !other.contains(advised), "{line} {option}: {again}");
            assert!(matches!(code, 0 | 1 | 7), "{line} {option}: {code} {again}");
        }
    }
}

/// What is advised concerns the image that failed, not the first one (F-11).
#[test]
fn advice_about_a_further_volume_names_its_device() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    scene(here);
    let pack = "pack good.raw --map /dev/sdf=luks.img -o out.ami --name test";
    let (code, error) = run(here, pack);
    let advice = error["error"]["advice"].as_str().unwrap();
    assert_eq!(code, 5, "{error}");
    assert!(advice.contains("--input-format /dev/sdf=raw"), "{advice}");
    // What would concern the first image changes nothing.
    let (code, _) = run(here, &format!("{pack} --input-format image=raw"));
    assert_eq!(code, 5);
    let (code, error) = run(here, &format!("{pack} --input-format /dev/sdf=raw"));
    assert_eq!(code, 0, "{error}");
}

/// A command without an option does not name it.
#[test]
fn a_command_names_no_option_that_it_does_not_have() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    scene(here);
    // The registration of a bundle opens no image, so nothing can be forced there.
    for line in ["complete thin.ami --base good.raw -o out.ami", "register half.raw"] {
        let (_, error) = run(here, line);
        let command = line.split(' ').next().unwrap();
        let help = amikit(&format!("{command} --help"), here).output().unwrap().stdout;
        let help = String::from_utf8(help).unwrap();
        let advice = error["error"]["advice"].as_str().unwrap_or_default();
        for option in advice.split([' ', ',', '=', '`']).filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "{line}: {option} in {advice}");
        }
    }
}

/// Programs whose own options the library may name.
const OTHER_PROGRAMS: &[&str] =
    &["aws ec2 ", "gpg", "cp --sparse", "ntfsclone", "sgdisk", "uefivars", "rev-parse"];

/// Returns the long options of a command and of those below it.
fn options(words: &[&str], found: &mut Vec<String>) {
    let help = common::amikit().args(words).arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let named = help.split_whitespace().filter(|word| word.starts_with("--"));
    let bare = |word: &str| {
        word.split(|c: char| !c.is_alphanumeric() && c != '-').next().map(str::to_owned)
    };
    found.extend(named.filter_map(bare));
    let below = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    for line in below.take_while(|line| line.starts_with("  ")) {
        let name = line.split_whitespace().next().unwrap();
        if line.starts_with("  ") && !line.starts_with("   ") && name != "help" {
            options(&[words, &[name]].concat(), found);
        }
    }
}

/// Collects the string literals of the library, without the command line and without tests.
fn literals(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("cli") {
            literals(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs")
            && !["tests.rs", "samples.rs"].iter().any(|name| path.ends_with(name))
        {
            let source = fs::read_to_string(&path).unwrap();
            let source = source.split("#[cfg(test)]").next().unwrap().replace("\\\"", "'");
            let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
            let code = code.collect::<Vec<_>>().join("\n");
            let texts = code.split('"').skip(1).step_by(2);
            found.extend(texts.map(|text| (path.display().to_string(), text.to_owned())));
        }
    }
}

/// The library knows facts; how something is typed is for the command line to say.
#[test]
fn no_sentence_of_the_library_names_an_option_of_the_program() {
    let mut named = Vec::new();
    options(&[], &mut named);
    assert!(named.iter().any(|it| it == "--backing") && named.len() > 100, "{named:?}");
    let mut texts = Vec::new();
    literals(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut texts);
    assert!(texts.len() > 1000, "{}", texts.len());
    let mut wrong = Vec::new();
    for (path, text) in texts {
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '-');
        let ours = words.into_iter().any(|word| named.iter().any(|option| option == word));
        // What mends an image is an argument of virt-customize.
        let is_fix = path.ends_with("lint/rules.rs") && text.starts_with("--");
        if ours && !is_fix && !OTHER_PROGRAMS.iter().any(|program| text.contains(program)) {
            wrong.push(format!("{path}: {text:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How a program is built, and what the AWS CLI is asked, is for the command line to say as well: a program that has the
/// library in it is built otherwise.
#[test]
fn no_sentence_of_the_library_names_cargo_or_asks_the_aws_cli() {
    let mut texts = Vec::new();
    literals(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut texts);
    let wrong: Vec<_> = texts
        .into_iter()
        .filter(|(_, text)| {
            ["cargo install", "aws configure", "`aws "].iter().any(|it| text.contains(it))
        })
        .map(|(path, text)| format!("{path}: {text:?}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
