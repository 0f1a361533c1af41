//! The curves of some strategies as an SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// One strategy's mean fraction of the optimum by trials.
#[derive(Clone, Debug)]
pub struct Curve {
    /// What the legend says.
    pub name: String,
    /// Trials and fraction.
    pub points: Vec<(usize, f64)>,
}

/// Draws the curves.
///
/// # Errors
/// When the file cannot be written.
pub fn draw(path: &Path, curves: &[Curve], title: &str) -> Result<()> {
    let text = render(curves, title).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    std::fs::write(path, text)?;
    Ok(())
}

fn render(curves: &[Curve], title: &str) -> Result<String, Box<dyn std::error::Error>> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let most = points().map(|&(trials, _)| trials).max().unwrap_or(1);
    let least = points().map(|&(_, fraction)| fraction).fold(1.0, f64::min);
    let floor = (least * 20.0).floor() / 20.0;
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (900, 560)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 18))
            .margin(14)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d((1..most).log_scale(), floor..1.0)?;
        chart
            .configure_mesh()
            .x_desc("trials")
            .y_desc("fraction of the optimum")
            .light_line_style(WHITE)
            .draw()?;
        for (i, curve) in curves.iter().enumerate() {
            let colour = Palette99::pick(i).to_rgba();
            let width = if i == 0 { 3 } else { 1 };
            chart
                .draw_series(LineSeries::new(curve.points.iter().copied(), colour.stroke_width(width)))?
                .label(&curve.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(width)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        root.present()?;
    }
    Ok(text)
}
