//! Text of which little is needed: what is not UTF-8 is read as well as it can be.

/// Characters of windows-1252 from byte 0x80 to 0x9f; the rest of it is Unicode's first page.
const WINDOWS_1252: [char; 32] = [
    '\u{20ac}', '\u{81}', '\u{201a}', '\u{192}', '\u{201e}', '\u{2026}', '\u{2020}', '\u{2021}',
    '\u{2c6}', '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{8d}', '\u{17d}', '\u{8f}',
    '\u{90}', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '\u{2022}', '\u{2013}', '\u{2014}',
    '\u{2dc}', '\u{2122}', '\u{161}', '\u{203a}', '\u{153}', '\u{9d}', '\u{17e}', '\u{178}',
];

/// Reads text that says nothing of its encoding: UTF-8, else by the encoding that the caller knows of,
/// else with a replacement for each byte that cannot be read. Whatever the encoding, what is ASCII
/// stays: no multibyte encoding that is declared in practice has quotes or line feeds in its characters.
pub(super) fn decode(bytes: &[u8], encoding: Option<&str>) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let latin = ["windows-1252", "iso-8859-1", "latin1", "cp1252"];
    if encoding.is_some_and(|name| latin.iter().any(|it| it.eq_ignore_ascii_case(name))) {
        let character = |byte: &u8| match byte {
            0x80..=0x9f => WINDOWS_1252[usize::from(byte & 0x1f)],
            _ => char::from(*byte),
        };
        return bytes.iter().map(character).collect();
    }
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads a text that may begin with a byte order mark, or with an XML declaration that names an encoding.
pub(super) fn of_xml(bytes: &[u8]) -> String {
    let units = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|it| unit(*it)).collect();
        String::from_utf16_lossy(&units)
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => units(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => units(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => decode(rest, None),
        _ => {
            let head = String::from_utf8_lossy(&bytes[..bytes.len().min(128)]).into_owned();
            decode(bytes, declared(&head, "encoding"))
        }
    }
}

/// Tells whether bytes are text: UTF-8, UTF-16 with a byte order mark, or mostly ASCII in lines. A text that
/// is not `whole` may end inside a character.
pub(super) fn is_text(bytes: &[u8], whole: bool) -> bool {
    let is_control =
        |it: char| it.is_control() && !matches!(it, '\t' | '\n' | '\x0c' | '\r' | '\x1b');
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let text = of_xml(bytes);
        return !text.contains(|it| is_control(it) || it == '\u{fffd}' || it == '\u{ffff}');
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => !text.contains(is_control),
        Err(e) if !whole && e.error_len().is_none() => {
            !String::from_utf8_lossy(&bytes[..e.valid_up_to()]).contains(is_control)
        }
        Err(_) => {
            let is_plain =
                |byte: &u8| *byte >= 0x20 && *byte != 0x7f || b"\t\n\x0c\r\x1b".contains(byte);
            let ascii = bytes.iter().filter(|byte| byte.is_ascii()).count();
            // Cannot overflow: a text is short.
            let mostly = ascii.strict_mul(4) >= bytes.len().strict_mul(3);
            mostly && bytes.contains(&b'\n') && bytes.iter().all(is_plain)
        }
    }
}

/// Returns the value of `name="value"`, in quotes of either kind.
pub(super) fn declared<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(name)?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    let quote = rest.chars().next().filter(|it| matches!(it, '"' | '\''))?;
    rest[1..].split_once(quote).map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_from_anything_else() {
        let texts: [&[u8]; 7] = [
            b"a",
            b"one\r\ntwo\tthree\x1b[0m\n",
            "\u{e9}\u{4e2d}\n".as_bytes(),
            b"mostly ASCII, caf\xe9 in windows-1252\n",
            b"\xff\xfea\0\n\0",
            b"\xef\xbb\xbfx",
            b"",
        ];
        for text in texts {
            assert!(is_text(text, true), "{text:?}");
        }
        let others: [&[u8]; 7] = [
            b"a\0",
            b"\x07\x07",
            &[0xff; 64],
            &[0xaa; 64],
            b"\xeb\x3c\x90mkfs",
            b"\x7f",
            b"caf\xe9",
        ];
        for other in others {
            assert!(!is_text(other, true), "{other:?}");
        }
        // Cut inside a character.
        assert!(is_text(b"caf\xc3", false) && !is_text(b"caf\xc3", true));
    }

    #[test]
    fn each_encoding_gives_its_text() {
        assert_eq!(decode("\u{e9}".as_bytes(), Some("windows-1252")), "\u{e9}");
        assert_eq!(decode(b"caf\xe9 \x80", Some("Windows-1252")), "caf\u{e9} \u{20ac}");
        assert_eq!(decode(b"a\xe9=\"b\"", Some("GBK")), "a\u{fffd}=\"b\"");
        let xml = b"<?xml version='1.0' encoding='ISO-8859-1'?><a b='\xe9'/>";
        assert!(of_xml(xml).ends_with("<a b='\u{e9}'/>"));
        assert_eq!(of_xml(b"\xff\xfe<\0a\0/\0>\0"), "<a/>");
        assert_eq!(of_xml(b"\xfe\xff\0<\0a\0/\0>"), "<a/>");
        assert_eq!(of_xml(b"\xef\xbb\xbf<a/>"), "<a/>");
        assert_eq!(of_xml(b""), "");
    }
}
