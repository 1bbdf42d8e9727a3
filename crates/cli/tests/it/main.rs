//! The program as a user runs it: real input, wrong input, killed half-way.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod doctor;
mod engines;
mod families;
mod faults;
mod import;
mod in_graph;
mod killed;
mod local_run;
#[path = "../../../deploy/tests/it/nvinfer.rs"]
mod nvinfer;
mod optimize;
mod planner;
mod program;
mod quantize;
mod single;
mod triton;
mod video;
mod wrong_input;
