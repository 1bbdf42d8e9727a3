//! The header of an `.etlt` file of NVIDIA TAO.
//!
//! A length (`int32`, little-endian), the name of the input node, then an encrypted graph: UFF when there is a name, ONNX
//! when there is none. Only NVIDIA's `tao-converter` can read the rest. Layout: `utils/decoding.py` of NVIDIA's `tao_deploy`.

use crate::Error;

/// Longest name that is believed.
const LONGEST: usize = 1024;

/// The input's name, for a UFF graph; `None` for an ONNX graph, which holds its names inside.
///
/// # Errors
/// [`Error::NotEtlt`] when the file cannot begin like this.
pub fn etlt_input(file: &[u8]) -> Result<Option<String>, Error> {
    let bad = |reason: &str| Error::NotEtlt { reason: reason.to_owned() };
    let (length, rest) = file.split_first_chunk::<4>().ok_or_else(|| bad("it has no header"))?;
    let length = usize::try_from(i32::from_le_bytes(*length)).ok().filter(|length| *length <= LONGEST);
    let length = length.ok_or_else(|| bad("the name of its input has an impossible length"))?;
    let (name, graph) =
        rest.split_at_checked(length).ok_or_else(|| bad("it ends within the name of its input"))?;
    if graph.is_empty() {
        return Err(bad("it holds no graph"));
    }
    let name = std::str::from_utf8(name).map_err(|_| bad("the name of its input is no text"))?;
    if name.chars().any(char::is_control) {
        return Err(bad("the name of its input is no text"));
    }
    Ok((!name.is_empty()).then(|| name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_of_a_uff_graph_is_named() {
        let file = |length: i32, rest: &[u8]| [&length.to_le_bytes()[..], rest].concat();
        assert_eq!(etlt_input(&file(0, b"secret")).unwrap(), None);
        assert_eq!(etlt_input(&file(7, b"input_1secret")).unwrap().as_deref(), Some("input_1"));
        for bytes in [
            vec![],
            vec![1, 0],
            file(-1, b"x"),
            file(1 << 20, b"x"),
            file(9, b"input"),
            file(5, b"input"),
            file(2, b"\xff\xfex"),
            file(2, b"a\nx"),
        ] {
            assert!(matches!(etlt_input(&bytes), Err(Error::NotEtlt { .. })), "{bytes:?}");
        }
    }
}
