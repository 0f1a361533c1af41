//! Who the reporters are, and what they may do.

use fractune_crds::names;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};

use super::{Object, Settings, metadata};
use crate::fetch::Observed;

/// The `ServiceAccount` of a job's reporters, and its binding.
pub(super) fn objects(observed: &Observed, settings: &Settings) -> Vec<Object> {
    let name = names::agent(&observed.base());
    let account = ServiceAccount {
        metadata: metadata(observed, name.clone()),
        // A pod that wants the token says so, and only the reporter's container does.
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    let binding = RoleBinding {
        metadata: metadata(observed, name.clone()),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: settings.cluster_role.clone(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name,
            namespace: account.metadata.namespace.clone(),
            ..Subject::default()
        }]),
    };
    vec![Object::ServiceAccount(account), Object::RoleBinding(binding)]
}
