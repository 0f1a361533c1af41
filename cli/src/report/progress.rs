//! Best so far, over trials and over time.

use fractune_tuner::trial::Trial;
use maud::{Markup, html};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::Axis;
use super::svg;
use super::{ReportError, share_label};

const SIZE: (u32, u32) = (520, 300);
/// Dots drawn for each share at most: more could not be told apart.
const DOTS: usize = 400;
/// Room between two labels at the ends of lines.
const LABEL_HEIGHT: i32 = 14;

/// Best so far over trials, with the time of every trial.
pub(super) fn over_trials(shares: &[u8], trials: &[Trial]) -> Result<Markup, ReportError> {
    let series = all_series(shares, trials, |trial| f64::from(trial.trial));
    let end = trials.iter().map(|trial| f64::from(trial.trial)).fold(0.0, f64::max);
    let chart =
        draw("Best time so far over trials, one line per share", &series, Axis::count(end, 6), end, true)?;
    Ok(figure("Over trials", "dots are single trials", &chart))
}

/// Best so far over search time.
pub(super) fn over_time(shares: &[u8], trials: &[Trial]) -> Result<Markup, ReportError> {
    let series = all_series(shares, trials, |trial| trial.elapsed_ms as f64);
    let end = trials.iter().map(|trial| trial.elapsed_ms as f64).fold(0.0, f64::max);
    let chart = draw(
        "Best time so far over search time, one line per share",
        &series,
        Axis::elapsed(end),
        end,
        false,
    )?;
    Ok(figure("Over search time", "the winners only", &chart))
}

fn figure(title: &str, what: &str, chart: &Markup) -> Markup {
    html! { figure { figcaption { b { (title) } ", " (what) } (chart) } }
}

/// The timed trials of one share as places and times, in order of place.
struct Series {
    index: usize,
    share: u8,
    points: Vec<(f64, f64)>,
}

fn all_series(shares: &[u8], trials: &[Trial], place: impl Fn(&Trial) -> f64) -> Vec<Series> {
    let series = shares.iter().enumerate().map(|(index, &share)| {
        let timed = trials.iter().filter_map(|t| Some((place(t), t.time_ns(share)? as f64)));
        let mut points: Vec<(f64, f64)> = timed.collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Series { index, share, points }
    });
    series.filter(|series| !series.points.is_empty()).collect()
}

impl Series {
    /// The corners of the staircase of best times, up to `end`.
    fn staircase(&self, end: f64) -> Vec<(f64, f64)> {
        let mut corners: Vec<(f64, f64)> = Vec::new();
        let mut best = f64::INFINITY;
        for &(place, time) in &self.points {
            if time < best {
                if best.is_finite() {
                    corners.push((place, best));
                }
                corners.push((place, time));
                best = time;
            }
        }
        corners.push((end, best));
        corners
    }
}

fn draw(label: &str, series: &[Series], x_axis: Axis, end: f64, dots: bool) -> Result<Markup, ReportError> {
    let stairs: Vec<Vec<(f64, f64)>> = series.iter().map(|series| series.staircase(end)).collect();
    let all = series.iter().flat_map(|s| &s.points);
    let shown = stairs.iter().flatten().chain(all.filter(|_| dots)).map(|point| point.1);
    let (low, high) = shown.fold((f64::INFINITY, 0.0_f64), |(low, high), t| (low.min(t), high.max(t)));
    let y_axis = Axis::times(low, high);
    let ticks = (x_axis.ticks(), y_axis.ticks());
    svg::draw(label, SIZE, |canvas| {
        let mut chart = ChartBuilder::on(canvas)
            .margin_top(10)
            .margin_right(54)
            .x_label_area_size(26)
            .y_label_area_size(62)
            .build_cartesian_2d(x_axis, y_axis)?;
        svg::mesh(&mut chart, ticks)?;
        for (series, stairs) in series.iter().zip(&stairs) {
            let colour = svg::colour(series.index);
            if dots {
                let step = series.points.len().div_ceil(DOTS);
                let thinned = series.points.iter().step_by(step);
                chart.draw_series(thinned.map(|&point| Circle::new(point, 2, colour.mix(0.3).filled())))?;
            }
            chart.draw_series(LineSeries::new(stairs.iter().copied(), colour.stroke_width(2)))?;
            if let [(_, _), .., last] | [last] = stairs.as_slice() {
                chart.draw_series([Circle::new(*last, 3, colour.filled())])?;
            }
        }
        let ends = series
            .iter()
            .zip(&stairs)
            .filter_map(|(series, stairs)| Some((series.share, chart.backend_coord(stairs.last()?))));
        for (share, (x, y)) in spread(ends.collect()) {
            canvas.draw(&Text::new(
                share_label(share),
                (x + 8, y),
                svg::text(12.0, HPos::Left, VPos::Center),
            ))?;
        }
        Ok(())
    })
}

/// Moves labels apart so that none covers another.
fn spread(mut labels: Vec<(u8, (i32, i32))>) -> Vec<(u8, (i32, i32))> {
    labels.sort_by_key(|(_, (_, y))| std::cmp::Reverse(*y));
    let mut free = i32::MAX;
    for (_, (_, y)) in &mut labels {
        *y = (*y).min(free);
        free = *y - LABEL_HEIGHT;
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_staircase_only_falls_and_reaches_the_end() {
        let points = vec![(0.0, 9.0), (1.0, 12.0), (2.0, 5.0), (4.0, 5.0)];
        let series = Series { index: 0, share: 50, points };
        assert_eq!(series.staircase(7.0), [(0.0, 9.0), (2.0, 9.0), (2.0, 5.0), (7.0, 5.0)]);
    }

    #[test]
    fn labels_at_one_height_are_moved_apart() {
        let labels = spread(vec![(25, (0, 100)), (50, (0, 100)), (100, (0, 95))]);
        let heights: Vec<i32> = labels.iter().map(|l| l.1.1).collect();
        assert_eq!(heights, [100, 86, 72]);
    }
}
