//! Runs on a graphics processor: inputs and outputs go through page-locked memory that is kept from run to run.
//!
//! A graphics processor fetches page-locked memory by itself; ordinary memory has to be copied for it piece by piece.
//! On the processor the graph reads the caller's memory in place and there is nothing to bind.

use std::collections::HashMap;

use graph::ValueInfo;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session, SessionOutputs};
use ort::value::DynTensor;

use rayon::prelude::*;

use super::convert::Input;

/// Bytes that one thread copies at a time: one core alone is slower than the way to the graphics processor.
const PIECE: usize = 4 << 20;

/// A session's memory for its inputs and outputs.
pub(super) struct Binding {
    places: IoBinding,
    allocator: Allocator,
    outputs: MemoryInfo<'static>,
    held: HashMap<String, DynTensor>,
}

impl Binding {
    /// Memory of this kind for a session.
    pub(super) fn new(session: &Session, device: &AllocationDevice<'static>) -> Result<Self, ort::Error> {
        let memory = |kind| MemoryInfo::new(device.clone(), 0, AllocatorType::Device, kind);
        Ok(Self {
            places: session.create_binding()?,
            allocator: Allocator::new(session, memory(MemoryType::CPUInput)?)?,
            outputs: memory(MemoryType::CPUOutput)?,
            held: HashMap::new(),
        })
    }

    /// Copies the inputs into their places and runs the graph.
    pub(super) fn run<'a>(
        &'a mut self,
        session: &'a mut Session,
        inputs: &[(&str, Input)],
        outputs: &[ValueInfo],
    ) -> Result<SessionOutputs<'a>, String> {
        for (name, input) in inputs {
            self.bind(name, input)?;
        }
        for info in outputs {
            // Named anew for every run: an output of an earlier one would be written over, and has its shape.
            let bound = self.places.bind_output_to_device(info.name.as_str(), &self.outputs);
            bound.map_err(|error| error.to_string())?;
        }
        // Copies from page-locked memory are over when binding returns; waiting for the whole device would wait for the
        // runs of other sessions too.
        session.run_binding(&self.places).map_err(|error| error.to_string())
    }

    #[expect(unsafe_code, reason = "the library hands out the address of memory to fill")]
    fn bind(&mut self, name: &str, input: &Input) -> Result<(), String> {
        let element = input.element_type().ok_or("an input of a type that cannot be handed over")?;
        let fits = |held: &DynTensor| *held.data_type() == element && **held.shape() == *input.shape();
        if !self.held.get(name).is_some_and(fits) {
            let fresh = DynTensor::new(&self.allocator, element, input.shape().to_vec());
            self.held.insert(name.to_owned(), fresh.map_err(|error| error.to_string())?);
        }
        let held = self.held.get_mut(name).ok_or("an input without memory")?;
        let bytes = input.bytes();
        if held.size() != Some(bytes.len()) {
            return Err(format!("input `{name}` has {} bytes, its memory {:?}", bytes.len(), held.size()));
        }
        if !bytes.is_empty() {
            let address = held.data_ptr_mut().cast::<u8>();
            if address.is_null() {
                return Err(format!("there is no memory for input `{name}`"));
            }
            // SAFETY: the tensor was allocated here in memory that the processor reaches (page-locked or ordinary), has
            // `bytes.len()` bytes as checked above, and no run is going on that reads it.
            let place = unsafe { std::slice::from_raw_parts_mut(address, bytes.len()) };
            place
                .par_chunks_mut(PIECE)
                .zip(bytes.par_chunks(PIECE))
                .for_each(|(to, from)| to.copy_from_slice(from));
        }
        self.places.bind_input(name, held).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use graph::{Builder, DataType, Dim, Tensor};

    use super::super::{CPU, Outline, library, session};
    use super::*;
    use crate::backends::onnxruntime::{placement::SizeNodes, refusal::Names};
    use crate::{Backend, OnnxSource};

    /// Page-locked memory needs a graphics processor; everything else is the same with the processor's own.
    #[test]
    fn bound_runs_follow_shapes_and_values() {
        #[expect(
            clippy::disallowed_methods,
            reason = "tests are told by the environment which library to use"
        )]
        let Ok(path) = std::env::var("SIGHTLINE_ONNXRUNTIME") else {
            println!("skipped: `SIGHTLINE_ONNXRUNTIME` names no library");
            return;
        };
        library::use_library(Path::new(&path)).unwrap();
        let mut builder = Builder::new("bound", 17);
        let rows = |last| vec![Dim::batch(), Dim::Fixed(last)];
        let x = builder.input("x", DataType::F32, rows(2));
        let y = builder.input("y", DataType::F32, rows(2));
        let sum = builder.add(&x, &y);
        let pieces = builder.split(&sum, &[1, 1], 1);
        builder.output("b", &pieces[1]);
        builder.output("a", &pieces[0]);
        let model = builder.finish("test", "1").unwrap();
        let outputs = model.graph.outputs.clone();
        let outline = Outline {
            inputs: Vec::new(),
            outputs: Vec::new(),
            names: Names::of(&model.graph),
            sizes: SizeNodes::of(&model.graph),
        };
        let mut bytes = Vec::new();
        graph::onnx::write(&model, &mut bytes).unwrap();
        let loaded = library::loaded(CPU.name()).unwrap();
        let source = OnnxSource::Bytes(bytes);
        let mut session = session::load(&CPU, &loaded, &outline, &source, 1).unwrap();
        let mut binding = Binding::new(&session, &AllocationDevice::CPU).unwrap();
        for (batch, value) in [(1, 1.0_f32), (1, 2.0), (3, 4.0), (0, 0.0), (1, 8.0)] {
            let x = Tensor::from_f32([batch, 2], vec![value; 2 * batch]).unwrap();
            let y = Tensor::from_f32([batch, 2], [10.0, 20.0].repeat(batch)).unwrap();
            let given = [("y", &y), ("x", &x)];
            let fed = given.map(|(name, tensor)| (name, Input::new("onnxruntime", name, tensor).unwrap()));
            let mut found = binding.run(&mut session, &fed, &outputs).unwrap();
            for (name, expected) in [("a", 10.0 + value), ("b", 20.0 + value)] {
                let output = super::super::convert::output(name, found.remove(name).unwrap(), None).unwrap();
                assert_eq!(output, Tensor::from_f32([batch, 1], vec![expected; batch]).unwrap());
            }
        }
    }
}
