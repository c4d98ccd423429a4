//! A page under way: markup of ours, and text of others.

use std::fmt::Write;

use crate::report::html::text::Text;
use crate::report::owners::Tile;
use crate::report::places::Places;
use crate::units::format_size;

/// What is drawn.
#[derive(Clone, Debug, Default)]
pub(in crate::report) struct Pictures {
    pub(in crate::report) places: Places,
    pub(in crate::report) tiles: Vec<Tile>,
}

/// Says bytes as people read them.
pub(super) fn bytes(count: u64) -> String {
    format_size(count)
}

/// A page under way. Only what this room writes itself is markup.
pub(super) struct Page<'a> {
    pub(super) out: &'a mut String,
}

impl<'a> Page<'a> {
    pub(super) fn new(out: &'a mut String) -> Self {
        Self { out }
    }

    /// Writes markup.
    pub(super) fn raw(&mut self, markup: &str) {
        self.out.push_str(markup);
    }

    /// Writes text, whatever it says.
    pub(super) fn text(&mut self, text: &str) {
        write!(self.out, "{}", Text(text)).expect("a string takes all");
    }

    /// Writes a number of bytes, with the exact one for who points at it and for scripts.
    pub(super) fn size(&mut self, tag: &str, count: u64) {
        write!(self.out, "<{tag} class=\"n\" data-bytes=\"{count}\">{}</{tag}>", bytes(count))
            .expect("a string takes all");
    }

    pub(super) fn number(&mut self, tag: &str, count: u64) {
        write!(self.out, "<{tag} class=\"n\">{count}</{tag}>").expect("a string takes all");
    }

    pub(super) fn cell(&mut self, text: &str) {
        self.raw("<td>");
        self.text(text);
        self.raw("</td>");
    }
}
