//! How an image becomes the input tensors.
//!
//! The order of the steps is part of the description: letterbox padding is normalised with the image, the padding of
//! the shortest-edge policy is not.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::detector::{named, refused};

/// Largest side of an input, in pixels: beyond it a description is taken for damaged.
const LARGEST_SIDE: u32 = 16_384;

/// How an image becomes the input tensor: `[batch, 3, height, width]`, always channels first.
///
/// Order: convert to RGB, resize, pad (letterbox), `(x * scale - mean) / std`, channel order, pad (shortest edge).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageInput {
    /// Name of the graph's image input.
    pub tensor: String,
    /// Width of the input tensor in pixels.
    pub width: u32,
    /// Height of the input tensor in pixels.
    pub height: u32,
    /// Which colour is channel 0.
    pub channels: ChannelOrder,
    /// How an image of any size is made to fit.
    pub resize: Resize,
    /// Interpolation of the resize.
    pub filter: Filter,
    /// Whether the filter widens with the reduction, as PIL and torchvision do (`OpenCV` does not).
    pub antialias: bool,
    /// Applied first to the bytes 0–255: 1/255, or 1 when the model wants 0–255.
    pub scale: f32,
    /// Subtracted after `scale`, in the tensor's channel order.
    pub mean: [f32; 3],
    /// Divided by after `mean`, in the tensor's channel order.
    pub std: [f32; 3],
    /// Element type of the input tensor.
    pub dtype: ElementType,
    /// The `pixel_mask` input of the DETR family, where the graph has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<PixelMask>,
    /// Name of an int64 input `[batch, 2]` that takes (width, height) of the original image, where the graph has one
    /// (`orig_target_sizes` of the RT-DETR and D-FINE repositories).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<String>,
    /// Set when the graph takes raw frames and does all of the above itself; the fields then say what it does inside, and
    /// boxes come out in pixels of the frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<Frames>,
}

/// Raw frames that a graph takes: `uint8`, of any size, all of one batch alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "layout", rename_all = "snake_case", deny_unknown_fields)]
pub enum Frames {
    /// `[batch, height, width, 3]`, red first.
    Rgb,
    /// `[batch, height, width, 3]`, blue first (`OpenCV`).
    Bgr,
    /// NV12, as video decoders give it: brightness `[batch, height, width]` in the image tensor, and colour at half the
    /// size in a second one.
    Nv12 {
        /// Name of the input `[batch, height / 2, width / 2, 2]`, both rounded up: Cb, Cr.
        uv: String,
        /// What brightness and colour mean, always of limited range (16–235, 16–240).
        matrix: Matrix,
    },
}

/// The standard that defines a video's colours. A stream says which one it follows; where it does not, HD (720 lines and
/// more) is taken for BT.709 and smaller pictures for BT.601.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Matrix {
    /// ITU-R BT.601: SD.
    #[serde(rename = "bt601")]
    Bt601,
    /// ITU-R BT.709: HD.
    #[serde(rename = "bt709")]
    Bt709,
}

/// The int64 input `[batch, height, width]` that is 1 on the image and 0 on the padding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelMask {
    /// Name of the graph's mask input.
    pub tensor: String,
    /// Declared width: the input's, or 64 in older exports.
    pub width: u32,
    /// Declared height: the input's, or 64 in older exports.
    pub height: u32,
}

/// Which colour is channel 0 of the input tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelOrder {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// Element type of the input tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ElementType {
    /// 32-bit floats.
    #[serde(rename = "float32")]
    F32,
    /// 16-bit floats.
    #[serde(rename = "float16")]
    F16,
    /// Bytes 0–255: the graph itself normalises.
    #[serde(rename = "uint8")]
    U8,
}

/// How an image of any size is made to fit `width` × `height`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "snake_case", deny_unknown_fields)]
pub enum Resize {
    /// Both sides set; the aspect ratio is not kept.
    Stretch,
    /// Ratio kept, the rest filled with grey before normalisation.
    Letterbox {
        /// Value of the padding, 0–255, in every channel (Ultralytics: 114).
        fill: u8,
        /// Image in the middle (Ultralytics), or in the top left corner.
        centred: bool,
        /// Whether small images are enlarged.
        upscale: bool,
    },
    /// Ratio kept by the shortest and longest side (Hugging Face DETR); padded right and bottom with 0 *after*
    /// normalisation. An image that would not fit `width` × `height` is reduced further.
    ShortestEdge {
        /// Wanted length of the shorter side.
        shortest: u32,
        /// Bound of the longer side.
        longest: u32,
        /// Both sides are rounded down to a multiple of this (YOLOS: 16).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        multiple_of: Option<u32>,
    },
}

