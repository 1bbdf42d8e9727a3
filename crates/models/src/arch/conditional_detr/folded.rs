//! Several projections as one matrix, and what does not depend on the image as its bias.
//!
//! The original projects contents and places apart, adds them or puts them beside each other head by head. All of that is
//! linear: one matrix over everything that depends on the image, with rows and columns where the original would have put
//! them.

use graph::{Builder, Tensor, Value};

use super::layer::{Memory, Places, Queries};
use crate::arch::detr::DetrConfig;
use crate::layers::{FixedRows, Layer, Rows, deferred_floats, head_factor};
use crate::weights::Weights;

/// What a projection is made of.
enum Input {
    /// The columns of the value from this one on.
    Columns(usize),
    /// What is the same for every image.
    Fixed(FixedRows),
}

/// One projection of the original.
struct Part {
    layer: Layer,
    /// Whether its result stands in the first or the second half of each head.
    half: usize,
    input: Input,
}

/// How results are laid out: by heads, each in one or two halves.
#[derive(Clone, Copy)]
struct Layout {
    width: usize,
    heads: usize,
    halves: usize,
}

impl Layout {
    fn columns(self) -> usize {
        self.width * self.halves
    }

    /// The column of element `at` of a half.
    fn column(self, half: usize, at: usize) -> usize {
        let head = (self.width / self.heads.max(1)).max(1);
        (at / head * self.halves + half) * head + at % head
    }
}

/// Queries and keys of the queries' attention to each other.
pub(super) fn meeting(
    b: &mut Builder,
    w: &Weights,
    config: &DetrConfig,
    queries: &Queries<'_>,
) -> [Value; 2] {
    let layout = Layout { width: config.width, heads: config.decoder.heads, halves: 1 };
    let x = match queries.places {
        Places::Fixed(_) => queries.x.clone(),
        Places::Computed(places) => b.concat(&[queries.x, places], 2),
    };
    ["q", "k"].map(|name| {
        let layer = |part: &str| square(w, &format!("{name}_{part}_proj"), config.width);
        let parts = vec![
            Part { layer: layer("content"), half: 0, input: Input::Columns(0) },
            Part { layer: layer("pos"), half: 0, input: places(queries.places, config.width) },
        ];
        let factor = if name == "q" { head_factor(config.width, config.decoder.heads) } else { 1.0 };
        project(b, &w.full(name), &x, layout, factor, parts)
    })
}

/// What the queries ask the image, contents before places in each head.
pub(super) fn questions(b: &mut Builder, w: &Weights, config: &DetrConfig, queries: &Queries<'_>) -> Value {
    let width = config.width;
    let layout = Layout { width, heads: config.decoder.heads, halves: 2 };
    let mut parts = vec![
        Part { layer: square(w, "q_content_proj", width), half: 0, input: Input::Columns(0) },
        Part { layer: square(w, "q_pos_sine_proj", width), half: 1, input: Input::Columns(width) },
    ];
    let mut values = vec![queries.x, queries.sine];
    if queries.adds_places {
        let input = places(queries.places, 2 * width);
        parts.push(Part { layer: square(w, "q_pos_proj", width), half: 0, input });
        if let Places::Computed(places) = queries.places {
            values.push(places);
        }
    }
    let x = b.concat(&values, 2);
    project(b, &w.full("q"), &x, layout, head_factor(2 * width, config.decoder.heads), parts)
}

/// The cells as keys, contents before places in each head.
pub(super) fn keys(
    b: &mut Builder,
    w: &Weights,
    config: &DetrConfig,
    memory: &Memory,
    adds_places: bool,
) -> Value {
    let width = config.width;
    let layout = Layout { width, heads: config.decoder.heads, halves: 2 };
    let place = square(w, "k_pos_proj", width);
    let input = || match &memory.fixed {
        Some(rows) => Input::Fixed(rows.clone()),
        None => Input::Columns(width),
    };
    let mut parts = vec![
        Part { layer: square(w, "k_content_proj", width), half: 0, input: Input::Columns(0) },
        Part { layer: place.clone(), half: 1, input: input() },
    ];
    if adds_places {
        parts.push(Part { layer: place, half: 0, input: input() });
    }
    let x = memory.both.as_ref().unwrap_or(&memory.cells);
    project(b, &w.full("k"), x, layout, 1.0, parts)
}

