//! Volumes as strips in the terminal, and the picture of one at the top of the README.
#![allow(clippy::arithmetic_side_effects)]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use amikit::internals::units::BLOCK_LEN;

use crate::common::Model;
use crate::common::amikit;
use crate::common::keeps_holes;
use crate::common::run;
use crate::common::run_badly;
use crate::common::run_well;

/// Bytes that are not zeros, by eighths of a block.
fn scene(folder: &Path) {
    let fill = |byte| Some(vec![byte; BLOCK_LEN]);
    let old = [fill(1), fill(2), None, fill(3), fill(4), None, fill(5), None];
    let new = [fill(1), fill(9), fill(9), None, fill(0), None, fill(5), None];
    Model::of(&old, 0).write(&folder.join("old.raw"));
    Model::of(&new, 0).write(&folder.join("new.raw"));
}

fn strip(folder: &Path, line: &str, columns: &str, colour: bool) -> String {
    let mut command = amikit();
    command.current_dir(folder).args(line.split_whitespace()).env("COLUMNS", columns);
    command.env(if colour { "CLICOLOR_FORCE" } else { "NO_COLOR" }, "1");
    let output = command.output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_strip_has_a_cell_a_column_and_bars_where_the_data_is() {
    let folder = tempfile::tempdir().unwrap();
    if !keeps_holes(folder.path()) {
        return;
    }
    scene(folder.path());
    run_well(folder.path(), "convert old.raw old.qcow2");
    let wide = strip(folder.path(), "map old.qcow2 --strip", "80", false);
    let lines: Vec<&str> = wide.lines().collect();
    let cells = |blocks: &str| blocks.chars().flat_map(|it| [it; 10]).collect::<String>();
    assert_eq!(lines[0], cells("██·██·█·"), "{wide}");
    assert_eq!(lines[1], format!("0{:>79}", "4 MiB"));
    assert!(lines[2].contains("data 2.50 MiB") && lines[2].contains("hole 1.50 MiB"), "{wide}");
    // Forty columns show two eighths each, and colours change nothing of that.
    let narrow = strip(folder.path(), "map old.qcow2 --strip", "40", false);
    assert_eq!(narrow.lines().next().unwrap().chars().count(), 40);
    let coloured = strip(folder.path(), "map old.qcow2 --strip", "40", true);
    assert!(coloured.contains("\x1b[38;5;"), "{coloured}");
    let plain: Vec<String> = coloured.lines().map(|line| pieces(line).1).collect();
    assert_eq!(plain.join("\n"), narrow.trim_end());
}

#[test]
fn a_strip_of_a_delta_shows_where_blocks_changed_and_the_sums_of_the_table() {
    let folder = tempfile::tempdir().unwrap();
    if !keeps_holes(folder.path()) {
        return;
    }
    scene(folder.path());
    let drawn = strip(folder.path(), "diff old.raw new.raw --strip", "80", false);
    let table = run(folder.path(), "diff old.raw new.raw");
    assert_eq!(table.status.code(), Some(1));
    let table = String::from_utf8(table.stdout).unwrap();
    let lines: Vec<&str> = drawn.lines().collect();
    let cells = |blocks: &str| blocks.chars().flat_map(|it| [it; 10]).collect::<String>();
    assert_eq!(lines[0], cells("·████···"), "{drawn}");
    let sums: Vec<&str> = table.lines().filter(|line| !line.starts_with("blocks ")).collect();
    assert_eq!(lines[2..], sums[..], "{drawn}");
    let equal = strip(folder.path(), "diff old.raw old.raw --strip", "80", false);
    assert_eq!(equal.lines().next().unwrap(), "·".repeat(80));
}

#[test]
fn a_strip_is_no_document() {
    let folder = tempfile::tempdir().unwrap();
    scene(folder.path());
    run_badly(folder.path(), "map old.raw --strip --json", 2);
    run_badly(folder.path(), "diff old.raw new.raw --strip --files", 2);
    run_badly(folder.path(), "diff old.raw new.raw --strip --as ebs", 2);
}

/// Splits a line at its colours: each letter with the number of its colour, and the plain text.
fn pieces(line: &str) -> (Vec<(char, Option<u8>)>, String) {
    let (mut letters, mut colour) = (Vec::new(), None);
    let mut rest = line;
    while let Some(letter) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("\x1b[") {
            let (code, tail) = after.split_once('m').unwrap();
            colour = code.strip_prefix("38;5;").map(|number| number.parse().unwrap());
            rest = tail;
        } else {
            letters.push((letter, colour));
            rest = &rest[letter.len_utf8()..];
        }
    }
    let plain = letters.iter().map(|(letter, _)| *letter).collect();
    (letters, plain)
}

