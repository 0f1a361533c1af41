//! One resource's device plugin: answers kubelet's questions about its slots.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::api::device_plugin_server::DevicePlugin;
use super::api::{
    AllocateRequest, AllocateResponse, ContainerAllocateRequest, ContainerAllocateResponse,
    ContainerPreferredAllocationResponse, Device, DevicePluginOptions, Empty, HEALTHY, ListAndWatchResponse,
    PreStartContainerRequest, PreStartContainerResponse, PreferredAllocationRequest,
    PreferredAllocationResponse, UNHEALTHY,
};
use super::board::Board;
use super::layout::Slot;
use super::metrics::Metrics;
use super::spread::preferred;

/// A resource and its slots.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// The resource's name.
    pub resource: String,
    slots: Arc<[Slot]>,
    /// What a container with a slot is given, by the slot's name.
    grants: Arc<BTreeMap<String, ContainerAllocateResponse>>,
    board: Board,
    metrics: Metrics,
}

impl Plugin {
    /// The plugin of a resource; `grants` has what a container is given for each of the `slots`, by name.
    #[must_use]
    pub fn new(
        resource: String,
        slots: Vec<Slot>,
        grants: BTreeMap<String, ContainerAllocateResponse>,
        board: Board,
        metrics: Metrics,
    ) -> Self {
        Self { resource, slots: slots.into(), grants: Arc::new(grants), board, metrics }
    }

    /// How many slots there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// What this plugin can do.
    #[must_use]
    pub fn options() -> DevicePluginOptions {
        DevicePluginOptions { pre_start_required: false, get_preferred_allocation_available: true }
    }

    fn list(&self) -> ListAndWatchResponse {
        let devices = self.slots.iter().map(|slot| {
            let health = if self.board.is_healthy(&slot.gpu) { HEALTHY } else { UNHEALTHY };
            Device { id: slot.id.clone(), health: health.to_owned(), topology: None }
        });
        ListAndWatchResponse { devices: devices.collect() }
    }

    fn allocate_one(&self, request: &ContainerAllocateRequest) -> Result<ContainerAllocateResponse, Status> {
        let resource = &self.resource;
        let [id] = &request.devices_ids[..] else {
            return Err(Status::invalid_argument(format!(
                "{resource}: a container uses one slot, and this one asks for {}; ask for 1, or for a resource of a larger \
                 share",
                request.devices_ids.len()
            )));
        };
        let grant = self.grants.get(id).ok_or_else(|| {
            Status::not_found(format!("{resource}: there is no slot {id} (any more): the layout has changed"))
        })?;
        let slot = self.slots.iter().find(|slot| slot.id == *id);
        if slot.is_some_and(|slot| !self.board.is_healthy(&slot.gpu)) {
            return Err(Status::unavailable(format!(
                "{resource}: slot {id} is unhealthy; the log of the node's agent says why"
            )));
        }
        self.metrics.allocations.with_label_values(&[resource]).inc();
        Ok(grant.clone())
    }
}

type Lists = Pin<Box<dyn Stream<Item = Result<ListAndWatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl DevicePlugin for Plugin {
    type ListAndWatchStream = Lists;

    async fn get_device_plugin_options(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<DevicePluginOptions>, Status> {
        Ok(Response::new(Self::options()))
    }

    async fn list_and_watch(&self, _: Request<Empty>) -> Result<Response<Lists>, Status> {
        // What is there now, and then whatever has changed since the last list.
        let start = (self.clone(), self.board.watch(), None);
        let lists = stream::unfold(start, |(plugin, mut watch, before)| async move {
            let list = next(&plugin, &mut watch, before.as_ref()).await?;
            Some((Ok(list.clone()), (plugin, watch, Some(list))))
        });
        Ok(Response::new(Box::pin(lists)))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<PreferredAllocationRequest>,
    ) -> Result<Response<PreferredAllocationResponse>, Status> {
        let of_one = |request: super::api::ContainerPreferredAllocationRequest| {
            let size = usize::try_from(request.allocation_size).unwrap_or(0);
            let (available, must) = (&request.available_device_i_ds, &request.must_include_device_i_ds);
            ContainerPreferredAllocationResponse {
                device_i_ds: preferred(&self.slots, available, must, size),
            }
        };
        let container_responses = request.into_inner().container_requests.into_iter().map(of_one).collect();
        Ok(Response::new(PreferredAllocationResponse { container_responses }))
    }

    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let requests = request.into_inner().container_requests;
        let container_responses =
            requests.iter().map(|request| self.allocate_one(request)).collect::<Result<_, _>>()?;
        Ok(Response::new(AllocateResponse { container_responses }))
    }

    async fn pre_start_container(
        &self,
        _: Request<PreStartContainerRequest>,
    ) -> Result<Response<PreStartContainerResponse>, Status> {
        Ok(Response::new(PreStartContainerResponse {}))
    }
}

/// The next list that differs from the one before. None when nobody writes to the board any more.
async fn next<T>(
    plugin: &Plugin,
    watch: &mut watch::Receiver<T>,
    before: Option<&ListAndWatchResponse>,
) -> Option<ListAndWatchResponse> {
    loop {
        watch.mark_unchanged();
        let list = plugin.list();
        if before != Some(&list) {
            return Some(list);
        }
        watch.changed().await.ok()?;
    }
}
