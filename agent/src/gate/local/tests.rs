use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use futures_now::poll_once;

use super::*;

/// Polling a future by hand shows that it waits, without a clock.
mod futures_now {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    pub(super) fn poll_once<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }
}

fn socket() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.sock");
    (folder, path)
}

async fn join(path: &Path) -> Gate {
    Gate::shared(path, Capacity::Lanes(vec![0, 1])).await.unwrap()
}

#[tokio::test]
async fn a_permit_gives_back_when_it_is_dropped_on_any_thread() {
    let gate = Gate::cpus(vec![0, 1, 2]);
    let compile = gate.acquire(Need::AnyLane, None).await.unwrap();
    assert_eq!(compile.lanes(), [2]);
    let mut quiet = pin!(gate.acquire(Need::Quiet, None));
    assert!(poll_once(quiet.as_mut()).is_none());
    std::thread::spawn(move || drop(compile)).join().unwrap();
    assert_eq!(quiet.await.unwrap().lanes(), [0, 1, 2]);
    assert_eq!(gate.stats()[&NeedKind::Quiet].count, 1);
    assert_eq!(gate.clone().stats()[&NeedKind::AnyLane].count, 1);
}

#[tokio::test]
async fn dropping_a_waiting_request_leaves_the_line() {
    let gate = Gate::gpu();
    let half = gate.acquire(Need::Units(50), None).await.unwrap();
    {
        let mut quiet = pin!(gate.acquire(Need::Quiet, None));
        assert!(poll_once(quiet.as_mut()).is_none());
        let mut behind = pin!(gate.acquire(Need::Units(50), None));
        assert!(poll_once(behind.as_mut()).is_none());
    }
    let other = pin!(gate.acquire(Need::Units(50), None));
    assert!(poll_once(other).is_some(), "nobody is before it any more");
    assert!(!half.is_revoked());
    assert_eq!(gate.stats().get(&NeedKind::Quiet), None);
}

#[tokio::test]
async fn a_permit_past_its_lease_is_told_and_the_next_gets_its_units() {
    let gate = Gate::gpu();
    let permit = gate.acquire(Need::Quiet, Some(Duration::from_millis(1))).await.unwrap();
    let next = gate.acquire(Need::Units(100), None).await.unwrap();
    permit.revoked().await;
    assert!(permit.is_revoked() && !next.is_revoked());
    drop(permit);
    let mut third = pin!(gate.acquire(Need::Units(1), None));
    assert!(poll_once(third.as_mut()).is_none(), "the revoked permit gives nothing back twice");
}

#[tokio::test]
async fn leases_end_also_when_the_runtime_of_the_first_one_has_ended() {
    let gate = Gate::gpu();
    let first = gate.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        drop(runtime.block_on(first.acquire(Need::Quiet, Some(Duration::from_mins(1)))).unwrap());
    })
    .join()
    .unwrap();
    let permit = gate.acquire(Need::Quiet, Some(Duration::from_millis(1))).await.unwrap();
    permit.revoked().await;
}

#[tokio::test]
async fn a_need_that_can_never_be_met_fails_at_once() {
    let error = Gate::gpu().acquire(Need::Units(101), None).await.err().unwrap();
    assert_eq!(error.to_string(), "need.units: 101: the gate has 100 units; ask for 1 to 100");
    let (_folder, path) = socket();
    let error = join(&path).await.acquire(Need::Lanes(vec![5]), None).await.err().unwrap();
    assert!(matches!(error, GateError::Need(_)), "{error}");
}

#[tokio::test]
async fn two_gates_at_one_socket_are_one() {
    let (_folder, path) = socket();
    let (one, two) = (join(&path).await, join(&path).await);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let low = one.acquire(Need::Lanes(vec![0]), None).await.unwrap();
    let high = two.acquire(Need::AnyLane, None).await.unwrap();
    assert_eq!((low.lanes(), high.lanes()), (&[0][..], &[1][..]));
    let (quiet, ()) = tokio::join!(two.acquire(Need::Quiet, None), async {
        drop(high);
        drop(low);
    });
    assert_eq!(quiet.unwrap().lanes(), [0, 1]);
}

#[tokio::test]
async fn a_quiet_request_passes_a_stream_of_small_ones_from_another_process() {
    let (_folder, path) = socket();
    let (one, two) = (join(&path).await, join(&path).await);
    let stream = tokio::spawn(async move {
        loop {
            let (first, second) =
                tokio::join!(one.acquire(Need::AnyLane, None), one.acquire(Need::AnyLane, None));
            drop((first.unwrap(), second.unwrap()));
        }
    });
    for _ in 0..20 {
        drop(two.acquire(Need::Quiet, None).await.unwrap());
    }
    stream.abort();
}

