//! Conditions that change only when what they say does.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Longest message that Kubernetes takes.
const LONGEST: usize = 32_768;

/// A job's conditions: those before, and those that are set now.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    before: Vec<Condition>,
    now: Timestamp,
    generation: Option<i64>,
    set: Vec<Condition>,
}

impl Conditions {
    pub(super) fn new(before: &[Condition], now: Timestamp, generation: Option<i64>) -> Self {
        Self { before: before.to_vec(), now, generation, set: Vec::new() }
    }

    /// Sets a condition. Its time is that of its last change between true and false.
    pub(super) fn set(&mut self, kind: &str, holds: bool, reason: &str, message: impl Into<String>) {
        let status = if holds { "True" } else { "False" };
        let before = self.before.iter().find(|condition| condition.type_ == kind);
        let since = before.filter(|before| before.status == status);
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(LONGEST) {
            message.truncate(end);
        }
        self.set.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: self.generation,
            last_transition_time: since.map_or(Time(self.now), |before| before.last_transition_time.clone()),
        });
    }

    /// Whether a condition held before this pass.
    pub(super) fn held(&self, kind: &str) -> bool {
        self.before.iter().any(|condition| condition.type_ == kind && condition.status == "True")
    }

    /// The conditions that were set, in the order of their types.
    pub(super) fn into_vec(mut self) -> Vec<Condition> {
        self.set.sort_by(|a, b| a.type_.cmp(&b.type_));
        self.set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_condition_changes_only_with_its_status() {
        let (first, later) = (Timestamp::from_second(100).unwrap(), Timestamp::from_second(200).unwrap());
        let mut conditions = Conditions::new(&[], first, Some(1));
        conditions.set("Stalled", true, "SourceMissing", "a");
        let before = conditions.into_vec();
        let mut again = Conditions::new(&before, later, Some(2));
        again.set("Stalled", true, "InvalidSpec", "b");
        let again = again.into_vec();
        assert_eq!(again[0].last_transition_time.0, first);
        let mut ended = Conditions::new(&again, later, Some(2));
        ended.set("Stalled", false, "Resolved", "");
        assert_eq!(ended.into_vec()[0].last_transition_time.0, later);
    }
}
