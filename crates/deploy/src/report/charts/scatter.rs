//! Numbered points with a whisker each: accuracy over time.
//!
//! A point's number stands in it; what the numbers mean is said in the table beside the drawing.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{Area, DRAWING, Drawn, HEADING, INK, RED, axes, bold, heading, svg, text};
use crate::Error;

/// Space between the outermost point and the frame, as a share of the axis.
const MARGIN: f64 = 0.08;

/// A scatter chart.
pub(super) struct Scatter {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) x_axis: String,
    pub(super) y_axis: String,
    pub(super) points: Vec<Point>,
    /// A dashed line at a height, with its name.
    pub(super) least: (f64, String),
    /// A dashed line at a place of the x axis, with its name.
    pub(super) most: Option<(f64, String)>,
}

/// A point.
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    /// The ends of its whisker.
    pub(super) ends: (f64, f64),
    pub(super) colour: RGBColor,
    /// Whether it is drawn full; else as a ring.
    pub(super) full: bool,
}

impl Scatter {
    pub(super) fn draw(&self, file: &str) -> Result<String, Error> {
        svg(file, DRAWING, |area| self.paint(area))
    }

    fn paint(&self, area: &Area<'_>) -> Drawn {
        heading(area, &self.title, &self.subtitle)?;
        let (left, right) = self.x_ends();
        let (low, high) = self.y_ends();
        let mut chart = ChartBuilder::on(area)
            .margin_top(HEADING)
            .margin_right(40)
            .margin_bottom(16)
            .margin_left(16)
            .x_label_area_size(90)
            .y_label_area_size(130)
            .build_cartesian_2d(left..right, low..high)?;
        axes(&mut chart, 7, &self.x_axis, &self.y_axis)?;
        let (least, name) = &self.least;
        chart.draw_series(DashedLineSeries::new(
            [(left, *least), (right, *least)],
            14,
            10,
            RED.stroke_width(3),
        ))?;
        let (x, y) = chart.backend_coord(&(right, *least));
        text(area, name, bold(22.0), RED, (HPos::Right, VPos::Top), (x - 8, y + 6))?;
        if let Some((most, name)) = &self.most {
            chart.draw_series(DashedLineSeries::new(
                [(*most, low), (*most, high)],
                14,
                10,
                RED.stroke_width(3),
            ))?;
            let (x, y) = chart.backend_coord(&(*most, high));
            text(area, name, bold(22.0), RED, (HPos::Left, VPos::Top), (x + 8, y + 8))?;
        }
        for point in &self.points {
            let (from, to) = point.ends;
            let whisker = PathElement::new([(point.x, from), (point.x, to)], point.colour.stroke_width(3));
            chart.draw_series([whisker])?;
        }
        for (number, point) in (1..).zip(&self.points) {
            let at = (point.x, point.y);
            let inner = if point.full { point.colour } else { WHITE };
            chart.draw_series([Circle::new(at, 17, inner.filled())])?;
            chart.draw_series([Circle::new(at, 17, point.colour.stroke_width(3))])?;
            let ink = if point.full { WHITE } else { INK };
            let at = chart.backend_coord(&at);
            text(area, &number.to_string(), bold(21.0), ink, (HPos::Center, VPos::Center), at)?;
        }
        Ok(())
    }

    fn x_ends(&self) -> (f64, f64) {
        let values = self.points.iter().map(|point| point.x).chain(self.most.iter().map(|most| most.0));
        (0.0, values.fold(0.0, f64::max) * (1.0 + 2.0 * MARGIN) + f64::MIN_POSITIVE)
    }

    fn y_ends(&self) -> (f64, f64) {
        let ends = self.points.iter().flat_map(|point| [point.ends.0, point.ends.1, point.y]);
        let values: Vec<f64> = ends.chain([self.least.0]).collect();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let margin = ((high - low) * MARGIN).max(1e-4);
        (low - margin, high + margin)
    }
}
