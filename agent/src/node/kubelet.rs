//! Staying registered with kubelet, which forgets its plugins whenever it is started again, and removes their sockets.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::stream;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tonic::transport::{Endpoint, Server};
use tracing::{info, warn};

use super::api::device_plugin_server::DevicePluginServer;
use super::api::registration_client::RegistrationClient;
use super::api::{KUBELET_SOCKET, RegisterRequest, VERSION};
use super::plugin::Plugin;

/// How often the sockets are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long kubelet may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long to wait before another attempt, at first and at most.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(15);

/// Serves a plugin in kubelet's folder and registers it, again and again, until the future is dropped. `registered` hears
/// of each registration.
pub(super) async fn keep_registered(folder: &Path, plugin: &Plugin, registered: impl Fn()) {
    let mut retry = FIRST_RETRY;
    loop {
        match serve_once(folder, plugin, &registered).await {
            Ok(why) => {
                info!(resource = plugin.resource, "registering again: {why}");
                retry = FIRST_RETRY;
            }
            Err(error) => {
                warn!(
                    resource = plugin.resource,
                    "not registered with kubelet: {error}; trying again in {retry:?}"
                );
                sleep(retry).await;
                retry = (retry * 2).min(LONGEST_RETRY);
            }
        }
    }
}

/// Why a plugin is not registered.
#[derive(Debug, thiserror::Error)]
enum KubeletError {
    /// The socket cannot be made.
    #[error("{}: {source}", path.display())]
    Socket { path: PathBuf, source: io::Error },
    /// Nobody answers.
    #[error("{}: kubelet does not answer ({reason})", path.display())]
    NoAnswer { path: PathBuf, reason: String },
    /// It said no.
    #[error("kubelet refuses the resource {resource}: {reason}")]
    Refused { resource: String, reason: String },
}

/// Serves and registers; returns why that has to be done anew.
async fn serve_once(
    folder: &Path,
    plugin: &Plugin,
    registered: impl Fn(),
) -> Result<&'static str, KubeletError> {
    let kubelet = folder.join(KUBELET_SOCKET);
    let endpoint = endpoint(&plugin.resource);
    let socket = folder.join(&endpoint);
    let failed = |source| KubeletError::Socket { path: socket.clone(), source };
    remove(&socket).map_err(failed)?;
    let listener = UnixListener::bind(&socket).map_err(failed)?;
    let _socket = Socket(socket.clone());
    let _server = Task(tokio::spawn(serve(listener, plugin.clone())));
    // Before it is asked: one that is started anew meanwhile is another one then.
    let known = identity(&kubelet);
    register(&kubelet, &endpoint, plugin).await?;
    info!(resource = plugin.resource, "registered with kubelet");
    registered();
    loop {
        sleep(LOOK).await;
        if identity(&kubelet) != known {
            return Ok("kubelet was started again");
        }
        if !socket.exists() {
            return Ok("the plugin's socket was removed");
        }
    }
}

/// The name of a resource's socket.
fn endpoint(resource: &str) -> String {
    format!("{}.sock", resource.replace('/', "-"))
}

async fn serve(listener: UnixListener, plugin: Plugin) {
    let incoming = stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(connection, _)| connection);
        Some((accepted, listener))
    });
    let service = DevicePluginServer::new(plugin);
    if let Err(error) = Server::builder().serve_with_incoming(service, incoming).await {
        warn!("the plugin's server ended: {error}");
    }
}

async fn register(kubelet: &Path, endpoint: &str, plugin: &Plugin) -> Result<(), KubeletError> {
    let no_answer = |reason: String| KubeletError::NoAnswer { path: kubelet.to_owned(), reason };
    let request = RegisterRequest {
        version: VERSION.to_owned(),
        endpoint: endpoint.to_owned(),
        resource_name: plugin.resource.clone(),
        options: Some(Plugin::options()),
    };
    let exchange = async {
        let channel = Endpoint::from_shared(format!("unix://{}", kubelet.display()));
        let channel = channel.map_err(|error| no_answer(error.to_string()))?.connect().await;
        let mut client = RegistrationClient::new(channel.map_err(|error| no_answer(causes(&error)))?);
        let refused = |status: tonic::Status| KubeletError::Refused {
            resource: plugin.resource.clone(),
            reason: status.message().to_owned(),
        };
        client.register(request).await.map(|_| ()).map_err(refused)
    };
    timeout(ANSWER, exchange).await.unwrap_or_else(|_| Err(no_answer(format!("nothing within {ANSWER:?}"))))
}

/// An error in all its words: the outermost alone says "transport error".
fn causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        words = format!("{words}: {inner}");
        cause = inner.source();
    }
    words
}

/// Which socket a file is: another number or time when it was made anew. None where there is none.
fn identity(socket: &Path) -> Option<(u64, i64, i64)> {
    let found = fs::metadata(socket).ok()?;
    Some((found.ino(), found.ctime(), found.ctime_nsec()))
}

fn remove(socket: &Path) -> io::Result<()> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A socket's file, which goes when this is dropped.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // One that kubelet has removed is gone.
        let _ = remove(&self.0);
    }
}

/// A task that ends when this is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
