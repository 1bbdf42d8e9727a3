//! An engine that takes no fewer than some images, asked with fewer: the rest of the batch is filled, and cut off again.

use graph::{Tensor, ValueInfo};
use runtime::Session;
use runtime::tools::trtexec::EngineSession;

/// The session, filling up batches below `smallest`.
pub(super) fn session(engine: EngineSession, smallest: u32) -> Box<dyn Session> {
    if smallest > 1 { Box::new(Filled { inner: engine, batch: smallest as usize }) } else { Box::new(engine) }
}

struct Filled<S> {
    inner: S,
    batch: usize,
}

impl<S: Session> Session for Filled<S> {
    fn inputs(&self) -> &[ValueInfo] {
        self.inner.inputs()
    }

    fn outputs(&self) -> &[ValueInfo] {
        self.inner.outputs()
    }

    fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, runtime::Error> {
        let rows = inputs.first().and_then(|(_, tensor)| tensor.shape().first().copied()).unwrap_or(0);
        if rows == 0 || rows >= self.batch {
            return self.inner.run(inputs);
        }
        let full: Vec<(&str, Tensor)> = inputs
            .iter()
            .map(|(name, tensor)| Ok((*name, filled(tensor, self.batch)?)))
            .collect::<Result<_, graph::Error>>()?;
        let full: Vec<(&str, &Tensor)> = full.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let outputs = self.inner.run(&full)?;
        outputs.into_iter().map(|(name, tensor)| Ok((name, cut(&tensor, rows)?))).collect()
    }
}

/// The rows again and again, until there are `batch`.
fn filled(tensor: &Tensor, batch: usize) -> Result<Tensor, graph::Error> {
    let own = tensor.shape().first().copied().unwrap_or(1).max(1);
    let rows: Vec<Tensor> = (0..batch).map(|at| tensor.row(at % own)).collect::<Result<_, _>>()?;
    Tensor::stack(&rows.iter().collect::<Vec<_>>())
}

fn cut(tensor: &Tensor, rows: usize) -> Result<Tensor, graph::Error> {
    let rows: Vec<Tensor> = (0..rows).map(|at| tensor.row(at)).collect::<Result<_, _>>()?;
    Tensor::stack(&rows.iter().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes two rows and gives them back doubled.
    struct Two;

    impl Session for Two {
        fn inputs(&self) -> &[ValueInfo] {
            &[]
        }

        fn outputs(&self) -> &[ValueInfo] {
            &[]
        }

        fn run(&mut self, inputs: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, runtime::Error> {
            let (_, tensor) = inputs[0];
            assert_eq!(tensor.shape(), [4, 2]);
            let doubled = tensor.to_f32()?.into_iter().map(|value| value * 2.0).collect();
            Ok(vec![("y".into(), Tensor::from_f32([4, 2], doubled)?)])
        }
    }

    #[test]
    fn rows_that_were_not_asked_for_are_cut_off() {
        let mut session = Filled { inner: Two, batch: 4 };
        for rows in [1, 3, 4] {
            let values: Vec<f32> = (0..rows * 2).map(|value| value as f32).collect();
            let given = Tensor::from_f32([rows, 2], values.clone()).unwrap();
            let outputs = session.run(&[("x", &given)]).unwrap();
            let expected: Vec<f32> = values.iter().map(|value| value * 2.0).collect();
            assert_eq!((outputs[0].1.shape(), outputs[0].1.to_f32().unwrap()), (&[rows, 2][..], expected));
        }
    }
}
