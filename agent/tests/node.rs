//! `fractune-agent node` before a kubelet that the test plays, and `fractune-agent tune` in what it gives to pods.
#![cfg(feature = "node")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fractune_agent::node::api::device_plugin_client::DevicePluginClient;
use fractune_agent::node::api::registration_server::{Registration, RegistrationServer};
use fractune_agent::node::api::{
    AllocateRequest, AllocateResponse, ContainerAllocateRequest, ContainerPreferredAllocationRequest, Empty,
    ListAndWatchResponse, PreferredAllocationRequest, RegisterRequest,
};
use fractune_agent::node::board::{Board, Cause};
use fractune_agent::node::{Arguments, NodeError, run};
use futures::stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

const LAYOUT: &str = "layout: {\"*\": [25, 25, 50]}\n";

/// Kubelet's folder, and what plugins have said there.
struct Kubelet {
    folder: tempfile::TempDir,
    said: Arc<Mutex<Vec<RegisterRequest>>>,
    server: Option<JoinHandle<()>>,
}

/// Hears registrations; refuses the first ones.
struct Ear {
    said: Arc<Mutex<Vec<RegisterRequest>>>,
    refusals: Mutex<usize>,
}

#[tonic::async_trait]
impl Registration for Ear {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return Err(Status::unknown("not today"));
        }
        self.said.lock().unwrap().push(request.into_inner());
        Ok(Response::new(Empty {}))
    }
}

impl Kubelet {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        std::fs::create_dir(folder.path().join("plugins")).unwrap();
        std::fs::write(folder.path().join("layout.yaml"), LAYOUT).unwrap();
        Self { folder, said: Arc::default(), server: None }
    }

    fn plugins(&self) -> PathBuf {
        self.folder.path().join("plugins")
    }

    /// Starts it, as kubelet does: whatever was in the folder is removed.
    fn start(&mut self, refusals: usize) {
        self.stop();
        for left in std::fs::read_dir(self.plugins()).unwrap() {
            std::fs::remove_file(left.unwrap().path()).unwrap();
        }
        let ear = Ear { said: Arc::clone(&self.said), refusals: Mutex::new(refusals) };
        let listener = UnixListener::bind(self.plugins().join("kubelet.sock")).unwrap();
        let incoming = stream::unfold(listener, |listener| async {
            Some((listener.accept().await.map(|(connection, _)| connection), listener))
        });
        let served = Server::builder().serve_with_incoming(RegistrationServer::new(ear), incoming);
        self.server = Some(tokio::spawn(async move { served.await.unwrap() }));
    }

    fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }

    /// Waits until so many registrations have come in all; the resources and endpoints of them.
    async fn registered(&self, count: usize) -> Vec<RegisterRequest> {
        until(|| self.said.lock().unwrap().len() >= count).await;
        self.said.lock().unwrap().clone()
    }

    async fn plugin(&self, resource: &str) -> DevicePluginClient<Channel> {
        let socket = self.plugins().join(format!("{}.sock", resource.replace('/', "-")));
        let channel = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().connect().await;
        DevicePluginClient::new(channel.unwrap())
    }

    fn arguments(&self) -> Arguments {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let path = |name: &str| self.folder.path().join(name);
        Arguments {
            layout: path("layout.yaml"),
            node: None,
            simulate: Some("NVIDIA-H200:2".to_owned()),
            driver_root: "/".into(),
            host_driver_root: "/".into(),
            kubelet: self.plugins(),
            cdi: path("cdi"),
            static_cdi: path("static-cdi"),
            run: path("run"),
            listen: free,
        }
    }
}

