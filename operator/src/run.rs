//! Starts everything, and ends it in order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use fractune_crds::{TuneJob, TuneTask};
use kube::api::ListParams;
use kube::{Api, Client, Config};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use crate::apply::Writer;
use crate::args::Arguments;
use crate::controller::{Watches, count};
use crate::events::Events;
use crate::leadership::Leadership;
use crate::metrics::Metrics;
use crate::plan::Settings;
use crate::reconcile::{Context, Failures};
use crate::server::{self, Health};
use crate::telemetry::LogLevel;

/// A request about the lease that takes longer counts as failed: the lease must not run out meanwhile.
const LEASE_TIMEOUT: Duration = Duration::from_secs(4);
/// How often the definitions are looked for, where they are missing.
const DEFINITIONS_RETRY: Duration = Duration::from_secs(5);
/// Passes under way may take so long to end.
const SHUTDOWN: Duration = Duration::from_secs(15);

/// Runs the operator until it is told to stop or loses the lease.
///
/// # Errors
/// When there is no API server to talk to, an address is in use, or the lease was lost: another process starts afresh.
pub async fn run(arguments: Arguments, level: LogLevel) -> anyhow::Result<()> {
    let mut config = Config::infer().await.context("finding the API server (in a pod, or by KUBECONFIG)")?;
    // To try again is for those who know whether this operator still leads.
    config.default_retry = false;
    let client = Client::try_from(config.clone()).context("the API server's configuration")?;
    let metrics = Metrics::new()?;
    let health = Health::default();
    let mut stop = Signals::new()?;

    let watches = Watches::new(&client, &arguments);
    let (jobs, caches) = (watches.jobs(), watches.caches.clone());
    let counted = metrics.clone();
    let counting = {
        let (jobs, caches) = (jobs.clone(), caches.clone());
        move || count(&counted, &jobs, &caches)
    };
    serve(arguments.listen, server::public(health.clone(), metrics.clone(), counting)).await?;
    serve(arguments.admin_listen, server::admin(level)).await?;

    tokio::select! {
        () = definitions(&client, &arguments) => {}
        () = stop.any() => return Ok(()),
    }
    // Standing by is being ready, too.
    health.set_ready();

    let leadership = Leadership::default();
    let writer =
        Writer::new(client.clone(), leadership.clone(), arguments.qps, arguments.burst, metrics.clone());
    let context = Arc::new(Context {
        client: client.clone(),
        caches,
        writer,
        settings: Settings {
            image: arguments.agent_image.clone(),
            image_pull_policy: arguments.agent_image_pull_policy.clone(),
            cluster_role: arguments.agent_cluster_role.clone(),
        },
        events: Events::new(client, &arguments.identity),
        metrics: metrics.clone(),
        failures: Failures::default(),
    });

    let mut for_lease = config;
    for_lease.read_timeout = Some(LEASE_TIMEOUT);
    for_lease.connect_timeout = Some(LEASE_TIMEOUT);
    // The time between two requests is no time that an answer takes.
    for_lease.reset_reader_on_write = true;
    let lease_client = Client::try_from(for_lease)?;
    let (won, leads) = oneshot::channel();
    let keeping = leadership.keep(lease_client.clone(), &arguments, || {
        let _ = won.send(());
    });
    let mut keeping = Box::pin(keeping);
    tokio::select! {
        lost = &mut keeping => {
            return lost.map(|_| ()).context("the lease could not be had");
        }
        _ = leads => metrics.leader.set(1),
        () = stop.any() => return Ok(()),
    }

    let (stop_passes, stopped) = oneshot::channel();
    let mut passes = tokio::spawn(watches.run(context, stopped));
    let lease = tokio::select! {
        lease = &mut keeping => Some(lease),
        () = stop.any() => None,
        ended = &mut passes => {
            leadership.set(false);
            anyhow::bail!("the controller has ended by itself: {ended:?}");
        }
    };
    metrics.leader.set(0);
    let _ = stop_passes.send(());
    if tokio::time::timeout(SHUTDOWN, passes).await.is_err() {
        warn!("passes did not end in time");
    }
    match lease {
        None => {
            // Nobody renews it any more, and nobody writes.
            drop(keeping);
            match leadership.give_back(lease_client, &arguments).await {
                Ok(()) => info!("told to stop; the lease is given back"),
                Err(error) => {
                    warn!(%error, "told to stop; the lease is not given back and runs out by itself");
                }
            }
            Ok(())
        }
        Some(Ok(_)) => anyhow::bail!("the lease was lost"),
        Some(Err(error)) => Err(error).context("the lease was lost"),
    }
}

/// Waits until the API server knows what this operator reconciles.
async fn definitions(client: &Client, arguments: &Arguments) {
    let one = ListParams::default().limit(1);
    loop {
        let (jobs, tasks): (Api<TuneJob>, Api<TuneTask>) = match &arguments.namespace {
            Some(namespace) => {
                (Api::namespaced(client.clone(), namespace), Api::namespaced(client.clone(), namespace))
            }
            None => (Api::all(client.clone()), Api::all(client.clone())),
        };
        let missing = match (jobs.list_metadata(&one).await, tasks.list_metadata(&one).await) {
            (Ok(_), Ok(_)) => return,
            (Err(error), _) | (_, Err(error)) => error,
        };
        match missing {
            kube::Error::Api(status) if status.code == 404 => {
                warn!(
                    "TuneJob or TuneTask is not defined here: apply crds/, or install the chart; waiting for it"
                );
            }
            error => warn!(%error, "the API server does not let me list TuneJobs and TuneTasks; waiting"),
        }
        tokio::time::sleep(DEFINITIONS_RETRY).await;
    }
}

async fn serve(address: std::net::SocketAddr, router: Router) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            error!(%error, "a server ended");
        }
    });
    Ok(())
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
