//! Outputs: written beside their final name, synced, renamed; or a block device, written in place.

mod device;
mod dir;
mod file;
mod link;
mod place;
mod room;
mod staging;
mod swap;
mod target;
mod write_at;

pub use device::Device;
pub use device::is_block_device;
pub use dir::OutputDir;
pub use file::OutputFile;
pub use file::unwritten;
pub use staging::Staging;
pub use staging::Taken;
pub use swap::Judge;
pub use target::Target;
pub use write_at::WriteAt;

pub(in crate::io) use place::Place;
pub(in crate::io) use place::c_string;
pub(in crate::io) use place::open_folder;
pub(in crate::io) use write_at::write_both;

#[cfg(test)]
mod tests;
