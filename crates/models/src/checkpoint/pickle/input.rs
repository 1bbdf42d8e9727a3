//! The bytes of a program, taken from the front; long pieces are slices, not copies.

use bytes::Bytes;

/// What is left of a program.
pub(super) struct Input {
    bytes: Bytes,
    at: usize,
}

impl Input {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were taken.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// As many bytes as `count` says.
    pub(super) fn take(&mut self, count: u64) -> Result<Bytes, String> {
        let count = usize::try_from(count).ok();
        let end = count.and_then(|count| self.at.checked_add(count)).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or("it ends too early")?;
        let bytes = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let array = *rest.first_chunk().ok_or("it ends too early")?;
        self.at += N;
        Ok(array)
    }

    pub(super) fn byte(&mut self) -> Result<u8, String> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, String> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, String> {
        self.array().map(i32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn f64(&mut self) -> Result<f64, String> {
        self.array().map(f64::from_be_bytes)
    }

    /// The bytes up to the end of the line, without it.
    pub(super) fn line(&mut self) -> Result<Bytes, String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or("a line does not end")?;
        let line = self.bytes.slice(self.at..self.at + length);
        self.at += length + 1;
        Ok(line)
    }

    /// The text up to the end of the line.
    pub(super) fn text_line(&mut self) -> Result<String, String> {
        let line = self.line()?;
        std::str::from_utf8(&line).map(str::to_owned).map_err(|_| "a line is not text".to_owned())
    }

    /// The number that the line is.
    pub(super) fn number_line<T: std::str::FromStr>(&mut self) -> Result<T, String> {
        let line = self.text_line()?;
        line.trim_end_matches('L').parse().map_err(|_| "a number is none".to_owned())
    }
}

/// The bytes of a text as Python's `repr` writes it: `'it\'s'`.
pub(super) fn unquoted(line: &[u8]) -> Result<Vec<u8>, String> {
    let quote = line.first().filter(|quote| matches!(quote, b'\'' | b'"'));
    let inner = match (quote, line) {
        (Some(quote), [_, inner @ .., last]) if last == quote => inner,
        _ => return Err("a text has no quotes".into()),
    };
    let mut text = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((first, tail)) = rest.split_first() {
        if *first != b'\\' {
            text.push(*first);
            rest = tail;
            continue;
        }
        let (escape, tail) = tail.split_first().ok_or("a text ends in an escape")?;
        rest = tail;
        match escape {
            b'n' => text.push(b'\n'),
            b't' => text.push(b'\t'),
            b'r' => text.push(b'\r'),
            b'a' => text.push(7),
            b'b' => text.push(8),
            b'f' => text.push(12),
            b'v' => text.push(11),
            b'\\' | b'\'' | b'"' => text.push(*escape),
            b'x' => {
                let (code, tail) = hexadecimal(rest, 2)?;
                text.push(code as u8);
                rest = tail;
            }
            b'0'..=b'7' => {
                let digits = rest.iter().take(2).take_while(|digit| matches!(digit, b'0'..=b'7')).count();
                let code = rest[..digits]
                    .iter()
                    .fold(u32::from(escape - b'0'), |code, digit| code * 8 + u32::from(digit - b'0'));
                text.push(code as u8);
                rest = &rest[digits..];
            }
            other => text.extend([b'\\', *other]),
        }
    }
    Ok(text)
}

/// The text of a line in which characters may be `\u0041` or `\U00000041` and bytes are Latin-1.
pub(super) fn raw_unicode(line: &[u8]) -> Result<String, String> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((first, tail)) = rest.split_first() {
        let digits = match tail.first() {
            Some(b'u') if *first == b'\\' => 4,
            Some(b'U') if *first == b'\\' => 8,
            _ => {
                text.push(char::from(*first));
                rest = tail;
                continue;
            }
        };
        let (code, tail) = hexadecimal(&tail[1..], digits)?;
        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = tail;
    }
    Ok(text)
}

fn hexadecimal(bytes: &[u8], digits: usize) -> Result<(u32, &[u8]), String> {
    let (code, rest) = bytes.split_at_checked(digits).ok_or("an escape ends too early")?;
    let code =
        std::str::from_utf8(code).ok().filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let code = code.and_then(|code| u32::from_str_radix(code, 16).ok()).ok_or("an escape is no number")?;
    Ok((code, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_protocol_0_are_unquoted() {
        let cases: [(&[u8], &[u8]); 5] = [
            (br"'a\'b'", b"a'b"),
            (br#""a'b""#, b"a'b"),
            (br"'\x41\101\0\n\\'", b"AA\0\n\\"),
            (br"'\d'", br"\d"),
            (b"''", b""),
        ];
        for (line, expected) in cases {
            assert_eq!(unquoted(line).unwrap(), expected, "{line:?}");
        }
        let broken: [&[u8]; 5] = [b"", b"'", b"'a", br"'\'", br"'\x4'"];
        for line in broken {
            assert!(unquoted(line).is_err(), "{line:?}");
        }
        assert_eq!(raw_unicode(b"a\\u20ac\\U0001f600\xe9\\x").unwrap(), "a€😀é\\x");
        assert!(raw_unicode(b"\\u20").is_err() && raw_unicode(b"\\u+123").is_err());
    }
}