/// Interpolation of a resize, by PIL's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Nearest neighbour.
    Nearest,
    /// Area average.
    Box,
    /// Linear.
    Bilinear,
    /// Hamming window of a linear filter's support.
    Hamming,
    /// Cubic with a = −0.5; without antialiasing −0.75, as `OpenCV` and `PyTorch` have it.
    Bicubic,
    /// Lanczos of three lobes.
    Lanczos,
}
impl ImageInput {
    pub(crate) fn validate(&self) -> Result<(), Error> {
        named("input.tensor", &self.tensor)?;
        if let Some(name) = &self.image_size {
            named("input.image_size", name)?;
        }
        if let Some(frames) = &self.frames {
            frames.validate(self)?;
        }
        side("input.width", self.width)?;
        side("input.height", self.height)?;
        if let Some(mask) = &self.mask {
            named("input.mask.tensor", &mask.tensor)?;
            side("input.mask.width", mask.width)?;
            side("input.mask.height", mask.height)?;
        }
        if !(self.scale.is_finite() && self.scale > 0.0) {
            return Err(refused("input.scale", self.scale, "a positive number"));
        }
        if !self.mean.iter().all(|mean| mean.is_finite()) {
            return Err(refused("input.mean", format!("{:?}", self.mean), "three finite numbers"));
        }
        if !self.std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return Err(refused("input.std", format!("{:?}", self.std), "three positive numbers"));
        }
        if self.dtype == ElementType::U8 && !self.is_identity() {
            return Err(refused("input.dtype", "`uint8`", "scale 1, mean 0 and std 1 with it"));
        }
        self.resize.validate()
    }

    /// The graph's inputs as people read them: name, element type and shape of each.
    pub fn tensors(&self) -> Vec<(&str, &'static str, String)> {
        let mut all = Vec::new();
        match &self.frames {
            None => {
                all.push((
                    &*self.tensor,
                    self.dtype.name(),
                    format!("batch, 3, {}, {}", self.height, self.width),
                ));
            }
            Some(Frames::Rgb | Frames::Bgr) => {
                all.push((&self.tensor, "uint8", "batch, height, width, 3".into()));
            }
            Some(Frames::Nv12 { uv, .. }) => {
                all.push((&self.tensor, "uint8", "batch, height, width".into()));
                all.push((uv, "uint8", "batch, height / 2, width / 2, 2".into()));
            }
        }
        if let Some(mask) = &self.mask {
            all.push((&mask.tensor, "int64", format!("batch, {}, {}", mask.height, mask.width)));
        }
        if let Some(size) = &self.image_size {
            all.push((size, "int64", "batch, 2".into()));
        }
        all
    }

    /// Whether the tensor holds the bytes 0–255 as they are.
    #[expect(clippy::float_cmp, reason = "only the exact identity leaves the bytes as they are")]
    pub fn is_identity(&self) -> bool {
        self.scale == 1.0 && self.mean == [0.0; 3] && self.std == [1.0; 3]
    }
}

impl ElementType {
    /// The name that ONNX gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::U8 => "uint8",
        }
    }
}

impl Frames {
    /// What the frames are, in a few words.
    pub fn about(&self) -> &'static str {
        match self {
            Self::Rgb => "RGB frames of any size",
            Self::Bgr => "BGR frames of any size",
            Self::Nv12 { matrix: Matrix::Bt601, .. } => "NV12 frames of any size, BT.601, limited range",
            Self::Nv12 { matrix: Matrix::Bt709, .. } => "NV12 frames of any size, BT.709, limited range",
        }
    }

    /// The usual name of the tensor of frames; of NV12, that of brightness.
    pub fn tensor(&self) -> &'static str {
        match self {
            Self::Rgb | Self::Bgr => "frames",
            Self::Nv12 { .. } => "frames_y",
        }
    }

    /// NV12 under its usual names.
    pub fn nv12(matrix: Matrix) -> Self {
        Self::Nv12 { uv: "frames_uv".into(), matrix }
    }

    fn validate(&self, input: &ImageInput) -> Result<(), Error> {
        if let Self::Nv12 { uv, .. } = self {
            named("input.frames.uv", uv)?;
            if *uv == input.tensor {
                return Err(refused(
                    "input.frames.uv",
                    format!("`{uv}`"),
                    "another name than `input.tensor`",
                ));
            }
        }
        if input.mask.is_some() || input.image_size.is_some() {
            return Err(refused("input.frames", "set", "no `mask` and no `image_size` beside it"));
        }
        Ok(())
    }
}

impl Resize {
    fn validate(self) -> Result<(), Error> {
        let Self::ShortestEdge { shortest, longest, multiple_of } = self else {
            return Ok(());
        };
        side("input.resize.shortest", shortest)?;
        side("input.resize.longest", longest)?;
        if longest < shortest {
            return Err(refused("input.resize.longest", longest, format!("at least {shortest}")));
        }
        match multiple_of {
            Some(step) if step == 0 || step > shortest => {
                Err(refused("input.resize.multiple_of", step, format!("1 to {shortest}")))
            }
            _ => Ok(()),
        }
    }
}

impl Filter {
    /// The filter of a `resample` code in `preprocessor_config.json` (PIL's numbering), `None` for an unknown code.
    pub fn from_pil(code: u32) -> Option<Self> {
        [Self::Nearest, Self::Lanczos, Self::Bilinear, Self::Bicubic, Self::Box, Self::Hamming]
            .get(code as usize)
            .copied()
    }
}

fn side(field: &str, side: u32) -> Result<(), Error> {
    if (1..=LARGEST_SIDE).contains(&side) {
        return Ok(());
    }
    Err(refused(field, side, format!("1 to {LARGEST_SIDE} pixels")))
}
