//! A strip of block characters: as high as a cell is full, in the colour of what fills it.

use std::fmt::Write;

/// Block characters by height, an eighth each; the first one is the lowest.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How a cell looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shade {
    /// A bar: this many bytes of so many. A bar is never of height 0.
    Bar(u64, u64),
    /// Nothing to be drawn as a bar, but something: `░`.
    Haze,
    /// Nothing: `·`.
    Nothing,
}

impl Shade {
    /// Returns the character.
    #[must_use]
    pub fn glyph(self) -> char {
        match self {
            Self::Bar(part, whole) => {
                let eighths = u128::from(part).strict_mul(8).div_ceil(u128::from(whole.max(1)));
                let eighths = usize::try_from(eighths).unwrap_or(HEIGHTS.len());
                HEIGHTS[eighths.clamp(1, HEIGHTS.len()).strict_sub(1)]
            }
            Self::Haze => '░',
            Self::Nothing => '·',
        }
    }
}

/// A colour of a terminal of 256, chosen near those of Okabe and Ito, which people of every sight can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Data; data that replaces other data.
    Blue,
    /// Data where there was none.
    Orange,
    /// Written zeros.
    Green,
    /// What became a hole.
    Purple,
    /// What is not written, or did not change.
    Grey,
}

impl Ink {
    /// Returns its number.
    fn number(self) -> u8 {
        match self {
            Self::Blue => 32,
            Self::Orange => 214,
            Self::Green => 36,
            Self::Purple => 175,
            Self::Grey => 244,
        }
    }
}

/// Writes a strip in one line, without its end; colours are escape sequences, one wherever the colour changes.
#[must_use]
pub fn paint(strip: &[(Shade, Ink)], coloured: bool) -> String {
    let mut text = String::new();
    let mut last = None;
    for (shade, ink) in strip {
        if coloured && last.replace(*ink) != Some(*ink) {
            write!(text, "\x1b[38;5;{}m", ink.number()).expect("a string takes all");
        }
        text.push(shade.glyph());
    }
    if last.is_some() {
        text.push_str("\x1b[0m");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_high_as_its_cell_is_full_and_never_vanishes() {
        let glyph = |part, whole| Shade::Bar(part, whole).glyph();
        assert_eq!(glyph(1, 1 << 40), '▁');
        assert_eq!(glyph(0, 8), '▁');
        assert_eq!(glyph(4, 8), '▄');
        assert_eq!(glyph(7, 8), '▇');
        assert_eq!(glyph(7001, 8000), '█');
        assert_eq!(glyph(u64::MAX, u64::MAX), '█');
        assert_eq!(glyph(9, 0), '█');
    }

    #[test]
    fn colours_change_only_where_they_differ_and_are_left_out_where_none_is_wanted() {
        let strip = [
            (Shade::Bar(8, 8), Ink::Blue),
            (Shade::Bar(1, 8), Ink::Blue),
            (Shade::Haze, Ink::Green),
            (Shade::Nothing, Ink::Grey),
        ];
        assert_eq!(paint(&strip, false), "█▁░·");
        let coloured = "\x1b[38;5;32m█▁\x1b[38;5;36m░\x1b[38;5;244m·\x1b[0m";
        assert_eq!(paint(&strip, true), coloured);
        assert_eq!(paint(&[], true), "");
    }
}
