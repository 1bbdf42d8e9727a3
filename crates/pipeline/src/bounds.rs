//! What verification tolerates, by precision.

use std::str::FromStr;

use deploy::Precision;
use serde::{Deserialize, Serialize};

/// What may differ between a variant and the source-exact graph.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Largest difference of a raw output, relative to 1 or to the reference's scale where that is larger; `None` where a
    /// single number says nothing, because a rounding may choose another query.
    pub tensor: Option<f64>,
    /// Mean difference of a raw output, relative in the same way.
    pub mean: f64,
    /// Smallest `IoU` of a detection with its counterpart.
    pub iou: f32,
    /// Largest difference of a detection's score.
    pub score: f32,
    /// Detections below this score are not compared: near it, a rounding decides whether one exists.
    pub confidence: f32,
    /// Largest share of the compared detections that may be missed, that may be extra, that may have moved and that may
    /// be rescored.
    pub differing: f64,
    /// Largest loss of mAP against the fp32 variant.
    pub map_loss: f64,
    /// Smallest share of the FLOPs in the precision's own number format.
    pub flops: f64,
}

impl Bounds {
    /// The defaults of a precision. In fp32 only the order of operations may differ. What fp16 and int8 do to an output
    /// differs from network to network, so their bounds are on what is found rather than on tensors.
    pub fn of(precision: Precision) -> Self {
        let fp32 = Self {
            tensor: Some(1e-4),
            mean: 1e-4,
            iou: 0.99,
            score: 0.005,
            confidence: 0.3,
            differing: 0.0,
            map_loss: 0.001,
            flops: 0.9,
        };
        match precision {
            Precision::Fp32 => fp32,
            Precision::Fp16 => Self {
                tensor: None,
                mean: 0.01,
                iou: 0.95,
                score: 0.02,
                differing: 0.02,
                map_loss: 0.005,
                ..fp32
            },
            Precision::Int8 => Self {
                tensor: None,
                mean: 0.2,
                iou: 0.8,
                score: 0.15,
                differing: 0.1,
                map_loss: 0.01,
                ..fp32
            },
        }
    }

    /// Whether only the order of operations may differ.
    pub(crate) fn is_exact(&self) -> bool {
        self.tensor.is_some()
    }

    /// What may differ between two batches of the same variant. A sum in another order can tip a rounding over, but only
    /// here and there.
    pub(crate) fn between_batches(&self) -> Self {
        Self { mean: self.mean / 10.0, iou: 0.95, score: 0.05, differing: 0.0, ..*self }
    }

    fn set(&mut self, name: &str, value: f64) -> bool {
        match name {
            "tensor" => self.tensor = Some(value),
            "mean" => self.mean = value,
            "iou" => self.iou = value as f32,
            "score" => self.score = value as f32,
            "confidence" => self.confidence = value as f32,
            "differing" => self.differing = value,
            "map-loss" => self.map_loss = value,
            "flops" => self.flops = value,
            _ => return false,
        }
        true
    }
}

/// One bound as it is typed: `score=0.02` for every precision, `int8.score=0.2` for one.
#[derive(Debug, Clone, PartialEq)]
pub struct BoundChange {
    precision: Option<Precision>,
    name: String,
    value: f64,
}

impl FromStr for BoundChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no bound: write NAME=NUMBER or PRECISION.NAME=NUMBER with NAME one of tensor, mean, iou, \
                 score, confidence, differing, map-loss, flops and PRECISION one of fp32, fp16, int8"
            )
        };
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        let (precision, name) = match key.split_once('.') {
            Some((precision, name)) => (Some(precision.parse().map_err(|_| wrong())?), name),
            None => (None, key),
        };
        let value: f64 = value.parse().map_err(|_| wrong())?;
        let is_possible =
            value.is_finite() && value >= 0.0 && (matches!(name, "tensor" | "mean") || value <= 1.0);
        if !is_possible || !Bounds::of(Precision::Fp32).set(name, value) {
            return Err(wrong());
        }
        Ok(Self { precision, name: name.to_owned(), value })
    }
}

/// The bounds of every precision.
#[derive(Debug, Clone, Default)]
pub struct AllBounds {
    /// What the user wants otherwise than it is by default; later ones win.
    pub changes: Vec<BoundChange>,
}

impl AllBounds {
    /// The bounds of a precision.
    pub fn of(&self, precision: Precision) -> Bounds {
        let mut bounds = Bounds::of(precision);
        let changes = self.changes.iter().filter(|c| c.precision.is_none_or(|wanted| wanted == precision));
        for change in changes {
            bounds.set(&change.name, change.value);
        }
        bounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reaches_the_precisions_that_it_names() {
        let changes = ["score=0.1", "int8.score=0.2", "fp16.map-loss=0"].map(|text| text.parse().unwrap());
        let bounds = AllBounds { changes: changes.to_vec() };
        let scores = [Precision::Fp32, Precision::Fp16, Precision::Int8].map(|p| bounds.of(p).score);
        assert_eq!(scores.map(f32::to_bits), [0.1_f32, 0.1, 0.2].map(f32::to_bits));
        assert_eq!(bounds.of(Precision::Fp16).map_loss.to_bits(), 0);
        assert_eq!(bounds.of(Precision::Int8).iou.to_bits(), Bounds::of(Precision::Int8).iou.to_bits());
    }

    #[test]
    fn what_is_no_bound_is_refused() {
        for text in ["score", "score=", "score=-1", "iou=2", "int4.iou=0.5", "speed=1", "tensor=nan", "=1"] {
            assert!(text.parse::<BoundChange>().is_err(), "{text}");
        }
        assert!("tensor=3".parse::<BoundChange>().is_ok());
    }
}
