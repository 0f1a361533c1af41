//! The tuning container of a pod: what it waits for, and how it ends so that no result is lost.

use std::cell::RefCell;
use std::time::Duration;

use tracing::{error, info};

use crate::link::{self, Confirmed, End, Link, Notes, Start};
use crate::tune::exit;

/// How often the folder is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Notes that are kept, and the characters of each.
const MAX_NOTES: usize = 64;
const MAX_NOTE: usize = 1024;

/// How long each word of the reporter is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For what to tune.
    pub start: Duration,
    /// For the confirmation of the final status.
    pub confirmation: Duration,
}

/// How the tuning itself ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// The exit code.
    pub exit_code: u8,
    /// What went wrong; empty where nothing did.
    pub message: String,
}

/// Waits for the reporter, does the `work`, says how it ended and waits until that is stored. Returns the exit code.
pub async fn run(link: &Link, patience: Patience, work: impl AsyncFnOnce(Start) -> Ending) -> u8 {
    let start = match wait_for_start(link, patience.start).await {
        Ok(start) => start,
        Err(message) => {
            error!("{message}");
            return exit::UNAVAILABLE;
        }
    };
    if start.done {
        // Kubernetes makes another pod where one was deleted between its last word and its end.
        info!("the task is done already; its results stay as they are");
        return exit::DONE;
    }
    let generation = start.generation;
    let ending = work(start).await;
    if !ending.message.is_empty() {
        error!("{}", ending.message);
    }
    if let Err(error) = write_end(link, ending.exit_code, ending.message) {
        error!("{}: {error}", link.path(link::END).display());
        return exit::IO;
    }
    if is_confirmed(link, generation, patience.confirmation).await {
        return ending.exit_code;
    }
    error!(
        "the reporter has not confirmed the final status within {:?}; the task is tried again",
        patience.confirmation
    );
    exit::INTERRUPTED
}

/// Says that the process was told to stop. The exit code.
#[must_use]
pub fn interrupted(link: &Link) -> u8 {
    info!("interrupted; every finished trial is kept");
    if let Ok(Some(End { exit_code, .. })) = link.read::<End>(link::END) {
        // It was through, and only waited to be confirmed: what the reporter makes of its results still counts.
        return if link.read::<Confirmed>(link::CONFIRMED).is_ok_and(|c| c.is_some()) {
            exit_code
        } else {
            exit::INTERRUPTED
        };
    }
    // Only the status is a little less exact without it.
    if let Err(error) = write_end(link, exit::INTERRUPTED, "the pod was stopped".into()) {
        error!("{}: {error}", link.path(link::END).display());
    }
    exit::INTERRUPTED
}

fn write_end(link: &Link, exit_code: u8, message: String) -> std::io::Result<()> {
    link.write(link::END, &End { version: link::VERSION, exit_code, message })
}

