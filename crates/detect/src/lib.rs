//! Around the network: pixels in, detections out, datasets and metrics.
//!
//! Everything here derives from one value, [`Detector`]: how an image becomes the input tensor and how the output
//! tensors become boxes. The crate is pure: it takes bytes and gives values, and opens no file.

mod detector;
mod error;
mod labels;

pub use detector::{
    Activation, Background, BoxFormat, ChannelOrder, DenseLayout, Detector, ElementType, Filter, Head,
    ImageInput, PixelMask, Resize, Selection,
};
pub use error::Error;
pub use labels::Labels;
