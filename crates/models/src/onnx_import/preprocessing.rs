//! How a foreign graph wants its image: by the processor's file, by nvinfer's keys, or by the program that wrote it.
//!
//! The layout of a graph says nothing about normalisation, so a graph without any of these needs `--normalize` and
//! `--resize`.

use std::str::FromStr;

use detect::{ChannelOrder, ElementType, Filter, Head, ImageInput, PixelMask, Resize};

use super::inputs::{GRAPH, Inputs};
use super::{Found, ImportOptions};
use crate::Error;

const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// How bytes become numbers, where no file says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalization {
    /// The bytes 0–255 as they are.
    None,
    /// 0–1.
    Unit,
    /// 0–1, then `ImageNet`'s mean and standard deviation.
    ImageNet,
}

impl FromStr for Normalization {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "none" => Ok(Self::None),
            "unit" => Ok(Self::Unit),
            "imagenet" => Ok(Self::ImageNet),
            other => Err(format!("`{other}` is none of none, unit, imagenet")),
        }
    }
}

/// The parts that provenance decides.
#[derive(Clone)]
struct Recipe {
    /// Height and width, where the provenance says so.
    size: Option<(u32, u32)>,
    resize: Option<Resize>,
    filter: Filter,
    antialias: bool,
    channels: ChannelOrder,
    scale: f32,
    mean: [f32; 3],
    std: [f32; 3],
}

impl Recipe {
    const UNIT: Self = Self {
        size: None,
        resize: None,
        filter: Filter::Bilinear,
        antialias: false,
        channels: ChannelOrder::Rgb,
        scale: 1.0 / 255.0,
        mean: [0.0; 3],
        std: [1.0; 3],
    };

    fn normalized(self, normalization: Normalization) -> Self {
        let (scale, mean, std) = match normalization {
            Normalization::None => (1.0, [0.0; 3], [1.0; 3]),
            Normalization::Unit => (1.0 / 255.0, [0.0; 3], [1.0; 3]),
            Normalization::ImageNet => (1.0 / 255.0, IMAGENET_MEAN, IMAGENET_STD),
        };
        Self { scale, mean, std, ..self }
    }
}

/// The image input of the graph.
///
/// # Errors
/// [`Error::Underivable`] when nothing says what the option named there would say.
pub(super) fn derive(
    found: &Found,
    inputs: &Inputs,
    head: &Head,
    options: &ImportOptions,
) -> Result<ImageInput, Error> {
    let known = by_provenance(found, inputs, head);
    let raw_bytes = inputs.dtype == ElementType::U8;
    let recipe = match (known, options.normalization) {
        // A graph that takes bytes normalises them itself.
        (known, _) if raw_bytes => known.unwrap_or(Recipe::UNIT).normalized(Normalization::None),
        (known, Some(normalization)) => known.unwrap_or(Recipe::UNIT).normalized(normalization),
        (Some(known), None) => known,
        (None, None) => {
            return Err(Error::Underivable {
                what: "the normalisation of the image",
                reason: "no file beside the graph and no metadata says it".into(),
                option: "--normalize none|unit|imagenet",
            });
        }
    };
    let (height, width) = size(&recipe, inputs, options)?;
    let resize = options.resize.or(recipe.resize).ok_or_else(|| Error::Underivable {
        what: "the resize policy",
        reason: "no file beside the graph and no metadata says it".into(),
        option: "--resize stretch|letterbox",
    })?;
    let mask = inputs.mask.as_ref().map(|(tensor, mask_height, mask_width)| PixelMask {
        tensor: tensor.clone(),
        width: mask_width.unwrap_or(width),
        height: mask_height.unwrap_or(height),
    });
    Ok(ImageInput {
        tensor: inputs.image.clone(),
        width,
        height,
        channels: recipe.channels,
        resize,
        filter: recipe.filter,
        antialias: recipe.antialias,
        scale: recipe.scale,
        mean: recipe.mean,
        std: recipe.std,
        dtype: inputs.dtype,
        mask,
        image_size: inputs.image_size.clone(),
        frames: None,
    })
}

fn by_provenance(found: &Found, inputs: &Inputs, head: &Head) -> Option<Recipe> {
    if let Some(processor) = &found.processor {
        return Some(Recipe {
            size: Some(processor.canvas()),
            resize: processor.resize(),
            filter: processor.filter,
            antialias: processor.antialias,
            channels: ChannelOrder::Rgb,
            scale: processor.scale,
            mean: processor.mean,
            std: processor.std,
        });
    }
    if let Some(nvinfer) = &found.nvinfer {
        // scale × (x − offset) = x × scale − offset × scale
        return Some(Recipe {
            size: nvinfer.size,
            resize: Some(nvinfer.resize),
            channels: nvinfer.channels,
            scale: nvinfer.scale,
            mean: nvinfer.offsets.map(|offset| offset * nvinfer.scale),
            ..Recipe::UNIT
        });
    }
    if let Some(theirs) = &found.ultralytics {
        let letterbox = Resize::Letterbox { fill: 114, centred: true, upscale: true };
        // Their RT-DETR is trained and run on stretched images.
        let resize = if theirs.is_rt_detr { Resize::Stretch } else { letterbox };
        return Some(Recipe { size: theirs.size, resize: Some(resize), ..Recipe::UNIT });
    }
    if inputs.image_size.is_some() {
        // RT-DETR's and D-FINE's own repositories: PIL resize to a square, 0–1.
        return Some(Recipe { resize: Some(Resize::Stretch), antialias: true, ..Recipe::UNIT });
    }
    match head {
        Head::Queries { boxes, .. } if boxes == "dets" => {
            let recipe = Recipe { resize: Some(Resize::Stretch), ..Recipe::UNIT };
            Some(recipe.normalized(Normalization::ImageNet))
        }
        _ => None,
    }
}

/// Height and width: the graph's where it fixes them, else the caller's, else those of the provenance.
fn size(recipe: &Recipe, inputs: &Inputs, options: &ImportOptions) -> Result<(u32, u32), Error> {
    let side = |fixed: Option<u32>, pick: fn((u32, u32)) -> u32| match (fixed, options.size.map(pick)) {
        (Some(fixed), Some(wanted)) if fixed != wanted => {
            Err(Error::unsupported(GRAPH, "image side", fixed, format!("{wanted}, as `--size` says")))
        }
        (Some(fixed), _) => Ok(fixed),
        (None, Some(wanted)) => Ok(wanted),
        (None, None) => recipe.size.map(pick).ok_or_else(|| Error::Underivable {
            what: "the input size",
            reason: "the graph leaves height and width open and no file says them".into(),
            option: "--size WIDTHxHEIGHT",
        }),
    };
    Ok((side(inputs.height, |size| size.0)?, side(inputs.width, |size| size.1)?))
}
