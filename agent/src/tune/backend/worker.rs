//! Starting workers, and saying in the worker protocol's words what a task needs.

use std::ffi::OsString;
use std::time::Duration;

use fractune_tuner::task::{Number, Task, TaskArgument};

use crate::tune::plan::RunError;
use crate::worker::protocol::{self, Init};
use crate::worker::{Failure, Worker, WorkerCommand, WorkerError};

/// A worker allocates its buffers and runs the reference before it is ready.
const WORKER_START: Duration = Duration::from_mins(2);
/// A device that is not ready, as an MPS server that recovers, is waited for so long...
const RECOVERY: Duration = Duration::from_secs(20);
/// ...with so much time between two tries.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(100);

/// What a worker has to do before it is ready.
pub(super) struct Ready<'a> {
    /// Whether the reference is run, too.
    pub(super) verifies: bool,
    pub(super) task: &'a Task,
    /// One that was opened before, and only lacks the reference's answers.
    pub(super) opened: Option<Worker>,
}

/// Starts a worker, with the reference's answers ready if it verifies.
pub(super) async fn start(
    command: &WorkerCommand,
    init: &Init,
    env: &[(String, OsString)],
    ready: Ready<'_>,
) -> Result<Worker, RunError> {
    let Ready { verifies, task, mut opened } = ready;
    let started = std::time::Instant::now();
    let mut died = false;
    loop {
        // One that waited in vain is nobody's fault: a neighbour's fault may have ended it meanwhile.
        let opened = opened.take().and_then(Worker::if_alive);
        let was_opened = opened.is_some();
        match start_once(command, init, env, verifies, opened).await {
            Err(StartError::Reference(Failure::Died { .. })) if was_opened => {}
            // What dies once may have been killed from outside; what dies twice does so by itself.
            Err(
                StartError::Worker(WorkerError::Setup(Failure::Died { .. }))
                | StartError::Reference(Failure::Died { .. }),
            ) if !died => died = true,
            Err(
                StartError::Worker(WorkerError::Setup(Failure::Lost { .. }))
                | StartError::Reference(Failure::Lost { .. }),
            ) if started.elapsed() < RECOVERY => tokio::time::sleep(RETRY_AFTER).await,
            Err(StartError::Worker(error)) => {
                return Err(RunError::Machine(format!("{}: {error}", task.name())));
            }
            Err(StartError::Reference(failure)) => return Err(reference_failed(task, &failure)),
            Ok(worker) => return Ok(worker),
        }
    }
}

async fn start_once(
    command: &WorkerCommand,
    init: &Init,
    env: &[(String, OsString)],
    verifies: bool,
    opened: Option<Worker>,
) -> Result<Worker, StartError> {
    let mut worker = match opened {
        Some(opened) => opened,
        None => Worker::start(command, init, env, WORKER_START).await.map_err(StartError::Worker)?,
    };
    if verifies {
        worker.reference(WORKER_START).await.map_err(StartError::Reference)?;
    }
    Ok(worker)
}

/// What kept a worker from being ready.
enum StartError {
    Worker(WorkerError),
    Reference(Failure),
}

fn reference_failed(task: &Task, failure: &Failure) -> RunError {
    if let Failure::Lost { message } = failure {
        let name = task.name();
        return RunError::Machine(format!(
            "{name}: its reference, or a neighbour on the GPU, loses the device again and again: {message}"
        ));
    }
    let way_out = match failure {
        Failure::TimedOut { .. } => "; make it faster, or the problem's sizes smaller",
        _ => "",
    };
    RunError::Spec(format!("{}: the reference: {failure}{way_out}", task.name()))
}

/// The reference is a function of the same source as the kernel, so what is wrong may be in either.
pub(super) fn reference_does_not_compile(task: &Task, entry: &str, message: &str) -> RunError {
    RunError::Spec(format!(
        "{}: the source does not compile with the default configuration ({}), so its reference {entry} does not compile:\n{message}",
        task.name(),
        task.space.configuration(task.default)
    ))
}

/// A task's arguments.
pub(super) fn arguments(task: &Task) -> Vec<protocol::Argument> {
    task.arguments.iter().map(|argument| protocol_argument(task, argument)).collect()
}

/// Values of the scalar arguments at a configuration, as the worker protocol writes them.
pub(super) fn scalars(task: &Task, index: usize) -> Result<Vec<String>, String> {
    let values = task.scalar_values(index)?;
    Ok(values
        .into_iter()
        .map(|scalar| match scalar.value {
            Number::Int(value) => value.to_string(),
            Number::Float(value) => value.to_string(),
        })
        .collect())
}

fn protocol_argument(task: &Task, argument: &TaskArgument) -> protocol::Argument {
    match argument.clone() {
        TaskArgument::Buffer { name, element, length, init, output, scratch, symbol } => {
            let fractune_tuner::task::Tolerance { relative, absolute } = task.tolerance(element);
            let tolerance = Some(protocol::Tolerance { relative, absolute });
            protocol::Argument::Buffer(protocol::Buffer {
                name,
                element,
                length,
                init,
                output,
                scratch,
                symbol,
                tolerance,
            })
        }
        TaskArgument::Scalar { name, element, .. } => {
            protocol::Argument::Scalar(protocol::Scalar { name, element })
        }
    }
}
