//! Integration tests of the crate, one binary.

mod parity;
mod sources;
