//! Whether two graphs give the same outputs, on inputs made from a seed.

use std::path::Path;

use graph::{DataType, Dim, Model, Tensor, ValueInfo};
use runtime::{LoadOptions, OnnxSource, Session};
use serde::Serialize;

use super::{Frozen, Optimizing};
use crate::{Error, map_file};

/// Where both graphs are run, unless another backend is named.
const BACKEND: &str = "embedded";
/// The bound, in parts of an output's scale.
const BOUND: f64 = 1e-5;
/// The source's own answer to a change of a millionth in its input may be so many times smaller than the bound.
const CONDITION: f64 = 3.0;
/// What a symbol other than the batch is tried with.
const SIDE: usize = 256;

/// How a comparison ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every output is within its bound.
    Same,
    /// Not compared.
    NotRun,
}

/// The comparison of the outputs before and after.
#[derive(Debug, Clone, Serialize)]
pub struct Sameness {
    /// How it ended.
    pub verdict: Verdict,
    /// Why it was not run.
    pub reason: Option<String>,
    /// The largest difference, in parts of the output's scale.
    pub difference: Option<f64>,
    /// The bound that it was held against.
    pub bound: Option<f64>,
}

impl Sameness {
    pub(super) fn not_run(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::NotRun, reason: Some(reason.into()), difference: None, bound: None }
    }
}

/// What goes in and comes out.
pub(super) struct Interface {
    inputs: Vec<ValueInfo>,
    outputs: Vec<String>,
}

impl Interface {
    pub(super) fn of(model: &Model) -> Self {
        let outputs = model.graph.outputs.iter().map(|output| output.name.clone()).collect();
        Self { inputs: model.graph.inputs.clone(), outputs }
    }
}

type Values = Vec<(String, Tensor)>;

/// Runs both files and compares.
pub(super) fn compare(
    from: &Path,
    before: &Interface,
    to: &Path,
    after: &Interface,
    options: &Optimizing,
) -> Result<Sameness, Error> {
    if options.extract.is_some() || !options.freeze.is_empty() {
        return Ok(Sameness::not_run("the inputs or outputs are others than before"));
    }
    let renamed = |name: &String| {
        let found = options.rename.iter().find(|(old, _)| old == name);
        found.map_or_else(|| name.clone(), |(_, new)| new.clone())
    };
    let mut old = match load(from, options) {
        Ok(session) => session,
        Err(error) => {
            return Ok(Sameness::not_run(format!("the source does not run here: {}", crate::chain(&error))));
        }
    };
    let mut new = load(to, options)?;
    let (mut difference, mut bound) = (0.0_f64, BOUND);
    let whole = |values: Values| -> Values {
        values.into_iter().map(|(name, tensor)| (renamed(&name), tensor)).collect()
    };
    for batch in batches(before, after) {
        let rows = if fixed_batch(before) == Some(1) { batch } else { 1 };
        let inputs = made(before, if rows == 1 { batch } else { 1 }, rows, 0.0)?;
        let reference = match run_rows(&mut *old, &inputs) {
            Ok(values) => values,
            Err(error) => {
                return Ok(Sameness::not_run(format!(
                    "the source does not run here: {}",
                    crate::chain(&error)
                )));
            }
        };
        let actual = new.run(&refs(&whole(joined(&inputs)?)))?;
        let apart = distance(&whole(reference.clone()), &actual)?;
        if apart > bound {
            let moved = made(before, if rows == 1 { batch } else { 1 }, rows, 1e-6)?;
            let answer = distance(&reference, &run_rows(&mut *old, &moved)?)?;
            bound = bound.max(CONDITION * answer);
        }
        difference = difference.max(apart);
    }
    if !difference.is_finite() || difference > bound {
        return Err(Error::Changed { difference, bound });
    }
    debug_assert_eq!(before.outputs.len(), after.outputs.len());
    Ok(Sameness { verdict: Verdict::Same, reason: None, difference: Some(difference), bound: Some(bound) })
}

fn load(path: &Path, options: &Optimizing) -> Result<Box<dyn Session>, Error> {
    let name = options.backend.as_deref().unwrap_or(BACKEND);
    Ok(runtime::backend(name)?.load(OnnxSource::File(path), &LoadOptions::default())?)
}

/// The batch that all inputs are fixed to.
fn fixed_batch(interface: &Interface) -> Option<usize> {
    let first = interface.inputs.first()?;
    first.shape.as_ref()?.first()?.fixed()
}

