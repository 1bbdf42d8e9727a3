//! Proposals of two-stage detectors: a box around each cell of the pyramid, and which of them count.
//!
//! Reference: `generate_encoder_output_proposals` of Deformable DETR in transformers. The cells of a padded image are
//! placed relative to the part of their level that is image, so those beside it lie outside and do not count.

use graph::{Builder, DataType, Value};

use super::deferred_floats;
use super::padding::Level;

/// Side of a proposal on the finest level, relative to the image.
const SIDE: f32 = 0.05;
/// What a proposal's numbers must be above and below.
const BOUNDS: [f32; 2] = [0.01, 0.99];
/// Logit of a proposal that does not count: its sigmoid is 1, as that of the reference's infinity, and it stays finite
/// in half precision.
const MASKED: f32 = 1e4;

/// What the numbers of a box are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BoxForm {
    /// Logits of centre and size; one that does not count has infinite ones.
    Logits,
    /// Centre and size; all are 0 in one that does not count.
    Relative,
}

impl BoxForm {
    fn of(self, x: f32) -> f32 {
        if self == Self::Logits { (x / (1.0 - x)).ln() } else { x }
    }

    fn masked(self) -> f32 {
        if self == Self::Logits { MASKED } else { 0.0 }
    }
}

/// A proposal for each cell, level by level.
#[derive(Debug, Clone)]
pub(crate) struct Proposals {
    /// Centre and size: `[cells, 4]`, or `[batch, cells, 4]` on padded levels.
    pub(crate) boxes: Value,
    /// 1 where a proposal counts, else 0: `[1 or batch, cells, 1]`; `None` when all count.
    pub(crate) counts: Option<Value>,
    /// How many count at least; the padding of an image may leave none.
    pub(crate) least: usize,
    mask: Mask,
}

/// Which proposals count.
#[derive(Debug, Clone)]
enum Mask {
    Fixed(Vec<bool>),
    /// Booleans `[batch, cells, 1]`.
    Found(Value),
}

impl Proposals {
    /// The boxes of the cells `chosen` `[batch, queries]`: `[batch, queries, 4]`.
    pub(crate) fn of(&self, b: &mut Builder, chosen: &Value) -> Value {
        if self.boxes.rank() == 2 {
            return b.gather(&self.boxes, chosen, 0);
        }
        b.gather_rows(&self.boxes, chosen)
    }

    /// The scores `[batch, cells]`, as small as `least` where a proposal does not count.
    pub(crate) fn masked(&self, b: &mut Builder, scores: &Value, least: f32) -> Value {
        match &self.mask {
            Mask::Found(inside) => {
                let (inside, least) = (b.squeeze(inside, -1), b.scalar(least));
                b.select(&inside, scores, &least)
            }
            Mask::Fixed(valid) if valid.iter().all(|valid| *valid) => scores.clone(),
            Mask::Fixed(valid) => {
                let bias = valid.iter().map(|valid| if *valid { 0.0 } else { least }).collect();
                let bias = b.floats(&[1, valid.len()], bias);
                b.add(scores, &bias)
            }
        }
    }
}

/// The proposals of these levels, the finest first.
pub(crate) fn proposals(b: &mut Builder, levels: &[Level], form: BoxForm) -> Proposals {
    b.scoped("proposals", |b| {
        let sizes: Vec<[usize; 2]> = levels.iter().map(|level| level.size).collect();
        match levels.iter().map(|level| level.counts(b)).collect::<Option<Vec<_>>>() {
            Some(reach) => placed(b, &sizes, &reach, form),
            None => constant(b, &sizes, form),
        }
    })
}

/// Centre and size of the box around each cell, relative to its level.
fn boxes(sizes: &[[usize; 2]]) -> Vec<[f32; 4]> {
    let mut boxes = Vec::new();
    for (level, [height, width]) in sizes.iter().enumerate() {
        let side = SIDE * 2.0_f32.powi(level as i32);
        for row in 0..*height {
            for column in 0..*width {
                let centre = [(column as f32 + 0.5) / *width as f32, (row as f32 + 0.5) / *height as f32];
                boxes.push([centre[0], centre[1], side, side]);
            }
        }
    }
    boxes
}

fn counts(numbers: &[f32]) -> bool {
    numbers.iter().all(|number| *number > BOUNDS[0] && *number < BOUNDS[1])
}

