//! The crate against servers on loopback that speak the hubs' real protocols. Nothing here reaches a network.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod catalog;
mod downloads;
mod fake_catalog;
mod fake_hub;
mod libraries;
mod local;
mod python_cache;
mod refusals;
mod server;
mod setup;
mod splitting;
