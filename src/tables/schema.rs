//! The tables and their columns.

/// What stands in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// UTF-8.
    Text,
    /// A signed integer of 64 bits.
    Integer,
    /// A SHA-256.
    Digest,
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What stands in it.
    pub kind: ColumnKind,
    /// Whether a row may have nothing there.
    pub nullable: bool,
}

const fn text(name: &'static str) -> Column {
    Column { name, kind: ColumnKind::Text, nullable: false }
}

const fn integer(name: &'static str) -> Column {
    Column { name, kind: ColumnKind::Integer, nullable: false }
}

const fn digest(name: &'static str) -> Column {
    Column { name, kind: ColumnKind::Digest, nullable: false }
}

const fn or_null(column: Column) -> Column {
    Column { nullable: true, ..column }
}

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Snapshots.
    Snapshots,
    /// Written blocks of snapshots.
    Blocks,
    /// Which snapshots hold a chunk.
    Holders,
    /// Files of the guest.
    Files,
    /// Packages of the guest.
    Packages,
    /// Chunks of packs.
    Chunks,
    /// Volumes of AMIs.
    Amis,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Snapshots,
        Self::Blocks,
        Self::Holders,
        Self::Files,
        Self::Packages,
        Self::Chunks,
        Self::Amis,
    ];

    /// Returns its name, which is also that of its folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Snapshots => "snapshots",
            Self::Blocks => "blocks",
            Self::Holders => "holders",
            Self::Files => "files",
            Self::Packages => "packages",
            Self::Chunks => "chunks",
            Self::Amis => "amis",
        }
    }

    /// Returns its columns, in order.
    #[must_use]
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Snapshots => {
                const {
                    &[
                        text("snapshot"),
                        or_null(text("parent")),
                        integer("volume_size"),
                        integer("data_blocks"),
                        integer("zero_blocks"),
                        integer("hole_blocks"),
                        text("linear"),
                    ]
                }
            }
            Self::Blocks => {
                const {
                    &[
                        text("snapshot"),
                        integer("block"),
                        text("state"),
                        or_null(digest("chunk")),
                        or_null(integer("stored_bytes")),
                    ]
                }
            }
            Self::Holders => const { &[digest("chunk"), text("snapshot"), integer("count")] },
            Self::Files => {
                const {
                    &[
                        text("snapshot"),
                        text("path"),
                        or_null(text("path_bytes")),
                        text("kind"),
                        integer("size"),
                        or_null(digest("digest")),
                        integer("owned_bytes"),
                        integer("mode"),
                        integer("uid"),
                        integer("gid"),
                    ]
                }
            }
            Self::Packages => {
                const {
                    &[
                        text("snapshot"),
                        text("manager"),
                        text("name"),
                        text("architecture"),
                        text("version"),
                    ]
                }
            }
            Self::Chunks => {
                const { &[text("pack"), digest("chunk"), text("kind"), integer("stored_bytes")] }
            }
            Self::Amis => {
                const {
                    &[
                        text("ami"),
                        text("kind"),
                        text("name"),
                        or_null(text("ami_name")),
                        text("device"),
                        text("snapshot"),
                        or_null(text("description")),
                    ]
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document and the code say the same of every column.
    #[test]
    fn the_document_has_these_columns() {
        let document = include_str!("../../docs/formats/tables.md");
        for table in Table::ALL {
            let columns = table.columns().iter().map(|it| {
                let kind = match it.kind {
                    ColumnKind::Text => "text",
                    ColumnKind::Integer => "integer",
                    ColumnKind::Digest => "digest",
                };
                format!("`{}` {kind}{}", it.name, if it.nullable { "?" } else { "" })
            });
            let line =
                format!("| `{}` | {} |", table.name(), columns.collect::<Vec<_>>().join(", "));
            assert!(document.contains(&line), "{line}");
        }
    }
}
