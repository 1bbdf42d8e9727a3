//! The program as a user runs it: real input, wrong input, killed half-way.

mod import;
mod killed;
mod program;
mod single;
mod wrong_input;
