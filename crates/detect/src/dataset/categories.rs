//! Which category of a dataset is which class of a detector.
//!
//! Equal numbers alone prove nothing: id 1 is `person` in COCO and `bicycle` in an 80-class head. So names decide, and
//! numbers are used only where the names at them agree.

use std::collections::{BTreeMap, BTreeSet};

use super::{Category, Dataset};
use crate::{Error, Labels};

/// How a [`CategoryMap`] was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matching {
    /// Every category has the name of the label of its id.
    ById,
    /// Every category has a label of its name at another id.
    ByName,
    /// As many categories as classes, in the same order, and at least three names in four agree at their place (COCO's
    /// `airplane` is `aeroplane` in some heads).
    ByOrder,
}

/// From label ids to category ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategoryMap {
    by_label: BTreeMap<u32, u64>,
    /// How it was found.
    pub matching: Matching,
}

impl CategoryMap {
    /// Finds the label of every category that has annotations.
    ///
    /// Names are compared by letters and digits, in any case: `potted plant` is `Potted_plant`. Categories without
    /// annotations (the root that some tools write) need no label.
    ///
    /// # Errors
    /// [`Error::Categories`] names the categories that have no label.
    pub fn new(labels: &Labels, dataset: &Dataset) -> Result<Self, Error> {
        let used: BTreeSet<u64> = dataset.annotations.iter().map(|object| object.category).collect();
        let needed = |category: &&Category| used.contains(&category.id);

        if dataset.categories.iter().filter(needed).all(|category| label_at(labels, category).is_some()) {
            let pairs = dataset.categories.iter().filter_map(|c| Some((label_at(labels, c)?, c.id)));
            return Ok(Self { by_label: pairs.collect(), matching: Matching::ById });
        }
        let mut by_name = BTreeMap::new();
        for (id, name) in labels.iter() {
            by_name.entry(plain(name)).or_insert(id);
        }
        let label_of = |category: &Category| by_name.get(&plain(&category.name)).copied();
        let missing: Vec<&Category> = dataset
            .categories
            .iter()
            .filter(needed)
            .filter(|category| label_of(category).is_none())
            .collect();
        if missing.is_empty() {
            let pairs = dataset.categories.iter().filter_map(|c| Some((label_of(c)?, c.id)));
            return Ok(Self { by_label: pairs.collect(), matching: Matching::ByName });
        }
        if let Some(by_label) = by_order(labels, &dataset.categories) {
            return Ok(Self { by_label, matching: Matching::ByOrder });
        }
        Err(Error::Categories {
            missing: missing.iter().map(|category| format!("{} `{}`", category.id, category.name)).collect(),
            known: labels.iter().map(|(_, name)| name.to_owned()).collect(),
        })
    }

    /// The category of a label; `None` for a class that the dataset does not have.
    pub fn category(&self, label: u32) -> Option<u64> {
        self.by_label.get(&label).copied()
    }

    /// Pairs of label and category, by label.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> {
        self.by_label.iter().map(|(&label, &category)| (label, category))
    }
}

/// The label of the category's own id, when it has the category's name.
fn label_at(labels: &Labels, category: &Category) -> Option<u32> {
    let id = u32::try_from(category.id).ok()?;
    (plain(labels.name(id)?) == plain(&category.name)).then_some(id)
}

/// Pairs by rank of the ids, when the names show that both lists are in the same order.
fn by_order(labels: &Labels, categories: &[Category]) -> Option<BTreeMap<u32, u64>> {
    let mut sorted: Vec<&Category> = categories.iter().collect();
    sorted.sort_by_key(|category| category.id);
    let labels: Vec<(u32, &str)> = labels.iter().collect();
    if labels.len() != sorted.len() {
        return None;
    }
    let pairs = || labels.iter().zip(&sorted);
    let agreeing = pairs().filter(|((_, name), category)| plain(name) == plain(&category.name)).count();
    (agreeing * 4 >= labels.len() * 3)
        .then(|| pairs().map(|((id, _), category)| (*id, category.id)).collect())
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Annotation;

    fn dataset(categories: &[(u64, &str)], used: &[u64]) -> Dataset {
        Dataset {
            images: vec![],
            categories: categories.iter().map(|&(id, name)| Category { id, name: name.into() }).collect(),
            annotations: used
                .iter()
                .map(|&category| Annotation { image: 1, category, bbox: [0.0; 4], area: 0.0, crowd: false })
                .collect(),
        }
    }

    type Case = (&'static str, &'static [(u64, &'static str)], Matching, &'static [(u32, u64)]);

    #[test]
    fn names_decide() {
        let labels = Labels::from_lines("person\nbicycle\ncar\nmotorbike\n").unwrap();
        let cases: [Case; 6] = [
            ("same ids", &[(0, "person"), (2, "Car")], Matching::ById, &[(0, 0), (2, 2)]),
            (
                "shifted ids",
                &[(1, "person"), (2, "bicycle"), (3, "car")],
                Matching::ByName,
                &[(0, 1), (1, 2), (2, 3)],
            ),
            ("other spelling", &[(5, "Motor_Bike")], Matching::ByName, &[(3, 5)]),
            (
                "other words, same order",
                &[(1, "person"), (2, "bicycle"), (3, "car"), (4, "motorcycle")],
                Matching::ByOrder,
                &[(0, 1), (1, 2), (2, 3), (3, 4)],
            ),
            ("unused root", &[(0, "things"), (1, "person"), (2, "car")], Matching::ByName, &[(0, 1), (2, 2)]),
            ("nothing annotated", &[], Matching::ById, &[]),
        ];
        for (name, categories, matching, pairs) in cases {
            let used: Vec<u64> =
                categories.iter().filter(|(_, name)| *name != "things").map(|c| c.0).collect();
            let map = CategoryMap::new(&labels, &dataset(categories, &used)).unwrap();
            assert_eq!((map.matching, map.iter().collect::<Vec<_>>()), (matching, pairs.to_vec()), "{name}");
        }
    }

    #[test]
    fn a_category_without_a_label_is_named() {
        let labels = Labels::from_lines("person\nbicycle\n").unwrap();
        let error = CategoryMap::new(&labels, &dataset(&[(1, "person"), (2, "zebra")], &[1, 2])).unwrap_err();
        assert!(matches!(&error, Error::Categories { missing, .. } if missing == &["2 `zebra`"]), "{error}");
        assert!(error.hint().unwrap().contains("bicycle"));
    }
}
