//! The shapes that an engine is built for, whoever builds it.

/// The shapes that an input may have. Sizes that are the same throughout are fixed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The input's name.
    pub tensor: String,
    /// The smallest shape.
    pub min: Vec<usize>,
    /// The shape that the engine is made fastest for.
    pub opt: Vec<usize>,
    /// The largest shape.
    pub max: Vec<usize>,
}
