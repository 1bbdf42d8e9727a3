//! `trtexec`: building, timing and asking TensorRT engines, for TensorRT 8.6 to 11.
//!
//! The program is found ([`Trtexec::find`]), its command line rendered for its generation ([`Build`], [`Load`]), run with a
//! log ([`Trtexec::run`]), and what it prints is read ([`Log`]). It prints `PASSED` for engines that answer wrong: an
//! [`EngineSession`] runs one on real input, so that its answers can be compared.

mod command;
mod failure;
mod find;
mod log;
mod outputs;
mod phase;
mod run;
mod session;
mod version;

pub use command::{Build, Load, Numbers, quoted, workspace_mib};
pub use failure::{Cause, Failure};
pub use find::Trtexec;
pub use log::{Log, Performance, Statistics};
pub use outputs::read_outputs;
pub use phase::Phase;
pub use run::{Event, Running};
pub use session::EngineSession;
pub use version::{Generation, Version};
