//! What `--exportOutput` writes: the values of every output, as text.
//!
//! It looks like JSON and is none: names are not escaped, and `nan` and `inf` stand where a number should. Numbers have six
//! significant digits, so a value is exact to about a millionth of itself. Written by `exportJSONOutput` of
//! `samples/common/sampleReporting.cpp`.

use graph::{DataType, Tensor, ValueInfo};

use crate::Error;

/// Reads the outputs, in the order and element types of `declared`.
///
/// # Errors
/// [`Error::Tool`] when an output is missing, or has another number of values than its dimensions say.
pub fn read_outputs(text: &str, declared: &[ValueInfo]) -> Result<Vec<(String, Tensor)>, Error> {
    let found = entries(text)?;
    let output = |info: &ValueInfo| {
        let entry = found.iter().find(|entry| entry.name == info.name);
        let entry = entry.ok_or_else(|| unlike(format!("it wrote no output `{}`", info.name)))?;
        Ok((info.name.clone(), entry.tensor(info.dtype.unwrap_or(DataType::F32))?))
    };
    declared.iter().map(output).collect()
}

/// One output as it is written.
struct Entry<'a> {
    name: &'a str,
    shape: Vec<usize>,
    values: &'a str,
}

impl Entry<'_> {
    fn tensor(&self, dtype: DataType) -> Result<Tensor, Error> {
        let unread = |word: &str| unlike(format!("`{word}` in output `{}` is no number", self.name));
        let words = self.values.split([',', ' ', '\n']).filter(|word| !word.is_empty());
        let tensor = match dtype {
            DataType::I64 => Tensor::from_i64(self.shape.clone(), numbers(words, unread)?),
            DataType::I32 => Tensor::from_i32(self.shape.clone(), numbers(words, unread)?),
            DataType::Bool | DataType::U8 => Tensor::from_u8(self.shape.clone(), numbers(words, unread)?),
            // What was rounded to fewer bits in between is compared as what it is.
            _ => Tensor::from_f32(self.shape.clone(), numbers(words, unread)?),
        };
        tensor.map_err(|error| unlike(format!("output `{}`: {error}", self.name)))
    }
}

fn numbers<'a, T: std::str::FromStr>(
    words: impl Iterator<Item = &'a str>,
    unread: impl Fn(&str) -> Error,
) -> Result<Vec<T>, Error> {
    words.map(|word| word.parse().map_err(|_| unread(word))).collect()
}

fn entries(text: &str) -> Result<Vec<Entry<'_>>, Error> {
    let mut entries = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("{ \"name\" : \"") {
        let (name, after) = cut(after, "\"\n", "a name")?;
        let (_, after) = cut(after, "\"dimensions\" : \"", "a name")?;
        let (dimensions, after) = cut(after, "\"\n", "dimensions")?;
        let (_, after) = cut(after, "\"values\" : [", "dimensions")?;
        let (values, after) = cut(after, "]", "values")?;
        let sizes = dimensions.split('x').filter(|size| !size.is_empty()).map(str::parse);
        let shape = sizes.collect::<Result<_, _>>();
        let shape = shape.map_err(|_| unlike(format!("`{dimensions}` are no dimensions")))?;
        entries.push(Entry { name, shape, values });
        rest = after;
    }
    Ok(entries)
}

fn cut<'a>(text: &'a str, mark: &str, what: &str) -> Result<(&'a str, &'a str), Error> {
    text.split_once(mark).ok_or_else(|| unlike(format!("what it wrote ends within {what}")))
}

fn unlike(reason: String) -> Error {
    Error::Tool { tool: "trtexec", reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = "[\n  { \"name\" : \"sco\"res\"\n  , \"dimensions\" : \"1x3\"\n  , \"values\" : [ 0.25, -nan, 1.29477e+08 ]\n  }\n\
                           , { \"name\" : \"labels\"\n  , \"dimensions\" : \"2\"\n  , \"values\" : [ 7, -1 ]\n  }\n\
                           , { \"name\" : \"none\"\n  , \"dimensions\" : \"0x6\"\n  , \"values\" : [  ]\n  }\n]\n";

    fn declared(outputs: &[(&str, DataType)]) -> Vec<ValueInfo> {
        let info = |(name, dtype): &(&str, DataType)| ValueInfo {
            name: (*name).to_owned(),
            dtype: Some(*dtype),
            ..Default::default()
        };
        outputs.iter().map(info).collect()
    }

    #[test]
    fn outputs_come_in_the_graphs_order_and_types() {
        let wanted =
            declared(&[("labels", DataType::I64), ("sco\"res", DataType::F32), ("none", DataType::F16)]);
        let outputs = read_outputs(WRITTEN, &wanted).unwrap();
        assert_eq!(outputs[0].1.to_i64().unwrap(), [7, -1]);
        let scores = outputs[1].1.to_f32().unwrap();
        assert_eq!((outputs[1].1.shape(), scores[0], scores[2]), (&[1, 3][..], 0.25, 1.294_77e8));
        assert!(scores[1].is_nan());
        assert_eq!(outputs[2].1.shape(), [0, 6]);
    }

    #[test]
    fn what_is_missing_or_cut_is_an_error() {
        let scores = declared(&[("sco\"res", DataType::F32)]);
        let cases = [
            WRITTEN.replace("1x3", "1x4"),
            WRITTEN.replace("1x3", "one"),
            WRITTEN.replace("0.25", "a quarter"),
            WRITTEN[..60].to_owned(),
            String::new(),
        ];
        for text in cases {
            assert!(matches!(read_outputs(&text, &scores), Err(Error::Tool { .. })), "{text}");
        }
    }
}
