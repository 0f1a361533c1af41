//! The worker's side: a process that reads requests until its input ends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::stdio;

use super::device::Device;
use super::protocol::{Init, MAX_LINE, Reply, Request, VERSION};
use crate::backend::Fault;

/// Exit code of a worker that cannot speak with its parent.
const BROKEN: u8 = 70;
/// How often a waiting worker looks after its device.
const HEARTBEAT: Duration = Duration::from_millis(20);

/// Runs this process as a worker: takes standard input and output for the protocol, and serves requests until
/// `exit` or the end of the input. To be called first thing in a process of its own with one thread.
#[must_use]
pub fn serve() -> ExitCode {
    let result = Channel::take().and_then(|mut channel| session(&mut channel));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(BROKEN),
    }
}

/// Serves from `init` to `exit`.
fn session(channel: &mut Channel) -> io::Result<()> {
    let mut device: Option<Device> = None;
    loop {
        // Under MPS another client's fault ends this one's device, too, and the server recovers only when
        // every client has gone: so a worker that waits for requests looks after its device.
        while !channel.wait(HEARTBEAT)? {
            if device.as_ref().is_some_and(|device| !device.is_alive()) {
                return Err(io::Error::other("the device is lost"));
            }
        }
        let Some(line) = channel.read()? else { break };
        let request = match serde_json::from_slice(&line) {
            Ok(request) => request,
            Err(error) => {
                channel.write(&Reply::Fatal { message: format!("the request cannot be read: {error}") })?;
                continue;
            }
        };
        drop(line);
        let last = matches!(request, Request::Exit);
        let reply = match (request, &mut device) {
            (Request::Exit, _) => Ok(Reply::Ok),
            (Request::Init(init), None) => {
                check_version(&init).and_then(|()| Device::set_up(&init)).map(|(made, ready)| {
                    device = Some(made);
                    Reply::Ready(ready)
                })
            }
            (Request::Init(_), Some(_)) => Err(Fault::fatal("init comes once")),
            (_, None) => Err(Fault::fatal("the first request must be init")),
            (request, Some(device)) => answer(device, request),
        };
        let reply = reply.unwrap_or_else(Reply::from);
        channel.write(&reply)?;
        if last || matches!(reply, Reply::Lost { .. }) {
            break;
        }
    }
    Ok(())
}

fn check_version(init: &Init) -> Result<(), Fault> {
    if init.protocol == VERSION {
        return Ok(());
    }
    Err(Fault::fatal(format!(
        "this worker speaks protocol {VERSION}, not {}: agent and worker must be of the same release",
        init.protocol
    )))
}

fn answer(device: &mut Device, request: Request) -> Result<Reply, Fault> {
    match request {
        Request::Reference => device.run_reference()?,
        Request::Relocate => device.relocate()?,
        Request::Load { id, load } => {
            return device.load(id, &load).map(|footprint| Reply::Loaded { footprint });
        }
        Request::Verify { id } => device.verify(id)?,
        Request::Run { id, runs, warm } => return device.run(id, runs, warm),
        Request::Unload { id } => device.unload(id)?,
        // Both were dealt with before a device was needed.
        Request::Init(_) | Request::Exit => {}
    }
    Ok(Reply::Ok)
}

impl From<Fault> for Reply {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Candidate { outcome, message } => Reply::Failed { outcome, message },
            Fault::Lost { message } => Reply::Lost { message },
            Fault::Fatal { message } => Reply::Fatal { message },
        }
    }
}

/// The protocol's two pipes, on descriptors that candidates do not know.
struct Channel {
    requests: BufReader<File>,
    replies: File,
}

impl Channel {
    /// Moves standard input and output away and leaves `/dev/null` in their place, so that a candidate that
    /// prints or reads harms nobody.
    fn take() -> io::Result<Self> {
        // Far from the numbers that a candidate would close by habit.
        let requests = fcntl_dupfd_cloexec(stdio::stdin(), 100)?;
        let replies = fcntl_dupfd_cloexec(stdio::stdout(), 100)?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        stdio::dup2_stdin(&null)?;
        stdio::dup2_stdout(&null)?;
        stdio::dup2_stderr(&null)?;
        Ok(Self { requests: BufReader::new(requests.into()), replies: replies.into() })
    }

    /// Whether there is something to read, or the input has ended, before this time is over.
    fn wait(&self, limit: Duration) -> io::Result<bool> {
        if !self.requests.buffer().is_empty() {
            return Ok(true);
        }
        let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) };
        match poll(&mut [PollFd::new(self.requests.get_ref(), PollFlags::IN)], Some(&limit)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The next line; none at the end of the input.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        (&mut self.requests).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
        match line.last() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(line)),
            Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a line too long, or cut short")),
        }
    }

    fn write(&mut self, reply: &Reply) -> io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        self.replies.write_all(&line)
    }
}