#[tokio::test]
async fn a_member_that_leaves_gives_everything_back() {
    let (_folder, path) = socket();
    let (server, leaver) = (join(&path).await, join(&path).await);
    let held = leaver.acquire(Need::Quiet, None).await.unwrap();
    let (ended, ()) = tokio::join!(server.acquire(Need::Quiet, None), async move {
        drop(leaver);
        drop(held);
    });
    drop(ended.unwrap());
}

#[tokio::test]
async fn when_the_serving_process_ends_a_member_takes_over_what_it_waits_for() {
    let (_folder, path) = socket();
    let (started, has_started) = tokio::sync::oneshot::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let (left, leave) = mpsc::channel();
    let server_path = path.clone();
    // A runtime that ends is what the others see when a process is killed: nothing is given back first.
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (gate, permit) = runtime.block_on(async {
            let gate = join(&server_path).await;
            let permit = gate.acquire(Need::Quiet, None).await.unwrap();
            started.send(()).unwrap();
            ended.await.unwrap();
            (gate, permit)
        });
        drop(runtime);
        left.send((gate, permit)).unwrap();
    });
    has_started.await.unwrap();
    let (one, two) = (join(&path).await, join(&path).await);
    let mut waits = pin!(one.acquire(Need::Lanes(vec![0]), None));
    assert!(poll_once(waits.as_mut()).is_none());
    let mut also_waits = pin!(two.acquire(Need::Lanes(vec![1]), None));
    assert!(poll_once(also_waits.as_mut()).is_none());
    end.send(()).unwrap();
    let (granted, also_granted) = tokio::join!(waits, also_waits);
    assert_eq!(granted.unwrap().lanes(), [0]);
    assert_eq!(also_granted.unwrap().lanes(), [1]);
    server.join().unwrap();

    let (orphan, permit) = leave.recv().unwrap();
    assert_eq!(permit.lanes(), [0, 1], "its holder has it still");
    assert_eq!(orphan.acquire(Need::AnyLane, None).await.err(), Some(GateError::Closed));
    drop(permit);
    drop(two.acquire(Need::Quiet, None).await.unwrap());
}

#[tokio::test]
async fn a_gate_can_be_joined_while_its_server_goes() {
    let (_folder, path) = socket();
    for _ in 0..50 {
        drop(join(&path).await);
        let gate = join(&path).await;
        drop(gate.acquire(Need::Quiet, None).await.unwrap());
    }
}

#[tokio::test]
async fn a_race_for_an_empty_seat_has_one_winner() {
    let (_folder, path) = socket();
    drop(UnixListener::bind(&path).unwrap());
    let mut members = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let path = path.clone();
        members.spawn(async move { join(&path).await });
    }
    let inside = Arc::new(AtomicUsize::new(0));
    let mut users = tokio::task::JoinSet::new();
    for member in members.join_all().await {
        let inside = Arc::clone(&inside);
        users.spawn(async move {
            for _ in 0..5 {
                let quiet = member.acquire(Need::Quiet, None).await.unwrap();
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two gates were served");
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                drop(quiet);
            }
        });
    }
    users.join_all().await;
}

#[tokio::test]
async fn what_is_not_a_gate_is_left_alone() {
    let (folder, path) = socket();
    std::fs::write(&path, "precious").unwrap();
    let error = Gate::shared(&path, Capacity::Units(100)).await.err().unwrap();
    assert_eq!(error, GateError::NotASocket { path: path.clone() });
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");

    let path = folder.path().join("missing").join("gate");
    let error = Gate::shared(&path, Capacity::Units(100)).await.err().unwrap();
    assert!(matches!(error, GateError::Socket { .. }), "{error}");
    let path = folder.path().join("x".repeat(120));
    let error = Gate::shared(&path, Capacity::Units(100)).await.err().unwrap();
    assert!(matches!(error, GateError::PathTooLong { .. }), "{error}");
}

#[tokio::test]
async fn a_gate_of_another_capacity_or_language_is_not_joined() {
    let (folder, path) = socket();
    let _gate = join(&path).await;
    assert!(Gate::shared(&path, Capacity::Lanes(vec![1, 0, 1])).await.is_ok(), "the order does not matter");
    let error = Gate::shared(&path, Capacity::Units(100)).await.err().unwrap();
    assert!(error.to_string().contains("has Lanes([0, 1]), not Units(100)"), "{error}");

    let path = folder.path().join("other");
    let listener = UnixListener::bind(&path).unwrap();
    let other = std::thread::spawn(move || {
        use std::io::Write;
        let mut stream = listener.accept().unwrap().0;
        stream.write_all(b"{\"hello\":{\"version\":2,\"capacity\":{\"units\":100}}}\n").unwrap();
    });
    let error = Gate::shared(&path, Capacity::Units(100)).await.err().unwrap();
    assert!(error.to_string().contains("it speaks version 2"), "{error}");
    other.join().unwrap();
}
