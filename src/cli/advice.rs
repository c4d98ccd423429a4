//! What to do next, in terms of the command at hand.
//!
//! The library says what would help as a fact, [`Advice`]. Here it becomes a sentence that names the
//! options of the command which failed, and says nothing of options which that command does not have.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::path::Path;

use crate::calls::command;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Setting;
use crate::error::Verb;
use crate::error::shown;
use clap::ArgMatches;
use clap::Command;

/// The command that runs: its name, and what it takes.
#[derive(Clone, Debug)]
pub(super) struct AtHand {
    command: Command,
    /// As it is typed: `store add`.
    verb: String,
    /// What was typed for the things that it reads.
    named: Vec<OsString>,
}

/// Options that name what an argument could name, too.
const READ: &[&str] = &["against", "base", "onto", "to"];

/// The argument that names what is written: whatever is there now is not what the command takes.
const OUTPUT: &str = "output";

impl AtHand {
    /// Finds the subcommand that was typed.
    pub(super) fn of(program: &Command, typed: &ArgMatches) -> Self {
        let mut command = program.clone();
        let mut typed = typed;
        let mut verb = Vec::new();
        while let Some((name, below)) = typed.subcommand() {
            let Some(found) = command.find_subcommand(name) else { break };
            verb.push(name.to_owned());
            (command, typed) = (found.clone(), below);
        }
        let reads = |arg: &&clap::Arg| {
            let names_input = arg.is_positional() && arg.get_id() != OUTPUT;
            names_input || arg.get_long().is_some_and(|it| READ.contains(&it))
        };
        let ids = command.get_arguments().filter(reads).map(|arg| arg.get_id().as_str());
        let values = |id| typed.try_get_raw(id).ok().flatten().into_iter().flatten();
        let named = ids.flat_map(values).map(OsStr::to_owned).collect();
        Self { verb: verb.join(" "), named, command }
    }

    /// Returns the command as it is typed.
    pub(super) fn verb(&self) -> &str {
        &self.verb
    }

    /// Returns what was typed for the things that it reads.
    pub(super) fn named(&self) -> &[OsString] {
        &self.named
    }

    /// Returns the option as it is typed for one of the command's volumes, if the command has it.
    fn option(&self, name: &str, value: &str, input: Option<&str>) -> Option<String> {
        let arg = self.command.get_arguments().find(|arg| arg.get_long() == Some(name))?;
        let named = arg.get_value_names().unwrap_or_default();
        let takes_role = named.iter().any(|it| it.contains("ROLE"));
        let role = input.filter(|_| takes_role);
        Some(match (role, value) {
            (None, "") => format!("--{name}"),
            (Some(role), "") => format!("--{name}={role}"),
            (None, value) => format!("--{name} {value}"),
            (Some(role), value) => format!("--{name} {role}={value}"),
        })
    }

    /// Tells whether an option may be meant for one of the command's volumes, by its role.
    fn concerns_one(&self, name: &str) -> bool {
        self.option(name, "", Some("ROLE")).is_some_and(|option| option.ends_with("ROLE"))
    }

    fn setting(&self, setting: Setting, value: &str) -> Option<String> {
        option_names(setting).iter().find_map(|name| self.option(name, value, None))
    }

    /// Says how a template gets its value.
    fn template(&self, name: &str) -> Option<String> {
        let by_hand = self.setting(Setting::Template, &format!("{name}=VALUE"));
        let other = match name {
            "date" => self.setting(Setting::Date, "").map(|it| format!("today's with {it}")),
            "git" => self.setting(Setting::Git, "").map(|it| format!("the commit's with {it}")),
            "arch" => Some("name the architecture in the recipe".to_owned()),
            _ => None,
        };
        join(&[by_hand.map(|it| format!("give it with {it}")), other])
    }

