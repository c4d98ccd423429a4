//! Rules about what a document has and a description has no place for.

use crate::ami::Oddity;
use crate::ami::Unread;
use crate::lint::Found;
use crate::lint::Subject;

fn each(subject: &Subject<'_>, oddity: Oddity) -> Vec<Found> {
    let found = |it: &Unread| Found::new(&*it.place, &*it.found, &*it.expected);
    subject.unread.iter().filter(|it| it.oddity == oddity).map(found).collect()
}

pub(super) fn value(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, Oddity::Value)
}

pub(super) fn member(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, Oddity::Member)
}

pub(super) fn tag_resource(subject: &Subject<'_>) -> Vec<Found> {
    each(subject, Oddity::Resource)
}

/// Says all empty members at once: a skeleton has many.
pub(super) fn empty(subject: &Subject<'_>) -> Vec<Found> {
    let places: Vec<&str> = subject
        .unread
        .iter()
        .filter(|it| it.oddity == Oddity::Empty)
        .map(|it| it.place.as_str())
        .collect();
    if places.is_empty() {
        return Vec::new();
    }
    vec![Found::new(places.join(", "), "empty texts", "values, or no such members")]
}
