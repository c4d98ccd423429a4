//! Rules about names, texts, tags and times.

use crate::ami::MAX_DESCRIPTION;
use crate::ami::Tag;
use crate::ami::check_name;
use crate::lint::Found;
use crate::lint::Subject;

const NAME_INSTEAD: &str = "3 to 128 of: letters, digits, space and ( ) [ ] . / - ' @ _";

/// Most characters of a tag's key: EBS takes 127, EC2 one more.
const MAX_TAG_KEY: usize = 127;

/// Most characters of the value of an AMI's tag.
const MAX_TAG_VALUE: usize = 256;

/// Most characters of the value of a snapshot's tag, which EBS takes.
const MAX_SNAPSHOT_TAG_VALUE: usize = 255;

/// Most tags of a resource.
const MAX_TAGS: usize = 50;

/// The names of the AMI and of its copies, each with its place.
fn names<'a>(subject: &Subject<'a>) -> impl Iterator<Item = (String, &'a str)> {
    let copies = subject
        .distribution
        .iter()
        .filter_map(|copy| Some((format!("copy to {}: Name", copy.region), copy.name.as_deref()?)));
    std::iter::once(("Name".to_owned(), subject.ami.name.as_str())).chain(copies)
}

pub(super) fn name(subject: &Subject<'_>) -> Vec<Found> {
    names(subject)
        .filter(|(_, name)| check_name(name).is_err())
        .map(|(place, name)| Found::new(place, format!("{name:?}"), NAME_INSTEAD))
        .collect()
}

pub(super) fn description(subject: &Subject<'_>) -> Vec<Found> {
    let copies = subject.distribution.iter().filter_map(|copy| {
        Some((format!("copy to {}: Description", copy.region), copy.description.as_deref()?))
    });
    let own = subject.ami.description.as_deref().map(|text| ("Description".to_owned(), text));
    own.into_iter()
        .chain(copies)
        .filter_map(|(place, text)| {
            let count = text.chars().count();
            (count > MAX_DESCRIPTION).then(|| {
                let found = format!("{count} characters");
                Found::new(place, found, format!("at most {MAX_DESCRIPTION} characters"))
            })
        })
        .collect()
}

/// A list of tags that a call will have.
struct TagList {
    place: String,
    tags: Vec<Tag>,
    max_value: usize,
}

/// The tags of the AMI, its snapshots and its copies, as calls will have them.
fn tag_lists(subject: &Subject<'_>) -> Vec<TagList> {
    let ami = subject.ami;
    let of_image = |place: &str, tags: Vec<Tag>| TagList {
        place: place.to_owned(),
        tags,
        max_value: MAX_TAG_VALUE,
    };
    let mut lists = vec![of_image("Tags", ami.tags.clone())];
    if let Some(upload) = subject.upload {
        lists.push(TagList {
            place: "upload: snapshot-tags".to_owned(),
            tags: upload.tags_of_snapshots(ami),
            max_value: MAX_SNAPSHOT_TAG_VALUE,
        });
    }
    for copy in subject.distribution {
        lists.push(of_image(&format!("copy to {}: Tags", copy.region), copy.tags_of(ami)));
        if let Some(upload) = subject.upload {
            let tags = copy.tags_of_snapshots(ami, upload);
            lists.push(of_image(&format!("copy to {}: snapshot-tags", copy.region), tags));
        }
    }
    lists
}

/// Drops findings that say the same of another list: tags of the AMI are those of its copies.
fn once(found: Vec<Found>) -> Vec<Found> {
    let mut kept: Vec<Found> = Vec::new();
    for it in found {
        if !kept.iter().any(|before| before.found == it.found) {
            kept.push(it);
        }
    }
    kept
}

pub(super) fn tag_length(subject: &Subject<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for TagList { place, tags, max_value } in tag_lists(subject) {
        for tag in &tags {
            let (key, value) = (tag.key.chars().count(), tag.value.chars().count());
            if !(1..=MAX_TAG_KEY).contains(&key) {
                let text = format!("the key {:?} has {key} characters", tag.key);
                found.push(Found::new(&*place, text, format!("a key of 1 to {MAX_TAG_KEY}")));
            }
            if value > max_value {
                let text = format!("the value of {:?} has {value} characters", tag.key);
                found.push(Found::new(&*place, text, format!("a value of at most {max_value}")));
            }
        }
    }
    once(found)
}

pub(super) fn tag_key(subject: &Subject<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for TagList { place, tags, .. } in tag_lists(subject) {
        for (number, tag) in tags.iter().enumerate() {
            if tag.is_of_aws() {
                let text = format!("the key {:?}", tag.key);
                found.push(Found::new(&*place, text, "a key that does not start with aws:"));
            }
            if tags[..number].iter().any(|before| before.key == tag.key) {
                let text = format!("the key {:?} twice", tag.key);
                found.push(Found::new(&*place, text, "each key once"));
            }
        }
    }
    once(found)
}

pub(super) fn tag_count(subject: &Subject<'_>) -> Vec<Found> {
    let found = tag_lists(subject)
        .into_iter()
        .filter(|it| it.tags.len() > MAX_TAGS)
        .map(|it| {
            let count = it.tags.len();
            Found::new(it.place, format!("{count} tags"), format!("at most {MAX_TAGS}"))
        })
        .collect();
    once(found)
}

/// The times of deprecation of the AMI and of its copies; `true` with those that are public.
fn deprecations(subject: &Subject<'_>) -> Vec<(String, crate::ami::Time, bool)> {
    let ami = subject.ami;
    let own = ami.deprecate_at.map(|time| ("DeprecateAt".to_owned(), time, ami.is_public()));
    let copies = subject.distribution.iter().filter_map(|copy| {
        let (time, public) = (copy.deprecation_of(ami)?, copy.is_public(ami));
        // What a copy has in common with the AMI is reported once, for the AMI.
        let same = copy.deprecate_at.is_none() && public == ami.is_public();
        (!same).then(|| (format!("copy to {}: DeprecateAt", copy.region), time, public))
    });
    own.into_iter().chain(copies).collect()
}

pub(super) fn deprecation_minute(subject: &Subject<'_>) -> Vec<Found> {
    deprecations(subject)
        .into_iter()
        .filter(|(_, time, _)| !time.is_whole_minute())
        .map(|(place, time, _)| {
            Found::new(place, time.to_string(), "a time with 00 seconds: EC2 rounds to the minute")
        })
        .collect()
}

pub(super) fn deprecation_past(subject: &Subject<'_>) -> Vec<Found> {
    let Some(now) = subject.now else { return Vec::new() };
    deprecations(subject)
        .into_iter()
        .filter(|(_, time, _)| *time < now)
        .map(|(place, time, _)| Found::new(place, time.to_string(), format!("a time after {now}")))
        .collect()
}

pub(super) fn deprecation_far(subject: &Subject<'_>) -> Vec<Found> {
    let Some(now) = subject.now else { return Vec::new() };
    deprecations(subject)
        .into_iter()
        .filter_map(|(place, time, public)| {
            let last = now.plus_years(if public { 2 } else { 10 })?;
            (time > last).then(|| {
                let who = if public { " for a public AMI" } else { "" };
                Found::new(place, time.to_string(), format!("{last} at the latest{who}"))
            })
        })
        .collect()
}
