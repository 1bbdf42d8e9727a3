//! Writes a graph that uses every operation of the builder, for `tests/fixtures/check_builder_ops.py` to compare with
//! PyTorch.
//!
//! Each output is called after the method that makes it. Usage: `cargo run --example builder_ops -- OPSET FILE`.

use std::fs::File;
use std::io::BufWriter;

use graph::builder::{Conv, Interpolation, Pool};
use graph::{Builder, DataType, Dim, Value};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let opset = arguments.next().ok_or("usage: builder_ops OPSET FILE")?.parse()?;
    let file = arguments.next().ok_or("usage: builder_ops OPSET FILE")?;
    let mut b = Builder::new("every operation", opset);
    let image = b.input("image", DataType::F32, vec![Dim::batch(), 4.into(), 9.into(), 11.into()]);
    let tokens = b.input("tokens", DataType::F32, vec![Dim::batch(), 6.into(), 8.into()]);
    let grid = b.input("grid", DataType::F32, vec![Dim::batch(), 5.into(), 7.into(), 2.into()]);
    arithmetic(&mut b, &tokens);
    reductions(&mut b, &tokens);
    layout(&mut b, &image, &tokens);
    vision(&mut b, &image, &grid);
    let model = b.finish("sightline", "builder_ops")?;
    graph::onnx::write(&model, &mut BufWriter::new(File::create(file)?))?;
    Ok(())
}

/// Reproducible numbers between -1 and 1.
fn weight(b: &mut Builder, name: &str, shape: &[usize]) -> Value {
    let count: usize = shape.iter().product();
    let values = (0..count).map(|at| ((at * 37 + name.len() * 11) % 101) as f32 / 50.0 - 1.0).collect();
    b.floats(shape, values)
}

