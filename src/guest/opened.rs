//! How a file system that was opened becomes a [`FileSystem`](crate::guest::file::FileSystem): the functions of its room,
//! and the file that was asked for in what they find wrong.

/// Implements `FileSystem` for a type that has an `about` and a `slice`. What follows `and` are further methods.
macro_rules! file_system {
    (
        $system:ident, root: $root:path, claim: $claim:path, free: $free:path, node: $node:path,
        entries: $entries:path, content: $content:path, attributes: $attributes:path
        $(, and { $($more:tt)* })?
    ) => {
        impl crate::guest::file::FileSystem for $system<'_> {
            fn about(&self) -> &crate::guest::file::About {
                &self.about
            }

            fn claim(
                &self,
                claims: &mut crate::guest::claims::Claims,
            ) -> crate::guest::failure::Outcome<()> {
                $claim(self, claims)
            }

            fn free(&self) -> crate::guest::failure::Outcome<crate::guest::ranges::Ranges> {
                $free(self)
            }

            fn root(&self) -> crate::guest::owner::FileId {
                $root(self)
            }

            fn node(
                &self,
                id: crate::guest::owner::FileId,
            ) -> crate::guest::failure::Outcome<crate::guest::file::Node> {
                $node(self, id).map_err(|failure| failure.of(crate::guest::owner::Owner::File(id)))
            }

            fn entries(
                &self,
                id: crate::guest::owner::FileId,
            ) -> crate::guest::failure::Outcome<Vec<crate::guest::file::Entry>> {
                $entries(self, id).map_err(|failure| failure.of(crate::guest::owner::Owner::File(id)))
            }

            fn content(
                &self,
                id: crate::guest::owner::FileId,
            ) -> crate::guest::failure::Outcome<crate::guest::file::Content> {
                $content(self, id).map_err(|failure| failure.of(crate::guest::owner::Owner::File(id)))
            }

            fn attributes(
                &self,
                id: crate::guest::owner::FileId,
            ) -> crate::guest::failure::Outcome<Vec<crate::guest::file::Attribute>> {
                $attributes(self, id)
                    .map_err(|failure| failure.of(crate::guest::owner::Owner::File(id)))
            }

            fn read(&self, offset: u64, buf: &mut [u8]) -> crate::guest::failure::Outcome<()> {
                self.slice.read(offset, buf)
            }

            $($($more)*)?
        }
    };
}
