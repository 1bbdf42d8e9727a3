//! What makes large models cheap: nothing is copied on reading, one chunk at a time is computed on writing.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use graph::{Builder, DataType, Dim, Error, Model, Tensor, onnx};

use crate::{again, written};

/// Counts the bytes of recipes that were computed and not dropped yet.
struct Counted {
    bytes: Vec<u8>,
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(self.bytes.len(), Ordering::SeqCst);
    }
}

fn deferred_model(count: usize, bytes: usize, alive: &Arc<AtomicUsize>, peak: &Arc<AtomicUsize>) -> Model {
    let mut b = Builder::new("deferred", 17);
    let mut x = b.input("x", DataType::U8, vec![Dim::Fixed(bytes)]);
    for index in 0..count {
        let (alive, peak) = (alive.clone(), peak.clone());
        let tensor = Tensor::deferred(DataType::U8, [bytes], move || {
            let now = alive.fetch_add(bytes, Ordering::SeqCst) + bytes;
            peak.fetch_max(now, Ordering::SeqCst);
            Bytes::from_owner(Counted { bytes: vec![index as u8; bytes], alive: alive.clone() })
        });
        let weight = b.weight(&format!("w{index}"), tensor);
        x = b.add(&x, &weight);
    }
    b.output("y", &x);
    b.finish("test", "1").unwrap()
}

#[test]
fn computed_weights_are_never_all_in_memory() {
    let (alive, peak) = (Arc::default(), Arc::default());
    let model = deferred_model(40, 4 << 20, &alive, &peak);
    let count = onnx::write(&model, &mut io::sink()).unwrap();
    assert!(count > 160 << 20);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    let peak = peak.load(Ordering::SeqCst);
    assert!((4 << 20..=64 << 20).contains(&peak), "{peak} bytes at once");
}

#[test]
fn a_computed_weight_is_written_like_a_ready_one() {
    let (alive, peak) = (Arc::default(), Arc::default());
    let model = deferred_model(3, 10, &alive, &peak);
    assert!(model.graph.initializers.values().all(Tensor::is_deferred));
    let copy = again(&model);
    assert_eq!(copy, model);
    assert_eq!(written(&copy), written(&model));
}

#[test]
fn weights_are_slices_of_the_file() {
    let mut b = Builder::new("mapped", 17);
    let x = b.input("x", DataType::F32, vec![Dim::Fixed(1000)]);
    let w = b.weight("w", Tensor::from_f32([1000], vec![0.5; 1000]).unwrap());
    let y = b.add(&x, &w);
    b.output("y", &y);
    let file = written(&b.finish("test", "1").unwrap());
    let model = onnx::read_structure(file.clone()).unwrap();
    let weight = model.graph.initializers["w"].bytes();
    assert!(file.as_ptr_range().contains(&weight.as_ptr()), "the weight was copied");
}

#[test]
fn a_recipe_that_gives_another_number_of_bytes_is_an_error() {
    let mut b = Builder::new("lying", 17);
    let x = b.input("x", DataType::U8, vec![Dim::Fixed(4)]);
    let w = b.weight("w", Tensor::deferred(DataType::U8, [4], || Bytes::from_static(b"123")));
    let y = b.add(&x, &w);
    b.output("y", &y);
    let model = b.finish("test", "1").unwrap();
    let error = onnx::write(&model, &mut io::sink()).unwrap_err();
    assert!(matches!(error, Error::BadTensor { ref name, .. } if name == "w"), "{error}");
}

#[test]
fn a_model_that_no_file_holds_is_refused_before_a_byte_is_written() {
    struct Refuse;
    impl Write for Refuse {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("nothing may be written");
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut b = Builder::new("large", 17);
    let shape = [1_usize << 15, 1 << 15];
    let x = b.input("x", DataType::F16, shape.iter().map(|size| Dim::Fixed(*size)).collect());
    let w = b.weight("w", Tensor::deferred(DataType::F16, shape, || panic!("nothing may be computed")));
    let y = b.add(&x, &w);
    b.output("y", &y);
    let model = b.finish("test", "1").unwrap();
    match onnx::write(&model, &mut Refuse) {
        Err(Error::TooLarge { bytes }) => assert!(bytes > 1 << 31),
        other => panic!("{other:?}"),
    }
}
