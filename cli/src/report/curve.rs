//! Time against share: what more of the device buys, and what one configuration for all would cost.

use fractune_tuner::results::{ShareResult, TaskResult};
use maud::{Markup, html};
use plotters::prelude::*;

use super::axis::Axis;
use super::{ReportError, svg};

const SIZE: (u32, u32) = (520, 300);

/// A line of the chart: its name, its colour, and times by share.
struct Line {
    name: String,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

/// The curve of a task with several shares; nothing where there is one.
pub(super) fn figure(task: &TaskResult) -> Result<Option<Markup>, ReportError> {
    if task.shares.len() < 2 {
        return Ok(None);
    }
    let lines = lines(task);
    let times = lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let (low, high) =
        times.fold((f64::INFINITY, 0.0_f64), |(low, high), time| (low.min(time), high.max(time)));
    let (x_axis, y_axis) = (Axis::shares(), Axis::times(low, high));
    let ticks = (x_axis.ticks(), y_axis.ticks());
    let chart = svg::draw("Time against share", SIZE, |canvas| {
        let mut chart = ChartBuilder::on(canvas)
            .margin_top(10)
            .margin_right(20)
            .x_label_area_size(26)
            .y_label_area_size(62)
            .build_cartesian_2d(x_axis, y_axis)?;
        svg::mesh(&mut chart, ticks)?;
        for line in &lines {
            let drawn = LineSeries::new(line.points.iter().copied(), line.colour.stroke_width(2));
            chart.draw_series(drawn)?;
            chart
                .draw_series(line.points.iter().map(|&point| Circle::new(point, 3, line.colour.filled())))?;
        }
        Ok(())
    })?;
    Ok(Some(html! {
        ul.legend { @for line in &lines {
            li { span.swatch style=(format!("background:{}", svg::css(line.colour))) {} (line.name) }
        } }
        div.charts { figure { figcaption { b { "Time against share" } ", in the quiet rounds" } (chart) } }
    }))
}

fn lines(task: &TaskResult) -> Vec<Line> {
    let largest = task.shares.iter().map(|share| share.share).max().unwrap_or_default();
    let served = |share: &ShareResult| {
        share.served.iter().find(|served| served.tuned_at == largest).and_then(|served| served.time_ns)
    };
    let line = |name: String, colour: usize, time: &dyn Fn(&ShareResult) -> Option<u64>| {
        let point = |share: &ShareResult| Some((f64::from(share.share), time(share)? as f64));
        let mut points: Vec<(f64, f64)> = task.shares.iter().filter_map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Line { name, colour: svg::colour(colour), points }
    };
    let all = [
        line("default".to_owned(), 7, &|share| Some(share.baseline.as_ref()?.time_ns)),
        line(format!("the choice of {largest} % at every share"), 1, &served),
        line("each share its own choice".to_owned(), 0, &|share| Some(share.best.time_ns)),
    ];
    all.into_iter().filter(|line| !line.points.is_empty()).collect()
}
