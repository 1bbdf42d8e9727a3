//! Which part of the canvas is image, and everything that the original derives from its pixel mask.
//!
//! A shortest-edge image lies in the top left corner of a fixed canvas and the rest is exactly 0 *after* the
//! normalization, so the graph itself can tell how far the image reaches: to the last row and column in which any value
//! differs from 0. With a stretched image the mask is all ones: what follows from it is constant or absent.

use detect::{ImageInput, Resize};
use graph::{Builder, DataType, Value};

use super::sine::{EPSILON, Sine};

/// Added to the score of a key that does not count: far below any score, and finite in half precision even when two of
/// them meet.
const MASKED: f32 = -1e4;

/// How far the image reaches into the canvas.
#[derive(Debug, Clone)]
pub(crate) struct Padding {
    /// Height and width of the canvas.
    canvas: [usize; 2],
    /// Rows and columns that are image, `[batch, 1, 1, 1]` each; `None` when all are.
    reach: Option<[Value; 2]>,
}

/// One feature map of the canvas.
#[derive(Debug, Clone)]
pub(crate) struct Level {
    /// Height and width.
    pub(crate) size: [usize; 2],
    /// Which rows `[batch, 1, height, 1]` and columns `[batch, 1, 1, width]` are image, as booleans; `None` when all are.
    valid: Option<[Value; 2]>,
}

impl Padding {
    /// Looks how far each image of `pixels` `[batch, 3, height, width]` reaches, when `input` says that it is padded.
    pub(crate) fn find(b: &mut Builder, input: &ImageInput, pixels: &Value) -> Self {
        let canvas = [pixels.size(2), pixels.size(3)];
        if !matches!(input.resize, Resize::ShortestEdge { .. }) {
            return Self { canvas, reach: None };
        }
        b.scoped("pixel_mask", |b| {
            let size = b.abs(pixels);
            let (zero, one) = (b.scalar(0.0), b.scalar(1.0));
            let reach = [(2, [1, 3]), (3, [1, 2])].map(|(axis, others)| {
                // A line inside the image may be black: the last one that is not counts, and the first always does.
                let largest = b.reduce_max(&size, &others, true);
                let is_image = b.greater(&largest, &zero);
                let numbers = line_numbers(b, axis, canvas[axis - 2], |line| (line + 1) as f32);
                let numbers = b.select(&is_image, &numbers, &one);
                b.reduce_max(&numbers, &[axis as i64], true)
            });
            Self { canvas, reach: Some(reach) }
        })
    }

    /// The mask on a feature map of this size: the pixel that PyTorch's `nearest` interpolation picks for each cell.
    pub(crate) fn level(&self, b: &mut Builder, size: [usize; 2]) -> Level {
        let valid = self.reach.as_ref().map(|reach| {
            b.scoped("pixel_mask", |b| {
                [0, 1].map(|side| {
                    let (pixels, cells) = (self.canvas[side], size[side]);
                    let lines = line_numbers(b, side + 2, cells, |cell| nearest(cell, cells, pixels) as f32);
                    b.greater(&reach[side], &lines)
                })
            })
        });
        Level { size, valid }
    }
}

