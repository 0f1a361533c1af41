//! Puts everything together, and ends it in order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::{join_all, pending};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch as channel;
use tokio::time::timeout;
use tracing::{info, warn};

use super::api::ContainerAllocateResponse;
use super::args::Arguments;
use super::board::{Board, Cause};
use super::daemon::Keeper;
use super::driver::{Driver, LibraryMissing, below};
use super::gpu::{self, Gpu, SimulateError};
use super::grant::{GATE, gate_folder, grant, simulated_grant};
use super::kubelet::keep_registered;
use super::layout::{Layout, LayoutError, Slot, resource, shares};
use super::metrics::Metrics;
use super::plugin::Plugin;
use super::server::{Readiness, listen, router};
use super::{cdi, labels, watch};
use crate::gate::{Capacity, Service};
use crate::mps::{self, GuardCommand, ProgramMissing};
use crate::nvml::{Nvml, NvmlError};
use crate::slot;
use crate::tune::exit;

/// Units of a GPU's gate: percent.
const WHOLE_GPU: u32 = 100;
/// How long the daemons may take to end: their servers give clients two seconds, and the guardians have limits of their own.
const END: Duration = Duration::from_secs(20);
/// How long to wait before a gate is served again.
const GATE_RETRY: Duration = Duration::from_secs(2);

