//! Average precision by class, as horizontal bars: the names are long and there may be eighty of them.
//!
//! Best first. Past [`MOST`] classes the middle is left out and the chart says so; the report's table has them all.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{
    Area, BLUE, DRAWING, Drawn, HEADING, INDIGO, INK, bold, heading, shortened, svg, text, type_of,
};
use crate::Error;

/// Most classes drawn.
const MOST: usize = 40;
/// Height of a row in pixels.
const ROW: u32 = 44;
/// Left end of the bars.
const LEFT: i32 = 270;
/// A bar at least this long holds its own number.
const ROOM: i32 = 110;

/// Average precision by class.
pub(super) struct Classes {
    pub(super) title: String,
    pub(super) subtitle: String,
    /// Name, mAP@[.5:.95] and AP50 of each class that has objects.
    pub(super) rows: Vec<(String, f64, Option<f64>)>,
}

impl Classes {
    pub(super) fn draw(mut self, file: &str) -> Result<String, Error> {
        self.rows.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let all = self.rows.len();
        if all > MOST {
            self.rows.drain(MOST / 2..all - MOST / 2);
            self.subtitle =
                format!("{} (the {} best and {} worst of {all})", self.subtitle, MOST / 2, MOST / 2);
        }
        let height = HEADING + 70 + ROW * self.rows.len().max(1) as u32;
        svg(file, (DRAWING.0, height), |area| self.paint(area))
    }

    fn paint(&self, area: &Area<'_>) -> Drawn {
        heading(area, &self.title, &self.subtitle)?;
        let right = DRAWING.0 as i32 - 50;
        let x_of = |value: f64| LEFT + (f64::from(right - LEFT) * value.clamp(0.0, 1.0)) as i32;
        let top = HEADING as i32 + 10;
        let bottom = top + ROW as i32 * self.rows.len() as i32;
        for tick in 0..=5 {
            let value = f64::from(tick) / 5.0;
            let x = x_of(value);
            area.draw(&PathElement::new([(x, top), (x, bottom)], INK.mix(0.15).stroke_width(2)))?;
            let label = format!("{value:.1}");
            text(area, &label, type_of(24.0), INK, (HPos::Center, VPos::Top), (x, bottom + 12))?;
        }
        for ((name, map, ap50), y) in self.rows.iter().zip((top..).step_by(ROW as usize)) {
            let middle = y + ROW as i32 / 2;
            let at = (HPos::Right, VPos::Center);
            text(area, &shortened(name, 19), type_of(25.0), INK, at, (LEFT - 16, middle))?;
            area.draw(&Rectangle::new([(LEFT, y + 7), (x_of(*map), y + ROW as i32 - 7)], BLUE.filled()))?;
            if let Some(ap50) = ap50 {
                let x = x_of(*ap50);
                let mark = [(x, y + 7), (x, y + ROW as i32 - 7)];
                area.draw(&PathElement::new(mark, INDIGO.stroke_width(5)))?;
            }
            let label = format!("{map:.3}");
            let end = x_of(*map);
            if end - LEFT >= ROOM {
                let at = (HPos::Right, VPos::Center);
                text(area, &label, bold(23.0), WHITE, at, (end - 10, middle))?;
            } else {
                let after = end.max(ap50.map_or(0, x_of)) + 12;
                text(area, &label, bold(23.0), INK, (HPos::Left, VPos::Center), (after, middle))?;
            }
        }
        Ok(())
    }
}
