//! Boxes: corners, or centre and size, and their overlap.
//!
//! Coordinates are continuous: a box covers `x1..x2`, so its width is `x2 - x1`, without the `+ 1` of old tools.

use serde::{Deserialize, Serialize};

/// A box by its corners: left, top, right, bottom.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Xyxy {
    /// Left.
    pub x1: f32,
    /// Top.
    pub y1: f32,
    /// Right.
    pub x2: f32,
    /// Bottom.
    pub y2: f32,
}

/// A box by its centre and size.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cxcywh {
    /// Horizontal centre.
    pub cx: f32,
    /// Vertical centre.
    pub cy: f32,
    /// Width.
    pub w: f32,
    /// Height.
    pub h: f32,
}

impl Xyxy {
    /// A box of these corners.
    pub fn new(x1: f32, y1: f32, x2: f32, y2: f32) -> Self {
        Self { x1, y1, x2, y2 }
    }

    /// The width; negative when the corners are swapped.
    pub fn width(self) -> f32 {
        self.x2 - self.x1
    }

    /// The height; negative when the corners are swapped.
    pub fn height(self) -> f32 {
        self.y2 - self.y1
    }

    /// The area; 0 for a box with swapped or undefined corners.
    pub fn area(self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// Whether all corners are finite numbers.
    pub fn is_finite(self) -> bool {
        [self.x1, self.y1, self.x2, self.y2].iter().all(|corner| corner.is_finite())
    }

    /// The part inside an image of this size.
    #[must_use]
    pub fn clipped(self, width: u32, height: u32) -> Self {
        let (width, height) = (width as f32, height as f32);
        Self {
            x1: self.x1.clamp(0.0, width),
            y1: self.y1.clamp(0.0, height),
            x2: self.x2.clamp(0.0, width),
            y2: self.y2.clamp(0.0, height),
        }
    }

    /// COCO's form: left, top, width, height.
    pub fn to_xywh(self) -> [f32; 4] {
        [self.x1, self.y1, self.width(), self.height()]
    }
}

impl From<Cxcywh> for Xyxy {
    fn from(Cxcywh { cx, cy, w, h }: Cxcywh) -> Self {
        Self { x1: cx - 0.5 * w, y1: cy - 0.5 * h, x2: cx + 0.5 * w, y2: cy + 0.5 * h }
    }
}

impl From<Xyxy> for Cxcywh {
    fn from(b: Xyxy) -> Self {
        Self { cx: 0.5 * (b.x1 + b.x2), cy: 0.5 * (b.y1 + b.y2), w: b.width(), h: b.height() }
    }
}

/// Intersection over union, 0–1; 0 when either box has no area or an undefined corner.
pub fn iou(a: Xyxy, b: Xyxy) -> f32 {
    let (area_a, area_b) = (a.area(), b.area());
    // Undefined corners give area 0, endless ones an endless area; neither overlaps anything.
    let real = |area: f32| area > 0.0 && area.is_finite();
    if !(real(area_a) && real(area_b)) {
        return 0.0;
    }
    let common =
        Xyxy { x1: a.x1.max(b.x1), y1: a.y1.max(b.y1), x2: a.x2.min(b.x2), y2: a.y2.min(b.y2) }.area();
    (common / (area_a + area_b - common)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_of_known_boxes() {
        let unit = Xyxy::new(0.0, 0.0, 1.0, 1.0);
        let cases = [
            ("itself", unit, 1.0),
            ("half to the right", Xyxy::new(0.5, 0.0, 1.5, 1.0), 1.0 / 3.0),
            ("inside", Xyxy::new(0.25, 0.25, 0.75, 0.75), 0.25),
            ("touching", Xyxy::new(1.0, 0.0, 2.0, 1.0), 0.0),
            ("apart", Xyxy::new(3.0, 3.0, 4.0, 4.0), 0.0),
            ("without area", Xyxy::new(0.5, 0.5, 0.5, 0.5), 0.0),
            ("swapped corners", Xyxy::new(1.0, 1.0, 0.0, 0.0), 0.0),
            ("undefined", Xyxy::new(f32::NAN, 0.0, 1.0, 1.0), 0.0),
            ("endless", Xyxy::new(f32::NEG_INFINITY, 0.0, f32::INFINITY, 1.0), 0.0),
        ];
        for (name, other, expected) in cases {
            let found = iou(unit, other);
            assert!((found - expected).abs() < 1e-6, "{name}: {found}");
        }
    }

    #[test]
    fn centre_form_and_corner_form_agree() {
        let corners = Xyxy::new(10.0, 20.0, 30.0, 60.0);
        let centre = Cxcywh { cx: 20.0, cy: 40.0, w: 20.0, h: 40.0 };
        assert_eq!(Xyxy::from(centre), corners);
        assert_eq!(Cxcywh::from(corners), centre);
        assert_eq!(corners.to_xywh().map(f32::to_bits), [10.0_f32, 20.0, 20.0, 40.0].map(f32::to_bits));
        assert_eq!(corners.clipped(25, 50), Xyxy::new(10.0, 20.0, 25.0, 50.0));
    }
}
