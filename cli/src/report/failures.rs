//! How trials ended, and what those that failed said.

use fractune_tuner::results::TaskResult;
use fractune_tuner::trial::{Outcome, Trial};
use maud::{Markup, html};

use super::{count, shortened};

/// Distinct messages shown, and the characters of each.
const MESSAGES: usize = 8;
const MESSAGE_LENGTH: usize = 1200;

/// The outcomes of a task and the first distinct messages of its failures.
pub(super) fn section(task: &TaskResult, trials: &[Trial]) -> Markup {
    let all: u32 = task.outcomes.values().sum();
    let messages = messages(trials);
    html! {
        h3 { "Outcomes" }
        @if all == 0 {
            p { "No trial was made." }
        } @else {
            div.scroll { table {
                thead { tr {
                    th scope="col" { "Outcome" }
                    th.number scope="col" { "Trials" }
                    th.number scope="col" { "Part" }
                    td {}
                } }
                tbody { @for (outcome, trials) in task.outcomes.iter().filter(|(_, trials)| **trials > 0) {
                    @let percent = f64::from(*trials) / f64::from(all) * 100.0;
                    tr {
                        th scope="row" { (outcome) }
                        td.number { (trials) }
                        td.number { (format!("{percent:.1}")) "\u{a0}%" }
                        td aria-hidden="true" { div.track {
                            span.bar.failed[*outcome != Outcome::Ok] style=(format!("width:{percent:.1}%")) {}
                        } }
                    }
                } }
            } }
        }
        @if !messages.is_empty() {
            details {
                summary { "What the failed trials said" }
                @for message in messages.iter().take(MESSAGES) {
                    p.soft { (message.outcome) ", " (count(message.trials, "trial")) ", first trial " (message.first) }
                    pre { (shortened(message.text, MESSAGE_LENGTH)) }
                }
                @if messages.len() > MESSAGES {
                    p.soft { (count(messages.len() - MESSAGES, "more distinct message")) " in the trial log." }
                }
            }
        }
    }
}

struct Message<'a> {
    outcome: Outcome,
    text: &'a str,
    first: u32,
    trials: usize,
}

/// The distinct messages of failed trials, in the order of their first appearance. Two are the same if they
/// differ in digits only.
fn messages(trials: &[Trial]) -> Vec<Message<'_>> {
    let mut places = std::collections::BTreeMap::new();
    let mut messages: Vec<Message> = Vec::new();
    for trial in trials.iter().filter(|trial| trial.outcome != Outcome::Ok) {
        let Some(text) = &trial.message else { continue };
        let shape: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
        let place = *places.entry((trial.outcome, shape)).or_insert(messages.len());
        match messages.get_mut(place) {
            Some(message) => message.trials += 1,
            None => messages.push(Message { outcome: trial.outcome, text, first: trial.trial, trials: 1 }),
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn messages_that_differ_in_numbers_only_are_one() {
        let (_, logs) = sample::job();
        let failed = logs[0].iter().filter(|t| t.outcome != Outcome::Ok).count();
        let messages = messages(&logs[0]);
        assert!(messages.len() <= 3, "the sample has three kinds of failures");
        assert_eq!(messages.iter().map(|m| m.trials).sum::<usize>(), failed);
    }

    #[test]
    fn long_messages_are_cut() {
        let (job, mut logs) = sample::job();
        for trial in &mut logs[0] {
            trial.outcome = Outcome::CompileError;
            trial.message = Some("x".repeat(100_000));
        }
        assert!(section(&job.tasks[0], &logs[0]).into_string().len() < 5000);
    }
}
