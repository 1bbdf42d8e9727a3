//! Arrays as `NumPy` writes them: version 1 to 3 of the format, C order, little-endian.

use bytes::Bytes;
use graph::{DataType, Tensor};

/// Reads one array, or says what is wrong with it.
pub(super) fn read(bytes: &Bytes) -> Result<Tensor, String> {
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or("not a file of NumPy")?;
    let (length, skip) = match rest {
        [1, _, a, b, ..] => (usize::from(u16::from_le_bytes([*a, *b])), 10),
        [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 12),
        _ => return Err("an unknown version of the format".into()),
    };
    let end = skip + length;
    let header =
        bytes.get(skip..end).and_then(|text| std::str::from_utf8(text).ok()).ok_or("its header is cut")?;
    if header.contains("'fortran_order': True") {
        return Err("it is in Fortran order".into());
    }
    let between = |open: &str, close: &str| {
        let (_, rest) = header.split_once(open)?;
        Some(rest.split_once(close)?.0)
    };
    let descr = between("'descr': '", "'").ok_or("its header names no type")?;
    let dtype = match descr {
        "<f4" => DataType::F32,
        "<f8" => DataType::F64,
        "<f2" => DataType::F16,
        "<i8" => DataType::I64,
        "<i4" => DataType::I32,
        "|u1" => DataType::U8,
        "|i1" => DataType::I8,
        "|b1" => DataType::Bool,
        other => return Err(format!("elements of type `{other}` are not read")),
    };
    let sizes = between("'shape': (", ")").ok_or("its header names no shape")?;
    let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty()).map(str::parse::<usize>);
    let shape: Vec<usize> = sizes.collect::<Result<_, _>>().map_err(|_| "its shape is no list of sizes")?;
    Tensor::new(dtype, shape, bytes.slice(end..)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_read_and_cut_ones_refused() {
        let header = "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }\n";
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend_from_slice(&u16::try_from(header.len()).unwrap().to_le_bytes());
        file.extend_from_slice(header.as_bytes());
        file.extend([3_i64, -4].iter().flat_map(|value| value.to_le_bytes()));
        let read_back = read(&Bytes::from(file.clone())).unwrap();
        assert_eq!((read_back.shape(), read_back.to_i64().unwrap()), (&[2][..], vec![3, -4]));
        for cut in [0, 7, 9, 20, file.len() - 1] {
            assert!(read(&Bytes::copy_from_slice(&file[..cut])).is_err(), "{cut}");
        }
    }
}