fn arithmetic(b: &mut Builder, x: &Value) {
    type Unary = (&'static str, fn(&mut Builder, &Value) -> Value);
    type Binary = (&'static str, fn(&mut Builder, &Value, &Value) -> Value);
    let unary: [Unary; 16] = [
        ("relu", Builder::relu),
        ("sigmoid", Builder::sigmoid),
        ("tanh", Builder::tanh),
        ("erf", Builder::erf),
        ("exp", Builder::exp),
        ("neg", Builder::neg),
        ("abs", Builder::abs),
        ("floor", Builder::floor),
        ("round", Builder::round),
        ("sin", Builder::sin),
        ("cos", Builder::cos),
        ("softplus", Builder::softplus),
        ("silu", Builder::silu),
        ("gelu", Builder::gelu),
        ("log", |b, x| {
            let positive = b.exp(x);
            b.log(&positive)
        }),
        ("sqrt", |b, x| {
            let positive = b.abs(x);
            b.sqrt(&positive)
        }),
    ];
    for (name, method) in unary {
        let y = method(b, x);
        b.output(name, &y);
    }
    let other = weight(b, "other", &[6, 1]);
    let binary: [Binary; 7] = [
        ("add", Builder::add),
        ("sub", Builder::sub),
        ("mul", Builder::mul),
        ("div", Builder::div),
        ("maximum", Builder::maximum),
        ("minimum", Builder::minimum),
        ("pow", |b, x, y| {
            let base = b.exp(x);
            b.pow(&base, y)
        }),
    ];
    for (name, method) in binary {
        let y = method(b, x, &other);
        b.output(name, &y);
    }
    let larger = b.greater(x, &other);
    let outputs = [
        ("leaky_relu", b.leaky_relu(x, 0.1)),
        ("elu", b.elu(x)),
        ("softmax", b.softmax(x, -1)),
        ("clip", b.clip(x, -0.25, 0.5)),
        ("at_least", b.at_least(x, -0.25)),
        ("at_most", b.at_most(x, 0.5)),
        ("greater", larger.clone()),
        ("cast", b.cast(x, DataType::I32)),
    ];
    for (name, value) in &outputs {
        b.output(name, value);
    }
    let zero = b.scalar(0.0);
    let positive = b.greater(x, &zero);
    let both = b.and(&larger, &positive);
    b.output("and", &both);
    let selected = b.select(&larger, x, &other);
    b.output("select", &selected);
}

fn reductions(b: &mut Builder, x: &Value) {
    let matrix = weight(b, "matrix", &[8, 5]);
    let other = b.transpose(x, &[0, 2, 1]);
    let (scale, bias) = (weight(b, "scale", &[8]), weight(b, "bias", &[8]));
    let (largest, positions) = b.top_k(x, 3, 1);
    let (first, first_positions) = b.top_k(x, 2, -1);
    let outputs = [
        ("matmul", b.matmul(x, &matrix)),
        ("matmul_batched", b.matmul(x, &other)),
        ("layer_norm", b.layer_norm(x, &scale, &bias, 1e-5)),
        ("reduce_mean", b.reduce_mean(x, &[-1], false)),
        ("reduce_l2", b.reduce_l2(x, &[-1], false)),
        ("reduce_max", b.reduce_max(x, &[1, 2], true)),
        ("reduce_min", b.reduce_min(x, &[1], true)),
        ("reduce_sum", b.reduce_sum(x, &[-2], true)),
        ("top_k_values", largest),
        ("top_k_positions", positions.clone()),
        ("top_k_last", first),
        ("top_k_last_positions", first_positions),
        ("gather_elements", b.gather_elements(x, &positions, 1)),
    ];
    for (name, value) in &outputs {
        b.output(name, value);
    }
}

fn layout(b: &mut Builder, image: &Value, x: &Value) {
    let heads = b.reshape(x, &[0, 6, 2, 4]);
    let folded = b.reshape(x, &[-1, 8]);
    let parts = b.split(x, &[1, 2, 3], 1);
    let scores = b.reduce_max(x, &[-1], false);
    let (_, positions) = b.top_k(&scores, 4, 1);
    let query = weight(b, "query", &[1, 3, 8]);
    let column = b.slice(x, 2, 5, 6);
    let outputs = [
        ("reshape", heads.clone()),
        ("reshape_folded", folded.clone()),
        ("reshape_unfolded", b.reshape(&folded, &[-1, 6, 8])),
        ("flatten_from", b.flatten_from(image, 2)),
        ("transpose", b.transpose(&heads, &[0, 2, 1, 3])),
        ("concat", b.concat(&[x, &parts[1]], 1)),
        ("split_0", parts[0].clone()),
        ("split_2", parts[2].clone()),
        ("slice", b.slice(x, -1, 2, 7)),
        ("slice_by", b.slice_by(image, 3, 1, 11, 3)),
        ("pad", b.pad(x, 1, 2, 0)),
        ("pad_with", b.pad_with(x, -1, 0, 3, f32::NEG_INFINITY)),
        ("unsqueeze", b.unsqueeze(x, &[1, 4])),
        ("squeeze", b.squeeze(&column, -1)),
        ("take", b.take(x, &[5, 0, 0], 1)),
        ("gather_rows", b.gather_rows(x, &positions)),
        ("expand_batch", b.expand_batch(&query, x)),
    ];
    for (name, value) in &outputs {
        b.output(name, value);
    }
}

fn vision(b: &mut Builder, x: &Value, grid: &Value) {
    let kernel = weight(b, "kernel", &[6, 2, 3, 3]);
    let bias = weight(b, "kernel bias", &[6]);
    let (point, square) = (weight(b, "point", &[3, 4, 1, 1]), weight(b, "square", &[4, 6, 2, 2]));
    let grouped = Conv { stride: [2, 1], padding: [1, 0, 2, 1], dilation: [1, 2], groups: 2 };
    let (scale, shift) = (weight(b, "norm scale", &[4]), weight(b, "norm shift", &[4]));
    let (factor, summand) = (weight(b, "factor", &[4, 1, 1]), weight(b, "group shift", &[4, 1, 1]));
    let mean = weight(b, "mean", &[4]);
    let variance = b.floats(&[4], vec![0.5, 1.0, 1.5, 2.0]);
    let pool = |kernel, stride, padding, ceil| Pool { kernel, stride, padding, ceil };
    let outputs = [
        ("conv", b.conv(x, &kernel, Some(&bias), grouped)),
        ("conv_transpose", b.conv_transpose(x, &square, Some(&bias), Conv::new(2, 0))),
        ("conv_point", b.conv(x, &point, None, Conv::new(1, 0))),
        ("batch_norm", b.batch_norm(x, [&scale, &shift, &mean, &variance], 1e-3)),
        ("group_norm", b.group_norm(x, 2, [&factor, &summand], 1e-3)),
        ("zero_border", b.zero_border(x, [1, 0, 2, 3])),
        ("max_pool", b.max_pool(x, pool(3, 2, 1, false))),
        ("max_pool_ceil", b.max_pool(x, pool(2, 2, 0, true))),
        ("max_pool_ceil_padded", b.max_pool(x, pool(2, 3, 1, true))),
        ("average_pool", b.average_pool(x, pool(2, 2, 0, false))),
        ("average_pool_ceil", b.average_pool(x, pool(2, 2, 0, true))),
        ("average_pool_padded", b.average_pool(x, pool(3, 1, 1, false))),
        ("padded_average_pool", b.padded_average_pool(x, pool(3, 2, 1, false))),
        ("resize_nearest", b.resize(x, 18, 22, Interpolation::Nearest)),
        ("resize_nearest_odd", b.resize(x, 7, 25, Interpolation::Nearest)),
        ("resize_linear", b.resize(x, 20, 13, Interpolation::Linear)),
        ("resize_cubic", b.resize(x, 27, 33, Interpolation::Cubic)),
        ("grid_sample", b.grid_sample(x, grid)),
    ];
    for (name, value) in &outputs {
        b.output(name, value);
    }
}
