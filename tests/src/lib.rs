//! What the end-to-end tests share: a real Kubernetes with the chart in it, a namespace for each test, and ways to wait,
//! to break things and to say what was there when a test failed. docs/testing.md says how to run them.

mod cluster;
mod fixture;
mod install;
mod processes;
mod scope;
mod trials;
mod wait;

pub use cluster::{Availability, Cluster, availability, kubernetes};
pub use fixture::Fixture;
pub use install::{AGENT_IMAGE, Installation, LEASE, OPERATOR_PODS, SYSTEM};
pub use processes::Process;
pub use scope::Scope;
pub use trials::{Checkpoint, Follow, resumed_in, trials_in};
pub use wait::{until, within};
