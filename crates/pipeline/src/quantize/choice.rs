//! How ranges are chosen: by a method that is named, or by the one that moves the detections least.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use graph::Model;
use graph::quantize::{Histogram, Method, Placement};
use serde::{Deserialize, Serialize};

use crate::moved::Probe;
use crate::{Error, ImageSet, Subject};

/// What is tried when no method is named. Nothing cut off comes first: it wins a draw.
const TRIED: [Method; 4] =
    [Method::MinMax, Method::Percentile(99.999), Method::Percentile(99.99), Method::Mse];

/// Images that a method is tried on.
const PROBED: usize = 16;

/// How ranges are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Choice {
    /// By this method.
    Of(Method),
    /// By the method whose INT8 graph finds what the original finds, on the calibration images.
    Measured,
}

/// A method that was tried, and how far it moved the detections: 0 for not at all, 1 for none found again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriedMethod {
    /// The method.
    pub method: String,
    /// How far.
    pub moved: f64,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" { Ok(Self::Measured) } else { text.parse().map(Self::Of) }
    }
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Of(method) => method.fmt(f),
            Self::Measured => f.write_str("auto"),
        }
    }
}

impl Choice {
    /// The method, and what was tried to find it.
    pub(super) fn method(
        self,
        model: &Model,
        placement: &Placement,
        seen: &BTreeMap<String, Histogram>,
        basis: &Basis<'_>,
    ) -> Result<(Method, Vec<TriedMethod>), Error> {
        if let Self::Of(method) = self {
            return Ok((method, Vec::new()));
        }
        let probe = Probe::new(basis.subject, &basis.images.first(PROBED).images, basis.backend, basis.work)?;
        let mut tried = Vec::new();
        for method in TRIED {
            let scales = graph::quantize::scales(placement, seen, method)?;
            let mut rounded = model.clone();
            graph::quantize::quantize(&mut rounded, placement, &scales)?;
            tried.push((method, probe.moved(&rounded, &basis.subject.detector)?));
        }
        let best = tried.iter().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(TRIED[0], |best| best.0);
        let tried =
            tried.iter().map(|(method, moved)| TriedMethod { method: method.to_string(), moved: *moved });
        Ok((best, tried.collect()))
    }
}

/// What ranges are taken from and methods are tried on.
#[derive(Clone, Copy)]
pub(crate) struct Basis<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) images: &'a ImageSet,
    pub(crate) backend: &'a str,
    /// Where unfinished things lie.
    pub(crate) work: &'a Path,
}
