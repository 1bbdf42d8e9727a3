//! The card in place of a chart that has nothing true to show.
//!
//! It names the command and the machine that fill the chart; it draws no axis and no figure.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{Drawn, INDIGO, INK, SIZE, bold, heading, shortened, svg, text, type_of};
use crate::Error;

/// A card.
pub(super) struct Card {
    pub(super) title: String,
    pub(super) subtitle: String,
    /// What is missing, and on which machine it is measured.
    pub(super) reason: String,
    /// The command that fills the chart.
    pub(super) command: String,
}

impl Card {
    pub(super) fn draw(&self, file: &str) -> Result<String, Error> {
        svg(file, SIZE, |area| self.paint(area))
    }

    fn paint(&self, area: &super::canvas::Area<'_>) -> Drawn {
        heading(area, &self.title, &self.subtitle)?;
        let (width, height) = (SIZE.0 as i32, SIZE.1 as i32);
        let ground = RGBColor(0xF5, 0xF6, 0xFA);
        area.draw(&Rectangle::new([(110, 170), (width - 110, height - 90)], ground.filled()))?;
        area.draw(&Rectangle::new([(110, 170), (118, height - 90)], INDIGO.filled()))?;
        let middle = (HPos::Center, VPos::Center);
        let x = width / 2;
        text(area, "Not measured here", bold(52.0), INDIGO, middle, (x, 370))?;
        text(area, &self.reason, type_of(32.0), INK, middle, (x, 470))?;
        area.draw(&Rectangle::new([(200, 540), (width - 200, 640)], WHITE.filled()))?;
        let font = ("monospace", 30.0 * 1.24).into_font();
        text(area, &shortened(&self.command, 52), font, INK, middle, (x, 590))
    }
}
