//! Where a watched job is shown: a table that is drawn again and again, or a line for each change.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::pace::Pace;
use super::render::{self, Size};
use super::view::View;
use crate::commands::print;
use crate::error::CliError;

/// A line at most this often while nothing but the number of trials changes.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Where the terminal does not say.
const SIZE: Size = Size { columns: 100, lines: 24 };

/// Standard output.
pub(super) enum Screen {
    /// A terminal, with the lines that are on it.
    Live(Vec<String>),
    /// Anything else, with what was last said.
    Plain(Said),
}

/// What was last said, and when.
#[derive(Default)]
pub(super) struct Said {
    /// What matters at once.
    standing: String,
    trials: i64,
    at: Option<Instant>,
}

impl Screen {
    pub(super) fn new(plain: bool) -> Self {
        let live = std::io::stdout().is_terminal() && !plain;
        if live { Screen::Live(Vec::new()) } else { Screen::Plain(Said::default()) }
    }

    pub(super) fn show(&mut self, view: &View, pace: &Pace) -> Result<(), CliError> {
        match self {
            Screen::Live(before) => {
                let lines = render::frame(view, pace, size());
                if lines != *before {
                    print(&drawn(before.len(), &lines))?;
                    *before = lines;
                }
                Ok(())
            }
            Screen::Plain(said) => match said.next(view, pace, Instant::now()) {
                Some(line) => print(&format!("{} {line}\n", Timestamp::now().strftime("%H:%M:%SZ"))),
                None => Ok(()),
            },
        }
    }
}

impl Said {
    /// The line to be said now, if any.
    fn next(&mut self, view: &View, pace: &Pace, now: Instant) -> Option<String> {
        let trouble = render::trouble(view);
        let status = view.job.status.clone().unwrap_or_default();
        let standing = format!(
            "{:?} {:?} {} {} {trouble:?}",
            status.state, status.observed_generation, status.tasks.succeeded, status.tasks.failed
        );
        let trials = view.trials();
        let due = self.at.is_none_or(|at| now.duration_since(at) >= LINE_EVERY);
        if standing == self.standing && (trials == self.trials || !due) {
            return None;
        }
        let news = standing != self.standing;
        *self = Self { standing, trials, at: Some(now) };
        let summary = render::summary(view, pace);
        Some(match trouble {
            Some(why) if news => format!("{summary}; {why}"),
            _ => summary,
        })
    }
}

fn size() -> Size {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Size { columns: size.ws_col.into(), lines: size.ws_row.into() }
        }
        _ => SIZE,
    }
}

/// Lines in place of the last ones that were drawn, in one write so that nothing flickers.
fn drawn(before: usize, lines: &[String]) -> String {
    let mut text = String::new();
    if before > 0 {
        let _ = write!(text, "\x1b[{before}A\r");
    }
    for line in lines {
        let _ = writeln!(text, "{line}\x1b[K");
    }
    // What is left of a longer table.
    text.push_str("\x1b[J");
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::sample::{job_with, task};

    fn view(state: &str, trials: i64) -> View {
        let task_status = json!({"observedGeneration": 1, "state": state, "trials": {"total": trials}});
        let status = json!({"observedGeneration": 1, "state": state, "tasks": {"total": 1}});
        View::new(job_with(status), vec![task(0, "small", &task_status)])
    }

    #[test]
    fn a_change_of_state_is_said_at_once_and_progress_now_and_then() {
        let (mut said, pace, start) = (Said::default(), Pace::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        assert!(said.next(&view("Pending", 0), &pace, at(0)).unwrap().contains("Pending"));
        assert!(said.next(&view("Running", 0), &pace, at(1)).unwrap().contains("Running"));
        assert_eq!(said.next(&view("Running", 5), &pace, at(2)), None);
        assert!(said.next(&view("Running", 9), &pace, at(11)).unwrap().contains("9 of at most 40 trials"));
        assert_eq!(said.next(&view("Running", 9), &pace, at(60)), None, "nothing has happened");
        assert!(said.next(&view("Complete", 40), &pace, at(61)).unwrap().contains("Complete"));
    }

    #[test]
    fn a_table_is_drawn_over_the_last_one() {
        let lines = ["a".to_owned(), "b".to_owned()];
        assert_eq!(drawn(0, &lines), "a\x1b[K\nb\x1b[K\n\x1b[J");
        assert!(drawn(5, &lines).starts_with("\x1b[5A\r"));
    }
}
