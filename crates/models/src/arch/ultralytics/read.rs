//! From the objects of a pickle to the tree of modules.

use super::module::{Fact, Module};
use crate::Error;
use crate::checkpoint::Node;

/// Nesting of modules.
const DEEPEST: usize = 32;
/// Most modules and attributes, all together.
const MOST: usize = 500_000;
/// Most modules in one.
const WIDEST: usize = 512;
/// Most items of a list, and elements of a tensor, that are kept.
const LONGEST: usize = 1024;

/// Attributes of a module that hold its parts and the machinery of PyTorch.
const SKIPPED: &[&str] = &["_parameters", "_buffers", "_modules"];

/// The module that `node` is, with all that lies in it.
///
/// # Errors
/// [`Error::Damaged`] when it is nested deeper, or is larger, than a network is.
pub(super) fn module(file: &str, node: Node<'_>) -> Result<Module, Error> {
    let mut left = MOST;
    read(node, 0, &mut left).ok_or_else(|| Error::damaged(file, "its network is larger than a detector is"))
}

/// Whether the object is a module.
pub(super) fn is_module(node: Node<'_>) -> bool {
    node.class().is_some() && node.state().is_some() && node.get("_modules").is_some()
}

fn read(node: Node<'_>, depth: usize, left: &mut usize) -> Option<Module> {
    if depth > DEEPEST {
        return None;
    }
    spend(left, 1)?;
    let mut module = Module { class: node.class()?.to_owned(), ..Module::default() };
    let state = node.state()?;
    for (key, value) in state.entries() {
        spend(left, 1)?;
        let Some(key) = key.as_text().filter(|key| !SKIPPED.contains(key)) else { continue };
        if let Some(fact) = fact(value, 0, left)? {
            module.facts.insert(key.to_owned(), fact);
        }
    }
    let children = node.get("_modules")?.entries();
    if children.len() > WIDEST {
        return None;
    }
    for (key, value) in children {
        spend(left, 1)?;
        let Some(name) = key.as_text().filter(|_| is_module(value)) else { continue };
        module.children.retain(|(own, _)| own != name);
        module.children.push((name.to_owned(), read(value, depth + 1, left)?));
    }
    Some(module)
}

/// A plain attribute; `Some(None)` for one that is of no use.
#[expect(clippy::option_option, reason = "the outer one ends everything: the limit is spent")]
fn fact(node: Node<'_>, depth: usize, left: &mut usize) -> Option<Option<Fact>> {
    spend(left, 1)?;
    if node.is_none() {
        return Some(Some(Fact::None));
    }
    if let Some(flag) = node.as_bool() {
        return Some(Some(Fact::Flag(flag)));
    }
    if let Some(text) = node.as_text() {
        return Some(Some(Fact::Text(text.chars().take(LONGEST).collect())));
    }
    if let Some(view) = node.view() {
        let elements = view.shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
        let small = elements.is_some_and(|elements| (1..=LONGEST).contains(&elements));
        let tensor = if small { node.tensor().ok().flatten() } else { None };
        let values = tensor.and_then(|tensor| tensor.to_f32().ok());
        spend(left, values.as_ref().map_or(0, Vec::len))?;
        return Some(values.map(|values| {
            Fact::List(values.into_iter().map(|value| Fact::Float(f64::from(value))).collect())
        }));
    }
    // An integer before a float: whole numbers stay integers.
    if let (Some(number), true) = (node.as_int(), node.as_float().is_some_and(|number| number.fract() == 0.0))
    {
        return Some(Some(Fact::Int(number)));
    }
    if let Some(number) = node.as_float() {
        return Some(Some(Fact::Float(number)));
    }
    let items = node.items();
    if items.len() == 0 || items.len() > LONGEST || depth > 2 {
        return Some(None);
    }
    let mut list = Vec::with_capacity(items.len());
    for item in items {
        match fact(item, depth + 1, left)? {
            Some(fact) => list.push(fact),
            None => return Some(None),
        }
    }
    Some(Some(Fact::List(list)))
}

fn spend(left: &mut usize, cost: usize) -> Option<()> {
    *left = left.checked_sub(cost)?;
    Some(())
}