/// Two rows of as many elements beside each other, head by head.
pub(super) fn beside(first: &Rows, second: &Rows, heads: usize) -> Rows {
    let (width, count) = (first.width(), first.count().max(second.count()));
    let layout = Layout { width, heads, halves: 2 };
    let mut values = vec![0.0; count * layout.columns()];
    for (half, rows) in [first, second].into_iter().enumerate() {
        for (row, out) in rows.iter().cycle().zip(values.chunks_exact_mut(layout.columns())) {
            for (at, value) in row.iter().enumerate() {
                out[layout.column(half, at)] = *value;
            }
        }
    }
    Rows::new(layout.columns(), values)
}

fn square(w: &Weights, name: &str, width: usize) -> Layer {
    Layer::of(w, name, [width, width])
}

fn places(places: &Places, column: usize) -> Input {
    match places {
        Places::Fixed(rows) => Input::Fixed(rows.clone()),
        Places::Computed(_) => Input::Columns(column),
    }
}

/// One product and one sum for all `parts`, the result multiplied by `factor`.
fn project(b: &mut Builder, name: &str, x: &Value, layout: Layout, factor: f32, parts: Vec<Part>) -> Value {
    let weight = b.weight(&format!("{name}.weight"), matrix(x.size(-1), layout, factor, &parts));
    let rows = bias(layout, factor, parts);
    let count = rows.0;
    let shape = if count == 1 { vec![layout.columns()] } else { vec![1, count, layout.columns()] };
    let bias = b.weight(&format!("{name}.bias"), rows.1.tensor(&shape));
    let product = b.matmul(x, &weight);
    b.add(&product, &bias)
}

/// The matrix `[rows, columns]` of the parts that depend on the image.
fn matrix(rows: usize, layout: Layout, factor: f32, parts: &[Part]) -> Tensor {
    let blocks: Vec<(Layer, usize, usize)> = parts
        .iter()
        .filter_map(|part| match part.input {
            Input::Columns(from) => Some((part.layer.clone(), part.half, from)),
            Input::Fixed(_) => None,
        })
        .collect();
    let columns = layout.columns();
    deferred_floats(&[rows, columns], move || {
        let mut matrix = vec![0.0_f32; rows * columns];
        for (layer, half, from) in &blocks {
            for (at, weights) in layer.weights().iter().enumerate() {
                let column = layout.column(*half, at);
                for (input, weight) in weights.iter().enumerate() {
                    matrix[(from + input) * columns + column] += *weight as f32 * factor;
                }
            }
        }
        matrix
    })
}

/// The sum of all biases and of what is the same for every image, and how many rows that is.
fn bias(layout: Layout, factor: f32, parts: Vec<Part>) -> (usize, FixedRows) {
    let fixed = parts.iter().filter_map(|part| match &part.input {
        Input::Fixed(rows) => Some(rows.count()),
        Input::Columns(_) => None,
    });
    let count = fixed.max().unwrap_or(1);
    let rows = FixedRows::new(count, move || {
        let mut halves = vec![Rows::zeros(1, layout.width); layout.halves];
        for part in &parts {
            let more = match &part.input {
                Input::Fixed(rows) => rows.rows().through(&part.layer),
                Input::Columns(_) => part.layer.bias(),
            };
            halves[part.half] = halves[part.half].plus(&more);
        }
        let all = match &halves[..] {
            [first, second] => beside(first, second, layout.heads),
            _ => halves[0].clone(),
        };
        all.map(|value| value * f64::from(factor))
    });
    (count, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_alternate_head_by_head() {
        let (first, second) =
            (Rows::new(4, vec![0.0, 1.0, 2.0, 3.0]), Rows::new(4, vec![10.0, 11.0, 12.0, 13.0]));
        let both: Vec<f64> = beside(&first, &second, 2).iter().flatten().copied().collect();
        assert_eq!(both, [0.0, 1.0, 10.0, 11.0, 2.0, 3.0, 12.0, 13.0]);
    }
}