    /// Says what to do about an error, if there is something that can be done with this command.
    pub(super) fn sentence(&self, error: &Error) -> Option<String> {
        let input = error.input();
        let option = |name: &str, value: &str| self.option(name, value, input);
        match error.advice()? {
            Advice::Do(sentence) => Some(sentence.to_string()),
            Advice::NameBacking => join(&[
                option("backing", "").map(|it| format!("pass {it} if it is in the same folder")),
                option("parent", "FILE").map(|it| format!("pass {it} to name it")),
            ]),
            Advice::NameParent => option("parent", "FILE").map(|it| format!("name it with {it}")),
            Advice::NameFormat { first, format: Some(format) } => {
                let named = option("input-format", format).map(|it| {
                    let what = if *format == "raw" { "a raw volume" } else { *format };
                    format!("pass {it} if it really is {what}")
                });
                join(&[some(first), named])
            }
            Advice::NameFormat { first, format: None } => {
                let named = option("input-format", "FORMAT").map(|it| format!("name it with {it}"));
                join(&[some(first), named])
            }
            Advice::NameOutputFormat => {
                option("format", "FORMAT").map(|it| format!("name the format with {it}"))
            }
            Advice::Force { first } => {
                let forced = option("force", "").map(|it| format!("pass {it} to go on anyway"));
                join(&[some(first), forced])
            }
            Advice::NameBase => option("base", "OLD")
                .map(|it| format!("name the bundle or image that it was packed against with {it}")),
            Advice::NameMember { example } => {
                Some(format!("name one after a colon, as in {example}"))
            }
            Advice::NameAmi { example } => Some(format!("name one after an @, as in {example}")),
            Advice::FinishJournal { image, .. } => {
                let image = quoted(&shown(image));
                let settle = format!(
                    "finish it with `amikit apply --to {image} --finish`, or undo it with `amikit \
                     apply --to {image} --undo`"
                );
                let forced = option("force", "").map(|it| format!("pass {it} to go on anyway"));
                join(&[Some(settle), forced])
            }
            Advice::Give { setting, example } => {
                self.setting(*setting, example).map(|it| format!("give it with {it}"))
            }
            Advice::AllowRule => self
                .setting(Setting::Allow, "RULE")
                .map(|it| format!("allow a rule that is broken on purpose with {it}")),
            Advice::FillTemplate { name } => self.template(name),
            Advice::Omit(setting) => self.setting(*setting, "").map(|it| format!("omit {it}")),
            Advice::Build { feature, instead } => join(&[
                Some(format!("build it with `cargo install amikit --features {feature}`")),
                some(instead).map(|it| format!("or {it}")),
            ]),
            Advice::GiveKey { profile: None } => Some(
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile by AWS_PROFILE, or run \
                 `eval \"$(aws configure export-credentials --format env)\"`"
                    .to_owned(),
            ),
            Advice::GiveKey { profile: Some(name) } => Some(format!(
                "run `eval \"$(aws configure export-credentials --profile {} --format env)\"` first",
                quoted(name)
            )),
            Advice::CallEc2 { to, call, then } => join(&[
                Some(format!("{to} with `aws ec2 {}`", command(call))),
                some(then),
            ]),
            Advice::Swap { one, other } => {
                let typed: Vec<OsString> = std::env::args_os().skip(1).collect();
                Some(swapped(one, other, &typed, |name| self.concerns_one(name)))
            }
            Advice::Use { verb, to } => Some(format!("use `amikit {}` to {to}", verb_name(*verb))),
        }
    }
}

/// Says that two names are in the wrong order, and shows what was typed with each in the place of the other; but not where an
/// option says how one of them is opened, which it would say of the other then.
fn swapped(
    one: &Path,
    other: &Path,
    typed: &[OsString],
    concerns_one: impl Fn(&str) -> bool,
) -> String {
    let (one, other) = (one.as_os_str(), other.as_os_str());
    let place = |word: &OsStr| match word {
        _ if word == one => Some(other),
        _ if word == other => Some(one),
        _ => None,
    };
    let places = typed.iter().filter(|word| place(word).is_some()).count();
    let values = typed.iter().skip(1).map(Some).chain([None]);
    let is_opened = typed.iter().zip(values).any(|(word, value)| {
        let option = word.to_str().and_then(|word| word.strip_prefix("--"));
        let name = option.and_then(|option| option.split('=').next());
        name.is_some_and(&concerns_one) && value.is_none_or(|value| place(value).is_none())
    });
    if places == 2 && !is_opened {
        let word = |word| quoted(&shown(Path::new(place(word).unwrap_or(word))));
        let words: Vec<String> = typed.iter().map(|it| word(it)).collect();
        return format!("they are in the wrong order: `amikit {}`", words.join(" "));
    }
    let named = |name: &OsStr| quoted(&shown(Path::new(name)));
    format!("{} and {} are in the wrong order", named(one), named(other))
}

