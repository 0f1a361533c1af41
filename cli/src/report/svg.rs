//! Charts as inline SVG: the canvas, and colours that read on light and dark ground.

use maud::{Markup, PreEscaped, html};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::ReportError;
use super::axis::Axis;

pub(super) type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type DrawingError = DrawingAreaErrorKind<std::io::Error>;

/// Becomes the text colour of the page, whatever that is.
pub(super) const INK: RGBColor = BLACK;
/// Grid lines: between the colours of light and dark ground, and mixed into either.
pub(super) const GRID: RGBColor = RGBColor(128, 128, 128);

/// Mid-tones that stand out from white and from black, in an order in which neighbours differ for
/// colour-blind readers as well.
const SERIES: [RGBColor; 8] = [
    RGBColor(47, 127, 214),
    RGBColor(217, 112, 32),
    RGBColor(32, 152, 112),
    RGBColor(176, 92, 196),
    RGBColor(200, 72, 88),
    RGBColor(138, 138, 40),
    RGBColor(48, 156, 176),
    RGBColor(140, 108, 88),
];

/// The colour of the share at this place in the job's order.
pub(super) fn colour(index: usize) -> RGBColor {
    SERIES[index % SERIES.len()]
}

/// A colour for CSS.
pub(super) fn css(RGBColor(r, g, b): RGBColor) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Text of a chart: its size in pixels at the chart's own size, and the point of it that is placed.
pub(super) fn text(size: f64, h_pos: HPos, v_pos: VPos) -> TextStyle<'static> {
    // The backend divides sizes by this factor.
    ("sans-serif", size * 1.24).into_text_style(&(1, 1)).color(&INK).pos(Pos::new(h_pos, v_pos))
}

/// Draws a chart. `label` says in words what it shows.
pub(super) fn draw(
    label: &str,
    (width, height): (u32, u32),
    paint: impl FnOnce(&Canvas) -> Result<(), DrawingError>,
) -> Result<Markup, ReportError> {
    let mut document = String::new();
    let painted = {
        let canvas = SVGBackend::with_string(&mut document, (width, height)).into_drawing_area();
        paint(&canvas).and_then(|()| canvas.present())
    };
    painted.map_err(|e| ReportError::Chart { chart: label.to_owned(), message: e.to_string() })?;
    // The backend's own root element has a fixed size, and no name for those who cannot see it.
    let inside = document.split_once('>').map_or("", |(_, rest)| rest).trim_end();
    let inside = inside.strip_suffix("</svg>").unwrap_or(inside);
    let inside = inside.replace("\"#000000\"", "\"currentColor\"").replace('\n', "");
    Ok(html! {
        svg viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(label) { (PreEscaped(inside)) }
    })
}

/// The shares and their colours.
pub(super) fn legend(shares: &[u8]) -> Markup {
    html! {
        ul.legend {
            @for (i, share) in shares.iter().enumerate() {
                li { (swatch(i)) (super::share_label(*share)) }
            }
        }
    }
}

/// A spot of a share's colour.
pub(super) fn swatch(index: usize) -> Markup {
    html! { span.swatch style=(format!("background:{}", css(colour(index)))) {} }
}

/// Axes with so many labels in x and y, and faint horizontal lines.
pub(super) fn mesh(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<Axis, Axis>>,
    ticks: (usize, usize),
) -> Result<(), DrawingError> {
    chart
        .configure_mesh()
        .x_labels(ticks.0)
        .y_labels(ticks.1)
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID.mix(0.25))
        .axis_style(GRID.mix(0.6))
        .label_style(text(12.0, HPos::Center, VPos::Center))
        .draw()
}
