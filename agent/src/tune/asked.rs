//! The configurations of a batch while they are compiled.

use std::collections::BTreeMap;

use fractune_tuner::kernel::Configuration;
use fractune_tuner::trial::Trial;
use futures::channel::oneshot;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};

use super::backend::Prepared;
use super::plan::RunError;
use crate::compile::CompileFailure;

/// A configuration of a batch.
pub(super) enum Asked {
    /// It is in the trial log already.
    Known { index: usize, trial: Box<Trial> },
    /// It is being compiled.
    New { index: usize, trial: u32, configuration: Configuration, answer: oneshot::Receiver<Answer> },
}

/// What became of a compilation.
pub(super) type Answer = Result<Prepared, CompileFailure>;

/// A configuration that is compiled, or cannot be.
pub(super) struct Compiled {
    pub(super) index: usize,
    pub(super) configuration: Configuration,
    pub(super) answer: Answer,
}

/// A trial's number and its configuration; an error if the compile pool has ended.
type Next = Result<(u32, Compiled), oneshot::Canceled>;

/// Configurations in the order in which they get compiled; of those that are, the lowest number first.
pub(super) struct Compiling {
    under_way: FuturesUnordered<BoxFuture<'static, Next>>,
    ready: BTreeMap<u32, Compiled>,
}

impl Compiling {
    /// Those of a batch that are new; the others are told.
    pub(super) fn new(batch: Vec<Asked>, tell: impl Fn(usize, Trial)) -> Self {
        let under_way = FuturesUnordered::new();
        for asked in batch {
            match asked {
                Asked::Known { index, trial } => tell(index, *trial),
                Asked::New { index, trial, configuration, answer } => {
                    let compiled = move |answer| (trial, Compiled { index, configuration, answer });
                    under_way.push(answer.map(|answer| answer.map(compiled)).boxed());
                }
            }
        }
        Self { under_way, ready: BTreeMap::new() }
    }

    /// Waits for all of them.
    pub(super) async fn finish(&mut self) -> Result<(), RunError> {
        while let Some(next) = self.next().await? {
            self.ready.extend([next]);
        }
        Ok(())
    }

    /// One that is ready now, if there is one.
    pub(super) fn ready(&mut self) -> Result<Option<(u32, Compiled)>, RunError> {
        while let Some(Some(next)) = self.next().now_or_never().transpose()? {
            self.ready.extend([next]);
        }
        Ok(self.ready.pop_first())
    }

    /// The next one that gets ready; none when that was the last.
    pub(super) async fn next(&mut self) -> Result<Option<(u32, Compiled)>, RunError> {
        self.under_way.next().await.transpose().map_err(|oneshot::Canceled| pool_ended())
    }
}

fn pool_ended() -> RunError {
    RunError::Machine("the compile pool has ended".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::protocol::Load;

    fn prepared(trial: u32) -> Prepared {
        Prepared { trial, configuration: Configuration::default(), load: Load::default(), compile_ns: 0 }
    }

    #[test]
    fn what_compiles_late_keeps_nobody_waiting() {
        let (told, answers): (Vec<_>, Vec<_>) = (0..4).map(|_| oneshot::channel::<Answer>()).unzip();
        let batch = (0_u32..).zip(answers).map(|(trial, answer)| {
            let configuration = Configuration::default();
            Asked::New { index: 0, trial, configuration, answer }
        });
        let mut compiling = Compiling::new(batch.collect(), |_, _| ());
        let mut told: Vec<_> = told.into_iter().map(Some).collect();
        let mut tell = |trial: u32| {
            let told = told[trial as usize].take().unwrap();
            assert!(told.send(Ok(prepared(trial))).is_ok());
        };
        let ready = |compiling: &mut Compiling| compiling.ready().unwrap().map(|(trial, _)| trial);
        assert_eq!(ready(&mut compiling), None);
        tell(3);
        tell(1);
        assert_eq!(ready(&mut compiling), Some(1), "the lowest number first");
        tell(0);
        assert_eq!(ready(&mut compiling), Some(0));
        assert_eq!(ready(&mut compiling), Some(3));
        assert_eq!(ready(&mut compiling), None, "one is not compiled yet");
        drop(told);
        assert!(compiling.ready().is_err(), "the pool has ended, and nobody will compile it");
    }
}
