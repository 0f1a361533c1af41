//! Pods of a task that is done: Kubernetes makes one where the last was deleted before it could end.

use super::*;

/// A status that speaks of a generation.
fn complete(generation: i64) -> Value {
    let mut status = checkpointed(&ok(5), "d-1");
    status["conditions"] = json!([{"type": "Complete", "status": "True", "reason": "Tuned", "message": "done",
        "observedGeneration": generation, "lastTransitionTime": "2026-01-02T03:04:05Z"}]);
    status
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_done_is_left_as_it_is() {
    let code = play(task(&complete(3)), async |pod| {
        let silence = tokio::time::timeout(Duration::from_hours(1), pod.handle.next_request()).await;
        assert!(silence.is_err(), "nothing is written");
        let start: Start = pod.link.read(link::START).unwrap().unwrap();
        assert!(start.done);
        pod.stop();
    });
    assert_eq!(code.await, exit::DONE);
}

#[tokio::test(start_paused = true)]
async fn a_reporter_that_is_started_again_leaves_it_too() {
    play(task(&complete(3)), async |pod| {
        // The reporter has not looked yet.
        std::fs::create_dir(pod.dir.path().join("link")).unwrap();
        let start =
            Start { version: 1, generation: 3, max_trials: 200, trials: 5, digest: "d-1".into(), done: true };
        pod.link.write(link::START, &start).unwrap();
        let silence = tokio::time::timeout(Duration::from_hours(1), pod.handle.next_request()).await;
        assert!(silence.is_err());
        pod.stop();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_that_was_done_under_another_spec_is_tuned() {
    play(task(&complete(2)), async |pod| {
        assert_eq!(condition(&pod.granted().await), ("Reconciling", "Starting"));
        assert!(!pod.link.read::<Start>(link::START).unwrap().unwrap().done);
        pod.stop();
        pod.granted().await;
    })
    .await;
}
