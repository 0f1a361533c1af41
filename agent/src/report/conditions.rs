//! Where a task stands, as conditions that kstatus understands.

use fractune_crds::State;
use fractune_crds::conditions::{COMPLETE, FAILED, RECONCILING, STALLED, reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::progress::shorten;
use crate::link::End;
use crate::tune::exit;

/// Characters of a condition's message: enough for a compiler's first errors.
const MAX_MESSAGE: usize = 4096;

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// `tune` has no trial log yet.
    Starting,
    /// Trials are being made.
    Tuning,
    /// `tune` has ended, or was interrupted.
    Ended(End),
    /// The pod was stopped before `tune` could say how it ended.
    Stopped,
}

impl Phase {
    /// Whether the task is done.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self, Phase::Ended(end) if end.exit_code == exit::DONE)
    }

    /// Whether `tune` has left results.
    pub(super) fn has_results(&self) -> bool {
        matches!(self, Phase::Ended(end) if matches!(end.exit_code, exit::DONE | exit::NO_RESULT))
    }

    /// The same in one word.
    pub(super) fn state(&self) -> State {
        match self {
            Phase::Starting | Phase::Stopped => State::Pending,
            Phase::Tuning => State::Running,
            Phase::Ended(end) => match end.exit_code {
                exit::DONE => State::Complete,
                exit::NO_RESULT | exit::SPEC => State::Failed,
                exit::UNAVAILABLE => State::Stalled,
                _ => State::Pending,
            },
        }
    }

    /// Type, reason and message of the one condition that is true.
    fn says(&self) -> (&'static str, &'static str, String) {
        let again = |why: &str| format!("{why}; the task goes on in another pod");
        match self {
            Phase::Starting => (RECONCILING, reason::STARTING, "the pod gets ready".into()),
            Phase::Tuning => (RECONCILING, reason::TUNING, "trials are being made".into()),
            Phase::Stopped => (RECONCILING, reason::INTERRUPTED, again("the pod was stopped")),
            Phase::Ended(end) => match end.exit_code {
                exit::DONE => (COMPLETE, reason::TUNED, "every share has its fastest configuration".into()),
                exit::NO_RESULT => (FAILED, reason::NO_CONFIGURATION, end.message.clone()),
                exit::SPEC => (FAILED, reason::INVALID_SPEC, end.message.clone()),
                exit::UNAVAILABLE => (STALLED, reason::DEVICE_UNAVAILABLE, end.message.clone()),
                _ => (RECONCILING, reason::INTERRUPTED, again(&end.message)),
            },
        }
    }
}

/// The conditions of a phase. One that was true before keeps the time at which it became so.
pub(super) fn conditions(
    phase: &Phase,
    generation: i64,
    earlier: &[Condition],
    now: &Time,
) -> Vec<Condition> {
    let (type_, reason, mut message) = phase.says();
    shorten(&mut message, MAX_MESSAGE);
    let unchanged = earlier.iter().find(|condition| condition.type_ == type_ && condition.status == "True");
    vec![Condition {
        type_: type_.into(),
        status: "True".into(),
        reason: reason.into(),
        message,
        observed_generation: Some(generation),
        last_transition_time: unchanged.map_or(now, |condition| &condition.last_transition_time).clone(),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(second: i64) -> Time {
        Time(jiff::Timestamp::from_second(second).unwrap())
    }

    fn ended(exit_code: u8) -> Phase {
        Phase::Ended(End { version: 1, exit_code, message: "because".into() })
    }

    #[test]
    fn every_way_to_end_has_its_condition() {
        let of = |phase: &Phase| {
            let condition = conditions(phase, 3, &[], &time(1)).remove(0);
            assert_eq!((condition.status.as_str(), condition.observed_generation), ("True", Some(3)));
            (condition.type_, condition.reason, phase.state())
        };
        let expected = |type_: &str, reason: &str, state| (type_.to_string(), reason.to_string(), state);
        assert_eq!(of(&Phase::Starting), expected(RECONCILING, "Starting", State::Pending));
        assert_eq!(of(&Phase::Tuning), expected(RECONCILING, "Tuning", State::Running));
        assert_eq!(of(&Phase::Stopped), expected(RECONCILING, "Interrupted", State::Pending));
        assert_eq!(of(&ended(0)), expected(COMPLETE, "Tuned", State::Complete));
        assert_eq!(of(&ended(1)), expected(FAILED, "NoConfiguration", State::Failed));
        assert_eq!(of(&ended(65)), expected(FAILED, "InvalidSpec", State::Failed));
        assert_eq!(of(&ended(69)), expected(STALLED, "DeviceUnavailable", State::Stalled));
        assert_eq!(of(&ended(74)), expected(RECONCILING, "Interrupted", State::Pending));
        assert_eq!(of(&ended(75)), expected(RECONCILING, "Interrupted", State::Pending));
        assert_eq!(of(&ended(101)), expected(RECONCILING, "Interrupted", State::Pending));
    }

    #[test]
    fn the_time_of_a_transition_changes_only_with_the_status() {
        let starting = conditions(&Phase::Starting, 1, &[], &time(1));
        let tuning = conditions(&Phase::Tuning, 1, &starting, &time(2));
        assert_eq!(tuning[0].last_transition_time, time(1), "only the reason is another");
        let done = conditions(&ended(0), 1, &tuning, &time(3));
        assert_eq!(done[0].last_transition_time, time(3));
        assert_eq!(conditions(&Phase::Starting, 2, &done, &time(4))[0].last_transition_time, time(4));
    }

    #[test]
    fn a_long_message_is_cut() {
        let phase = Phase::Ended(End { version: 1, exit_code: 65, message: "x".repeat(1 << 20) });
        assert_eq!(conditions(&phase, 1, &[], &time(1))[0].message.chars().count(), MAX_MESSAGE);
    }
}
