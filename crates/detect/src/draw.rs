//! Detections drawn on an image, and images as files.
//!
//! The colour of a class depends on its id only, so it is the same in every picture of a model; the thickness of lines
//! and the size of text follow the size of the image, so that a picture stays readable when it is shown smaller.

use ::image::ImageEncoder;
use ab_glyph::{Font, FontRef, Glyph, GlyphId, PxScale, ScaleFont, point};

use crate::{Detection, Error, Image, Labels};

/// `DejaVu` Sans Bold (assets/DejaVu-LICENSE.txt).
const FONT: &[u8] = include_bytes!("../assets/DejaVuSans-Bold.ttf");

/// Draws the boxes with class and confidence, the best on top. Boxes and labels are kept inside the image; boxes with
/// undefined corners are left out.
#[must_use]
pub fn draw(image: &Image, detections: &[Detection], labels: &Labels) -> Image {
    let mut canvas = Canvas::new(image.clone());
    let mut order: Vec<&Detection> =
        detections.iter().filter(|detection| detection.bbox.is_finite()).collect();
    order.sort_by(|a, b| a.score.total_cmp(&b.score));
    for detection in &order {
        canvas.outline(detection);
    }
    for detection in order {
        let text = format!("{} {:.2}", labels.display(detection.label), detection.score);
        canvas.label(detection, &text);
    }
    canvas.image
}

