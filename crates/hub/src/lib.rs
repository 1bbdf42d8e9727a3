//! Model files from the Hugging Face Hub, NVIDIA's catalog and this disk: list, choose, download, check.
//!
//! [`Source`] says where a model is, [`choose()`] which of its files are wanted, [`acquire()`] brings them here. This is
//! the only crate that opens a socket, and it reads no environment variable: everything comes in a [`Config`].
//! A file that [`acquire()`] hands out has been read to its end and has the digest that its hub promises.
//!
//! # Why not the `hf-hub` crate
//!
//! Checked in its source, releases 0.4 to 1.0:
//!
//! - No release compares what arrived with the promised SHA-256 or git hash; a damaged file gets its final name.
//! - 1.0 begins a file again from its first byte after a cut (`File::create` on the partial file). 0.4 and 0.5 append
//!   to what is there unchecked, retry every error alike, and know neither the tree listing nor `Retry-After`.
//! - 1.0 is asynchronous; its blocking interface is a thread with a Tokio runtime. With reqwest, hyper and Xet it
//!   compiles to about 610 MB, for a program that fetches four files, and it falls back to `HF_*` variables unasked.
//!
//! What is needed here is three addresses and one careful download loop on a blocking client (`ureq`) and threads.
//! The cache layout is the shared one, so files come and go between this program, Python and `hf-hub` itself. Xet is
//! left out: the plain addresses give every file up to 50 GB.

mod acquire;
mod cache;
pub mod choose;
mod client;
mod config;
mod download;
mod error;
mod hugging_face;
pub mod libraries;
mod licence;
mod local;
pub mod ngc;
mod progress;
mod source;

pub use acquire::{AcquireOptions, Acquired, AcquiredFile, ExternalData, acquire};
pub use choose::{Candidate, Choice, Kind, Variant, VariantPreference, WeightsFormat, choose};
pub use client::Client;
pub use config::{Config, NgcConfig, RetryPolicy, Secret, Sleep, SplitPolicy, TokenSource};
pub use error::{Error, Result};
pub use progress::Event;
pub use source::{HUGGING_FACE, MODEL_EXTENSIONS, NgcId, RepoId, RepoPath, Revision, Source};
