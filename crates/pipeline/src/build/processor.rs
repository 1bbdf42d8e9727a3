//! The graphics processors that `trtexec` builds on.

use runtime::tools::nvidia_smi;
use runtime::{Gpu, Machine};

use crate::Error;

/// A graphics processor that an engine is built on and for.
pub(super) struct Processor {
    pub(super) gpu: Gpu,
    /// Memory that nobody uses; `None` where it is not known.
    pub(super) free_mib: Option<u64>,
    /// Its number, where one was asked for.
    pub(super) device: Option<u32>,
    /// Whether engines are built for others too: then paths say which.
    is_one_of_several: bool,
}

impl Processor {
    /// Those with these numbers; the first one without any. Where the driver tells nothing (Jetson), the machine stands for
    /// it.
    pub(super) fn chosen(numbers: &[u32]) -> Result<Vec<Self>, Error> {
        let machine = Machine::detect();
        let free = nvidia_smi::free_memory_mib().unwrap_or_default();
        let unnamed = || Gpu {
            name: machine.cpu.clone().unwrap_or_else(|| machine.architecture.clone()),
            memory_mib: None,
            driver: machine.kernel.clone().unwrap_or_default(),
            compute_capability: None,
        };
        let at = |number: u32, device| {
            let gpu = machine.gpus.get(number as usize).cloned();
            if gpu.is_none() && !machine.gpus.is_empty() {
                let count = machine.gpus.len();
                return Err(Error::Options(format!("there is no GPU {number}: they are 0 to {}", count - 1)));
            }
            Ok(Self {
                gpu: gpu.unwrap_or_else(unnamed),
                free_mib: free.get(number as usize).copied().flatten(),
                device,
                is_one_of_several: numbers.len() > 1,
            })
        };
        match numbers {
            [] => Ok(vec![at(0, None)?]),
            numbers => numbers.iter().map(|number| at(*number, Some(*number))).collect(),
        }
    }

    /// What its notes begin with.
    pub(super) fn prefix(&self) -> String {
        self.device
            .filter(|_| self.is_one_of_several)
            .map_or(String::new(), |device| format!("GPU {device}: "))
    }

    /// What a build is remembered by.
    pub(super) fn label(&self, stem: &str) -> String {
        match self.device.filter(|_| self.is_one_of_several) {
            Some(device) => format!("{stem} on GPU {device}"),
            None => stem.to_owned(),
        }
    }

    pub(super) fn engine_path(&self, path: &str) -> String {
        match (self.device.filter(|_| self.is_one_of_several), path.rsplit_once('/')) {
            (Some(device), Some((folder, file))) => format!("{folder}/gpu{device}/{file}"),
            _ => path.to_owned(),
        }
    }

    pub(super) fn log_path(&self, batch: u32) -> String {
        let path = deploy::paths::trtexec_log(batch);
        match self.device.filter(|_| self.is_one_of_several) {
            Some(device) => path.replacen("benchmarks/", &format!("benchmarks/gpu{device}/"), 1),
            None => path,
        }
    }
}
