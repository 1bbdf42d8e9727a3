//! Programs written by hand.

use std::io::{Cursor, Write};

use bytes::Bytes;
use zip::write::SimpleFileOptions;

/// A text of protocol 2.
pub(super) fn text(text: &str) -> Vec<u8> {
    [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

/// A class or function.
pub(super) fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

/// An integer.
pub(super) fn int(number: i64) -> Vec<u8> {
    [&[0x8a, 8][..], &number.to_le_bytes()].concat()
}

/// A tuple.
pub(super) fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(".to_vec(), items.concat(), b"t".to_vec()].concat()
}

/// The call of a function.
pub(super) fn call(function: Vec<u8>, arguments: &[Vec<u8>]) -> Vec<u8> {
    [function, tuple(arguments), b"R".to_vec()].concat()
}

/// The float32 storage of this name.
pub(super) fn storage(key: &str, elements: i64) -> Vec<u8> {
    let items = [text("storage"), global("torch", "FloatStorage"), text(key), text("cpu"), int(elements)];
    [tuple(&items), b"Q".to_vec()].concat()
}

/// A tensor of a storage.
pub(super) fn tensor(storage: Vec<u8>, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let ints = |numbers: &[i64]| tuple(&numbers.iter().map(|number| int(*number)).collect::<Vec<_>>());
    let items = [storage, int(offset), ints(shape), ints(strides), b"\x89".to_vec(), b"N".to_vec()];
    call(global("torch._utils", "_rebuild_tensor_v2"), &items)
}

/// A dictionary, as a whole program.
pub(super) fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<u8> =
        entries.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"\x80\x02}(".to_vec(), entries, b"u.".to_vec()].concat()
}

/// An archive of these entries; those named below are deflated.
pub(super) fn archive_of(entries: &[(&str, &[u8])], deflated: &[&str]) -> Bytes {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        let method = if deflated.contains(name) {
            zip::CompressionMethod::Deflated
        } else {
            zip::CompressionMethod::Stored
        };
        writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner().into()
}

/// An archive of a program and of storage `0`: eight numbers.
pub(super) fn archive(program: &[u8]) -> Bytes {
    let numbers: Vec<u8> = (0..8).flat_map(|number| (number as f32).to_le_bytes()).collect();
    archive_of(&[("a/data.pkl", program), ("a/data/0", &numbers)], &[])
}