async fn until(is: impl Fn() -> bool) {
    let patience = tokio::time::timeout(Duration::from_mins(1), async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    patience.await.unwrap();
}

/// Runs a simulated node beside a test, and ends it in order.
async fn beside(kubelet: &mut Kubelet, board: &Board, test: impl AsyncFnOnce(&mut Kubelet, &Arguments)) {
    let arguments = kubelet.arguments();
    let (stop, stopped) = oneshot::channel::<()>();
    let node = run(&arguments, board.clone(), async move { stopped.await.unwrap() });
    let test = async {
        test(kubelet, &arguments).await;
        stop.send(()).unwrap();
    };
    let (ended, ()) = tokio::join!(node, test);
    ended.unwrap();
}

async fn next(lists: &mut Streaming<ListAndWatchResponse>) -> Vec<(String, String)> {
    let list = tokio::time::timeout(Duration::from_mins(1), lists.message()).await.unwrap().unwrap().unwrap();
    list.devices.into_iter().map(|device| (device.id, device.health)).collect()
}

async fn watch(plugin: &mut DevicePluginClient<Channel>) -> Streaming<ListAndWatchResponse> {
    plugin.list_and_watch(Empty {}).await.unwrap().into_inner()
}

async fn allocate(
    plugin: &mut DevicePluginClient<Channel>,
    ids: &[&str],
) -> Result<AllocateResponse, Status> {
    let devices_ids = ids.iter().map(|id| (*id).to_owned()).collect();
    let request = AllocateRequest { container_requests: vec![ContainerAllocateRequest { devices_ids }] };
    plugin.allocate(request).await.map(Response::into_inner)
}

async fn get(arguments: &Arguments, path: &str) -> String {
    let mut stream = TcpStream::connect(arguments.listen).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn every_resource_is_registered_and_its_slots_are_listed_and_given() {
    let mut kubelet = Kubelet::new();
    kubelet.start(0);
    beside(&mut kubelet, &Board::default(), async |kubelet, _| {
        let mut said = kubelet.registered(2).await;
        said.sort_by(|a, b| a.resource_name.cmp(&b.resource_name));
        let names: Vec<_> = said.iter().map(|r| (r.resource_name.as_str(), r.endpoint.as_str())).collect();
        let expected = [
            ("fractune.dev/mps-25", "fractune.dev-mps-25.sock"),
            ("fractune.dev/mps-50", "fractune.dev-mps-50.sock"),
        ];
        assert_eq!(names, expected);
        assert!(said.iter().all(
            |r| r.version == "v1beta1" && r.options.as_ref().unwrap().get_preferred_allocation_available
        ));

        let mut plugin = kubelet.plugin("fractune.dev/mps-25").await;
        let options = plugin.get_device_plugin_options(Empty {}).await.unwrap().into_inner();
        assert!(options.get_preferred_allocation_available && !options.pre_start_required);
        let slots = next(&mut watch(&mut plugin).await).await;
        let gpu = |gpu: u32, n: u32| format!("SIMULATED-NVIDIA-H200-{gpu}:25:{n}");
        let names: Vec<_> = slots.iter().map(|(id, _)| id.clone()).collect();
        assert_eq!(names, [gpu(0, 0), gpu(0, 1), gpu(1, 0), gpu(1, 1)]);
        assert!(slots.iter().all(|(_, health)| health == "Healthy"));

        // One of the first GPU's slots is taken: the next comes from the other.
        let request = ContainerPreferredAllocationRequest {
            available_device_i_ds: names[1..].to_vec(),
            must_include_device_i_ds: Vec::new(),
            allocation_size: 1,
        };
        let request = PreferredAllocationRequest { container_requests: vec![request] };
        let preferred = plugin.get_preferred_allocation(request).await.unwrap().into_inner();
        assert_eq!(preferred.container_responses[0].device_i_ds, [gpu(1, 0)]);

        let granted = allocate(&mut plugin, &[&gpu(1, 0)]).await.unwrap();
        let envs = &granted.container_responses[0].envs;
        assert_eq!(
            (envs["FRACTUNE_SLOT"].as_str(), envs["FRACTUNE_SIMULATED"].as_str()),
            (gpu(1, 0).as_str(), "NVIDIA-H200")
        );
        let two = allocate(&mut plugin, &[&gpu(0, 0), &gpu(0, 1)]).await.unwrap_err();
        assert!(two.message().contains("a container uses one slot"), "{two}");
        let unknown = allocate(&mut plugin, &["GPU-1:25:0"]).await.unwrap_err();
        assert!(unknown.message().contains("no slot GPU-1:25:0"), "{unknown}");
    })
    .await;
    let left = std::fs::read_dir(kubelet.plugins()).unwrap().count();
    assert_eq!(left, 1, "only kubelet's own socket is left");
}

#[tokio::test]
async fn a_kubelet_that_is_started_again_finds_its_plugins_again() {
    let mut kubelet = Kubelet::new();
    kubelet.start(0);
    beside(&mut kubelet, &Board::default(), async |kubelet, arguments| {
        kubelet.registered(2).await;
        kubelet.start(0);
        let said = kubelet.registered(4).await;
        let again: std::collections::BTreeSet<_> =
            said[2..].iter().map(|r| r.resource_name.clone()).collect();
        assert_eq!(again.len(), 2, "{again:?}");
        let mut plugin = kubelet.plugin("fractune.dev/mps-50").await;
        assert_eq!(next(&mut watch(&mut plugin).await).await.len(), 2);
        let metrics = get(arguments, "/metrics").await;
        assert!(
            metrics.contains("fractune_kubelet_registrations_total{resource=\"fractune.dev/mps-50\"} 2"),
            "{metrics}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_plugin_whose_socket_is_removed_makes_it_anew() {
    let mut kubelet = Kubelet::new();
    kubelet.start(0);
    beside(&mut kubelet, &Board::default(), async |kubelet, _| {
        kubelet.registered(2).await;
        std::fs::remove_file(kubelet.plugins().join("fractune.dev-mps-50.sock")).unwrap();
        assert_eq!(kubelet.registered(3).await[2].resource_name, "fractune.dev/mps-50");
        let mut plugin = kubelet.plugin("fractune.dev/mps-50").await;
        assert_eq!(next(&mut watch(&mut plugin).await).await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn slots_of_a_sick_gpu_are_unhealthy_and_not_given_until_it_is_well() {
    let mut kubelet = Kubelet::new();
    kubelet.start(0);
    let board = Board::default();
    beside(&mut kubelet, &board, async |kubelet, arguments| {
        kubelet.registered(2).await;
        let mut plugin = kubelet.plugin("fractune.dev/mps-25").await;
        let mut lists = watch(&mut plugin).await;
        next(&mut lists).await;
        let health =
            |list: Vec<(String, String)>| list.into_iter().map(|(_, health)| health).collect::<Vec<_>>();
        board.trouble("SIMULATED-NVIDIA-H200-1", Cause::Xid, "Xid 79");
        assert_eq!(health(next(&mut lists).await), ["Healthy", "Healthy", "Unhealthy", "Unhealthy"]);
        let refused = allocate(&mut plugin, &["SIMULATED-NVIDIA-H200-1:25:0"]).await.unwrap_err();
        assert!(refused.message().contains("is unhealthy"), "{refused}");
        let metrics = get(arguments, "/metrics").await;
        assert!(
            metrics.contains("fractune_slots{resource=\"fractune.dev/mps-25\",state=\"unhealthy\"} 2"),
            "{metrics}"
        );
        board.settled("SIMULATED-NVIDIA-H200-1", Cause::Xid);
        assert_eq!(health(next(&mut lists).await), ["Healthy"; 4]);
        allocate(&mut plugin, &["SIMULATED-NVIDIA-H200-1:25:0"]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_node_is_ready_once_kubelet_has_taken_every_resource() {
    let mut kubelet = Kubelet::new();
    beside(&mut kubelet, &Board::default(), async |kubelet, arguments| {
        let listening = || std::net::TcpStream::connect(arguments.listen).is_ok();
        until(listening).await;
        assert!(get(arguments, "/healthz").await.starts_with("HTTP/1.1 200"));
        let ready = get(arguments, "/readyz").await;
        assert!(
            ready.starts_with("HTTP/1.1 503") && ready.contains("2 resources are not registered"),
            "{ready}"
        );
        // It comes late, and says no at first.
        kubelet.start(1);
        kubelet.registered(2).await;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while !get(arguments, "/readyz").await.starts_with("HTTP/1.1 200") {
            assert!(tokio::time::Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_is_told_before_anything_is_offered() {
    let kubelet = Kubelet::new();
    let wrong = async |layout: Option<&str>, simulate: Option<&str>| -> NodeError {
        if let Some(layout) = layout {
            std::fs::write(kubelet.folder.path().join("layout.yaml"), layout).unwrap();
        }
        let arguments = Arguments { simulate: simulate.map(str::to_owned), ..kubelet.arguments() };
        run(&arguments, Board::default(), std::future::pending()).await.unwrap_err()
    };
    let cases = [
        (Some("layout: {\"*\": [60, 60]}"), Some("NVIDIA-H200:1"), 65, "add up to 120 %"),
        (Some("layout: {\"*\": [5]}"), Some("NVIDIA-H200:1"), 65, "the smallest share of this GPU is 6 %"),
        (Some("layout: {NVIDIA-H2000: [50]}"), Some("NVIDIA-H200:1"), 65, "no GPU of this node is called so"),
        (Some(LAYOUT), Some("NVIDIA-H300:1"), 65, "known are"),
    ];
    for (layout, simulate, code, words) in cases {
        let error = wrong(layout, simulate).await;
        assert_eq!(error.exit_code(), code, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    std::fs::remove_file(kubelet.folder.path().join("layout.yaml")).unwrap();
    let missing = wrong(None, Some("NVIDIA-H200:1")).await;
    assert_eq!(missing.exit_code(), 74, "{missing}");
}

/// Runs `fractune-agent tune` on a CUDA job as a pod that was given these variables.
fn tune(variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let out = tempfile::tempdir().unwrap();
    let job = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/cluster/saxpy-cuda.yaml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_fractune-agent"));
    command.arg("tune").arg(job).arg("--out").arg(out.path().join("out"));
    command.env_clear().env("PATH", "/usr/bin:/bin").envs(variables.iter().copied()).stdin(Stdio::null());
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn a_pod_in_a_slot_that_is_no_good_ends_with_69_and_one_clear_message() {
    let user = rustix::process::geteuid().as_raw().to_string();
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let gate = folder.path().join("gate.sock").display().to_string();
    let good = [
        ("FRACTUNE_SLOT", "GPU-1:50:0"),
        ("FRACTUNE_UID", user.as_str()),
        ("FRACTUNE_GATE", gate.as_str()),
        ("CUDA_MPS_PIPE_DIRECTORY", "/nonexistent/pipe"),
        ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "50"),
        ("CUDA_VISIBLE_DEVICES", "GPU-1"),
    ];
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[("FRACTUNE_SIMULATED", "NVIDIA-H200")], "slot GPU-1:50:0 is simulated"),
        (&[("LD_PRELOAD", "/usr/local/vgpu/libvgpu.so")], "HAMi's libvgpu is preloaded"),
        (&[("FRACTUNE_UID", "4711")], "is for user 4711"),
        (&[("FRACTUNE_GATE", "/nonexistent/gate.sock")], "gate is not there"),
        (
            &[("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "25")],
            "ask for a slot as large as the largest share (fractune.dev/mps-50)",
        ),
    ];
    for (changes, words) in cases {
        let variables: Vec<_> = good.iter().chain(changes).copied().collect();
        let (code, said) = tune(&variables);
        assert_eq!(code, Some(69), "{said}");
        assert!(said.contains(words), "{words}: {said}");
    }
}
