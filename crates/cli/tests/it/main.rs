//! The program as a user runs it: real input, wrong input, killed half-way.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod families;
mod faults;
mod import;
mod killed;
mod optimize;
mod planner;
mod program;
mod quantize;
mod single;
mod triton;
mod wrong_input;
