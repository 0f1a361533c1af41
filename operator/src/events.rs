//! Events, on edges only: when a job's state or the reason of its trouble changes.

use fractune_crds::conditions::{FAILED, STALLED};
use fractune_crds::{State, TuneJobStatus};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tracing::warn;

/// Publishes what happened to jobs.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// Events in the name of this operator.
    #[must_use]
    pub fn new(client: Client, identity: &str) -> Self {
        let reporter =
            Reporter { controller: "fractune.dev/operator".to_owned(), instance: Some(identity.to_owned()) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Publishes an event if the status tells of a change. A lost event is no reason to fail.
    pub async fn publish(&self, job: &ObjectReference, before: Option<&TuneJobStatus>, now: &TuneJobStatus) {
        let Some(event) = edge(before, now) else { return };
        if let Err(error) = self.recorder.publish(&event, job).await {
            warn!(%error, "an event could not be published");
        }
    }
}

/// The event that goes with a change of status, if it is one that a reader wants to know.
fn edge(before: Option<&TuneJobStatus>, now: &TuneJobStatus) -> Option<Event> {
    let trouble = |status: &TuneJobStatus| {
        let condition = status.conditions.iter().find(|condition| {
            [STALLED, FAILED].contains(&condition.type_.as_str()) && condition.status == "True"
        });
        condition.map(|condition| (condition.reason.clone(), condition.message.clone()))
    };
    let (state, was) = (now.state?, before.and_then(|status| status.state));
    let reason_before = before.and_then(&trouble).map(|(reason, _)| reason);
    let event = |type_, reason: &str, note: String| {
        // The longest note that Kubernetes takes.
        let note = note.chars().take(1024).collect();
        Some(Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary: None,
        })
    };
    match (state, trouble(now)) {
        (State::Stalled | State::Failed, Some((reason, message)))
            if reason_before.as_ref() != Some(&reason) =>
        {
            event(EventType::Warning, &reason, message)
        }
        _ if was == Some(state) => None,
        (State::Running, _) => event(EventType::Normal, "Tuning", "the first trials are made".to_owned()),
        (State::Suspended, _) => {
            event(EventType::Normal, "Suspended", "pods are stopped, trials kept".to_owned())
        }
        (State::Complete, _) => {
            let speedup = now.speedup.as_ref().map(|s| format!(", {s} over the default")).unwrap_or_default();
            event(EventType::Normal, "Complete", format!("done after {} trials{speedup}", now.trials))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: State) -> TuneJobStatus {
        TuneJobStatus { state: Some(state), ..TuneJobStatus::default() }
    }

    #[test]
    fn an_event_tells_of_a_change_and_of_nothing_else() {
        let (running, done) = (status(State::Running), status(State::Complete));
        assert_eq!(edge(None, &running).unwrap().reason, "Tuning");
        assert!(edge(Some(&running), &running).is_none());
        assert_eq!(edge(Some(&running), &done).unwrap().reason, "Complete");
    }
}
