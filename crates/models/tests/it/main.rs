//! Integration tests of the crate, one binary.

mod export;
mod hostile;
mod import;
mod parity;
mod pickled;
mod sources;
