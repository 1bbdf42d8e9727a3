//! What all charts share: size, colours, fonts, the frame with its two-line title.
//!
//! plotters sets type by a size that is 1.24 times the font size in pixels; [`type_of`] undoes that.

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::Error;
use crate::report::format::number;

/// 10 × 6 inches at 150 dots an inch.
pub(super) const SIZE: (u32, u32) = (1500, 900);

pub(super) const BLUE: RGBColor = RGBColor(0x21, 0x96, 0xF3);
pub(super) const GREEN: RGBColor = RGBColor(0x4C, 0xAF, 0x50);
pub(super) const ORANGE: RGBColor = RGBColor(0xFF, 0x98, 0x00);
pub(super) const PINK: RGBColor = RGBColor(0xE9, 0x1E, 0x63);
pub(super) const PURPLE: RGBColor = RGBColor(0x9C, 0x27, 0xB0);
pub(super) const TEAL: RGBColor = RGBColor(0x00, 0xBC, 0xD4);
pub(super) const RED: RGBColor = RGBColor(0xFF, 0x57, 0x22);
/// The palette in order, for series without a colour of their own.
pub(super) const PALETTE: [RGBColor; 6] = [BLUE, GREEN, ORANGE, PURPLE, TEAL, PINK];

pub(super) const INK: RGBColor = RGBColor(0x26, 0x32, 0x38);
pub(super) const FAINT: RGBColor = RGBColor(0x60, 0x7D, 0x8B);
pub(super) const INDIGO: RGBColor = RGBColor(0x28, 0x35, 0x93);

/// Of the drawings that are no chart: they stand two in a row, so their type is larger for their width.
pub(super) const DRAWING: (u32, u32) = (1000, 660);

/// Height that [`heading`] takes.
pub(super) const HEADING: u32 = 128;

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws a white canvas as SVG.
pub(super) fn svg(
    file: &str,
    size: (u32, u32),
    paint: impl FnOnce(&Area<'_>) -> Drawn,
) -> Result<String, Error> {
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
    let drawn = area.fill(&WHITE).and_then(|()| paint(&area)).and_then(|()| area.present());
    drop(area);
    drawn.map_err(|error| Error::Chart { chart: file.to_owned(), reason: error.to_string() })?;
    Ok(text)
}

/// A font of this size in pixels.
pub(super) fn type_of(pixels: f64) -> FontDesc<'static> {
    ("sans-serif", pixels * 1.24).into_font()
}

/// A bold font of this size in pixels.
pub(super) fn bold(pixels: f64) -> FontDesc<'static> {
    type_of(pixels).style(FontStyle::Bold)
}

/// Text at a point. Its lines are set below one another when it has several.
pub(super) fn text(
    area: &Area<'_>,
    content: &str,
    font: FontDesc<'static>,
    colour: RGBColor,
    (h, v): (HPos, VPos),
    (x, y): (i32, i32),
) -> Drawn {
    let step = (font.get_size() / 1.24 * 1.3) as i32;
    let style = TextStyle::from(font).color(&colour).pos(Pos::new(h, v));
    for (line, y) in content.lines().zip((y..).step_by(step.max(1) as usize)) {
        area.draw_text(line, &style, (x, y))?;
    }
    Ok(())
}

/// The two-line title, centred.
pub(super) fn heading(area: &Area<'_>, title: &str, subtitle: &str) -> Drawn {
    let width = area.dim_in_pixel().0;
    let fits = |pixels: f64| (f64::from(width) / (pixels * 0.52)) as usize;
    let middle = width as i32 / 2;
    let top = (HPos::Center, VPos::Top);
    text(area, &shortened(title, fits(40.0)), bold(40.0), INK, top, (middle, 24))?;
    text(area, &shortened(subtitle, fits(29.0)), type_of(29.0), FAINT, top, (middle, 80))
}

/// A chart over two numeric axes.
pub(super) type Plane<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// The grid and the labelled axes of a chart; `x_labels` numbers stand below.
pub(super) fn axes(chart: &mut Plane<'_, '_>, x_labels: usize, x_axis: &str, y_axis: &str) -> Drawn {
    chart
        .configure_mesh()
        .x_labels(x_labels)
        .y_labels(7)
        .max_light_lines(0)
        .bold_line_style(INK.mix(0.15))
        .axis_style(INK.mix(0.6))
        .x_desc(x_axis)
        .y_desc(y_axis)
        .axis_desc_style(type_of(29.0).color(&INK))
        .label_style(type_of(26.0).color(&INK))
        .x_label_formatter(&|value| tick(*value))
        .y_label_formatter(&|value| tick(*value))
        .draw()
}

/// Text that fits: cut with an ellipsis after so many characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// An axis label without needless decimals: `0.2`, `40`, `10,000`.
pub(super) fn tick(value: f64) -> String {
    let rounded = (value * 1000.0).round() / 1000.0;
    if rounded.abs() >= 1000.0 { number(rounded) } else { format!("{rounded}") }
}

/// The end of an axis that begins at 0, so that the largest value leaves room for its label.
pub(super) fn axis_end(largest: f64) -> f64 {
    if largest > 0.0 { largest * 1.18 } else { 1.0 }
}
