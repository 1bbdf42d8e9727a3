//! `run`: a video through the detector, judged by what comes out.

mod flow;
mod gate;
mod kitti;
mod known;
mod local;
mod place;
mod record;

pub use gate::Gate;
pub use known::KnownFrames;
pub use local::{Playing, Played, play};
