//! Integration tests of the crate, one binary.

#![expect(clippy::unwrap_used, reason = "the functions that tests call are tests too")]

mod export;
mod hostile;
mod import;
mod parity;
mod pickled;
mod sources;
mod ultralytics;