impl Level {
    fn cells(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Whether any cell may be padding.
    pub(crate) fn is_padded(&self) -> bool {
        self.valid.is_some()
    }

    /// What is added to the scores of attention, `[batch, 1, 1, keys]`: 0 for the image, very small for the padding.
    pub(crate) fn key_bias(&self, b: &mut Builder) -> Option<Value> {
        let [rows, columns] = self.valid.as_ref()?;
        Some(b.scoped("key_bias", |b| {
            let both = b.and(rows, columns);
            let (zero, masked) = (b.scalar(0.0), b.scalar(MASKED));
            let bias = b.select(&both, &zero, &masked);
            b.reshape(&bias, &[0, 1, 1, self.cells() as i64])
        }))
    }

    /// Booleans `[batch, cells, 1]`: which cells are image.
    pub(crate) fn is_image(&self, b: &mut Builder) -> Option<Value> {
        let [rows, columns] = self.valid.as_ref()?;
        Some(b.scoped("pixel_mask", |b| {
            let both = b.and(rows, columns);
            b.reshape(&both, &[0, self.cells() as i64, 1])
        }))
    }

    /// The part of the map that is image, `[batch, 1, 1, 2]`: of its width, of its height.
    pub(crate) fn valid_ratio(&self, b: &mut Builder) -> Option<Value> {
        let [rows, columns] = self.counts(b)?;
        Some(b.scoped("valid_ratio", |b| {
            let counts = b.concat(&[&columns, &rows], 3);
            let [height, width] = self.size.map(|side| side as f32);
            let sizes = b.floats(&[2], vec![width, height]);
            b.div(&counts, &sizes)
        }))
    }

    /// Sine positions `[batch or 1, cells, size]`: a constant of this name when nothing is padded.
    pub(crate) fn sine(&self, b: &mut Builder, name: &str, sine: Sine) -> Value {
        let Some(counts) = self.counts(b) else {
            return b.weight(name, sine.positions(self.size));
        };
        b.scoped("position_embedding", |b| {
            let epsilon = b.scalar(EPSILON);
            let [rows, columns] = [0, 1].map(|side| {
                let lines = line_numbers(b, side + 1, self.size[side], |line| sine.place(line));
                let count = b.add(&counts[side], &epsilon);
                let part = b.div(&lines, &count);
                let speeds = b.floats(&[sine.size], sine.speeds(side));
                b.mul(&part, &speeds)
            });
            // One of the two is 0 in each element; a cosine is a sine a quarter turn ahead.
            let angles = b.add(&rows, &columns);
            let ahead = b.floats(&[sine.size], sine.phases());
            let angles = b.add(&angles, &ahead);
            let positions = b.sin(&angles);
            b.reshape(&positions, &[0, self.cells() as i64, sine.size as i64])
        })
    }

    /// How many rows and columns are image, `[batch, 1, 1, 1]` each.
    pub(super) fn counts(&self, b: &mut Builder) -> Option<[Value; 2]> {
        let valid = self.valid.as_ref()?;
        Some(b.scoped("pixel_mask", |b| {
            [0, 1].map(|side| {
                let ones = b.cast(&valid[side], DataType::F32);
                b.reduce_sum(&ones, &[side as i64 + 2], true)
            })
        }))
    }
}

/// A number for each line, in four dimensions, along `axis`.
fn line_numbers(b: &mut Builder, axis: usize, lines: usize, number: impl Fn(usize) -> f32) -> Value {
    let mut shape = [1; 4];
    shape[axis] = lines;
    b.floats(&shape, (0..lines).map(number).collect())
}

/// The pixel that PyTorch's `nearest` takes for cell `at` of `cells`, computed in single precision as there.
fn nearest(at: usize, cells: usize, pixels: usize) -> usize {
    let scale = pixels as f32 / cells as f32;
    ((at as f32 * scale).floor() as usize).min(pixels.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use detect::{ChannelOrder, ElementType, Filter};
    use graph::Dim;
    use rten_tensor::prelude::*;
    use rten_tensor::{NdTensor, Tensor};

    use super::*;

    const CANVAS: [usize; 2] = [21, 34];
    const LEVEL: [usize; 2] = [4, 7];

    fn input(resize: Resize) -> ImageInput {
        ImageInput {
            tensor: "x".into(),
            width: 34,
            height: 21,
            channels: ChannelOrder::Rgb,
            resize,
            filter: Filter::Bilinear,
            antialias: true,
            scale: 1.0,
            mean: [0.0; 3],
            std: [1.0; 3],
            dtype: ElementType::F32,
            mask: None,
            image_size: None,
            frames: None,
        }
    }

    /// Key bias, valid ratio, mask and positions of images that reach to these rows and columns.
    fn run(reach: &[[usize; 2]], sine: Sine) -> Vec<Vec<f32>> {
        let mut b = Builder::new("padding", 17);
        let shape = vec![Dim::batch(), 3.into(), CANVAS[0].into(), CANVAS[1].into()];
        let pixels = b.input("x", DataType::F32, shape);
        let resize = Resize::ShortestEdge { shortest: 20, longest: 34, multiple_of: None };
        let padding = Padding::find(&mut b, &input(resize), &pixels);
        let level = padding.level(&mut b, LEVEL);
        assert!(level.is_padded());
        let (bias, ratio) = (level.key_bias(&mut b).unwrap(), level.valid_ratio(&mut b).unwrap());
        let is_image = level.is_image(&mut b).unwrap();
        let is_image = b.cast(&is_image, DataType::F32);
        let positions = level.sine(&mut b, "positions", sine);
        let outputs = [("bias", bias), ("ratio", ratio), ("is_image", is_image), ("positions", positions)];
        for (name, value) in &outputs {
            b.output(name, value);
        }
        let mut bytes = Vec::new();
        graph::onnx::write(&b.finish("test", "1").unwrap(), &mut bytes).unwrap();
        let model = rten::Model::load(bytes).unwrap();
        let mut images = NdTensor::<f32, 4>::zeros([reach.len(), 3, CANVAS[0], CANVAS[1]]);
        for (image, [rows, columns]) in reach.iter().enumerate() {
            // Only the last line in each direction is not black, and only in one channel.
            if *rows > 0 {
                images[[image, 1, rows - 1, 0]] = -0.25;
                images[[image, 2, 0, columns - 1]] = 1e-6;
            }
        }
        let ids = outputs.each_ref().map(|(name, _)| model.node_id(name).unwrap());
        let found = model.run(vec![(model.node_id("x").unwrap(), images.into())], &ids, None).unwrap();
        let floats = |value: rten::Value| Tensor::<f32>::try_from(value).unwrap().to_vec();
        found.into_iter().map(floats).collect()
    }

    #[test]
    fn the_graph_finds_what_the_original_derives_from_its_mask() {
        // A black image counts as one pixel: nothing is divided by zero.
        let reach = [[21, 34], [11, 6], [0, 0]];
        let sine = Sine { offset: -0.5, temperatures: [20.0, 10_000.0], ..Sine::new(8) };
        let found = run(&reach, sine);
        let [bias, ratio, is_image, positions] = &found[..] else { panic!("four outputs") };
        for (image, reach) in reach.iter().enumerate() {
            let counts = [0, 1].map(|side| {
                let scale = CANVAS[side] as f32 / LEVEL[side] as f32;
                (0..LEVEL[side]).filter(|at| ((*at as f32 * scale) as usize) < reach[side].max(1)).count()
            });
            let [height, width] = [0, 1].map(|side| counts[side] as f32 / LEVEL[side] as f32);
            assert_eq!(ratio[2 * image..][..2], [width, height]);
            for (cell, at) in (image * LEVEL[0] * LEVEL[1]..).take(LEVEL[0] * LEVEL[1]).enumerate() {
                let (row, column) = (cell / LEVEL[1], cell % LEVEL[1]);
                let valid = row < counts[0] && column < counts[1];
                let expected = if valid { (0.0, 1.0) } else { (MASKED, 0.0) };
                assert_eq!((bias[at], is_image[at]), expected, "{image}: {row}, {column}");
                let whole = sine.positions(counts).to_f32().unwrap();
                if valid {
                    let expected = &whole[(row * counts[1] + column) * 8..][..8];
                    let apart = positions[at * 8..][..8].iter().zip(expected).map(|(a, b)| (a - b).abs());
                    assert!(apart.fold(0.0, f32::max) < 2e-6, "{image}: {row}, {column}");
                }
            }
        }
    }

    #[test]
    fn a_stretched_image_has_no_padding() {
        let mut b = Builder::new("padding", 17);
        let shape = vec![Dim::batch(), 3.into(), CANVAS[0].into(), CANVAS[1].into()];
        let pixels = b.input("x", DataType::F32, shape);
        let padding = Padding::find(&mut b, &input(Resize::Stretch), &pixels);
        let level = padding.level(&mut b, LEVEL);
        assert!(
            !level.is_padded() && level.key_bias(&mut b).is_none() && level.valid_ratio(&mut b).is_none()
        );
        let positions = level.sine(&mut b, "positions", Sine::new(8));
        assert_eq!((positions.name(), positions.size(0)), ("positions", 1));
    }

    #[test]
    fn cells_take_pixels_as_pytorch_does() {
        // torch.nn.functional.interpolate(torch.arange(1333.)[None, None], size=42)
        let of = |cells, pixels| (0..cells).map(|at| nearest(at, cells, pixels)).collect::<Vec<_>>();
        assert_eq!(of(5, 13), [0, 2, 5, 7, 10]);
        assert_eq!(of(42, 1333)[38..], [1206, 1237, 1269, 1301]);
        assert_eq!(of(3, 2), [0, 0, 1]);
    }
}
