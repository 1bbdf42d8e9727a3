//! Outside programs. One file each; a program that is not installed is an absent answer, not a failure.

pub mod nvidia_smi;
pub mod python_exporter;
