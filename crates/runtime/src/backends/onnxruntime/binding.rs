//! Runs on a graphics processor: inputs and outputs go through page-locked memory that is kept from run to run.
//!
//! A graphics processor fetches page-locked memory by itself; ordinary memory has to be copied for it piece by piece.
//! On the processor the graph reads the caller's memory in place and there is nothing to bind.

use std::collections::HashMap;

use graph::ValueInfo;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session, SessionOutputs};
use ort::value::DynTensor;

use super::convert::Input;

/// A session's memory for its inputs and outputs.
pub(super) struct Binding {
    binding: IoBinding,
    allocator: Allocator,
    outputs: MemoryInfo<'static>,
    held: HashMap<String, DynTensor>,
}

impl Binding {
    /// Memory of this kind for a session.
    pub(super) fn new(session: &Session, device: &AllocationDevice<'static>) -> Result<Self, ort::Error> {
        let memory = |kind| MemoryInfo::new(device.clone(), 0, AllocatorType::Device, kind);
        Ok(Self {
            binding: session.create_binding()?,
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
            let bound = self.binding.bind_output_to_device(info.name.as_str(), &self.outputs);
            bound.map_err(|error| error.to_string())?;
        }
        self.binding.synchronize_inputs().map_err(|error| error.to_string())?;
        session.run_binding(&self.binding).map_err(|error| error.to_string())
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
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address, bytes.len()) };
        }
        self.binding.bind_input(name, held).map_err(|error| error.to_string())
    }
}
