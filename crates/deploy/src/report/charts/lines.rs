//! Lines over a numeric axis: streams against frame rate, precision against recall.
//!
//! Each line's name stands in the legend at the top right; with [`Lines::points`] every point shows its value.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{Area, Drawn, HEADING, INK, RED, axes, bold, heading, svg, text, type_of};
use crate::Error;
use crate::report::format::number;

/// A line chart.
pub(super) struct Lines {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) x_axis: String,
    pub(super) y_axis: String,
    pub(super) x_end: f64,
    pub(super) y_end: f64,
    pub(super) series: Vec<Series>,
    /// A dashed line at a height, with its name.
    pub(super) line: Option<(f64, String)>,
    /// Width and height in pixels.
    pub(super) size: (u32, u32),
    /// Whether points are marked with their value.
    pub(super) points: bool,
}

/// A line.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) colour: RGBColor,
    pub(super) points: Vec<(f64, f64)>,
}

impl Lines {
    pub(super) fn draw(&self, file: &str) -> Result<String, Error> {
        svg(file, self.size, |area| self.paint(area))
    }

    fn paint(&self, area: &Area<'_>) -> Drawn {
        heading(area, &self.title, &self.subtitle)?;
        let mut chart = ChartBuilder::on(area)
            .margin_top(HEADING)
            .margin_right(60)
            .margin_bottom(20)
            .margin_left(20)
            .x_label_area_size(100)
            .y_label_area_size(130)
            .build_cartesian_2d(0.0..self.x_end, 0.0..self.y_end)?;
        axes(&mut chart, 11, &self.x_axis, &self.y_axis)?;
        for series in &self.series {
            chart
                .draw_series(LineSeries::new(series.points.iter().copied(), series.colour.stroke_width(5)))?;
            if !self.points {
                continue;
            }
            for &point in &series.points {
                chart.draw_series([Circle::new(point, 11, series.colour.filled())])?;
                let (x, y) = chart.backend_coord(&point);
                let at = (HPos::Center, VPos::Bottom);
                text(area, &number(point.1), bold(28.0), INK, at, (x, y - 18))?;
            }
        }
        if let Some((value, name)) = &self.line {
            let ends = [(0.0, *value), (self.x_end, *value)];
            chart.draw_series(DashedLineSeries::new(ends, 18, 12, RED.stroke_width(4)))?;
            let (x, y) = chart.backend_coord(&(self.x_end, *value));
            text(area, name, bold(24.0), RED, (HPos::Right, VPos::Bottom), (x - 8, y - 6))?;
        }
        if self.series.len() > 1 { self.legend(area) } else { Ok(()) }
    }

    /// A box at the lower left, where a precision–recall curve never is.
    fn legend(&self, area: &Area<'_>) -> Drawn {
        let (left, step) = (200, 46);
        let top = self.size.1 as i32 - 150 - step * self.series.len() as i32;
        for (series, y) in self.series.iter().zip((top..).step_by(step as usize)) {
            area.draw(&PathElement::new([(left, y), (left + 60, y)], series.colour.stroke_width(5)))?;
            text(area, &series.name, type_of(26.0), INK, (HPos::Left, VPos::Center), (left + 76, y))?;
        }
        Ok(())
    }
}
