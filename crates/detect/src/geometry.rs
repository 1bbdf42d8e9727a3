//! Where an image lies in the input tensor, and the way back from model boxes to original pixels.
//!
//! The way back follows the reference post-processing of each resize policy, not the exact inverse of the resampling:
//! Ultralytics divides by one gain for both axes, and Hugging Face takes normalized boxes as relative to the image
//! without its padding.

use crate::{ImageInput, Resize, Xyxy};

/// Where one image lies in the input tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Geometry {
    /// Width and height of the original image in pixels.
    pub original: (u32, u32),
    /// Width and height of the image inside the input tensor.
    pub resized: (u32, u32),
    /// Column and row of its top left corner inside the input tensor.
    pub offset: (u32, u32),
    /// Width and height of the input tensor.
    pub input: (u32, u32),
    /// Original pixels per input pixel, by axis.
    pub(crate) per_pixel: (f32, f32),
    /// Original pixels that the normalized range 0–1 spans, by axis.
    pub(crate) per_unit: (f32, f32),
}

impl Geometry {
    /// Where an image of `original` (width, height) lies; both at least 1. A raw frame is its own input.
    pub fn new(input: &ImageInput, original: (u32, u32)) -> Self {
        if input.frames.is_some() {
            return stretch(original, original);
        }
        let target = (input.width, input.height);
        match input.resize {
            Resize::Stretch => stretch(original, target),
            Resize::Letterbox { centred, upscale, .. } => letterbox(original, target, centred, upscale),
            Resize::ShortestEdge { shortest, longest, multiple_of } => {
                let resized = shortest_edge(original, target, (shortest, longest), multiple_of.unwrap_or(1));
                Self { resized, ..stretch(original, resized) }.within(target)
            }
        }
    }

    /// From pixels of the input tensor to pixels of the original image.
    pub fn from_input_pixels(&self, b: Xyxy) -> Xyxy {
        let (sx, sy) = self.per_pixel;
        let (dx, dy) = (self.offset.0 as f32, self.offset.1 as f32);
        Xyxy { x1: (b.x1 - dx) * sx, y1: (b.y1 - dy) * sy, x2: (b.x2 - dx) * sx, y2: (b.y2 - dy) * sy }
    }

    /// From coordinates of 0–1 to pixels of the original image: relative to the whole tensor, except with
    /// [`Resize::ShortestEdge`], where they are relative to the image without its padding.
    pub fn from_normalized(&self, b: Xyxy) -> Xyxy {
        let (sx, sy) = self.per_unit;
        let (dx, dy) = (self.offset.0 as f32 * self.per_pixel.0, self.offset.1 as f32 * self.per_pixel.1);
        Xyxy { x1: b.x1 * sx - dx, y1: b.y1 * sy - dy, x2: b.x2 * sx - dx, y2: b.y2 * sy - dy }
    }

    /// From pixels of the original image to pixels of the input tensor: the inverse of
    /// [`Geometry::from_input_pixels`].
    pub fn to_input_pixels(&self, b: Xyxy) -> Xyxy {
        let (sx, sy) = self.per_pixel;
        let (dx, dy) = (self.offset.0 as f32, self.offset.1 as f32);
        Xyxy { x1: b.x1 / sx + dx, y1: b.y1 / sy + dy, x2: b.x2 / sx + dx, y2: b.y2 / sy + dy }
    }

    fn within(self, input: (u32, u32)) -> Self {
        Self { input, ..self }
    }
}

fn stretch(original: (u32, u32), target: (u32, u32)) -> Geometry {
    let original_f = (original.0 as f32, original.1 as f32);
    Geometry {
        original,
        resized: target,
        offset: (0, 0),
        input: target,
        per_pixel: (original_f.0 / target.0 as f32, original_f.1 / target.1 as f32),
        per_unit: original_f,
    }
}

