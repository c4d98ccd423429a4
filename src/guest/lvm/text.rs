//! The text of a volume group: sections, values, lists. Pure.
//!
//! ```text
//! name { ... }    name = 12    name = "text"    name = [ "text", 12 ]    # comment
//! ```

/// Most sections inside one another, and most sections and values in all.
const MAX_DEPTH: usize = 8;
const MAX_NODES: usize = 1 << 17;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    Text(String),
    List(Vec<Value>),
    Section(Section),
}

/// Values by their names, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section(Vec<(String, Value)>);

impl Section {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        if let Value::Number(number) = self.get(name)? { Some(*number) } else { None }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        if let Value::Text(text) = self.get(name)? { Some(text) } else { None }
    }

    pub(super) fn list(&self, name: &str) -> Option<&[Value]> {
        if let Value::List(list) = self.get(name)? { Some(list) } else { None }
    }

    pub(super) fn section(&self, name: &str) -> Option<&Self> {
        if let Value::Section(section) = self.get(name)? { Some(section) } else { None }
    }

    /// Iterates over the sections in it.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.0.iter().filter_map(|(name, value)| match value {
            Value::Section(section) => Some((&name[..], section)),
            _ => None,
        })
    }
}

/// Reads a whole text; `None` if it breaks the grammar or a limit.
pub(super) fn parse(text: &str) -> Option<Section> {
    let mut parser = Parser { rest: text, nodes: 0 };
    let section = parser.section(0)?;
    parser.skip();
    parser.rest.is_empty().then_some(section)
}

struct Parser<'a> {
    rest: &'a str,
    nodes: usize,
}

impl Parser<'_> {
    /// Skips space and comments.
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches(|it: char| it.is_whitespace() || it == '\0');
            let Some(comment) = self.rest.strip_prefix('#') else { return };
            self.rest = comment.split_once('\n').map_or("", |(_, behind)| behind);
        }
    }

    fn take(&mut self, sign: char) -> bool {
        self.skip();
        let behind = self.rest.strip_prefix(sign);
        self.rest = behind.unwrap_or(self.rest);
        behind.is_some()
    }

    /// Takes the longest front whose characters are all wanted.
    fn word(&mut self, wanted: impl Fn(char) -> bool) -> Option<&str> {
        self.skip();
        let end = self.rest.find(|it| !wanted(it)).unwrap_or(self.rest.len());
        let (word, behind) = self.rest.split_at(end);
        self.rest = behind;
        (!word.is_empty()).then_some(word)
    }

    fn count(&mut self) -> Option<()> {
        self.nodes = self.nodes.strict_add(1);
        (self.nodes <= MAX_NODES).then_some(())
    }

    fn section(&mut self, depth: usize) -> Option<Section> {
        let mut section = Section::default();
        loop {
            self.skip();
            if self.rest.is_empty() || self.rest.starts_with('}') {
                return Some(section);
            }
            let is_name = |it: char| it.is_ascii_alphanumeric() || "_-+./@".contains(it);
            let name = self.word(is_name)?.to_owned();
            self.count()?;
            let value = if self.take('{') {
                // A text of nothing but openings must not go down for each.
                let inner = (depth < MAX_DEPTH).then(|| self.section(depth.strict_add(1)))??;
                self.take('}').then_some(Value::Section(inner))?
            } else if self.take('=') {
                self.value()?
            } else {
                return None;
            };
            section.0.push((name, value));
        }
    }

    fn value(&mut self) -> Option<Value> {
        if !self.take('[') {
            return self.scalar();
        }
        let mut list = Vec::new();
        while !self.take(']') {
            list.push(self.scalar()?);
            self.count()?;
            if !self.take(',') && !self.rest.trim_start().starts_with(']') {
                return None;
            }
        }
        Some(Value::List(list))
    }

    fn scalar(&mut self) -> Option<Value> {
        if self.take('"') {
            let mut text = String::new();
            loop {
                let end = self.rest.find(['"', '\\'])?;
                text.push_str(&self.rest[..end]);
                let mut behind = self.rest[end..].chars();
                if behind.next() == Some('"') {
                    self.rest = behind.as_str();
                    return Some(Value::Text(text));
                }
                text.push(behind.next()?);
                self.rest = behind.as_str();
            }
        }
        // Numbers may have a sign or a point; only whole ones matter here.
        let word = self.word(|it| it.is_ascii_digit() || "-+.".contains(it))?;
        Some(word.parse().map_or_else(|_| Value::Text(word.to_owned()), Value::Number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_values_and_lists_are_read_and_comments_are_not() {
        let text = "vg {\n id = \"a\\\"b\" # no } here\n n = 12\n l = [\"x\", 0]\n e = []\n s { }\n}\nv = 1\n\0";
        let all = parse(text).unwrap();
        let vg = all.section("vg").unwrap();
        assert_eq!(
            (vg.text("id"), vg.number("n"), all.number("v")),
            (Some("a\"b"), Some(12), Some(1))
        );
        assert_eq!(vg.list("l"), Some(&[Value::Text("x".into()), Value::Number(0)][..]));
        assert_eq!(vg.list("e"), Some(&[][..]));
        assert_eq!(vg.sections().map(|(name, _)| name).collect::<Vec<_>>(), ["s"]);
        assert_eq!((vg.number("id"), vg.text("gone")), (None, None));
    }

    #[test]
    fn what_is_cut_or_too_deep_is_refused() {
        for text in
            ["a", "a =", "a = [1 2]", "a = [1", "a {", "a = \"b", "a = \"\\", "}", "= 1", "a = {"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        let deep = |depth: usize| "a { ".repeat(depth) + &"} ".repeat(depth);
        assert!(parse(&deep(8)).is_some());
        assert_eq!(parse(&deep(9)), None);
        assert_eq!(parse(&"a { ".repeat(100_000)), None);
    }
}
