//! The parameter that stands for the newest AMI, in each region that has one.

use crate::aws::Aws;
use crate::aws::is_id;
use crate::error::Error;
use crate::error::Result;
use crate::ops::publish::event::PublishEvent;
use crate::ops::shared::publications::PublishedImage;

/// Longest name of a parameter, as Systems Manager has it.
const MAX_NAME_LEN: usize = 1011;

/// Fails if a name cannot be that of a parameter.
///
/// # Errors
///
/// `Invalid`.
fn check_name(name: &str) -> Result<()> {
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"._-/".contains(&it);
    if (1..=MAX_NAME_LEN).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    let text = format!(
        "{name:?} is not the name of a parameter, expected letters, digits and any of . _ - /"
    );
    Err(Error::invalid(text))
}

/// Refuses to write over a parameter that holds something else than an AMI, before anything is uploaded.
///
/// # Errors
///
/// `Invalid` for such a parameter, or for what is not the name of one; a refusal; `Io` if there is no answer.
pub(super) fn check<'a>(
    aws: &Aws<'_, '_>,
    name: &str,
    regions: impl Iterator<Item = &'a str>,
) -> Result<()> {
    check_name(name)?;
    for region in regions {
        let found = aws.parameter(region, name)?;
        if found.is_some_and(|value| !is_id(&value, "ami-")) {
            let text =
                format!("the parameter {name} in {region} holds something else than an AMI's id");
            return Err(Error::invalid(text).advise("name another parameter, or delete this one"));
        }
    }
    Ok(())
}

/// Gives the parameter of each region the AMI that is there. Asked again, it changes nothing.
///
/// # Errors
///
/// A refusal; `Io` if there is no answer.
pub(super) fn put(
    aws: &Aws<'_, '_>,
    name: &str,
    images: &[PublishedImage],
    hear: &(dyn Fn(&PublishEvent) + Sync),
) -> Result<()> {
    for image in images {
        aws.put_image_parameter(&image.region, name, &image.image_id)?;
        hear(&PublishEvent::Parameter {
            region: image.region.clone(),
            name: name.to_owned(),
            image_id: image.image_id.clone(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_systems_manager() {
        for name in ["/images/web", "web", "a.b_c-d/E9", &"a".repeat(MAX_NAME_LEN)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "ä", "a:1", "a\n", &"a".repeat(MAX_NAME_LEN + 1)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
