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
/// Most items of a list, and letters of a text, that are kept.
const LONGEST: usize = 1024;

/// Attributes of a module that hold its parts and the machinery of PyTorch.
const SKIPPED: &[&str] = &["_parameters", "_buffers", "_modules"];

/// The module that `node` is, with all that lies in it.
///
/// # Errors
/// [`Error::Damaged`] when it is nested deeper, or is larger, than a network is.
pub(super) fn module(file: &str, node: Node<'_>) -> Result<Module, Error> {
    let mut left = MOST;
    read(node, 0, &mut left).map_err(|TooLarge| {
        Error::damaged(file, "its network is larger, or nested deeper, than a detector is")
    })
}

/// Whether the object is a module.
pub(super) fn is_module(node: Node<'_>) -> bool {
    node.class().is_some() && node.state().is_some() && node.get("_modules").is_some()
}

/// More than a network has.
struct TooLarge;

fn read(node: Node<'_>, depth: usize, left: &mut usize) -> Result<Module, TooLarge> {
    let children = node.get("_modules");
    if depth > DEEPEST || children.map_or(0, |children| children.entries().len()) > WIDEST {
        return Err(TooLarge);
    }
    spend(left, 1)?;
    let mut module = Module { class: node.class().unwrap_or_default().to_owned(), ..Module::default() };
    for (key, value) in node.state().into_iter().flat_map(Node::entries) {
        spend(left, 1)?;
        let Some(key) = key.as_text().filter(|key| !SKIPPED.contains(key)) else { continue };
        if let Some(fact) = fact(value, 0, left)? {
            module.facts.insert(key.to_owned(), fact);
        }
    }
    for (key, value) in children.into_iter().flat_map(Node::entries) {
        spend(left, 1)?;
        let Some(name) = key.as_text().filter(|_| is_module(value)) else { continue };
        module.children.retain(|(own, _)| own != name);
        module.children.push((name.to_owned(), read(value, depth + 1, left)?));
    }
    Ok(module)
}

/// A plain attribute, where it is of use.
fn fact(node: Node<'_>, depth: usize, left: &mut usize) -> Result<Option<Fact>, TooLarge> {
    spend(left, 1)?;
    // An integer before a float: whole numbers stay integers.
    let whole = node.as_int().filter(|_| node.as_float().is_some_and(|number| number.fract() == 0.0));
    if node.is_none() {
        return Ok(Some(Fact::None));
    }
    if node.view().is_some() {
        return Ok(node.tensor().ok().flatten().map(Fact::Tensor));
    }
    let plain = (node.as_bool().map(Fact::Flag))
        .or_else(|| node.as_text().map(|text| Fact::Text(text.chars().take(LONGEST).collect())))
        .or_else(|| whole.map(Fact::Int))
        .or_else(|| node.as_float().map(Fact::Float));
    if plain.is_some() {
        return Ok(plain);
    }
    let items = node.items();
    if items.len() == 0 || items.len() > LONGEST || depth > 2 {
        return Ok(None);
    }
    let mut list = Vec::with_capacity(items.len());
    for item in items {
        match fact(item, depth + 1, left)? {
            Some(fact) => list.push(fact),
            None => return Ok(None),
        }
    }
    Ok(Some(Fact::List(list)))
}

fn spend(left: &mut usize, cost: usize) -> Result<(), TooLarge> {
    *left = left.checked_sub(cost).ok_or(TooLarge)?;
    Ok(())
}
