//! Damaged and lying files: one error, no panic, no memory beyond the file's own size. The `fuzz` crate goes further.

use bytes::Bytes;
use graph::{Error, onnx};

use crate::{fixture, read, written};

fn refuse(bytes: Vec<u8>) -> Error {
    onnx::read(bytes.into(), &|_| Err("none".into())).unwrap_err()
}

/// A field that holds a nested message or bytes.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag << 3 | 2];
    let mut len = content.len();
    while len >= 128 {
        bytes.push(len as u8 | 128);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend(content);
    bytes
}

#[test]
fn what_is_no_model_is_told() {
    for bytes in
        [b"".to_vec(), b"\x08\x08".to_vec(), b"hello".to_vec(), vec![0xff; 64], b"PK\x03\x04".to_vec()]
    {
        assert!(matches!(refuse(bytes.clone()), Error::NotOnnx { .. }), "{bytes:?}");
    }
}

#[test]
fn every_truncation_ends_in_an_error_or_a_smaller_model() {
    let whole = fixture("custom.onnx");
    for len in 0..whole.len() {
        if let Ok(model) = onnx::read_structure(whole.slice(..len)) {
            let _ = model.check();
        }
    }
}

#[test]
fn a_length_that_lies_allocates_nothing() {
    // A tensor of 2^40 floats of which none is there.
    let dims = [&[1 << 3][..], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x20], &[2 << 3, 1]].concat();
    let tensor = field(5, &[&dims[..], &field(8, b"w")].concat());
    let error = refuse(field(7, &tensor));
    assert!(matches!(error, Error::BadTensor { ref name, .. } if name == "w"), "{error}");
    // A message whose length reaches far beyond the file.
    assert!(matches!(refuse(vec![0x3a, 0xff, 0xff, 0xff, 0xff, 0x07]), Error::NotOnnx { .. }));
}

#[test]
fn deep_nesting_is_refused() {
    // Graph > node > attribute > graph > …
    let mut graph = field(2, b"deepest");
    for _ in 0..2000 {
        let attribute = [field(1, b"body"), field(6, &graph), vec![0xa0, 0x01, 5]].concat();
        graph = field(1, &[field(4, b"Loop"), field(5, &attribute)].concat());
    }
    assert!(matches!(refuse(field(7, &graph)), Error::NotOnnx { .. }));
}

#[test]
fn locations_that_lead_out_are_refused_before_they_are_opened() {
    let pair = |key: &[u8], value: &[u8]| field(13, &[field(1, key), field(2, value)].concat());
    for location in ["../secret", "/etc/passwd", "a/../../b", "C:\\x", ""] {
        let tensor = [
            &[1 << 3, 1, 2 << 3, 1, 14 << 3, 1][..],
            &field(8, b"w"),
            &pair(b"location", location.as_bytes()),
        ];
        let file: Bytes = field(7, &field(5, &tensor.concat())).into();
        let opened = |name: &str| -> Result<Bytes, String> { panic!("`{name}` was opened") };
        for result in
            [onnx::read(file.clone(), &opened).map(|_| ()), onnx::external_locations(file).map(|_| ())]
        {
            assert!(matches!(result, Err(Error::ExternalData { .. })), "{location}");
        }
    }
}

#[test]
fn names_given_twice_are_refused() {
    let model = read("quantized.onnx");
    let bytes = written(&model);
    let mut graph_twice = bytes.to_vec();
    graph_twice.extend_from_slice(&bytes);
    assert!(matches!(refuse(graph_twice), Error::Invalid(_)));
}