/// Why a node offers no slots.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The layout's file cannot be read.
    #[error("--layout {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The layout is wrong.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// What is to be simulated cannot be.
    #[error(transparent)]
    Simulate(#[from] SimulateError),
    /// There is no driver, or it does not answer.
    #[error("no GPU to offer: {0}; to try without one, use --simulate NVIDIA-H200:2")]
    Driver(#[from] NvmlError),
    /// The driver has no GPU that could be offered.
    #[error("no GPU to offer: {0}")]
    NoGpu(String),
    /// The driver's libraries are not there for pods.
    #[error(transparent)]
    Libraries(#[from] LibraryMissing),
    /// There is no MPS.
    #[error("slots need MPS: {0}")]
    Program(#[from] ProgramMissing),
    /// Something else that the machine does not do.
    #[error("{0}")]
    Machine(String),
}

impl NodeError {
    /// The exit code of a process that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Read { .. } => exit::IO,
            Self::Layout(_) | Self::Simulate(_) => exit::SPEC,
            Self::Driver(_) | Self::NoGpu(_) | Self::Libraries(_) | Self::Program(_) | Self::Machine(_) => {
                exit::UNAVAILABLE
            }
        }
    }
}

/// Runs until SIGTERM or SIGINT.
pub(super) async fn run_until_told(arguments: &Arguments) -> Result<(), NodeError> {
    let failed = |error: std::io::Error| NodeError::Machine(format!("cannot listen for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let told = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    run(arguments, Board::default(), told).await
}

/// Offers the node's slots until `stop`. The `board` says what is wrong with which GPU.
///
/// # Errors
/// [`NodeError`], before anything is offered.
pub async fn run(
    arguments: &Arguments,
    board: Board,
    stop: impl Future<Output = ()>,
) -> Result<(), NodeError> {
    let read = |source| NodeError::Read { path: arguments.layout.clone(), source };
    let layout = Layout::parse(&std::fs::read_to_string(&arguments.layout).map_err(read)?)?;
    let (gpus, nvml) = if let Some(what) = &arguments.simulate {
        (gpu::simulated(what)?, None)
    } else {
        let nvml = Nvml::open()?;
        (real_gpus(&nvml)?, Some(nvml))
    };
    let slots = layout.slots(&gpus)?;
    for note in layout.notes(&gpus) {
        warn!("{note}");
    }
    let grants = match &nvml {
        Some(_) => real_grants(arguments, &gpus, &slots)?,
        None => {
            gpus_and(&gpus, &slots).map(|(gpu, slot)| (slot.id.clone(), simulated_grant(slot, gpu))).collect()
        }
    };
    let metrics = Metrics::new(nvml.is_none()).map_err(|error| NodeError::Machine(error.to_string()))?;
    let node = Node { arguments, gpus, slots, nvml, board, metrics };
    node.run(grants, stop).await
}

fn real_gpus(nvml: &Nvml) -> Result<Vec<Gpu>, NodeError> {
    let (gpus, notes) = gpu::real(nvml)?;
    if gpus.is_empty() {
        return Err(NodeError::NoGpu(if notes.is_empty() {
            "the driver has none".to_owned()
        } else {
            notes.join("; ")
        }));
    }
    for note in notes {
        warn!("{note}");
    }
    Ok(gpus)
}

/// Each slot with its GPU.
fn gpus_and<'a>(gpus: &'a [Gpu], slots: &'a [Slot]) -> impl Iterator<Item = (&'a Gpu, &'a Slot)> {
    slots.iter().filter_map(|slot| Some((gpus.iter().find(|gpu| gpu.uuid == slot.gpu)?, slot)))
}

/// What containers are given for slots of real GPUs; our own CDI specification is written where it is needed.
fn real_grants(
    arguments: &Arguments,
    gpus: &[Gpu],
    slots: &[Slot],
) -> Result<BTreeMap<String, ContainerAllocateResponse>, NodeError> {
    mps::find_program()?;
    let folders = [arguments.static_cdi.clone(), arguments.cdi.clone()];
    let named: Vec<_> = gpus.iter().map(|gpu| cdi::toolkit_name(&folders, gpu)).collect();
    if named.iter().all(Option::is_some) {
        info!(?named, "GPUs reach pods by the CDI specification of NVIDIA's container toolkit");
    } else {
        let mut driver = Driver::find(&arguments.driver_root)?;
        for file in driver.libraries.values_mut() {
            *file = below(&arguments.host_driver_root, file);
        }
        let own = cdi::render(gpus, &driver, Path::exists);
        let failed = |error| NodeError::Machine(format!("--cdi {}: {error}", arguments.cdi.display()));
        let path = own.write(&arguments.cdi).map_err(failed)?;
        info!(path = %path.display(), "GPUs reach pods by a CDI specification of our own");
    }
    let devices: BTreeMap<&str, String> = gpus
        .iter()
        .zip(named)
        .map(|(gpu, name)| (gpu.uuid.as_str(), name.unwrap_or_else(|| cdi::own_name(gpu))))
        .collect();
    let grants = gpus_and(gpus, slots).filter_map(|(gpu, slot)| {
        let device = devices.get(slot.gpu.as_str())?;
        Some((slot.id.clone(), grant(slot, gpu, slots, &arguments.run, device)))
    });
    Ok(grants.collect())
}

struct Node<'a> {
    arguments: &'a Arguments,
    gpus: Vec<Gpu>,
    slots: Vec<Slot>,
    /// None of a simulation.
    nvml: Option<Nvml>,
    board: Board,
    metrics: Metrics,
}

impl Node<'_> {
    async fn run(
        self,
        mut grants: BTreeMap<String, ContainerAllocateResponse>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), NodeError> {
        let plugins: Vec<_> =
            shares(&self.slots).into_iter().map(|share| self.plugin(share, &mut grants)).collect();
        let ready = Readiness::of(plugins.len());
        let listener = listen(self.arguments.listen).await.map_err(NodeError::Machine)?;
        let count = {
            let (metrics, gpus, slots, board) =
                (self.metrics.clone(), self.gpus.clone(), self.slots.clone(), self.board.clone());
            move || metrics.count(&gpus, &slots, &board)
        };
        let http = axum::serve(listener, router(ready.clone(), self.metrics.clone(), count));
        for plugin in &plugins {
            info!(
                resource = plugin.resource,
                slots = plugin.len(),
                simulated = self.nvml.is_none(),
                "offered"
            );
        }
        let (end, ended) = channel::channel(false);
        let offers = join_all(plugins.iter().map(|plugin| self.offer(plugin, &ready)));
        let labels = labels::labels(&self.gpus);
        let labelled = async {
            match &self.arguments.node {
                Some(node) => labels::keep(node, &labels).await,
                None => pending().await,
            }
        };
        let guard = guard()?;
        let daemons = join_all(self.cut().map(|gpu| self.keep_daemon(gpu, &guard, ended.clone())));
        tokio::pin!(daemons);
        let kept = async {
            // Without GPUs there is nothing to keep, and that is no reason to stop.
            daemons.as_mut().await;
            pending::<()>().await;
        };
        tokio::select! {
            () = stop => info!("told to stop"),
            served = async { http.await } => {
                return Err(NodeError::Machine(format!("probes and metrics are not served any more: {served:?}")));
            }
            _ = offers => {}
            () = labelled => {}
            () = self.serve_gates() => {}
            () = self.watch_cards() => {}
            () = kept => {}
        }
        // Nothing is offered any more. Daemons end with their servers, so that nothing is left on the GPUs.
        end.send_replace(true);
        if timeout(END, daemons).await.is_err() {
            warn!("MPS daemons have not ended within {END:?}; their guardians end them");
        }
        Ok(())
    }

    fn plugin(&self, share: u8, grants: &mut BTreeMap<String, ContainerAllocateResponse>) -> Plugin {
        let slots: Vec<_> = self.slots.iter().filter(|slot| slot.share == share).cloned().collect();
        let own = slots.iter().filter_map(|slot| grants.remove_entry(&slot.id)).collect();
        Plugin::new(resource(share), slots, own, self.board.clone(), self.metrics.clone())
    }

    async fn offer(&self, plugin: &Plugin, ready: &Readiness) {
        let first = std::cell::Cell::new(true);
        let registered = || {
            self.metrics.registrations.with_label_values(&[&plugin.resource]).inc();
            if first.replace(false) {
                ready.done();
            }
        };
        keep_registered(&self.arguments.kubelet, plugin, registered).await;
    }

    /// Real GPUs that have slots.
    fn cut(&self) -> impl Iterator<Item = &Gpu> {
        let real = self.nvml.is_some();
        self.gpus.iter().filter(move |gpu| real && self.slots.iter().any(|slot| slot.gpu == gpu.uuid))
    }

    async fn keep_daemon(&self, gpu: &Gpu, guard: &GuardCommand, stop: channel::Receiver<bool>) {
        let keeper =
            Keeper { gpu, run: &self.arguments.run, guard, board: &self.board, metrics: &self.metrics };
        keeper.keep(stop).await;
    }

    async fn serve_gates(&self) {
        join_all(self.cut().map(|gpu| self.serve_gate(gpu))).await;
        pending::<()>().await;
    }

    async fn serve_gate(&self, gpu: &Gpu) {
        let folder = gate_folder(&self.arguments.run, &gpu.uuid);
        loop {
            match bind_gate(&folder) {
                Ok(service) => {
                    self.board.settled(&gpu.uuid, Cause::Gate);
                    let (metrics, uuid) = (self.metrics.clone(), gpu.uuid.clone());
                    let granted = move |need, waited| metrics.granted(&uuid, need, waited);
                    service.serve(Capacity::Units(WHOLE_GPU), granted).await;
                }
                Err(words) => {
                    self.board.trouble(&gpu.uuid, Cause::Gate, &format!("the gate is not served: {words}"));
                }
            }
            tokio::time::sleep(GATE_RETRY).await;
        }
    }

    async fn watch_cards(&self) {
        match &self.nvml {
            Some(nvml) => watch::watch(nvml, &self.gpus, &self.board).await,
            None => pending().await,
        }
    }
}

/// Listens for a gate's pods, who may enter its folder and change nothing in it.
fn bind_gate(folder: &Path) -> Result<Service, String> {
    let made = std::fs::create_dir_all(folder);
    made.map_err(|error| format!("{}: {error}", folder.display()))?;
    let owner = rustix::process::geteuid().is_root().then_some(slot::USER);
    Service::bind(&folder.join(GATE), owner).map_err(|error| error.to_string())
}

fn guard() -> Result<GuardCommand, NodeError> {
    let program = std::env::current_exe()
        .map_err(|error| NodeError::Machine(format!("cannot find this program's own file: {error}")))?;
    Ok(GuardCommand { program, arguments: vec!["mps-guard".into()] })
}
