//! How the times of all trials are distributed, with the best and the default.

use fractune_tuner::results::{ShareResult, TaskResult};
use fractune_tuner::trial::Trial;
use maud::{Markup, html};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::Axis;
use super::svg::{self, Canvas, DrawingError, INK};
use super::{ReportError, count, share_label};
use crate::table::duration;

const SIZE: (u32, u32) = (520, 190);
const BINS: usize = 32;

/// One histogram for each share, all over the same range of times.
pub(super) fn charts(shares: &[u8], task: &TaskResult, trials: &[Trial]) -> Result<Markup, ReportError> {
    let mut histograms: Vec<Histogram> = shares
        .iter()
        .enumerate()
        .map(|(index, &share)| Histogram {
            index,
            share,
            times: trials.iter().filter_map(|t| Some((t.time_ns(share)? as f64).max(1.0))).collect(),
            lines: task.shares.iter().find(|s| s.share == share).map(lines).unwrap_or_default(),
        })
        .collect();
    histograms.retain(|histogram| !histogram.times.is_empty());
    let marked = histograms.iter().flat_map(|h| h.lines.iter().map(|line| line.time));
    let all = histograms.iter().flat_map(|h| h.times.iter().copied()).chain(marked);
    let (low, high) = all.fold((f64::INFINITY, 1.0_f64), |(low, high), t| (low.min(t), high.max(t)));
    let range = (low / 1.08, high * 1.08);
    let mut figures = Vec::new();
    for histogram in &histograms {
        let label = format!("Distribution of trial times at a share of {} %", histogram.share);
        let chart = svg::draw(&label, SIZE, |canvas| histogram.draw(canvas, range))?;
        figures.push(html! { figure {
            figcaption {
                (svg::swatch(histogram.index)) b { (share_label(histogram.share)) } ", "
                (count(histogram.times.len(), "timed trial"))
            }
            (chart)
        } });
    }
    Ok(html! { @for figure in &figures { (figure) } })
}

struct Histogram {
    index: usize,
    share: u8,
    times: Vec<f64>,
    lines: Vec<Line>,
}

/// A time that is marked and named.
struct Line {
    name: String,
    time: f64,
}

fn lines(share: &ShareResult) -> Vec<Line> {
    let line =
        |name: &str, ns: u64| Line { name: format!("{name} {}", duration(ns)), time: (ns as f64).max(1.0) };
    match &share.baseline {
        Some(baseline) if baseline.trial == share.best.trial => {
            vec![line("best is the default,", share.best.time_ns)]
        }
        Some(baseline) => vec![line("best", share.best.time_ns), line("default", baseline.time_ns)],
        None => vec![line("best", share.best.time_ns)],
    }
}

impl Histogram {
    fn draw(&self, canvas: &Canvas, (low, high): (f64, f64)) -> Result<(), DrawingError> {
        let counts = bins(&self.times, low, high);
        let most = counts.iter().copied().max().unwrap_or(1);
        let (x_axis, y_axis) = (Axis::log_times(low, high), Axis::count(most as f64 * 1.05, 3));
        let ticks = (x_axis.ticks(), y_axis.ticks());
        let mut chart = ChartBuilder::on(canvas)
            .margin_top(36)
            .margin_right(18)
            .x_label_area_size(26)
            .y_label_area_size(40)
            .build_cartesian_2d(x_axis, y_axis)?;
        svg::mesh(&mut chart, ticks)?;
        let edge = |bin: usize| low * (high / low).powf(bin as f64 / BINS as f64);
        let fill = svg::colour(self.index).mix(0.6).filled();
        let filled = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        chart.draw_series(filled.map(|(bin, count)| {
            let mut bar = Rectangle::new([(edge(bin), 0.0), (edge(bin + 1), *count as f64)], fill);
            bar.set_margin(0, 0, 1, 0);
            bar
        }))?;
        for (y, line) in (9..).step_by(15).zip(&self.lines) {
            let (x, bottom) = chart.backend_coord(&(line.time, 0.0));
            canvas.draw(&PathElement::new(vec![(x, y + 7), (x, bottom)], INK.stroke_width(1)))?;
            let (h_pos, x) =
                if x > SIZE.0.cast_signed() / 2 { (HPos::Right, x + 4) } else { (HPos::Left, x - 4) };
            canvas.draw(&Text::new(line.name.clone(), (x, y), svg::text(12.0, h_pos, VPos::Center)))?;
        }
        Ok(())
    }
}

/// How many times fall into each of the bins, which are equally wide on a logarithmic scale.
fn bins(times: &[f64], low: f64, high: f64) -> Vec<usize> {
    let mut counts = vec![0; BINS];
    for time in times {
        let position = (time / low).ln() / (high / low).ln() * BINS as f64;
        let bin = if position.is_finite() { (position.max(0.0) as usize).min(BINS - 1) } else { 0 };
        if let Some(count) = counts.get_mut(bin) {
            *count += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_one_bin() {
        let times: Vec<f64> = (1..=1000).map(f64::from).collect();
        let counts = bins(&times, 1.0, 1000.0);
        assert_eq!(counts.iter().sum::<usize>(), 1000);
        assert!(counts.first() < counts.last(), "bins are wider where times are longer");
        assert_eq!(bins(&[5.0], 5.0, 5.0).iter().sum::<usize>(), 1);
    }
}
