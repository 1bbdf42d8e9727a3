//! Damaged and malicious graphs: an error, never a panic that leaves the crate.

use graph::builder::{Conv, Interpolation, Pool};
use graph::{Attribute, Builder, DataType, Dim, Tensor};
use runtime::backends::embedded::Observer;
use runtime::{LoadOptions, OnnxSource};

use crate::usable;
use crate::written::bytes;

/// A small detector-like graph with most kinds of attributes.
fn victim() -> Vec<u8> {
    let mut b = Builder::new("victim", 17);
    let x = b.input("x", DataType::F32, vec![Dim::batch(), Dim::Fixed(3), Dim::Fixed(8), Dim::Fixed(8)]);
    let weight = b.weight("w", Tensor::from_f32([4, 3, 3, 3], vec![0.1; 108]).unwrap());
    let conv = b.conv(&x, &weight, None, Conv::new(2, 1));
    let up = b.resize(&conv, 8, 8, Interpolation::Nearest);
    let pooled = b.max_pool(&up, Pool { kernel: 2, stride: 2, padding: 0, ceil: true });
    let flat = b.flatten_from(&pooled, 2);
    let rows = b.transpose(&flat, &[0, 2, 1]);
    let best = b.reduce_max(&rows, &[-1], false);
    let (scores, positions) = b.top_k(&best, 3, 1);
    let picked = b.gather_rows(&rows, &positions);
    let parts = b.split(&picked, &[1, 3], -1);
    let sliced = b.slice(&parts[1], 2, 1, 3);
    let odds = b.softmax(&sliced, -1);
    b.output("scores", &scores);
    b.output("odds", &odds);
    bytes(&b.finish("test", "1").unwrap())
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

/// Whether running the graph would take no more memory than it should. What a graph asks for, the library allocates: that
/// is no damage that a backend can tell from a large model.
fn modest(bytes: &[u8]) -> bool {
    let Ok(model) = graph::onnx::read_structure(bytes::Bytes::copy_from_slice(bytes)) else {
        return true;
    };
    let modest = |values: &[i64]| values.iter().all(|value| value.abs() < 64);
    let attributes = model.graph.nodes.iter().flat_map(|node| node.attributes.values());
    let constants = model.graph.initializers.iter().filter(|(name, _)| *name != "w");
    attributes.into_iter().all(|attribute| match attribute {
        Attribute::Int(value) => modest(&[*value]),
        Attribute::Ints(values) => modest(values),
        _ => true,
    }) && constants
        .into_iter()
        .all(|(_, tensor)| tensor.to_f32().is_ok_and(|values| values.iter().all(|value| value.abs() < 64.0)))
}

/// Loads the bytes on every backend and, where that works, runs them; says on how many it did.
fn attack(bytes: &[u8]) -> usize {
    if !modest(bytes) {
        return 0;
    }
    let options = LoadOptions { threads: Some(1) };
    let x = Tensor::from_f32([1, 3, 8, 8], vec![0.5; 192]).unwrap();
    if let Ok(mut observer) = Observer::load(OnnxSource::Bytes(bytes.to_vec()), &options) {
        let _ = observer.shapes(&[("x", &x)]);
    }
    let loaded = usable::backends().into_iter().map(|backend| {
        let session = backend.load(OnnxSource::Bytes(bytes.to_vec()), &options);
        session.is_ok_and(|mut session| {
            let _ = session.run(&[("x", &x)]);
            true
        })
    });
    loaded.filter(|loaded| *loaded).count()
}

#[test]
fn the_victim_is_sound() {
    assert_eq!(attack(&victim()), usable::backends().len());
}

#[test]
fn cut_files_are_errors() {
    let whole = victim();
    for length in 0..whole.len() {
        attack(&whole[..length]);
    }
}

#[test]
fn damaged_files_never_end_the_program() {
    // What the library says when it breaks off is not worth reading a thousand times.
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.location().is_some_and(|location| location.file().contains("rten")) {
            before(info);
        }
    }));
    let whole = victim();
    let mut numbers = Numbers(1);
    let mut loaded = 0_usize;
    for _ in 0..1500 {
        let mut damaged = whole.clone();
        for _ in 0..=numbers.below(3) {
            let at = numbers.below(damaged.len());
            damaged[at] = match numbers.below(4) {
                0 => 0,
                1 => 255,
                2 => damaged[at] ^ (1 << numbers.below(8)),
                _ => numbers.below(256) as u8,
            };
        }
        loaded += attack(&damaged);
    }
    assert!(loaded > 100, "most damage is refused before it reaches the backend: {loaded}");
}