/// The batches to run: those that both take, and one more row where the new graph takes what the old one does not.
fn batches(before: &Interface, after: &Interface) -> Vec<usize> {
    match (fixed_batch(before), fixed_batch(after)) {
        (None | Some(1), None) => vec![1, 2],
        (Some(batch), None) | (_, Some(batch)) => vec![batch],
    }
}

/// Inputs for `rows` runs of `batch` images, the same for the same seed, moved by `change` of their size.
fn made(interface: &Interface, batch: usize, rows: usize, change: f32) -> Result<Vec<Values>, Error> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 24) as f32
    };
    (0..rows)
        .map(|_| {
            interface
                .inputs
                .iter()
                .map(|input| Ok((input.name.clone(), one(input, batch, change, &mut next)?)))
                .collect()
        })
        .collect()
}

fn one(input: &ValueInfo, batch: usize, change: f32, next: &mut dyn FnMut() -> f32) -> Result<Tensor, Error> {
    let unknown = || Error::Options(format!("input `{input}` has no known shape"));
    let dims = input.shape.as_ref().ok_or_else(unknown)?;
    let shape: Vec<usize> = dims
        .iter()
        .enumerate()
        .map(|(at, dim)| match dim {
            Dim::Fixed(size) => *size,
            _ if at == 0 => batch,
            _ => SIDE,
        })
        .collect();
    let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
    let count = count.filter(|count| *count <= 1 << 28).ok_or_else(unknown)?;
    Ok(match input.dtype {
        Some(DataType::F32) => {
            let values = (0..count).map(|_| {
                let value = next();
                value + change * (next() - 0.5)
            });
            Tensor::from_f32(shape, values.collect())?
        }
        Some(DataType::I64) => Tensor::from_i64(shape, vec![1; count])?,
        Some(DataType::I32) => Tensor::from_i32(shape, vec![1; count])?,
        Some(DataType::U8) => Tensor::from_u8(shape, (0..count).map(|_| (next() * 255.0) as u8).collect())?,
        Some(DataType::Bool) => Tensor::new(DataType::Bool, shape, vec![1_u8; count].into())?,
        _ => {
            return Err(Error::Options(format!("input `{input}` has a type that no test input is made for")));
        }
    })
}

fn refs(values: &Values) -> Vec<(&str, &Tensor)> {
    values.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
}

/// Runs each row on its own and puts the outputs one after the other.
fn run_rows(session: &mut dyn Session, rows: &[Values]) -> Result<Values, Error> {
    let outputs: Vec<Values> =
        rows.iter().map(|row| session.run(&refs(row))).collect::<Result<_, runtime::Error>>()?;
    joined(&outputs)
}

fn joined(rows: &[Values]) -> Result<Values, Error> {
    let rows: Vec<&[(String, Tensor)]> = rows.iter().map(Vec::as_slice).collect();
    crate::network::stacked(&rows)
}

/// The largest difference of any output, in parts of its scale.
fn distance(reference: &Values, actual: &Values) -> Result<f64, Error> {
    let mut largest = 0.0_f64;
    for output in runtime::compare_outputs(reference, actual)? {
        let found = output.comparison;
        if found.unmatched > 0 {
            return Ok(f64::INFINITY);
        }
        if found.max_abs > 0.0 {
            largest =
                largest.max(if found.scale > 0.0 { found.max_abs / found.scale } else { f64::INFINITY });
        }
    }
    Ok(largest)
}

/// The constant that an input is frozen to.
pub(super) fn frozen(model: &Model, name: &str, value: &Frozen) -> Result<Tensor, Error> {
    let input = model.graph.inputs.iter().find(|input| input.name == name);
    let input = input.ok_or_else(|| Error::Options(format!("the graph has no input `{name}`")))?;
    match value {
        Frozen::File(path) => super::npy::read(&map_file(path)?)
            .map_err(|reason| Error::Options(format!("`{}`: {reason}", path.display()))),
        Frozen::Number(number) => {
            let shape = input.fixed_shape();
            let shape = shape
                .ok_or_else(|| Error::Options(format!("`{input}` has no fixed shape: give an .npy file")))?;
            let count: usize = shape.iter().product();
            match input.dtype {
                Some(DataType::F32) => Ok(Tensor::from_f32(shape, vec![*number as f32; count])?),
                Some(DataType::I64) => Ok(Tensor::from_i64(shape, vec![*number as i64; count])?),
                Some(DataType::I32) => Ok(Tensor::from_i32(shape, vec![*number as i32; count])?),
                Some(DataType::Bool) => {
                    Ok(Tensor::new(DataType::Bool, shape, vec![u8::from(*number != 0.0); count].into())?)
                }
                _ => Err(Error::Options(format!("`{input}`: give its values as an .npy file"))),
            }
        }
    }
}
