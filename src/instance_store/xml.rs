//! XML of elements, attributes and text, and nothing else. Strict, and small enough to be held.

use std::ops::Range;

use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::BytesStart;
use quick_xml::events::Event;
use quick_xml::reader::Reader;

use crate::error::Error;
use crate::error::Result;
use crate::instance_store::fault::MAX_DEPTH;
use crate::instance_store::fault::MAX_MANIFEST_LEN;
use crate::instance_store::fault::ManifestFault;

/// An element with all that is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) attributes: Vec<(String, String)>,
    /// The text between its tags, without that of the elements inside.
    pub(super) text: String,
    pub(super) children: Vec<Element>,
    /// The bytes of the document that it takes, tags included.
    pub(super) span: Range<usize>,
}

/// How attributes are quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quote {
    Single,
    Double,
}

impl Element {
    /// Makes an element of text.
    pub(super) fn of(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.to_owned(), ..Self::default() }
    }

    /// Makes an element of elements.
    pub(super) fn holding(name: &str, children: Vec<Self>) -> Self {
        Self { name: name.to_owned(), children, ..Self::default() }
    }

    /// Adds an attribute.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.attributes.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes the element without white space between elements.
    pub(super) fn write(&self, quote: Quote, out: &mut String) {
        out.push('<');
        out.push_str(&self.name);
        let mark = if quote == Quote::Single { '\'' } else { '"' };
        for (name, value) in &self.attributes {
            out.push(' ');
            out.push_str(name);
            out.push('=');
            out.push(mark);
            escape(value, out);
            out.push(mark);
        }
        let text = if self.children.is_empty() { self.text.as_str() } else { "" };
        if self.children.is_empty() && text.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        escape(text, out);
        for child in &self.children {
            child.write(quote, out);
        }
        out.push_str("</");
        out.push_str(&self.name);
        out.push('>');
    }
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
}

/// Reads a document and returns its outermost element.
///
/// # Errors
///
/// `Corrupt`, `Unsupported` or `Limit`, at the byte where it stopped.
pub(super) fn parse(bytes: &[u8]) -> Result<Element> {
    if bytes.len() > MAX_MANIFEST_LEN {
        let found = u64::try_from(bytes.len()).expect("a length");
        return Err(ManifestFault::Len { found }.into());
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        Error::from(ManifestFault::Text).at(u64::try_from(e.valid_up_to()).expect("a length"))
    })?;
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<Element> = Vec::new();
    let mut root: Option<Element> = None;
    let place = |at: u64| usize::try_from(at).expect("inside the document");
    loop {
        let at = reader.buffer_position();
        let here = |fault: ManifestFault| Error::from(fault).at(at);
        let event = reader
            .read_event()
            .map_err(|_| Error::from(ManifestFault::Xml).at(reader.error_position()))?;
        match event {
            Event::Start(start) => {
                if root.is_some() {
                    return Err(here(ManifestFault::Xml));
                }
                if open.len() == MAX_DEPTH {
                    return Err(here(ManifestFault::Depth));
                }
                let mut element = begin(&start).map_err(here)?;
                element.span.start = place(at);
                open.push(element);
            }
            Event::End(_) => {
                let mut element = open.pop().ok_or_else(|| here(ManifestFault::Xml))?;
                element.span.end = place(reader.buffer_position());
                match open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None => root = Some(element),
                }
            }
            Event::Text(text) => match open.last_mut() {
                Some(element) => element.text.push_str(&text),
                None if text.chars().all(|c| c.is_ascii_whitespace()) => {}
                None => return Err(here(ManifestFault::Xml)),
            },
            Event::GeneralRef(entity) => {
                let element = open.last_mut().ok_or_else(|| here(ManifestFault::Xml))?;
                let character = entity.resolve_char_ref();
                if let Some(c) = character.map_err(|_| here(ManifestFault::Entity))? {
                    element.text.push(c);
                } else {
                    let known = resolve_xml_entity(&entity);
                    element.text.push_str(known.ok_or_else(|| here(ManifestFault::Entity))?);
                }
            }
            Event::Decl(_) if at == 0 => {}
            Event::Decl(_) => return Err(here(ManifestFault::Xml)),
            Event::DocType(_) => return Err(here(construct("a document type"))),
            Event::Comment(_) => return Err(here(construct("a comment"))),
            Event::PI(_) => return Err(here(construct("a processing instruction"))),
            Event::CData(_) => return Err(here(construct("CDATA"))),
            Event::Empty(_) => unreachable!("they are expanded"),
            Event::Eof => return root.ok_or_else(|| here(ManifestFault::Xml)),
        }
    }
}

