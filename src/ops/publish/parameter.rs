//! The parameter that stands for the newest AMI, in each region that has one.

use crate::aws::Aws;
use crate::aws::is_id;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::ops::publish::event::PublishEvent;
use crate::ops::shared::publications::PublishedImage;

/// How often a parameter that appears between a look and a put is looked at again.
const TRIES: u32 = 4;

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
        look(aws, region, name)?;
    }
    Ok(())
}

/// Returns the AMI that a parameter stands for, if it is there.
fn look(aws: &Aws<'_, '_>, region: &str, name: &str) -> Result<Option<String>> {
    let found = aws.parameter(region, name)?;
    if found.as_ref().is_some_and(|value| !is_id(value, "ami-")) {
        let text =
            format!("the parameter {name} in {region} holds something else than an AMI's id");
        return Err(Error::invalid(text).advise("name another parameter, or delete this one"));
    }
    Ok(found)
}

/// Gives the parameter of each region the AMI that is there. Asked again, it changes nothing.
///
/// # Errors
///
/// `Invalid` if one holds something else by now; a refusal; `Io` if there is no answer.
pub(super) fn put(
    aws: &Aws<'_, '_>,
    name: &str,
    images: &[PublishedImage],
    hear: &(dyn Fn(&PublishEvent) + Sync),
) -> Result<()> {
    for image in images {
        put_one(aws, name, image)?;
        hear(&PublishEvent::Parameter {
            region: image.region.clone(),
            name: name.to_owned(),
            image_id: image.image_id.clone(),
        });
    }
    Ok(())
}

/// Gives a parameter an AMI. An upload takes its time, so what [`check`] saw may be another's by now.
fn put_one(aws: &Aws<'_, '_>, name: &str, image: &PublishedImage) -> Result<()> {
    let PublishedImage { region, image_id, .. } = image;
    for _ in 0..TRIES {
        let found = look(aws, region, name)?;
        if found.as_ref() == Some(image_id)
            || aws.put_image_parameter(region, name, image_id, found.is_some())?
        {
            return Ok(());
        }
    }
    let text = format!("the parameter {name} in {region} appears and vanishes again");
    Err(Error::new(Kind::Io, text).advise("try again once nothing else writes it"))
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
