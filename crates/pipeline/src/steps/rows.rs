//! Query heads pick their queries by score, and a rounding may swap two of equal score. Rows are therefore compared
//! with their counterpart, not with their place.

use detect::Head;
use graph::Tensor;

use crate::Error;
use crate::network::Outputs;

/// Rows further apart than this are not taken for the same query in another place.
const SAME_PLACE: f32 = 1e-3;

/// `actual` (a batch of one) with its queries in the order of `reference`, and whether any had to move. Other heads and
/// outputs that are no queries are left as they are.
pub(super) fn aligned(head: &Head, reference: &Outputs, actual: &Outputs) -> Result<(Outputs, bool), Error> {
    let Head::Queries { logits, boxes, .. } = head else {
        return Ok((actual.clone(), false));
    };
    let names = [logits.as_str(), boxes.as_str()];
    let (Some(expected), Some(found)) = (queries(reference, names)?, queries(actual, names)?) else {
        return Ok((actual.clone(), false));
    };
    let order = order(&expected, &found);
    if order.iter().enumerate().all(|(place, at)| place == *at) {
        return Ok((actual.clone(), false));
    }
    let moved = actual.iter().map(|(name, tensor)| {
        let is_query = names.contains(&name.as_str());
        Ok((name.clone(), if is_query { reordered(tensor, &order)? } else { tensor.clone() }))
    });
    Ok((moved.collect::<Result<_, Error>>()?, true))
}

/// Each query as one vector of its box and scores; `None` when the outputs are not two tensors of the same queries.
fn queries(outputs: &Outputs, names: [&str; 2]) -> Result<Option<Vec<Vec<f32>>>, Error> {
    let mut rows: Vec<Vec<f32>> = Vec::new();
    for name in names {
        let Some((_, tensor)) = outputs.iter().find(|(known, _)| known == name) else { return Ok(None) };
        let [1, count, width] = *tensor.shape() else { return Ok(None) };
        rows.resize(count, Vec::new());
        for (row, values) in rows.iter_mut().zip(tensor.to_f32()?.chunks(width.max(1))) {
            row.extend_from_slice(values);
        }
    }
    Ok(Some(rows))
}

/// For each place of `expected` the row of `found` that belongs there: the one at the same place when it is close, else
/// the nearest that no other place took.
fn order(expected: &[Vec<f32>], found: &[Vec<f32>]) -> Vec<usize> {
    let mut free: Vec<bool> = vec![true; found.len()];
    let mut order: Vec<Option<usize>> = vec![None; expected.len()];
    for (place, row) in expected.iter().enumerate() {
        if found.get(place).is_some_and(|other| distance(row, other) <= SAME_PLACE) {
            order[place] = Some(place);
            free[place] = false;
        }
    }
    for (place, row) in expected.iter().enumerate().filter(|(place, _)| *place < found.len()) {
        if order[place].is_some() {
            continue;
        }
        let nearest = (0..found.len())
            .filter(|at| free[*at])
            .min_by(|a, b| distance(row, &found[*a]).total_cmp(&distance(row, &found[*b])));
        if let Some(at) = nearest {
            order[place] = Some(at);
            free[at] = false;
        }
    }
    order.into_iter().enumerate().map(|(place, at)| at.unwrap_or(place)).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |worst, next| if next > worst || next.is_nan() { next } else { worst })
}

fn reordered(tensor: &Tensor, order: &[usize]) -> Result<Tensor, Error> {
    let width = tensor.shape().last().copied().unwrap_or(1).max(1);
    let values = tensor.to_f32()?;
    let rows: Vec<&[f32]> = values.chunks(width).collect();
    let moved = order.iter().filter_map(|at| rows.get(*at)).flat_map(|row| row.iter().copied()).collect();
    Ok(Tensor::from_f32(tensor.shape(), moved)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapped_queries_find_their_place_and_wrong_ones_do_not_hide() {
        let rows = |values: &[f32]| values.iter().map(|value| vec![*value, 0.0]).collect::<Vec<_>>();
        let cases = [
            ("same", rows(&[1.0, 2.0, 3.0]), vec![0, 1, 2]),
            ("swapped", rows(&[2.0, 1.0, 3.0]), vec![1, 0, 2]),
            ("one is wrong", rows(&[1.0, 9.0, 3.0]), vec![0, 1, 2]),
        ];
        for (name, found, expected) in cases {
            assert_eq!(order(&rows(&[1.0, 2.0, 3.0]), &found), expected, "{name}");
        }
    }
}
