//! Integration tests of the crate, one binary.

#![expect(clippy::unwrap_used, reason = "the functions that tests call are tests too")]

mod detr;
mod distributions;
mod engines;
mod export;
mod grounding_dino;
mod hostile;
mod import;
mod parity;
mod pickled;
mod prompts;
mod sources;
mod transformers;
mod ultralytics;
#[path = "../../../runtime/tests/it/usable.rs"]
mod usable;
