//! A built engine as a [`Session`]: inputs go to files, `trtexec` runs once, outputs are read back.
//!
//! Slow (the engine is loaded for every run) and without any binding to TensorRT: made for showing that an engine answers
//! what its graph answers, which `trtexec`'s own `PASSED` does not say.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use graph::{DataType, Tensor, ValueInfo};

use super::outputs::read_outputs;
use super::{Load, Running, Trtexec};
use crate::{Error, Session, checks};

/// Loading a large engine from a cold disk and running it once.
const PATIENCE: Duration = Duration::from_mins(10);

/// An engine that is run through `trtexec`.
#[derive(Debug)]
pub struct EngineSession {
    /// The program.
    pub trtexec: Trtexec,
    /// The engine's file, absolute.
    pub engine: PathBuf,
    /// The graph's inputs.
    pub inputs: Vec<ValueInfo>,
    /// The graph's outputs.
    pub outputs: Vec<ValueInfo>,
    /// A folder for files in between; the last run's stay.
    pub folder: PathBuf,
    /// Libraries of plug-ins.
    pub plugins: Vec<PathBuf>,
    /// The graphics processor, by its number.
    pub device: Option<u32>,
    /// Set by someone else to end it.
    pub cancelled: Arc<AtomicBool>,
}

impl Session for EngineSession {
    fn inputs(&self) -> &[ValueInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[ValueInfo] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, Error> {
        let tensors = checks::in_order(&self.inputs, inputs)?;
        let (mut files, mut shapes) = (Vec::new(), Vec::new());
        for (at, (info, tensor)) in self.inputs.iter().zip(tensors).enumerate() {
            let file = format!("input-{at}.bin");
            let path = self.folder.join(&file);
            let bytes = self.raw(tensor)?;
            std::fs::write(&path, bytes).map_err(|source| Error::Write { path, source })?;
            files.push((info.name.clone(), file));
            if info.fixed_shape().is_none() {
                shapes.push((info.name.clone(), tensor.shape().to_vec()));
            }
        }
        let written = self.folder.join("outputs.json");
        // What an earlier run wrote must not be taken for this one's.
        let _ = std::fs::remove_file(&written);
        let load =
            Load { engine: &self.engine, shapes: &shapes, plugins: &self.plugins, device: self.device };
        let arguments = load.answer(self.trtexec.version, &files, &written);
        let log = self.folder.join("answer.log");
        let running =
            Running { folder: &self.folder, log: &log, limit: PATIENCE, cancelled: &self.cancelled };
        self.trtexec.run(&arguments, &running, &mut |_| {})?;
        let bytes = std::fs::read(&written).map_err(|source| Error::Read { path: written, source })?;
        read_outputs(&String::from_utf8_lossy(&bytes), &self.outputs)
    }
}

impl EngineSession {
    /// The bytes as the engine takes them: up to TensorRT 9 whole numbers have 32 bits.
    fn raw(&self, tensor: &Tensor) -> Result<bytes::Bytes, Error> {
        if tensor.dtype() != DataType::I64 || self.trtexec.version.has_int64() {
            return Ok(tensor.bytes());
        }
        let narrow = tensor.to_i64()?.into_iter().map(|value| {
            i32::try_from(value).map_err(|_| Error::IntegerRange {
                backend: "trtexec",
                name: String::new(),
                value,
            })
        });
        Ok(Tensor::from_i32(tensor.shape(), narrow.collect::<Result<_, _>>()?)?.bytes())
    }
}
