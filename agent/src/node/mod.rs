//! `fractune-agent node`: what runs on every GPU node and makes slots of its GPUs (docs/node.md).
//!
//! [`layout`] says which slots there are, [`plugin`] offers them to kubelet, `grant` is what a container with one is given,
//! and [`cdi`] how the container runtime gives it the GPU. Beside them, for each GPU, the MPS daemon is kept, the gate is
//! served, and the card is watched; the [`board`] says what is wrong with which, and slots are healthy while nothing is.

pub mod api;
mod args;
pub mod board;
pub mod cdi;
pub mod daemon;
pub mod driver;
mod enter;
pub mod gpu;
mod grant;
mod kubelet;
pub mod labels;
pub mod layout;
mod loader;
pub mod metrics;
mod owner;
pub mod plugin;
mod run;
pub mod server;
mod spread;
mod watch;

pub use args::Arguments;
pub use run::{NodeError, run};

use tracing::error;

use crate::tune::exit;

/// `fractune-agent node`; the exit code.
#[must_use]
pub fn main(arguments: &Arguments) -> u8 {
    if let Err(message) = enter::enter(arguments) {
        error!("{message}");
        return exit::UNAVAILABLE;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(failure) => {
            error!("cannot start: {failure}");
            return exit::UNAVAILABLE;
        }
    };
    match runtime.block_on(run::run_until_told(arguments)) {
        Ok(()) => exit::DONE,
        Err(failure) => {
            error!("{failure}");
            failure.exit_code()
        }
    }
}
