//! Does one of the operators lead?

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;

use super::check::Check;
use super::operator::PODS;
use super::{ClusterError, Operator, Session};

const NAME: &str = "leader";
/// Longer than the time between two renewals.
const PATIENCE: Duration = Duration::from_secs(8);

pub(super) async fn check(session: &Session, operator: &Operator) -> Check {
    let (name, namespace) = &operator.lease;
    let api: Api<Lease> = Api::namespaced(session.client.clone(), namespace);
    let read = async || session.ask(api.get(name)).await.map(|lease| lease.spec.unwrap_or_default());
    let first = match read().await {
        Ok(first) => first,
        Err(ClusterError::NotFound(_)) => return nobody(operator, "no operator has ever led"),
        Err(error) => return Check::unknown(NAME, &error),
    };
    if is_fresh(&first, Timestamp::now()) {
        return leads(&first);
    }
    // This machine's clock may be wrong: a lease that is renewed before our eyes is held.
    tokio::time::sleep(PATIENCE).await;
    match read().await {
        Ok(second) if second.renew_time != first.renew_time => leads(&second),
        Ok(last) if holder(&last).is_empty() => nobody(operator, "no operator leads"),
        Ok(last) => nobody(operator, &format!("{}, which led last, does not renew its lease", holder(&last))),
        Err(error) => Check::unknown(NAME, &error),
    }
}

fn holder(lease: &LeaseSpec) -> &str {
    lease.holder_identity.as_deref().unwrap_or_default()
}

/// Whether somebody holds the lease, going by this machine's clock.
fn is_fresh(lease: &LeaseSpec, now: Timestamp) -> bool {
    let Some(renewed) = &lease.renew_time else { return false };
    let age = now.duration_since(renewed.0).as_secs();
    !holder(lease).is_empty() && (-2..=i64::from(lease.lease_duration_seconds.unwrap_or(0))).contains(&age)
}

fn leads(lease: &LeaseSpec) -> Check {
    Check::ok(NAME, format!("{} leads", holder(lease)))
}

fn nobody(operator: &Operator, why: &str) -> Check {
    let message = format!("{why}: nothing is reconciled");
    if operator.replicas.1 == 0 {
        return Check::follows(NAME, format!("{message}, as no pod of the operator is ready"));
    }
    // Of all pods: one that stands by has less to tell than the one that led.
    let fix = format!("kubectl logs --namespace {} -l {PODS} --prefix --tail=50", operator.namespace);
    Check::fail(NAME, message, fix)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::operator::tests::installed;
    use super::*;

    #[test]
    fn who_looks_for_a_leader_reads_every_pod_and_none_where_none_is_ready() {
        let mut operator = installed();
        let fix = nobody(&operator, "no operator leads").fix.unwrap();
        let every =
            "kubectl logs --namespace fractune -l app.kubernetes.io/component=operator --prefix --tail=50";
        assert_eq!(fix, every);
        operator.replicas = (2, 0);
        let found = nobody(&operator, "no operator has ever led");
        assert!(
            found.fix.is_none() && found.message.ends_with("as no pod of the operator is ready"),
            "{found:?}"
        );
    }

    #[test]
    fn a_lease_is_held_as_long_as_it_is_renewed() {
        let lease = |holder: &str| -> LeaseSpec {
            serde_json::from_value(json!({"holderIdentity": holder, "leaseDurationSeconds": 12,
                "renewTime": "2026-11-22T10:00:00.000000Z"}))
            .unwrap()
        };
        let at = |second: i64| {
            "2026-11-22T10:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(second)
        };
        assert!(is_fresh(&lease("a"), at(0)) && is_fresh(&lease("a"), at(12)));
        assert!(!is_fresh(&lease("a"), at(13)) && !is_fresh(&lease(""), at(0)));
        assert!(!is_fresh(&lease("a"), at(-60)), "a clock that is a minute behind cannot tell");
        assert!(!is_fresh(&LeaseSpec::default(), at(0)));
    }
}