/// Ultralytics' rule, with its odd rounding that puts the extra line of an odd border right and below.
fn letterbox(original: (u32, u32), target: (u32, u32), centred: bool, upscale: bool) -> Geometry {
    let (w, h) = (f64::from(original.0), f64::from(original.1));
    let fit = (f64::from(target.0) / w).min(f64::from(target.1) / h);
    let gain = if upscale { fit } else { fit.min(1.0) };
    let side = |length: f64, most: u32| ((length * gain).round_ties_even() as u32).clamp(1, most);
    let resized = (side(w, target.0), side(h, target.1));
    let border = |most: u32, length: u32| {
        let half = f64::from(most - length) / 2.0;
        if centred { (half - 0.1).round_ties_even().max(0.0) as u32 } else { 0 }
    };
    let per_pixel = (1.0 / gain) as f32;
    Geometry {
        original,
        resized,
        offset: (border(target.0, resized.0), border(target.1, resized.1)),
        input: target,
        per_pixel: (per_pixel, per_pixel),
        per_unit: ((f64::from(target.0) / gain) as f32, (f64::from(target.1) / gain) as f32),
    }
}

/// Hugging Face's rule, `longest` bounded by what fits the tensor; both sides a multiple of `step`.
fn shortest_edge(
    original: (u32, u32),
    target: (u32, u32),
    (shortest, longest): (u32, u32),
    step: u32,
) -> (u32, u32) {
    let (width, height) = rounded(hugging_face_size(original, shortest, longest), step);
    if width <= target.0 && height <= target.1 {
        return (width, height);
    }
    let (w, h) = (f64::from(original.0), f64::from(original.1));
    let gain = (f64::from(target.0) / w).min(f64::from(target.1) / h);
    let side = |length: f64, most: u32| ((length * gain).round_ties_even() as u32).clamp(1, most);
    rounded((side(w, target.0), side(h, target.1)), step)
}

/// The size by `get_size_with_aspect_ratio` of transformers: long sides are truncated, not rounded.
fn hugging_face_size(original: (u32, u32), shortest: u32, longest: u32) -> (u32, u32) {
    let (w, h) = (f64::from(original.0), f64::from(original.1));
    let (short, long) = (w.min(h), w.max(h));
    let bounded = long / short * f64::from(shortest) > f64::from(longest);
    let exact = if bounded { f64::from(longest) * short / long } else { f64::from(shortest) };
    let short_side = (exact.round_ties_even() as u32).max(1);
    if short as u32 == short_side {
        return original;
    }
    if w < h { (short_side, (exact * h / w) as u32) } else { ((exact * w / h) as u32, short_side) }
}