fn constant(b: &mut Builder, sizes: &[[usize; 2]], form: BoxForm) -> Proposals {
    let boxes = boxes(sizes);
    let valid: Vec<bool> = boxes.iter().map(|numbers| counts(numbers)).collect();
    let cells = boxes.len();
    let mask = (!valid.iter().all(|valid| *valid)).then(|| {
        let mask = valid.iter().map(|valid| f32::from(u8::from(*valid))).collect();
        b.floats(&[1, cells, 1], mask)
    });
    let least = valid.iter().filter(|valid| **valid).count();
    let fixed = Mask::Fixed(valid.clone());
    let table = deferred_floats(&[cells, 4], move || {
        let row = |(numbers, valid): (&[f32; 4], &bool)| {
            if *valid { numbers.map(|x| form.of(x)) } else { [form.masked(); 4] }
        };
        boxes.iter().zip(&valid).flat_map(row).collect()
    });
    Proposals { boxes: b.weight("proposals", table), counts: mask, least, mask: fixed }
}

/// With the number of rows and of columns of each level that are image.
fn placed(b: &mut Builder, sizes: &[[usize; 2]], reach: &[[Value; 2]], form: BoxForm) -> Proposals {
    let cells: usize = sizes.iter().map(|[height, width]| height * width).sum();
    let mut parts = Vec::new();
    for ([rows, columns], [height, width]) in reach.iter().zip(sizes) {
        let reach = b.concat(&[columns, rows], -1);
        let reach = b.squeeze(&reach, 1);
        let middles = (0..height * width).flat_map(|cell| [cell % width, cell / width]);
        let middles = middles.map(|line| line as f32 + 0.5).collect();
        let middles = b.floats(&[1, height * width, 2], middles);
        parts.push(b.div(&middles, &reach));
    }
    let mut centres = b.concat(&parts.iter().collect::<Vec<_>>(), 1);
    let inside = inside(b, &centres, sizes);

    let masked = b.scalar(form.masked());
    if form == BoxForm::Logits {
        // Beyond the bounds nothing is used; there the logarithm shall stay a number.
        let safe = b.clip(&centres, BOUNDS[0], BOUNDS[1]);
        let one = b.scalar(1.0);
        let rest = b.sub(&one, &safe);
        let odds = b.div(&safe, &rest);
        centres = b.log(&odds);
    }
    let sides: Vec<f32> = boxes(sizes).into_iter().flat_map(|numbers| [numbers[2], numbers[3]]).collect();
    let sides = sides.into_iter().map(|side| if counts(&[side]) { form.of(side) } else { form.masked() });
    let sides = b.floats(&[1, cells, 2], sides.collect());
    let sides = b.select(&inside, &sides, &masked);
    let centres = b.select(&inside, &centres, &masked);
    let boxes = b.concat(&[&centres, &sides], -1);
    let counts = b.cast(&inside, DataType::F32);
    Proposals { boxes, counts: Some(counts), least: 0, mask: Mask::Found(inside) }
}

/// Which proposals count, as booleans `[batch, cells, 1]`.
fn inside(b: &mut Builder, centres: &Value, sizes: &[[usize; 2]]) -> Value {
    let [above, below] = BOUNDS.map(|bound| b.scalar(bound));
    let least = b.reduce_min(centres, &[-1], true);
    let most = b.reduce_max(centres, &[-1], true);
    let (after, before) = (b.greater(&least, &above), b.greater(&below, &most));
    let inside = b.and(&after, &before);
    let fits: Vec<f32> =
        boxes(sizes).iter().map(|numbers| f32::from(u8::from(counts(&numbers[2..])))).collect();
    if fits.iter().all(|fits| *fits > 0.0) {
        return inside;
    }
    let (fits, zero) = (b.floats(&[1, fits.len(), 1], fits), b.scalar(0.0));
    let fits = b.greater(&fits, &zero);
    b.and(&inside, &fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_near_the_border_of_a_fine_level_do_not_count() {
        let valid = |sizes: &[[usize; 2]]| boxes(sizes).iter().filter(|numbers| counts(&numbers[..])).count();
        assert_eq!(valid(&[[80, 80]]), 78 * 78);
        assert_eq!(valid(&[[50, 20]]), 48 * 20, "0.5 / 50 is not above 0.01");
        assert_eq!(valid(&[[20, 20], [2, 2]]), 404);
        assert_eq!(valid(&[[1, 1]; 6]), 5, "the sixth level's boxes are larger than the image");
    }
}
