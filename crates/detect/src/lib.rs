//! Around the network: pixels in, detections out, datasets and metrics.
//!
//! Everything here derives from one value, [`Detector`]: how an image becomes the input tensor and how the output
//! tensors become boxes. The crate is pure: it takes bytes and gives values, and opens no file.

mod boxes;
pub mod dataset;
mod decode;
mod detector;
mod draw;
mod error;
mod frames;
mod geometry;
mod head;
mod image;
pub mod in_graph;
mod input;
mod labels;
pub mod metrics;
mod nms;
mod preprocess;
mod resample;

pub use boxes::{Cxcywh, Xyxy, iou};
pub use decode::{Detection, Detections, Thresholds};
pub use detector::Detector;
pub use draw::{class_colour, draw, encode_jpeg, encode_png};
pub use error::Error;
pub use geometry::Geometry;
pub use head::{Activation, Background, BoxFormat, DenseLayout, Head, Selection};
pub use image::Image;
pub use input::{ChannelOrder, ElementType, Filter, Frames, ImageInput, Matrix, PixelMask, Resize};
pub use labels::Labels;
pub use nms::{suppress, suppress_all};
pub use preprocess::{Preprocessed, preprocess};
