//! What each parameter does: the best, the middle half and the median of the times of every value.

use std::collections::{BTreeMap, BTreeSet};

use fractune_tuner::kernel::Value;
use fractune_tuner::trial::Trial;
use maud::{Markup, html};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::Axis;
use super::svg::{self, Canvas, DrawingError, GRID};
use super::{ReportError, shortened};

const WIDTH: u32 = 320;
/// Rows of one chart at most: neighbouring values share a row where there are more.
const ROWS: usize = 12;
/// Charts that are open at first.
const OPEN: usize = 9;
/// Shares shown at most: the first, the last and one between.
const SHARES: usize = 3;

/// One small chart per parameter, those with the largest effect first.
pub(super) fn section(shares: &[u8], trials: &[Trial]) -> Result<Markup, ReportError> {
    let shown = shown_shares(shares);
    let best: Vec<f64> =
        (shown.iter().map(|&(_, share)| times(trials, share).fold(f64::INFINITY, f64::min))).collect();
    let ok = |trial: &&Trial| shown.iter().any(|&(_, share)| trial.time_ns(share).is_some());
    let names: BTreeSet<&String> = trials.iter().filter(ok).flat_map(|t| t.configuration.0.keys()).collect();
    let mut constant = Vec::new();
    let mut effects = Vec::new();
    for name in names {
        let rows = rows(name, trials, &shown, &best);
        if rows.len() < 2 {
            constant.push(name.as_str());
        } else {
            effects.push(Effect { name, rows });
        }
    }
    effects.sort_by(|a, b| b.size().total_cmp(&a.size()));
    let high = effects.iter().flat_map(|e| &e.rows).flat_map(|row| &row.bars).map(|b| b.spread.upper);
    let high = high.fold(1.0, f64::max);
    let mut figures = Vec::new();
    for effect in &effects {
        figures.push(effect.figure(&shown, high)?);
    }
    let (open, folded) = figures.split_at(figures.len().min(OPEN));
    Ok(html! {
        h3 { "Effect of each parameter" }
        @if figures.is_empty() {
            p { "No parameter was tried with more than one value." }
        } @else {
            p.soft {
                "Times relative to the fastest trial at the same share (1x). Dot: the best with this value; tick: \
                 the median; bar: the middle half. Parameters with the largest effect first."
                @if shown.len() < shares.len() { " Not all shares are shown." }
            }
            ul.legend {
                @for &(index, share) in &shown { li { (svg::swatch(index)) (super::share_label(share)) } }
            }
            div.multiples { @for figure in open { (figure) } }
            @if !folded.is_empty() {
                details {
                    summary { (folded.len()) " more with less effect" }
                    div.multiples { @for figure in folded { (figure) } }
                }
            }
        }
        @if !constant.is_empty() && !figures.is_empty() {
            p.soft { "Timed with one value only: " (constant.join(", ")) "." }
        }
    })
}

/// The shares that are shown, each with its place in the job's order.
fn shown_shares(shares: &[u8]) -> Vec<(usize, u8)> {
    let all: Vec<(usize, u8)> = shares.iter().copied().enumerate().collect();
    if all.len() <= SHARES {
        return all;
    }
    let places = [0, all.len() / 2, all.len() - 1];
    places.iter().filter_map(|&place| all.get(place).copied()).collect()
}

fn times(trials: &[Trial], share: u8) -> impl Iterator<Item = f64> {
    trials.iter().filter_map(move |trial| Some((trial.time_ns(share)? as f64).max(1.0)))
}

struct Effect<'a> {
    name: &'a str,
    rows: Vec<Row>,
}

/// A value, or neighbouring values, and the times with it at each of the shown shares.
struct Row {
    label: String,
    bars: Vec<Bar>,
}

/// Times at one share, relative to the fastest there.
struct Bar {
    /// Place among the shown shares.
    place: usize,
    spread: Spread,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    best: f64,
    lower: f64,
    median: f64,
    upper: f64,
}

impl Spread {
    fn of(mut ratios: Vec<f64>) -> Option<Self> {
        ratios.sort_by(f64::total_cmp);
        let at =
            |part: f64| ratios.get(((ratios.len().checked_sub(1)?) as f64 * part).round() as usize).copied();
        Some(Self { best: at(0.0)?, lower: at(0.25)?, median: at(0.5)?, upper: at(0.75)? })
    }
}

fn rows(name: &str, trials: &[Trial], shown: &[(usize, u8)], best: &[f64]) -> Vec<Row> {
    let mut by_value: BTreeMap<&Value, Vec<&Trial>> = BTreeMap::new();
    for trial in trials.iter().filter(|t| shown.iter().any(|&(_, share)| t.time_ns(share).is_some())) {
        if let Some(value) = trial.configuration.0.get(name) {
            by_value.entry(value).or_default().push(trial);
        }
    }
    let values: Vec<(&Value, Vec<&Trial>)> = by_value.into_iter().collect();
    let group = values.len().div_ceil(ROWS).max(1);
    values.chunks(group).map(|chunk| row(chunk, shown, best)).collect()
}

