//! The batches that an engine is built for.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The smallest, the fastest and the largest batch of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batches {
    /// The smallest.
    pub min: u32,
    /// The one that the engine is made fastest for.
    pub opt: u32,
    /// The largest.
    pub max: u32,
}

impl Batches {
    /// The largest batch that can be asked for.
    pub const MOST: u32 = 4096;

    /// Every batch up to `max`, fastest there.
    pub fn up_to(max: u32) -> Self {
        Self { min: 1, opt: max, max }
    }

    /// One batch only.
    pub fn only(batch: u32) -> Self {
        Self { min: batch, opt: batch, max: batch }
    }

    /// Half as large at the top; `None` when that is below the smallest batch.
    pub(crate) fn halved(self) -> Option<Self> {
        let max = self.max / 2;
        (max >= self.min && max > 0).then(|| Self { min: self.min, opt: self.opt.min(max), max })
    }
}

impl FromStr for Batches {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` are no batches: write MIN:OPT:MAX such as 1:32:64, or MAX alone, from 1 to {}",
                Self::MOST
            )
        };
        let numbers: Result<Vec<u32>, _> = text.split(':').map(str::parse).collect();
        let batches = match numbers.as_deref() {
            Ok(&[max]) => Self::up_to(max),
            Ok(&[min, max]) => Self { min, opt: max, max },
            Ok(&[min, opt, max]) => Self { min, opt, max },
            _ => return Err(wrong()),
        };
        let Self { min, opt, max } = batches;
        let ordered = min >= 1 && min <= opt && opt <= max && max <= Self::MOST;
        if ordered { Ok(batches) } else { Err(wrong()) }
    }
}

impl std::fmt::Display for Batches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.min, self.opt, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_ordered() {
        let cases = [
            ("1:32:64", Some((1, 32, 64))),
            ("64", Some((1, 64, 64))),
            ("2:8", Some((2, 8, 8))),
            ("4:4:4", Some((4, 4, 4))),
        ];
        for (text, expected) in cases {
            let batches: Option<Batches> = text.parse().ok();
            assert_eq!(batches.map(|b| (b.min, b.opt, b.max)), expected, "{text}");
        }
        for text in ["", "0", "8:4:16", "1:32:16", "1:2:3:4", "a", "1::4", "99999", "-1"] {
            assert!(text.parse::<Batches>().is_err(), "{text}");
        }
    }

    #[test]
    fn halving_stops_at_the_smallest() {
        let halves = |batches: Batches| {
            std::iter::successors(Some(batches), |b| b.halved()).map(|b| (b.opt, b.max)).collect::<Vec<_>>()
        };
        assert_eq!(halves(Batches { min: 2, opt: 6, max: 8 }), [(6, 8), (4, 4), (2, 2)]);
        assert_eq!(halves(Batches::only(8)), [(8, 8)]);
        assert_eq!(halves(Batches::up_to(1)), [(1, 1)]);
    }
}
