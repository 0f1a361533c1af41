//! Kubelet's device plugin API, version v1beta1: made by build.rs of proto/deviceplugin/v1beta1/api.proto.
#![expect(
    missing_docs,
    clippy::pedantic,
    clippy::doc_overindented_list_items,
    reason = "generated code, with the comments that its source has"
)]

tonic::include_proto!("v1beta1");

/// The version that is registered.
pub const VERSION: &str = "v1beta1";
/// Kubelet's socket in its folder.
pub const KUBELET_SOCKET: &str = "kubelet.sock";
/// A device that can be used.
pub const HEALTHY: &str = "Healthy";
/// A device that cannot.
pub const UNHEALTHY: &str = "Unhealthy";