fn construct(what: &'static str) -> ManifestFault {
    ManifestFault::Construct { what }
}

/// Reads a start tag.
fn begin(start: &BytesStart<'_>) -> Result<Element, ManifestFault> {
    let mut element = Element { name: start.name().as_ref().to_owned(), ..Element::default() };
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| ManifestFault::Xml)?;
        let value = attribute.value.into_owned();
        // Attributes here are numbers and names of algorithms.
        if value.contains(['&', '<']) {
            return Err(ManifestFault::Entity);
        }
        element.attributes.push((attribute.key.as_ref().to_owned(), value));
    }
    Ok(element)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::error::Kind;

    #[test]
    fn a_document_comes_back_in_both_quotes() {
        let single = "<a><b c='1' d='x'>t&amp;&apos;&lt;</b><e/></a>";
        let element = parse(single.as_bytes()).unwrap();
        assert_eq!(element.children[0].text, "t&'<");
        assert_eq!(&single[element.children[0].span.clone()], &single[3..38]);
        let mut out = String::new();
        element.write(Quote::Single, &mut out);
        assert_eq!(out, single);
        out.clear();
        element.write(Quote::Double, &mut out);
        assert_eq!(out, single.replace("='1'", "=\"1\"").replace("='x'", "=\"x\""));
        let spaced =
            "<?xml version=\"1.0\"?>\n<a> <b c=\"1\" d = 'x'>t&#38;&#x27;&lt;</b>\n<e></e></a>\n";
        let mut again = String::new();
        parse(spaced.as_bytes()).unwrap().write(Quote::Single, &mut again);
        assert_eq!(again, single);
    }

    #[test]
    fn what_is_no_element_or_text_is_refused() {
        let deep = "<a>".repeat(MAX_DEPTH + 1);
        for (text, kind) in [
            ("", Kind::Corrupt),
            ("text", Kind::Corrupt),
            ("<a>", Kind::Corrupt),
            ("<a></b>", Kind::Corrupt),
            ("</a>", Kind::Corrupt),
            ("<a/><b/>", Kind::Corrupt),
            ("<a/>text", Kind::Corrupt),
            ("<a b='1' b='2'/>", Kind::Corrupt),
            ("<a b='&lol;'/>", Kind::Corrupt),
            ("<a>&lol;</a>", Kind::Corrupt),
            ("<a>&#xd800;</a>", Kind::Corrupt),
            ("<a><?xml version='1.0'?></a>", Kind::Corrupt),
            ("<!DOCTYPE a [<!ENTITY lol 'lol'>]><a>&lol;</a>", Kind::Unsupported),
            ("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", Kind::Unsupported),
            ("<a><!-- c --></a>", Kind::Unsupported),
            ("<a><?p i?></a>", Kind::Unsupported),
            ("<a><![CDATA[x]]></a>", Kind::Unsupported),
            (deep.as_str(), Kind::Limit),
        ] {
            let kind_found = parse(text.as_bytes()).map_err(|e| e.kind());
            assert_eq!(kind_found.err(), Some(kind), "{text}");
        }
        assert_eq!(parse(b"<a>\xff</a>").unwrap_err().offset(), Some(3));
        let long = vec![b' '; MAX_MANIFEST_LEN + 1];
        assert_eq!(parse(&long).unwrap_err().kind(), Kind::Limit);
    }
}
