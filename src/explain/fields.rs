//! Which fields of a structure differ, and what that says.

use std::collections::BTreeSet;

/// What it says when a field differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// It has a cause of its own.
    Cause(&'static str),
    /// It sums up the rest of its structure, or begins with a seed that differs.
    Sum,
    /// It says where something lies, or how much there is.
    Layout,
}

/// A field: first byte, bytes, what its difference says.
pub(super) type Field = (usize, usize, Says);

/// What explains that two structures differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Causes, by their names.
    pub causes: BTreeSet<&'static str>,
    /// A checksum differs.
    pub sum: bool,
    /// Places or counts differ.
    pub layout: bool,
    /// Something differs that nothing here explains.
    pub real: bool,
}

impl Marks {
    /// Says that one cause explains it.
    #[must_use]
    pub fn of(cause: &'static str) -> Self {
        Self { causes: BTreeSet::from([cause]), ..Self::default() }
    }

    /// Says that places or counts differ.
    #[must_use]
    pub fn of_layout() -> Self {
        Self { layout: true, ..Self::default() }
    }

    /// Says that nothing explains it.
    #[must_use]
    pub fn of_real() -> Self {
        Self { real: true, ..Self::default() }
    }

    /// Adds what another structure of the same page says.
    pub fn join(&mut self, other: Self) {
        self.causes.extend(other.causes);
        self.sum |= other.sum;
        self.layout |= other.layout;
        self.real |= other.real;
    }
}

/// Compares two structures by the table of their fields. What no field covers is real.
pub(super) fn compare(old: &[u8], new: &[u8], fields: &[Field]) -> Marks {
    let mut marks = Marks::default();
    if old == new {
        return marks;
    }
    let mut covered = vec![false; old.len().max(new.len())];
    for (at, len, says) in fields {
        let end = at.strict_add(*len).min(covered.len());
        let Some(part) = covered.get_mut(*at..end) else { continue };
        part.fill(true);
        if old.get(*at..end) == new.get(*at..end) {
            continue;
        }
        match says {
            Says::Cause(cause) => {
                marks.causes.insert(cause);
            }
            Says::Sum => marks.sum = true,
            Says::Layout => marks.layout = true,
        }
    }
    let rest = covered.iter().enumerate().filter(|(_, covered)| !**covered);
    marks.real |= rest.into_iter().any(|(at, _)| old.get(at) != new.get(at));
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_field_covers_is_real() {
        let fields = [(0, 2, Says::Cause("ext-uuid")), (2, 1, Says::Sum), (3, 1, Says::Layout)];
        assert_eq!(compare(b"abcde", b"abcde", &fields), Marks::default());
        let one = compare(b"abcde", b"xbcde", &fields);
        assert_eq!((one.causes.len(), one.sum, one.layout, one.real), (1, false, false, false));
        assert!(compare(b"abcde", b"abxde", &fields).sum);
        assert!(compare(b"abcde", b"abcxe", &fields).layout);
        assert!(compare(b"abcde", b"abcdx", &fields).real);
        assert!(compare(b"abcde", b"abcd", &fields).real);
    }
}
