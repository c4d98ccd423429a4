//! Reference names: what OCI tools call a manifest of a layout.

/// What an AMI is called whose name has no letter and no digit.
const NAMELESS: &str = "ami";

/// Tells whether OCI clients and registries take a name, and it stands in no other grammar of ours.
#[must_use]
pub fn is_reference_name(name: &str) -> bool {
    /// Registries' limit on tags.
    const MOST: usize = 128;
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|it| it.is_ascii_alphanumeric());
    name.len() <= MOST && name.split(['.', '_', '-']).all(is_word)
}

/// Returns an AMI's name as a reference name.
///
/// OCI's grammar has letters and digits, joined by single separators or by `--`, and registries take a part of
/// it only. So each run of other characters becomes one separator: itself where it is one of `.`, `_`
/// and `-`, and a `-` otherwise; none stands at an end.
#[must_use]
pub fn reference_name(name: &str) -> String {
    let mut reference = String::new();
    let mut between = None;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() {
            let kept = between.is_none() && matches!(c, '.' | '_' | '-');
            between = Some(if kept { c } else { '-' });
            continue;
        }
        if let Some(separator) = between.take()
            && !reference.is_empty()
        {
            reference.push(separator);
        }
        reference.push(c);
    }
    if reference.is_empty() { NAMELESS.to_owned() } else { reference }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// OCI's grammar of `org.opencontainers.image.ref.name`, word by word.
    fn is_reference(name: &str) -> bool {
        name.split('/').all(|component| {
            let mut rest = component;
            loop {
                let word = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
                if word == 0 {
                    return false;
                }
                rest = &rest[word..];
                if rest.is_empty() {
                    return true;
                }
                let separator = if rest.starts_with("--") { 2 } else { 1 };
                if separator == 1 && !rest.starts_with(['-', '.', '_', ':', '@', '+']) {
                    return false;
                }
                rest = &rest[separator..];
            }
        })
    }

    /// A registry's grammar of tags.
    fn is_tag(name: &str) -> bool {
        let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let other = |c: char| first(c) || c == '.' || c == '-';
        name.len() <= 128 && name.starts_with(first) && name.chars().all(other)
    }

    #[test]
    fn the_grammar_is_ocis() {
        for good in ["a", "a-b", "a--b", "1.2_3", "a/b", "a:b@c+d", "A/b--c"] {
            assert!(is_reference(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a---b", "a__b", "web.", "a//b", "/a", "a b", "a-.b", "ä"] {
            assert!(!is_reference(bad), "{bad}");
        }
    }

    #[test]
    fn names_keep_what_the_grammar_takes() {
        for (name, reference) in [
            ("web", "web"),
            ("web_1.0-a", "web_1.0-a"),
            ("My AMI - v1", "My-AMI-v1"),
            ("a__b", "a-b"),
            ("a--b", "a-b"),
            ("a._b", "a-b"),
            ("web.", "web"),
            ("-web-", "web"),
            ("x/(y)", "x-y"),
            ("Web (2026) @x_1.0-a", "Web-2026-x_1.0-a"),
            ("ami-é-v1", "ami-v1"),
            ("(-)", "ami"),
            ("", "ami"),
        ] {
            assert_eq!(reference_name(name), reference, "{name}");
        }
    }

    #[test]
    fn any_name_of_an_ami_gives_a_name_that_every_tool_takes() {
        // All characters that EC2 takes, few letters among them; any others too.
        let of_ec2: Vec<char> = "aZ9 ()[]./-'@_".chars().collect();
        let of_nobody: Vec<char> = "a:+é\\\"\n\0#%".chars().chain(of_ec2.clone()).collect();
        let mut state = 7_u64;
        let mut random = |end: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % end
        };
        for round in 0..20_000 {
            let from = if round % 2 == 0 { &of_ec2 } else { &of_nobody };
            let len = random(129);
            let name: String = (0..len).map(|_| from[random(from.len())]).collect();
            let reference = reference_name(&name);
            assert!(is_reference(&reference) && is_tag(&reference), "{name:?}: {reference:?}");
            assert_eq!(reference_name(&reference), reference, "{name:?}");
            assert!(is_reference_name(&reference), "{name:?}: {reference:?}");
            assert!(!is_reference_name(&name) || name == reference, "{name:?}");
        }
    }
}