/// The colour of a class: neighbouring ids are far apart on the colour wheel, every turn of eight changes the brightness.
pub fn class_colour(label: u32) -> [u8; 3] {
    const GOLDEN_RATIO: f64 = 0.618_033_988_749_895;
    let hue = (f64::from(label) * GOLDEN_RATIO).fract() * 6.0;
    let value = [0.95, 0.75, 0.6][(label as usize / 8) % 3];
    let saturation = if (label / 24).is_multiple_of(2) { 0.85 } else { 0.55 };
    let channel = |shift: f64| {
        let k = (hue + shift).rem_euclid(6.0);
        let level = value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0);
        (level * 255.0).round() as u8
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

/// Black or white, whichever reads better on this colour (relative luminance of WCAG 2).
fn text_colour(background: [u8; 3]) -> [u8; 3] {
    let linear = |byte: u8| {
        let value = f64::from(byte) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    let [r, g, b] = background.map(linear);
    let luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    // Contrast with black is (l + 0.05) / 0.05, with white 1.05 / (l + 0.05).
    if (luminance + 0.05).powi(2) > 0.05 * 1.05 { [0; 3] } else { [255; 3] }
}

struct Canvas {
    image: Image,
    font: FontRef<'static>,
    /// Thickness of outlines in pixels.
    line: i64,
    /// Height of text in pixels.
    scale: PxScale,
}

/// A rectangle of whole pixels, right and bottom exclusive.
#[derive(Clone, Copy)]
struct Area {
    left: i64,
    top: i64,
    right: i64,
    bottom: i64,
}

impl Area {
    fn grown(self, by: i64) -> Self {
        Self { left: self.left - by, top: self.top - by, right: self.right + by, bottom: self.bottom + by }
    }
}

impl Canvas {
    fn new(image: Image) -> Self {
        let side = f64::from(image.width()).hypot(f64::from(image.height()));
        Self {
            image,
            font: FontRef::try_from_slice(FONT).expect("the font in the assets is whole"),
            line: (side / 400.0).round().max(1.0) as i64,
            scale: PxScale::from((side / 52.0).max(11.0) as f32),
        }
    }

    /// The outline with a dark edge, so that it shows on a ground of its own colour.
    fn outline(&mut self, detection: &Detection) {
        let area = self.area_of(detection);
        self.frame(area.grown(1), self.line + 2, [20; 3]);
        self.frame(area, self.line, class_colour(detection.label));
    }

    /// The border of an area, `thickness` pixels inwards.
    fn frame(&mut self, area: Area, thickness: i64, colour: [u8; 3]) {
        let Area { left, top, right, bottom } = area;
        let (width, height) = (thickness.min(right - left), thickness.min(bottom - top));
        self.fill(Area { bottom: top + height, ..area }, colour);
        self.fill(Area { top: bottom - height, ..area }, colour);
        self.fill(Area { right: left + width, ..area }, colour);
        self.fill(Area { left: right - width, ..area }, colour);
    }

    /// The label above the box, or inside its top where there is no room above.
    fn label(&mut self, detection: &Detection, text: &str) {
        let area = self.area_of(detection);
        let (glyphs, text_width) = self.layout(text);
        let (ascent, height) = {
            let font = self.font.as_scaled(self.scale);
            (font.ascent(), font.height())
        };
        let padding = (self.line + 1).max((height * 0.12) as i64);
        let (width, height) = (text_width.ceil() as i64 + 2 * padding, height.ceil() as i64 + padding);
        let (image_width, image_height) = (i64::from(self.image.width()), i64::from(self.image.height()));

        let left = area.left.min(image_width - width).max(0);
        let top = if area.top >= height { area.top - height } else { area.top };
        let top = top.min(image_height - height).max(0);
        let background = class_colour(detection.label);
        self.fill(Area { left, top, right: left + width, bottom: top + height }, background);
        let origin = ((left + padding) as f32, (top + padding / 2) as f32 + ascent);
        self.text(glyphs, origin, text_colour(background));
    }

    /// The box in whole pixels inside the image, at least one pixel in each direction.
    fn area_of(&self, detection: &Detection) -> Area {
        let (width, height) = (self.image.width(), self.image.height());
        let b = detection.bbox.clipped(width, height);
        let span = |a: f32, b: f32, most: u32| {
            let start = (a.min(b).round() as i64).min(i64::from(most) - 1);
            (start, (a.max(b).round() as i64).max(start + 1))
        };
        let ((left, right), (top, bottom)) = (span(b.x1, b.x2, width), span(b.y1, b.y2, height));
        Area { left, top, right, bottom }
    }

    /// Glyphs along a baseline at 0, and the width of the line.
    fn layout(&self, text: &str) -> (Vec<Glyph>, f32) {
        let font = self.font.as_scaled(self.scale);
        let mut x = 0.0;
        let mut previous: Option<GlyphId> = None;
        let mut glyphs = Vec::new();
        for character in text.chars() {
            let id = font.glyph_id(character);
            x += previous.map_or(0.0, |previous| font.kern(previous, id));
            glyphs.push(id.with_scale_and_position(self.scale, point(x, 0.0)));
            x += font.h_advance(id);
            previous = Some(id);
        }
        (glyphs, x)
    }

    fn text(&mut self, glyphs: Vec<Glyph>, (x, y): (f32, f32), colour: [u8; 3]) {
        for mut glyph in glyphs {
            glyph.position += point(x, y);
            let Some(outline) = self.font.outline_glyph(glyph) else { continue };
            let (left, top) = (outline.px_bounds().min.x as i64, outline.px_bounds().min.y as i64);
            outline.draw(|dx, dy, coverage| {
                blend(&mut self.image, left + i64::from(dx), top + i64::from(dy), colour, coverage);
            });
        }
    }

    fn fill(&mut self, area: Area, colour: [u8; 3]) {
        let (width, height) = (i64::from(self.image.width()), i64::from(self.image.height()));
        let (left, right) = (area.left.clamp(0, width) as usize, area.right.clamp(0, width) as usize);
        for row in area.top.clamp(0, height)..area.bottom.clamp(0, height) {
            let start = row as usize * width as usize;
            let pixels = &mut self.image.pixels_mut()[(start + left) * 3..(start + right.max(left)) * 3];
            pixels.as_chunks_mut::<3>().0.fill(colour);
        }
    }
}

fn blend(image: &mut Image, x: i64, y: i64, colour: [u8; 3], coverage: f32) {
    let (width, height) = (i64::from(image.width()), i64::from(image.height()));
    if !(0..width).contains(&x) || !(0..height).contains(&y) {
        return;
    }
    let at = (y * width + x) as usize * 3;
    for (pixel, colour) in image.pixels_mut()[at..at + 3].iter_mut().zip(colour) {
        let mixed = f32::from(*pixel) + (f32::from(colour) - f32::from(*pixel)) * coverage.clamp(0.0, 1.0);
        *pixel = mixed.round() as u8;
    }
}

/// The image as a PNG file.
///
/// # Errors
/// [`Error::Encode`] when the encoder refuses the image.
pub fn encode_png(image: &Image) -> Result<Vec<u8>, Error> {
    let mut file = Vec::new();
    let encoder = ::image::codecs::png::PngEncoder::new(&mut file);
    write(encoder, image).map_err(|reason| Error::Encode { format: "PNG", reason })?;
    Ok(file)
}

/// The image as a JPEG file of this quality, 1–100.
///
/// # Errors
/// [`Error::Encode`] when the encoder refuses the image.
pub fn encode_jpeg(image: &Image, quality: u8) -> Result<Vec<u8>, Error> {
    let mut file = Vec::new();
    let encoder = ::image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, quality.clamp(1, 100));
    write(encoder, image).map_err(|reason| Error::Encode { format: "JPEG", reason })?;
    Ok(file)
}

fn write(encoder: impl ImageEncoder, image: &Image) -> Result<(), String> {
    let colour = ::image::ExtendedColorType::Rgb8;
    encoder
        .write_image(image.pixels(), image.width(), image.height(), colour)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Xyxy;

    fn detection(corners: [f32; 4], label: u32) -> Detection {
        let [x1, y1, x2, y2] = corners;
        Detection { bbox: Xyxy::new(x1, y1, x2, y2), score: 0.5, label }
    }

    fn labels() -> Labels {
        Labels::from_lines("circle\nsquare\n").unwrap()
    }

    #[test]
    fn an_outline_is_where_its_box_is() {
        let image = Image::filled(400, 300, [9; 3]).unwrap();
        let drawn = draw(&image, &[detection([100.0, 100.0, 200.0, 150.0], 1)], &labels());
        let colour = Some(class_colour(1));
        let cases = [
            ("top left", (100, 100), true),
            ("bottom right", (199, 149), true),
            ("left side", (100, 125), true),
            ("inside", (150, 125), false),
            ("outside", (201, 125), false),
            ("below", (150, 152), false),
            ("label above", (101, 99), true),
        ];
        for (name, (x, y), expected) in cases {
            assert_eq!(drawn.pixel(x, y) == colour, expected, "{name}");
        }
        assert!(
            drawn.pixels().chunks(3).any(|pixel| pixel == text_colour(class_colour(1))),
            "text was drawn"
        );
    }

    #[test]
    fn any_box_on_any_image_is_drawn_without_leaving_it() {
        let boxes = [
            [-50.0, -50.0, 2000.0, 2000.0],
            [500.0, 500.0, 600.0, 600.0],
            [3.0, 3.0, 3.0, 3.0],
            [5.0, 5.0, 1.0, 1.0],
            [f32::NAN, 0.0, 1.0, 1.0],
            [f32::MIN, f32::MIN, f32::MAX, f32::MAX],
        ];
        for (width, height) in [(1, 1), (3, 200), (200, 3), (64, 48)] {
            let image = Image::filled(width, height, [9; 3]).unwrap();
            for corners in boxes {
                let drawn = draw(&image, &[detection(corners, 77)], &labels());
                assert_eq!((drawn.width(), drawn.height()), (width, height));
                assert_eq!(drawn == image, corners[0].is_nan(), "{corners:?} on {width} × {height}");
            }
        }
    }

    #[test]
    fn colours_of_neighbours_differ_and_text_is_readable() {
        for label in 0..80 {
            let distance = |other: u32| {
                class_colour(label)
                    .iter()
                    .zip(class_colour(other))
                    .map(|(a, b)| u32::from(a.abs_diff(b)))
                    .sum::<u32>()
            };
            for other in label + 1..label + 6 {
                assert!(distance(other) > 40, "{label} and {other}: {}", distance(other));
            }
            let text = text_colour(class_colour(label));
            let grey = class_colour(label).iter().map(|&v| u32::from(v)).sum::<u32>() / 3;
            assert!(u32::from(text[0]).abs_diff(grey) > 60, "{label}");
        }
    }

    #[test]
    fn files_read_back() {
        let pixels = (0..40 * 30 * 3).map(|value| (value / 15) as u8).collect();
        let image = Image::new(40, 30, pixels).unwrap();
        assert_eq!(Image::decode(&encode_png(&image).unwrap()).unwrap(), image);
        let jpeg = Image::decode(&encode_jpeg(&image, 95).unwrap()).unwrap();
        let difference: u32 =
            jpeg.pixels().iter().zip(image.pixels()).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        assert!(difference / (40 * 30 * 3) < 4, "{difference}");
    }
}
