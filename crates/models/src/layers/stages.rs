//! Which stages of a backbone feed the neck: `out_features` and `out_indices` of its configuration.
//!
//! The names are `stem` and `stage1` … in transformers' own backbones; the two keys say the same and either may be
//! absent.

/// Places of the stages that feed the neck, rising, 0 is the stem: `out_indices` (negative ones count from the end), else
/// `out_features`, else the last of `stages`. `None` when a place is not there or they do not rise.
pub(crate) fn chosen_stages(
    stages: usize,
    out_indices: Option<&[i64]>,
    out_features: Option<&[String]>,
) -> Option<Vec<usize>> {
    let count = stages + 1;
    let place = |index: i64| {
        let index = if index < 0 { index.checked_add(i64::try_from(count).ok()?)? } else { index };
        usize::try_from(index).ok().filter(|index| *index < count)
    };
    let by_name = |name: &String| match name.as_str() {
        "stem" => Some(0),
        name => name.strip_prefix("stage")?.parse().ok().filter(|index: &usize| (1..count).contains(index)),
    };
    let chosen: Vec<usize> = match (out_indices, out_features) {
        (Some(indices), _) => indices.iter().map(|index| place(*index)).collect::<Option<_>>()?,
        (None, Some(names)) => names.iter().map(by_name).collect::<Option<_>>()?,
        (None, None) => vec![stages],
    };
    let rising = chosen.windows(2).all(|pair| pair[0] < pair[1]);
    (!chosen.is_empty() && rising).then_some(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case<'a> = (Option<&'a [i64]>, Option<Vec<String>>, Option<Vec<usize>>);

    #[test]
    fn stages_are_chosen_by_place_or_by_name() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let cases: [Case<'_>; 8] = [
            (None, None, Some(vec![4])),
            (Some(&[2, 3, 4]), None, Some(vec![2, 3, 4])),
            (Some(&[-3, -1]), Some(names(&["stage1"])), Some(vec![2, 4])),
            (None, Some(names(&["stem", "stage3"])), Some(vec![0, 3])),
            (Some(&[5]), None, None),
            (Some(&[-6]), None, None),
            (Some(&[3, 2]), None, None),
            (None, Some(names(&["stage5"])), None),
        ];
        for (indices, features, expected) in cases {
            assert_eq!(chosen_stages(4, indices, features.as_deref()), expected, "{indices:?} {features:?}");
        }
    }
}