/// Returns a name as it is typed in a shell: what it says there is the name, whatever is in it.
fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+/:,@%=".contains(c);
    if name.chars().all(is_plain) && !name.is_empty() {
        return name.to_owned();
    }
    format!("'{}'", name.replace('\'', "'\\''"))
}

fn some(sentence: &str) -> Option<String> {
    (!sentence.is_empty()).then(|| sentence.to_owned())
}

/// Joins what can be done, the first choice first.
fn join(ways: &[Option<String>]) -> Option<String> {
    let ways: Vec<_> = ways.iter().flatten().map(String::as_str).collect();
    (!ways.is_empty()).then(|| ways.join(", or "))
}

/// Names the options that set something, the most usual first.
fn option_names(setting: Setting) -> &'static [&'static str] {
    match setting {
        Setting::Allow => &["allow"],
        Setting::Architecture => &["arch"],
        Setting::Base => &["base"],
        Setting::BaseIndex => &["base-index"],
        Setting::BaseManifest => &["base-manifest"],
        Setting::Certificate => &["cert"],
        Setting::Date => &["date"],
        Setting::Ec2Certificate => &["ec2-cert"],
        Setting::Git => &["git"],
        Setting::Holes => &["holes"],
        Setting::InsecureEndpoint => &["insecure-endpoint"],
        Setting::Image => &["image"],
        Setting::ImageId => &["image-id"],
        Setting::Key => &["key"],
        Setting::Downgrade => &["allow-downgrade"],
        Setting::Map => &["map"],
        Setting::MaxSize => &["max-size"],
        Setting::Output => &["output"],
        Setting::Region => &["region"],
        Setting::Snapshot => &["snapshot"],
        Setting::Template => &["set"],
        Setting::User => &["user"],
        Setting::Thin => &["thin"],
        Setting::Threads => &["threads"],
        Setting::Virtualization => &["virtualization"],
        Setting::Window => &["max-window"],
        Setting::Zeros => &["zeros"],
    }
}

fn verb_name(verb: Verb) -> &'static str {
    match verb {
        Verb::AddToStore => "store add",
        Verb::Complete => "complete",
        Verb::Convert => "convert",
        Verb::Fetch => "fetch",
        Verb::InitStore => "store init",
        Verb::List => "ls",
        Verb::ListRules => "lint --list",
        Verb::Pack => "pack",
        Verb::Pull => "pull",
        Verb::Push => "push",
        Verb::Rebase => "rebase",
        Verb::Sign => "sign",
        Verb::Unbundle => "instance-store unbundle",
        Verb::Unpack => "unpack",
        Verb::Unpublish => "unpublish",
        Verb::Verify => "verify",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names_in_the_wrong_order_are_shown_in_the_right_one() {
        let typed = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let said = |words: &[&str]| {
            let concerns_one = |name: &str| matches!(name, "base" | "force" | "input-format");
            swapped(Path::new("my web"), Path::new("st@x"), &typed(words), concerns_one)
        };
        assert_eq!(
            said(&["store", "add", "my web", "st@x", "-q"]),
            "they are in the wrong order: `amikit store add st@x 'my web' -q`"
        );
        assert_eq!(
            said(&["apply", "my web", "--to", "st@x"]),
            "they are in the wrong order: `amikit apply st@x --to 'my web'`"
        );
        assert_eq!(
            said(&["rebase", "thin", "--base", "my web", "--onto", "st@x"]),
            "they are in the wrong order: `amikit rebase thin --base st@x --onto 'my web'`"
        );
        // What was typed otherwise, or twice, is not guessed; nor what is to be opened as the option says then.
        for words in [
            &["store", "add", "my web"][..],
            &["x", "my web", "st@x", "st@x"],
            &["rebase", "thin", "--base", "my web", "--onto", "st@x", "--input-format", "base=raw"],
            &["x", "my web", "st@x", "--force=base", "-q"],
            &["x", "--base", "old=y", "my web", "st@x"],
        ] {
            assert_eq!(said(words), "'my web' and st@x are in the wrong order");
        }
    }

    #[test]
    fn a_name_means_nothing_to_a_shell() {
        assert_eq!(quoted("/a/b-1_2.raw"), "/a/b-1_2.raw");
        assert_eq!(quoted("my disk;id"), "'my disk;id'");
        assert_eq!(quoted("it's $(id)"), "'it'\\''s $(id)'");
        assert_eq!(quoted(""), "''");
    }
}
