//! `run`: a video through the detector, judged by what comes out.

mod deepstream;
mod flow;
mod gate;
mod kitti;
mod known;
mod local;
mod place;
mod record;

pub use deepstream::{Streamed, Streaming, stream};
pub use gate::Gate;
pub use known::KnownFrames;
pub use local::{Played, Playing, play};
pub(crate) use record::kept;