fn row(chunk: &[(&Value, Vec<&Trial>)], shown: &[(usize, u8)], best: &[f64]) -> Row {
    let label = match chunk {
        [] => String::new(),
        [(only, _)] => shortened(&only.to_string(), 16),
        [(first, _), .., (last, _)] => {
            format!("{} – {}", shortened(&first.to_string(), 7), shortened(&last.to_string(), 7))
        }
    };
    let spreads = shown.iter().zip(best).enumerate().filter_map(|(place, (&(_, share), best))| {
        let times = chunk.iter().flat_map(|(_, trials)| trials).filter_map(|t| t.time_ns(share));
        let ratios = times.map(|ns| (ns as f64).max(1.0) / best).collect();
        Some(Bar { place, spread: Spread::of(ratios)? })
    });
    Row { label, bars: spreads.collect() }
}

impl Effect<'_> {
    /// The largest ratio between the medians of two values at one share.
    fn size(&self) -> f64 {
        let mut ends: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
        for one in self.rows.iter().flat_map(|row| &row.bars) {
            let (low, high) = ends.entry(one.place).or_insert((f64::INFINITY, 0.0));
            *low = low.min(one.spread.median);
            *high = high.max(one.spread.median);
        }
        ends.values().map(|(low, high)| high / low).fold(1.0, f64::max)
    }

    fn figure(&self, shown: &[(usize, u8)], high: f64) -> Result<Markup, ReportError> {
        let row_height = 8 * shown.len() as u32 + 10;
        let size = (WIDTH, self.rows.len() as u32 * row_height + 34);
        let label = format!("Effect of parameter {}: times relative to the best, by value", self.name);
        let chart = svg::draw(&label, size, |canvas| self.draw(canvas, shown, high))?;
        Ok(html! { figure { figcaption { b { (self.name) } } (chart) } })
    }

    fn draw(&self, canvas: &Canvas, shown: &[(usize, u8)], high: f64) -> Result<(), DrawingError> {
        let labels: Vec<String> = self.rows.iter().map(|row| row.label.clone()).collect();
        let longest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(1);
        let (x_axis, y_axis) = (Axis::ratios(high), Axis::rows(labels));
        let ticks = (x_axis.ticks(), y_axis.ticks());
        let mut chart = ChartBuilder::on(canvas)
            .margin_top(4)
            .margin_right(16)
            .x_label_area_size(24)
            .y_label_area_size(14 + 7 * longest.max(2) as u32)
            .build_cartesian_2d(x_axis, y_axis)?;
        chart
            .configure_mesh()
            .x_labels(ticks.0)
            .y_labels(ticks.1)
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.mix(0.25))
            .axis_style(GRID.mix(0.6))
            .label_style(svg::text(11.5, HPos::Center, VPos::Center))
            .draw()?;
        for (i, row) in self.rows.iter().enumerate() {
            for Bar { place, spread } in &row.bars {
                let at = |ratio: f64| chart.backend_coord(&(ratio, i as f64));
                let colour = svg::colour(shown.get(*place).map_or(0, |(index, _)| *index));
                let offset = 8.0 * *place as f64 - 4.0 * (shown.len() as f64 - 1.0);
                let y = at(1.0).1 + offset as i32;
                let (left, right, median) = (at(spread.lower).0, at(spread.upper).0, at(spread.median).0);
                canvas
                    .draw(&Rectangle::new([(left, y - 2), (right + 1, y + 2)], colour.mix(0.3).filled()))?;
                canvas.draw(&Rectangle::new([(median - 1, y - 3), (median + 1, y + 3)], colour.filled()))?;
                canvas.draw(&Circle::new((at(spread.best).0, y), 3, colour.filled()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn quartiles_of_few_and_of_many() {
        let one = Spread { best: 2.0, lower: 2.0, median: 2.0, upper: 2.0 };
        assert_eq!(Spread::of(vec![2.0]), Some(one));
        let five = Spread { best: 1.0, lower: 2.0, median: 3.0, upper: 4.0 };
        assert_eq!(Spread::of(vec![5.0, 1.0, 4.0, 2.0, 3.0]), Some(five));
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn values_are_in_order_of_size_and_grouped_where_there_are_many() {
        let (_, mut logs) = sample::job();
        for trial in &mut logs[0] {
            trial.configuration.0.insert("many".to_owned(), Value::Int(i64::from(trial.trial)));
        }
        let shown = [(0, 25)];
        let best = [times(&logs[0], 25).fold(f64::INFINITY, f64::min)];
        let many = rows("many", &logs[0], &shown, &best);
        assert!(many.len() <= ROWS && many.len() > 6);
        assert!(many[0].label.starts_with("0 – "), "{}", many[0].label);
        let unroll = rows("unroll", &logs[0], &shown, &best);
        let labels: Vec<&str> = unroll.iter().map(|row| row.label.as_str()).collect();
        assert_eq!(labels, ["1", "2", "3", "4", "5", "6", "7", "8"]);
    }

    #[test]
    fn a_parameter_with_one_value_is_named_but_not_drawn() {
        let (_, logs) = sample::job();
        let page = section(&[25, 50], &logs[0]).unwrap().into_string();
        assert!(page.contains("one value only: align"));
        assert!(!page.contains("Effect of parameter align"));
    }

    #[test]
    fn many_shares_are_thinned_to_three() {
        assert_eq!(shown_shares(&[10, 25, 50, 75, 100]), [(0, 10), (2, 50), (4, 100)]);
        assert_eq!(shown_shares(&[10, 25]), [(0, 10), (1, 25)]);
    }
}
