//! The guardian: a process that keeps a private daemon and outlives its parent by as long as it takes to end
//! that daemon.
//!
//! A parent that is killed cannot clear up, and a daemon that is left behind holds the GPU for ever. So the
//! daemon is the child of a process that does nothing else, in a session of its own, where no Ctrl-C reaches
//! it. It learns of the parent's end, in whatever way that came, by the end of its own standard input.

use std::io::{self, BufRead as _, Write as _};
use std::process::ExitCode;

use rustix::process::setsid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::daemon::Daemon;
use super::family;
use super::protocol::{Report, Request};

/// Exit code of a guardian that cannot do its work.
const BROKEN: u8 = 70;

/// Runs this process as the guardian of a private MPS control daemon, until its standard input ends or the
/// daemon does. To be called first thing in a process of its own, which [`super::Mps`] starts.
#[must_use]
pub fn guard() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&Report::Failed { message: format!("its guardian cannot work: {error}") });
            ExitCode::from(BROKEN)
        }
    }
}

fn serve() -> io::Result<()> {
    // Refused to the leader of a process group only, and such a one gets no terminal's signals but its own.
    let _ = setsid();
    family::adopt_orphans();
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let request: Request = serde_json::from_str(&line)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(keep(&request))
}

/// Starts the daemon, and ends it when the parent has gone.
async fn keep(request: &Request) -> io::Result<()> {
    // The parent's end decides, and nothing else: whoever ends a run by a signal to all its processes would
    // take the daemon from under the workers. A handler, unlike ignoring, is not passed on to the daemon.
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        // The handler stays when its stream goes.
        drop(signal(kind)?);
    }
    let mut parent = end_of_input();
    let mut daemon = match Daemon::spawn(request) {
        Ok(daemon) => daemon,
        Err(message) => {
            tell(&Report::Failed { message });
            return Ok(());
        }
    };
    let report = tokio::select! {
        ready = daemon.ready() => match ready {
            Ok(()) => Report::Ready(daemon.place().clone()),
            Err(message) => Report::Failed { message },
        },
        _ = &mut parent => {
            daemon.end().await;
            return Ok(());
        }
    };
    tell(&report);
    if matches!(report, Report::Ready(_)) {
        tokio::select! {
            message = daemon.died() => tell(&Report::Died { message }),
            _ = &mut parent => {}
        }
    }
    daemon.end().await;
    Ok(())
}

/// Resolves when standard input has ended.
fn end_of_input() -> oneshot::Receiver<()> {
    let (ended, end) = oneshot::channel();
    // A thread, because a pipe cannot be read without waiting unless it is changed for the parent as well. It
    // is never joined: the process ends without it.
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = ended.send(());
    });
    end
}

/// Tells the parent. One that has gone need not know.
fn tell(report: &Report) {
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        let mut output = io::stdout().lock();
        let _ = output.write_all(&line).and_then(|()| output.flush());
    }
}
