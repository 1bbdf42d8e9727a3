//! Bars over categories, with the value above each and a dashed reference line where there is one.
//!
//! The axis always begins at 0: a bar's length is its value.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{
    Drawn, HEADING, INK, RED, SIZE, axis_end, bold, heading, shortened, svg, text, tick, type_of,
};
use crate::Error;
use crate::report::format::number;

/// A bar chart.
pub(super) struct BarChart {
    pub(super) title: String,
    pub(super) subtitle: String,
    /// What the axis shows, with its unit.
    pub(super) axis: String,
    pub(super) bars: Vec<Bar>,
    /// A dashed line at a value, with its name.
    pub(super) line: Option<(f64, String)>,
    /// Written after each value: `%`, or nothing.
    pub(super) suffix: &'static str,
}

/// A bar.
pub(super) struct Bar {
    /// Below the bar; a newline breaks it.
    pub(super) label: String,
    pub(super) value: f64,
    pub(super) colour: RGBColor,
}

impl BarChart {
    pub(super) fn draw(&self, file: &str) -> Result<String, Error> {
        svg(file, SIZE, |area| self.paint(area))
    }

    fn paint(&self, area: &super::canvas::Area<'_>) -> Drawn {
        heading(area, &self.title, &self.subtitle)?;
        let values = self.bars.iter().map(|bar| bar.value).chain(self.line.iter().map(|line| line.0));
        let end = axis_end(values.fold(0.0, f64::max));
        let count = self.bars.len() as f64;
        let mut chart = ChartBuilder::on(area)
            .margin_top(HEADING)
            .margin_right(60)
            .margin_bottom(20)
            .margin_left(20)
            .x_label_area_size(96)
            .y_label_area_size(130)
            .build_cartesian_2d(0.0..count, 0.0..end)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_labels(7)
            .y_max_light_lines(0)
            .bold_line_style(INK.mix(0.15))
            .axis_style(INK.mix(0.6))
            .y_desc(self.axis.as_str())
            .axis_desc_style(type_of(30.0).color(&INK))
            .y_label_style(type_of(28.0).color(&INK))
            .y_label_formatter(&|value| tick(*value))
            .draw()?;
        // A bar takes at most a fifth of the width: two bars must not look like walls.
        let half = (0.32_f64).min(count * 0.09);
        for (index, bar) in self.bars.iter().enumerate() {
            let middle = index as f64 + 0.5;
            let corners = [(middle - half, 0.0), (middle + half, bar.value)];
            chart.draw_series([Rectangle::new(corners, bar.colour.filled())])?;
            let (x, y) = chart.backend_coord(&(middle, bar.value));
            let value = format!("{}{}", number(bar.value), self.suffix);
            text(area, &value, bold(34.0), INK, (HPos::Center, VPos::Bottom), (x, y - 4))?;
            let (x, y) = chart.backend_coord(&(middle, 0.0));
            let label: Vec<String> =
                bar.label.lines().map(|line| shortened(line, 96 / self.bars.len().max(1))).collect();
            text(area, &label.join("\n"), type_of(29.0), INK, (HPos::Center, VPos::Top), (x, y + 14))?;
        }
        let Some((value, name)) = &self.line else {
            return Ok(());
        };
        let ends = [(0.0, *value), (count, *value)];
        chart.draw_series(DashedLineSeries::new(ends, 18, 12, RED.stroke_width(4)))?;
        let (x, y) = chart.backend_coord(&(count, *value));
        text(area, name, bold(27.0), RED, (HPos::Right, VPos::Bottom), (x - 8, y - 6))
    }
}