/// A terminal's picture: bars as rectangles, since fonts draw them differently, and the rest as text.
fn picture(command: &str, output: &str) -> String {
    const WIDE: usize = 8;
    const HIGH: usize = 18;
    let colour = |number: Option<u8>| match number {
        Some(32) => "#4aa8e0",
        Some(36) => "#2fbf9b",
        Some(244) => "#6e7681",
        None => "#e6edf3",
        Some(other) => panic!("colour {other} has no row here"),
    };
    let columns = output.lines().map(|line| pieces(line).1.chars().count()).max().unwrap();
    let (width, height) = (columns * WIDE + 32, (output.lines().count() + 1) * HIGH + 28);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         role=\"img\" aria-label=\"A volume as a strip: bars where data is\">\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#161b22\"/>\n\
         <g font-family=\"ui-monospace,monospace\" font-size=\"13\" fill=\"#e6edf3\" \
         xml:space=\"preserve\">\n<text x=\"16\" y=\"28\">$ {command}</text>\n"
    );
    for (row, line) in output.lines().enumerate() {
        let top = 16 + (row + 1) * HIGH;
        let (letters, _) = pieces(line);
        let mut at = 0;
        while at < letters.len() {
            let (letter, number) = letters[at];
            let run = letters[at..].iter().take_while(|it| **it == (letter, number)).count();
            let (x, fill) = (16 + at * WIDE, colour(number));
            let wide = run * WIDE;
            match letter {
                '▁'..='█' => {
                    let eighths = usize::try_from(u32::from(letter) - 0x2580).unwrap();
                    let (y, high) = (top + 16 - eighths * 2, eighths * 2);
                    writeln!(svg, "<path d=\"M{x} {y}h{wide}v{high}h-{wide}z\" fill=\"{fill}\"/>")
                }
                '░' => writeln!(
                    svg,
                    "<path d=\"M{x} {top}h{wide}v16h-{wide}z\" fill=\"{fill}\" opacity=\".45\"/>"
                ),
                '·' => writeln!(
                    svg,
                    "<path d=\"M{} {}h{wide}\" stroke=\"{fill}\" stroke-width=\"2\" \
                     stroke-dasharray=\"2 6\"/>",
                    x + 3,
                    top + 15
                ),
                ' ' => Ok(()),
                _ => {
                    // Words apart are placed apart: what draws them may join the blanks between.
                    let words: String = letters[at..]
                        .iter()
                        .map(|(letter, _)| *letter)
                        .take_while(|it| !matches!(it, '▁'..='█' | '░' | '·'))
                        .collect();
                    let text = words.split("  ").next().unwrap().trim_end();
                    let count = text.chars().count();
                    writeln!(
                        svg,
                        "<text x=\"{x}\" y=\"{}\" textLength=\"{}\">{text}</text>",
                        top + 12,
                        count * WIDE
                    )
                    .unwrap();
                    at += count;
                    continue;
                }
            }
            .unwrap();
            at += run;
        }
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// `BLESS=1` draws it again.
#[test]
fn the_picture_of_the_readme_is_what_the_program_draws() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let line = "map fixtures/images/disk.simg --strip";
    let drawn = picture(&format!("amikit {line}"), &strip(root, line, "100", true));
    let path = root.join("docs/strip.svg");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &drawn).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap();
    assert!(stored == drawn, "docs/strip.svg is not what is drawn; meant? BLESS=1");
    assert!(fs::read_to_string(root.join("README.md")).unwrap().contains("docs/strip.svg"));
}
