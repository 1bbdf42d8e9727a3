//! Protobuf's text format, as far as a configuration needs it: a tree that is written and read back.
//!
//! Field names and types are not checked here: the schema is the server's. What is read may come from anyone, so depth and
//! size are bounded.
//! Format: <https://protobuf.dev/reference/protobuf/textformat-spec/>.

use std::fmt;

use crate::Error;

/// Deeper messages are refused: a model configuration has six levels.
const DEEPEST: usize = 32;
/// Longer texts are refused.
const LONGEST: usize = 1 << 20;
/// Lists shorter than this stay on one line.
const LINE: usize = 100;

/// A message: its fields in order, names may repeat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message(Vec<(String, Value)>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    /// A number, a name of an enumeration, `true` or `false`.
    Word(String),
    Text(String),
    Message(Message),
    List(Vec<Value>),
}

impl Message {
    /// A message without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a text.
    ///
    /// # Errors
    /// [`Error::TextProto`] with the line.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut reader = Reader { rest: text, line: 1 };
        if text.len() > LONGEST {
            return Err(reader.refuse(format!("{} bytes are more than a configuration has", text.len())));
        }
        let message = reader.message(None, 0)?;
        Ok(message)
    }

    /// Adds a number, a name of an enumeration, or a truth value.
    #[must_use]
    pub fn word(self, name: &str, value: impl fmt::Display) -> Self {
        self.with(name, Value::Word(value.to_string()))
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, name: &str, value: &str) -> Self {
        self.with(name, Value::Text(value.to_owned()))
    }

    /// Adds numbers.
    #[must_use]
    pub fn list<T: fmt::Display>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        let values = values.into_iter().map(|value| Value::Word(value.to_string())).collect();
        self.with(name, Value::List(values))
    }

    /// Adds a message.
    #[must_use]
    pub fn message(self, name: &str, value: Self) -> Self {
        self.with(name, Value::Message(value))
    }

    /// Adds an entry of a map from text to text.
    #[must_use]
    pub fn entry(self, name: &str, key: &str, value: &str) -> Self {
        self.message(name, Self::new().text("key", key).text("value", value))
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.0.push((name.to_owned(), value));
        self
    }

    /// Removes every field of this name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.retain(|(field, _)| field != name);
        self
    }

    /// Texts, numbers and names of the fields of this name, lists taken apart.
    pub fn scalars(&self, name: &str) -> Vec<&str> {
        let values = self.values(name).into_iter();
        let scalars = values.filter_map(|value| match value {
            Value::Word(text) | Value::Text(text) => Some(text.as_str()),
            Value::Message(_) | Value::List(_) => None,
        });
        scalars.collect()
    }

    /// The last of these, which is the one that counts for a field that is there once.
    pub fn scalar(&self, name: &str) -> Option<&str> {
        self.scalars(name).pop()
    }

    /// The messages of the fields of this name, lists taken apart.
    pub fn messages(&self, name: &str) -> Vec<&Self> {
        let values = self.values(name).into_iter();
        let messages = values.filter_map(|value| match value {
            Value::Message(message) => Some(message),
            _ => None,
        });
        messages.collect()
    }

    fn values(&self, name: &str) -> Vec<&Value> {
        let fields = self.0.iter().filter(|(field, _)| field == name);
        let values = fields.map(|(_, value)| match value {
            Value::List(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        });
        values.flatten().collect()
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let indent = depth * 2;
        for (name, value) in &self.0 {
            match value {
                Value::Message(message) if message.0.is_empty() => writeln!(f, "{:indent$}{name} {{ }}", "")?,
                Value::Message(message) => {
                    writeln!(f, "{:indent$}{name} {{", "")?;
                    message.write(f, depth + 1)?;
                    writeln!(f, "{:indent$}}}", "")?;
                }
                Value::List(values) if values.iter().any(|value| matches!(value, Value::Message(_))) => {
                    for value in values {
                        Self(vec![(name.clone(), value.clone())]).write(f, depth)?;
                    }
                }
                scalar => writeln!(f, "{:indent$}{name}: {}", "", Scalar(scalar))?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

struct Scalar<'a>(&'a Value);

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Word(word) => f.write_str(word),
            Value::Text(text) => quoted(f, text),
            Value::List(values) if values.is_empty() => f.write_str("[ ]"),
            Value::List(values) => {
                let items: Vec<String> = values.iter().map(|value| Scalar(value).to_string()).collect();
                let line = items.join(", ");
                if line.len() <= LINE {
                    write!(f, "[ {line} ]")
                } else {
                    write!(f, "[\n  {}\n]", items.join(",\n  "))
                }
            }
            Value::Message(_) => Ok(()),
        }
    }
}

