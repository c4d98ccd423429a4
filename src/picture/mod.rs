//! Volumes as pictures: cells in address order, strips of block characters, treemaps. Pure: bytes in, shapes
//! out; nothing here reads a volume or prints.

mod cells;
mod strip;
mod treemap;

pub use cells::Cells;
pub use cells::Tally;
pub use strip::Ink;
pub use strip::Shade;
pub use strip::paint;
pub use treemap::Rect;
pub use treemap::squarify;