/// The reporter's word on what to tune. An error is a sentence.
async fn wait_for_start(link: &Link, limit: Duration) -> Result<Start, String> {
    // What an earlier process in this pod left behind speaks of another run.
    for name in [link::END, link::CONFIRMED] {
        link.remove(name).map_err(|error| format!("{}: {error}", link.path(name).display()))?;
    }
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        match link.read::<Start>(link::START) {
            Ok(Some(start)) if start.version == link::VERSION => return Ok(start),
            Ok(Some(start)) => {
                return Err(format!(
                    "{} has version {}, this program reads version {}; use one image for both containers",
                    link.path(link::START).display(),
                    start.version,
                    link::VERSION
                ));
            }
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(format!(
                "there is no {} after {limit:?}; is the other container (fractune-agent report) running, and can \
                 it read its TuneTask?",
                link.path(link::START).display()
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn is_confirmed(link: &Link, generation: i64, limit: Duration) -> bool {
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        match link.read::<Confirmed>(link::CONFIRMED) {
            Ok(Some(confirmed)) if confirmed.generation == generation => return true,
            Ok(_) => {}
            Err(error) => error!("{error}"),
        }
        if tokio::time::Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Passes a run's notes on to the reporter.
#[derive(Debug)]
pub struct NoteBook<'a> {
    link: &'a Link,
    notes: RefCell<Vec<String>>,
}

impl<'a> NoteBook<'a> {
    /// An empty one.
    #[must_use]
    pub fn new(link: &'a Link) -> Self {
        Self { link, notes: RefCell::default() }
    }

    /// Adds a note. The same one is kept once, and no more than a reader will look at.
    pub fn add(&self, note: &str) {
        let note: String = note.chars().take(MAX_NOTE).collect();
        let mut notes = self.notes.borrow_mut();
        if notes.len() >= MAX_NOTES || notes.contains(&note) {
            return;
        }
        notes.push(note);
        let file = Notes { version: link::VERSION, notes: notes.clone() };
        if let Err(error) = self.link.write(link::NOTES, &file) {
            error!("{}: {error}", self.link.path(link::NOTES).display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { start: Duration::from_millis(300), confirmation: Duration::from_millis(300) };

    fn started(generation: i64) -> (tempfile::TempDir, Link) {
        let dir = tempfile::tempdir().unwrap();
        let link = Link::new(dir.path().into());
        let start =
            Start { version: 1, generation, max_trials: 9, trials: 0, digest: String::new(), done: false };
        link.write(link::START, &start).unwrap();
        (dir, link)
    }

    fn done() -> Ending {
        Ending { exit_code: exit::DONE, message: String::new() }
    }

    #[tokio::test]
    async fn ends_with_its_own_code_once_the_same_generation_is_confirmed() {
        let (_dir, link) = started(4);
        let confirmer = async {
            while link.read::<End>(link::END).unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            link.write(link::CONFIRMED, &Confirmed { version: 1, generation: 4 }).unwrap();
        };
        let work = async |start: Start| {
            assert_eq!(start.max_trials, 9);
            Ending { exit_code: exit::SPEC, message: "spec.kernels: none".into() }
        };
        let patience = Patience { confirmation: Duration::from_mins(1), ..PATIENCE };
        let (code, ()) = tokio::join!(run(&link, patience, work), confirmer);
        assert_eq!(code, exit::SPEC);
        let end: End = link.read(link::END).unwrap().unwrap();
        assert_eq!((end.exit_code, end.message.as_str()), (exit::SPEC, "spec.kernels: none"));
    }

    #[tokio::test]
    async fn another_generations_or_an_older_confirmation_is_none() {
        let (_dir, link) = started(4);
        link.write(link::CONFIRMED, &Confirmed { version: 1, generation: 4 }).unwrap();
        let work = async |_| {
            link.write(link::CONFIRMED, &Confirmed { version: 1, generation: 3 }).unwrap();
            done()
        };
        assert_eq!(run(&link, PATIENCE, work).await, exit::INTERRUPTED);
    }

    #[tokio::test]
    async fn a_task_that_is_done_is_not_tuned_again() {
        let (_dir, link) = started(4);
        let start = Start { done: true, ..link.read(link::START).unwrap().unwrap() };
        link.write(link::START, &start).unwrap();
        let code = run(&link, PATIENCE, async |_| unreachable!("it is done")).await;
        assert_eq!(code, exit::DONE);
        assert_eq!(link.read::<End>(link::END).unwrap(), None);
    }

    #[tokio::test]
    async fn without_a_start_nothing_is_tuned() {
        let dir = tempfile::tempdir().unwrap();
        let link = Link::new(dir.path().into());
        let code = run(&link, PATIENCE, async |_| unreachable!("nothing to tune")).await;
        assert_eq!(code, exit::UNAVAILABLE);
        std::fs::write(link.path(link::START), r#"{"version":2,"generation":1,"maxTrials":1,"trials":0}"#)
            .unwrap();
        let refused = wait_for_start(&link, PATIENCE.start).await.unwrap_err();
        assert!(refused.contains("version 2"), "{refused}");
    }

    #[test]
    fn notes_are_kept_once_and_within_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let link = Link::new(dir.path().into());
        let book = NoteBook::new(&link);
        for _ in 0..2 {
            book.add("no sandbox");
        }
        book.add(&"ä".repeat(5000));
        let notes: Notes = link.read(link::NOTES).unwrap().unwrap();
        assert_eq!(notes.notes.len(), 2);
        assert_eq!(notes.notes[1].chars().count(), 1024);
        (0..200).for_each(|n| book.add(&n.to_string()));
        assert_eq!(link.read::<Notes>(link::NOTES).unwrap().unwrap().notes.len(), 64);
    }
}