/// Everything outside printable ASCII as octal bytes, which every reader of the format knows.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for byte in text.bytes() {
        match byte {
            b'"' => f.write_str("\\\"")?,
            b'\\' => f.write_str("\\\\")?,
            b'\n' => f.write_str("\\n")?,
            b' '..=b'~' => write!(f, "{}", byte as char)?,
            other => write!(f, "\\{other:03o}")?,
        }
    }
    f.write_str("\"")
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    fn refuse(&self, reason: impl Into<String>) -> Error {
        Error::TextProto { line: self.line, reason: reason.into() }
    }

    /// The fields up to `end`, or up to the end of the text.
    fn message(&mut self, end: Option<char>, depth: usize) -> Result<Message, Error> {
        if depth > DEEPEST {
            return Err(self.refuse("messages are nested too deeply"));
        }
        let mut message = Message::new();
        loop {
            self.skip_space();
            match (self.rest.chars().next(), end) {
                (None, None) => return Ok(message),
                (None, Some(end)) => return Err(self.refuse(format!("`{end}` is missing at the end"))),
                (Some(found), Some(end)) if found == end => {
                    self.take(found);
                    return Ok(message);
                }
                _ => {}
            }
            let name = self.name()?;
            self.skip_space();
            let has_colon = self.take(':');
            self.skip_space();
            let value = self.value(depth)?;
            if !has_colon && matches!(value, Value::Word(_) | Value::Text(_)) {
                return Err(self.refuse(format!("a `:` is missing behind `{name}`")));
            }
            message.0.push((name, value));
            self.skip_space();
            let _ = self.take(',') || self.take(';');
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        match self.rest.chars().next() {
            Some('{') => self.opened('{', '}', depth),
            Some('<') => self.opened('<', '>', depth),
            Some('[') => self.list(depth),
            Some('"' | '\'') => self.strings().map(Value::Text),
            _ => {
                let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c)));
                let word = &self.rest[..end.unwrap_or(self.rest.len())];
                if word.is_empty() {
                    return Err(self.refuse("a value is missing"));
                }
                let word = word.to_owned();
                self.rest = &self.rest[word.len()..];
                Ok(Value::Word(word))
            }
        }
    }

    fn opened(&mut self, start: char, end: char, depth: usize) -> Result<Value, Error> {
        self.take(start);
        self.message(Some(end), depth + 1).map(Value::Message)
    }

    fn list(&mut self, depth: usize) -> Result<Value, Error> {
        self.take('[');
        let mut values = Vec::new();
        loop {
            self.skip_space();
            if self.take(']') {
                return Ok(Value::List(values));
            }
            if self.rest.starts_with('[') {
                return Err(self.refuse("a list inside a list"));
            }
            values.push(self.value(depth)?);
            self.skip_space();
            if !self.take(',') && !self.rest.starts_with(']') {
                return Err(self.refuse("`,` or `]` is missing in a list"));
            }
        }
    }

    fn name(&mut self) -> Result<String, Error> {
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let name = self.rest[..end.unwrap_or(self.rest.len())].to_owned();
        if name.is_empty() {
            let found = self.rest.chars().next().unwrap_or(' ');
            return Err(self.refuse(format!("`{}` where a field should be", found.escape_default())));
        }
        self.rest = &self.rest[name.len()..];
        Ok(name)
    }

    /// One text, or several behind each other, which are one.
    fn strings(&mut self) -> Result<String, Error> {
        let mut bytes = Vec::new();
        while let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            self.take(quote);
            self.string(quote, &mut bytes)?;
            self.skip_space();
        }
        String::from_utf8(bytes).map_err(|_| self.refuse("a text is not UTF-8"))
    }

    fn string(&mut self, quote: char, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut chars = self.rest.char_indices();
        while let Some((at, found)) = chars.next() {
            match found {
                '\n' => break,
                '\\' => {
                    let length =
                        escape(&self.rest[at + 1..], out).ok_or_else(|| self.refuse("an unknown escape"))?;
                    chars = self.rest.char_indices();
                    while chars.clone().next().is_some_and(|(next, _)| next < at + 1 + length) {
                        chars.next();
                    }
                }
                found if found == quote => {
                    self.rest = &self.rest[at + quote.len_utf8()..];
                    return Ok(());
                }
                other => out.extend(other.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
        Err(self.refuse("a text has no end"))
    }

    fn take(&mut self, wanted: char) -> bool {
        let Some(rest) = self.rest.strip_prefix(wanted) else { return false };
        self.rest = rest;
        true
    }

    fn skip_space(&mut self) {
        loop {
            let trimmed = self.rest.trim_start();
            self.line += self.rest[..self.rest.len() - trimmed.len()].matches('\n').count();
            self.rest = trimmed;
            let Some(comment) = trimmed.strip_prefix('#') else { return };
            self.rest = &comment[comment.find('\n').unwrap_or(comment.len())..];
        }
    }
}

/// What stands behind a backslash; gives its length.
fn escape(rest: &str, out: &mut Vec<u8>) -> Option<usize> {
    let bytes = rest.as_bytes();
    let digits = |from: usize, most: usize, radix: u32| {
        let digits =
            bytes.get(from..)?.iter().take(most).take_while(|byte| (**byte as char).is_digit(radix)).count();
        let value = u32::from_str_radix(rest.get(from..from + digits)?, radix).ok()?;
        Some((digits, value))
    };
    let simple = match bytes.first()? {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'v' => 11,
        byte @ (b'\\' | b'\'' | b'"' | b'?') => *byte,
        b'0'..=b'7' => {
            let (length, value) = digits(0, 3, 8)?;
            out.push(u8::try_from(value).ok()?);
            return Some(length);
        }
        b'x' => {
            let (length, value) = digits(1, 2, 16)?;
            out.push(u8::try_from(value).ok()?);
            return Some(length + 1);
        }
        mark @ (b'u' | b'U') => {
            let wanted = if *mark == b'u' { 4 } else { 8 };
            let (length, value) = digits(1, wanted, 16)?;
            out.extend(char::from_u32(value).filter(|_| length == wanted)?.encode_utf8(&mut [0; 4]).bytes());
            return Some(length + 1);
        }
        _ => return None,
    };
    out.push(simple);
    Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let inner =
            Message::new().text("key", "a\"b\\c\nd\u{e9}\t'").list("dims", [-1, 3]).list("none", [0; 0]);
        let message = Message::new()
            .text("name", "x")
            .word("kind", "KIND_GPU")
            .message("input", inner.clone())
            .message("input", inner.clone())
            .message("empty", Message::new())
            .list("long", 1000..1100);
        let text = message.to_string();
        assert!(text.contains(r#"key: "a\"b\\c\nd\303\251\011'""#), "{text}");
        assert!(text.contains("\n  dims: [ -1, 3 ]\n"), "{text}");
        assert_eq!(Message::parse(&text).unwrap(), message);
    }

    #[test]
    fn every_way_to_write_a_field_is_read() {
        let text = "# a comment\nname: 'it''s' \"\\x41\\101\\u00e9\" ; input [ { name: \"a\" dims: [1,-1] }, < name: 'b' > ]\n\
                    dims: 1 dims: 2, input: { name: \"c\" }\nversion_policy { all { } }";
        let read = Message::parse(text).unwrap();
        assert_eq!(read.scalar("name"), Some("itsAA\u{e9}"));
        assert_eq!(
            read.messages("input").iter().map(|one| one.scalar("name").unwrap()).collect::<Vec<_>>(),
            ["a", "b", "c"]
        );
        assert_eq!(read.messages("input")[0].scalars("dims"), ["1", "-1"]);
        assert_eq!(read.scalars("dims"), ["1", "2"]);
        assert_eq!(read.messages("version_policy")[0].messages("all").len(), 1);
    }

    #[test]
    fn damaged_texts_are_read_or_refused() {
        let text = "name: 'x\\n\u{e9}' \"\\303\\251\" input [ { name: \"a\" dims: [1,-1] }, < b: 2 > ] # c\nv { all { } }";
        let chars: Vec<char> = text.chars().collect();
        for at in 0..chars.len() {
            for put in
                ["", "\"", "\\", "[", "]", "{", "}", "<", "#", "\n", "\u{0}", "\u{1f600}", "\\777", "\\u"]
            {
                let damaged: String = chars[..at].iter().collect::<String>()
                    + put
                    + &chars[at + 1..].iter().collect::<String>();
                for damaged in [damaged.as_str(), &damaged[..damaged.floor_char_boundary(at)]] {
                    if let Ok(message) = Message::parse(damaged) {
                        let again = Message::parse(&message.to_string()).map(|again| again.to_string());
                        assert_eq!(again.ok(), Some(message.to_string()), "{damaged}");
                    }
                }
            }
        }
    }

    #[test]
    fn faults_are_named_by_line() {
        let deep = "a {".repeat(40);
        for (text, line) in [
            ("name: \"x", 1),
            ("\n\nname \"x\"", 3),
            ("a {\n b: 1", 2),
            ("a: [ [ 1 ] ]", 1),
            ("a: [ 1 2 ]", 1),
            ("a:", 1),
            ("\n}", 2),
            ("a: \"\\q\"", 1),
            ("a: \"\\777\"", 1),
            ("a: \"\\xff\"", 1),
            ("a: \"\\ud800\"", 1),
            ("a: \"x\ny\"", 1),
            (&deep, 1),
        ] {
            match Message::parse(text) {
                Err(Error::TextProto { line: found, .. }) => assert_eq!(found, line, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