fn rounded((width, height): (u32, u32), step: u32) -> (u32, u32) {
    let down = |side: u32| if side > step { side - side % step } else { side };
    (down(width).max(1), down(height).max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::detector::tests::detector;

    fn input(width: u32, height: u32, resize: Resize) -> ImageInput {
        ImageInput { width, height, resize, ..detector().input }
    }

    const CENTRED: Resize = Resize::Letterbox { fill: 114, centred: true, upscale: true };
    const HF: Resize = Resize::ShortestEdge { shortest: 800, longest: 1333, multiple_of: None };
    const YOLOS: Resize = Resize::ShortestEdge { shortest: 512, longest: 864, multiple_of: Some(16) };

    #[test]
    fn sizes_and_borders_of_the_references() {
        // (policy, tensor, image) → (size inside, corner); letterbox by Ultralytics' LetterBox, the others by
        // transformers' get_size_with_aspect_ratio.
        let cases = [
            ("stretch", Resize::Stretch, (320, 320), (500, 375), (320, 320), (0, 0)),
            ("wide", CENTRED, (640, 640), (1280, 720), (640, 360), (0, 140)),
            ("tall", CENTRED, (640, 640), (500, 1000), (320, 640), (160, 0)),
            ("odd border", CENTRED, (640, 640), (640, 427), (640, 427), (0, 106)),
            ("small", CENTRED, (640, 640), (100, 50), (640, 320), (0, 160)),
            (
                "small, not enlarged",
                Resize::Letterbox { fill: 114, centred: true, upscale: false },
                (640, 640),
                (100, 51),
                (100, 51),
                (270, 294),
            ),
            (
                "in the corner",
                Resize::Letterbox { fill: 0, centred: false, upscale: true },
                (640, 640),
                (1280, 720),
                (640, 360),
                (0, 0),
            ),
            ("sliver", CENTRED, (640, 640), (4000, 1), (640, 1), (0, 319)),
            ("hf landscape", HF, (1333, 1333), (640, 480), (1066, 800), (0, 0)),
            ("hf portrait", HF, (1333, 1333), (480, 640), (800, 1066), (0, 0)),
            ("hf bounded", HF, (1333, 1333), (1000, 400), (1333, 533), (0, 0)),
            ("hf as it is", HF, (1333, 1333), (1000, 800), (1000, 800), (0, 0)),
            ("hf that does not fit", HF, (800, 800), (640, 480), (800, 600), (0, 0)),
            ("yolos", YOLOS, (864, 864), (640, 480), (672, 512), (0, 0)),
        ];
        for (name, resize, tensor, image, resized, offset) in cases {
            let found = Geometry::new(&input(tensor.0, tensor.1, resize), image);
            assert_eq!((found.resized, found.offset), (resized, offset), "{name}");
            assert_eq!((found.original, found.input), (image, tensor), "{name}");
        }
    }

    #[test]
    fn normalized_boxes_cover_the_image() {
        let whole = Xyxy::new(0.0, 0.0, 1.0, 1.0);
        let cases = [
            ("stretch", Resize::Stretch, Xyxy::new(0.0, 0.0, 1280.0, 720.0)),
            ("letterbox", CENTRED, Xyxy::new(0.0, -280.0, 1280.0, 1000.0)),
            ("shortest edge", HF, Xyxy::new(0.0, 0.0, 1280.0, 720.0)),
        ];
        for (name, resize, expected) in cases {
            let geometry = Geometry::new(&input(640, 640, resize), (1280, 720));
            assert_eq!(geometry.from_normalized(whole), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn boxes_come_back(
            policy in 0_usize..4, width in 1_u32..3000, height in 1_u32..3000,
            tensor_w in 32_u32..1400, tensor_h in 32_u32..1400,
            x in 0.0_f32..1.0, y in 0.0_f32..1.0,
        ) {
            let resize = [Resize::Stretch, CENTRED, HF, YOLOS][policy];
            let geometry = Geometry::new(&input(tensor_w, tensor_h, resize), (width, height));
            prop_assert!(geometry.resized.0 + geometry.offset.0 <= tensor_w);
            prop_assert!(geometry.resized.1 + geometry.offset.1 <= tensor_h);
            prop_assert!(geometry.resized.0 >= 1 && geometry.resized.1 >= 1);

            let (w, h) = (width as f32, height as f32);
            let b = Xyxy::new(x * w, y * h, w, h);
            let back = geometry.from_input_pixels(geometry.to_input_pixels(b));
            let bound = 1e-3 * (w.max(h)).max(1.0);
            for (found, expected) in [(back.x1, b.x1), (back.y1, b.y1), (back.x2, b.x2), (back.y2, b.y2)] {
                prop_assert!((found - expected).abs() <= bound, "{found} is not {expected}");
            }
        }

        #[test]
        fn pixels_and_normalized_agree_where_the_tensor_is_the_frame(
            policy in 0_usize..2, width in 1_u32..3000, height in 1_u32..3000,
            x in 0.0_f32..1.0, y in 0.0_f32..1.0,
        ) {
            let resize = [Resize::Stretch, CENTRED][policy];
            let geometry = Geometry::new(&input(640, 480, resize), (width, height));
            let normalized = geometry.from_normalized(Xyxy::new(0.0, 0.0, x, y));
            let pixels = geometry.from_input_pixels(Xyxy::new(0.0, 0.0, x * 640.0, y * 480.0));
            let bound = 1e-2 * (width.max(height) as f32).max(1.0);
            prop_assert!((normalized.x2 - pixels.x2).abs() <= bound && (normalized.y2 - pixels.y2).abs() <= bound);
        }
    }
}
