//! Python literals, as `str()` of a dictionary or list prints them.
//!
//! Ultralytics writes its ONNX metadata this way. It is not JSON: quotes may be single, keys may be numbers, and `True` is
//! spelled as here. Nothing is evaluated.

use std::iter::Peekable;
use std::str::Chars;

/// Nesting that is followed.
const DEEPEST: usize = 32;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Literal>),
    Dict(Vec<(Literal, Literal)>),
}

impl Literal {
    /// Reads one literal, the whole text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader { chars: text.chars().peekable() };
        let value = reader.value(0)?;
        reader.skip_space();
        reader.chars.next().is_none().then_some(value)
    }

    /// Numbers of a list, or one number.
    pub(super) fn ints(&self) -> Option<Vec<i64>> {
        match self {
            Self::Int(number) => Some(vec![*number]),
            Self::List(items) => items
                .iter()
                .map(|item| match item {
                    Self::Int(number) => Some(*number),
                    _ => None,
                })
                .collect(),
            _ => None,
        }
    }

    /// Names by id: of a dictionary with number keys, or of a list.
    pub(super) fn names(&self) -> Option<Vec<(u32, String)>> {
        let named = |id: &Self, name: &Self| match (id, name) {
            (Self::Int(id), Self::Text(name)) => Some((u32::try_from(*id).ok()?, name.clone())),
            _ => None,
        };
        match self {
            Self::Dict(entries) => entries.iter().map(|(id, name)| named(id, name)).collect(),
            Self::List(items) => (0..).zip(items).map(|(id, name)| named(&Self::Int(id), name)).collect(),
            _ => None,
        }
    }
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        while self.chars.next_if(|c| c.is_whitespace()).is_some() {}
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.skip_space();
        self.chars.next_if_eq(&wanted).is_some()
    }

    fn value(&mut self, depth: usize) -> Option<Literal> {
        if depth > DEEPEST {
            return None;
        }
        self.skip_space();
        match *self.chars.peek()? {
            '{' => self.dict(depth),
            '[' => self.list(']', depth),
            '(' => self.list(')', depth),
            '\'' | '"' => self.text().map(Literal::Text),
            _ => self.word(),
        }
    }

    fn dict(&mut self, depth: usize) -> Option<Literal> {
        self.chars.next();
        let mut entries = Vec::new();
        while !self.eat('}') {
            let key = self.value(depth + 1)?;
            if !self.eat(':') {
                return None;
            }
            entries.push((key, self.value(depth + 1)?));
            if !self.eat(',') {
                return self.eat('}').then_some(Literal::Dict(entries));
            }
        }
        Some(Literal::Dict(entries))
    }

    fn list(&mut self, close: char, depth: usize) -> Option<Literal> {
        self.chars.next();
        let mut items = Vec::new();
        while !self.eat(close) {
            items.push(self.value(depth + 1)?);
            if !self.eat(',') {
                return self.eat(close).then_some(Literal::List(items));
            }
        }
        Some(Literal::List(items))
    }

    fn text(&mut self) -> Option<String> {
        let quote = self.chars.next()?;
        let mut text = String::new();
        loop {
            match self.chars.next()? {
                c if c == quote => return Some(text),
                '\\' => text.push(self.escape()?),
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let code = |reader: &mut Self, digits: usize| {
            let hex: String = (0..digits).map_while(|_| reader.chars.next()).collect();
            (hex.len() == digits).then(|| u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32))?
        };
        match self.chars.next()? {
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            'x' => code(self, 2),
            'u' => code(self, 4),
            'U' => code(self, 8),
            c @ ('\\' | '\'' | '"') => Some(c),
            _ => None,
        }
    }

    fn word(&mut self) -> Option<Literal> {
        let mut word = String::new();
        while let Some(c) = self.chars.next_if(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '+' | '_'))
        {
            word.push(c);
        }
        match word.as_str() {
            "None" => Some(Literal::None),
            "True" => Some(Literal::Bool(true)),
            "False" => Some(Literal::Bool(false)),
            number => match number.parse() {
                Ok(int) => Some(Literal::Int(int)),
                Err(_) => number.parse().ok().map(Literal::Float),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_quotes_commas_and_escapes() {
        let text = r#"{0: 'person', 1: "driver's seat", 2: 'a, b: {c}', 3: 'it\'s \u00e9\x41', 7: 'last',}"#;
        let names = Literal::parse(text).unwrap().names().unwrap();
        let expected = ["person", "driver's seat", "a, b: {c}", "it's éA", "last"];
        assert_eq!(names.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), expected);
        assert_eq!(names[4].0, 7);
        let list = Literal::parse("['a', 'b']").unwrap();
        assert_eq!(list.names().unwrap(), [(0, "a".to_owned()), (1, "b".to_owned())]);
        assert_eq!(Literal::parse("[640, 480]").unwrap().ints().unwrap(), [640, 480]);
    }

    #[test]
    fn values_of_every_kind_are_read() {
        let text = "{'a': (1, -2.5), 'b': None, 'c': [True, False], 'd': 1e-3}";
        let Some(Literal::Dict(entries)) = Literal::parse(text) else { panic!("no dictionary") };
        assert_eq!(entries.len(), 4);
        assert_eq!(entries[0].1, Literal::List(vec![Literal::Int(1), Literal::Float(-2.5)]));
        assert_eq!(entries[3].1, Literal::Float(1e-3));
    }

    #[test]
    fn what_is_no_literal_is_refused() {
        let deep = "[".repeat(100_000);
        let cases =
            ["", "{", "{0 'a'}", "{0: 'a'", "'open", "__import__('os')", "1 2", "{0: 'a'} x", deep.as_str()];
        for text in cases {
            assert_eq!(Literal::parse(text), None, "{text:.20}");
        }
    }
}
