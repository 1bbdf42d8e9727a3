//! The two linear layers of a transformer's block, with a function between them that may be trained.

use graph::{Builder, Value};

use super::{Activation, linear};
use crate::weights::Weights;

/// What lies between the two layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Between {
    /// A fixed function.
    Fixed(Activation),
    /// `prelu`: each layer has learned the slope of its negative side, `activation_fn.weight`.
    Prelu,
}

impl Between {
    /// The function of this name; the error lists the names.
    pub(crate) fn by_name(name: &str) -> Result<Self, String> {
        if name == "prelu" {
            return Ok(Self::Prelu);
        }
        Activation::by_name(name).map(Self::Fixed).map_err(|names| format!("{names}, prelu"))
    }
}

/// `mlp.fc1` to `inner` elements, the function, `mlp.fc2` to `out` elements.
pub(crate) fn feed_forward(
    b: &mut Builder,
    w: &Weights,
    x: &Value,
    [inner, out]: [usize; 2],
    between: Between,
) -> Value {
    w.scope(b, "mlp", |b, w| {
        let x = linear(b, w, "fc1", x, inner);
        let x = match between {
            Between::Fixed(activation) => activation.apply(b, &x),
            Between::Prelu => {
                // One slope for all elements is a leaky ReLU.
                let slope = w.tensor("activation_fn.weight", &[1]).to_f32().unwrap_or_default();
                b.leaky_relu(&x, slope.first().copied().unwrap_or(0.0))
            }
        };
        linear(b, w, "fc2", &x, out)
    })
}
