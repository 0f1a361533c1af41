//! `doctor`: what is wrong with an installation, and the command that mends it.

mod check;
mod definitions;
mod jobs;
mod lease;
mod namespace;
mod nodes;
mod operator;
mod policies;
mod rights;

use fractune_agent::tune::exit;
use kube::Api;
use kube::api::ListParams;
use serde::de::DeserializeOwned;

use self::check::{Check, Verdict, render, to_json};
use self::operator::Operator;
use super::args::{Doctor, DoctorFormat};
use super::error::ClusterError;
use super::{Session, text};
use crate::commands::{print, terminal_width};
use crate::error::CliError;

/// The oldest Kubernetes that the operator runs on.
const OLDEST: (u32, u32) = (1, 33);
/// Label of everything that the chart makes.
const PART_OF: &str = "app.kubernetes.io/part-of=fractune";
/// Columns where nothing says how wide the terminal is.
const WIDTH: u16 = 100;

/// Looks at everything, prints it, and ends with 1 if something is broken.
pub(crate) async fn doctor(session: &Session, args: &Doctor) -> Result<u8, CliError> {
    let checks = examine(session).await;
    match args.output {
        DoctorFormat::Text => {
            let width = usize::from(terminal_width().unwrap_or(WIDTH));
            print(&render(&checks, width))?;
        }
        DoctorFormat::Json => print(&(to_json(&checks) + "\n"))?,
    }
    let broken = checks.iter().any(|check| check.verdict == Verdict::Fail);
    Ok(if broken { exit::NO_RESULT } else { exit::DONE })
}

async fn examine(session: &Session) -> Vec<Check> {
    let mut checks = vec![cluster(session).await];
    if checks.iter().any(|check| check.verdict == Verdict::Fail) {
        // Nothing else could be asked.
        return checks;
    }
    let (definitions, usable) = definitions::check(session).await;
    checks.extend(definitions);
    let (found, operators) = operator::check(session).await;
    checks.extend(found);
    for operator in &operators {
        checks.push(lease::check(session, operator).await);
        checks.push(rights::check(session, operator).await);
        checks.push(rights::agent(session, operator).await);
        checks.push(policies::check(session, operator).await);
    }
    checks.extend(nodes::check(session, operators.first()).await);
    checks.extend(namespace::check(session, &operators).await);
    if usable {
        checks.push(jobs::check(session).await);
    }
    checks
}

async fn cluster(session: &Session) -> Check {
    const NAME: &str = "cluster";
    match session.ask(session.client.apiserver_version()).await {
        Ok(version) => version_check(&version.major, &version.minor, &version.git_version, &session.place),
        Err(error) => Check::fail(NAME, error.to_string(), "kubectl config get-contexts"),
    }
}

fn version_check(major: &str, minor: &str, said: &str, place: &str) -> Check {
    // Some say 33+.
    let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().ok();
    let message = format!("Kubernetes {said} at {place}");
    match number(major).zip(number(minor)) {
        Some(version) if version < OLDEST => Check::fail(
            "cluster",
            format!("{message} is older than {}.{}, which fractune needs", OLDEST.0, OLDEST.1),
            "upgrade the cluster",
        ),
        _ => Check::ok("cluster", message),
    }
}

/// Objects of a kind in all namespaces, by label.
async fn all<K>(session: &Session, labels: &str) -> Result<Vec<K>, ClusterError>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<K> = Api::all(session.client.clone());
    Ok(session.ask(api.list(&ListParams::default().labels(labels))).await?.items)
}

/// The command that puts a release back to what its values say.
fn upgrade(operator: &Operator) -> String {
    format!(
        "helm upgrade {} charts/fractune --namespace {} --reuse-values",
        operator.release, operator.namespace
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::script::{Answer, Script};

    #[test]
    fn an_old_cluster_fails_and_an_odd_version_does_not() {
        assert_eq!(version_check("1", "32", "v1.32.1", "here").verdict, Verdict::Fail);
        for (major, minor) in [("1", "33"), ("1", "34+"), ("2", "0"), ("", "")] {
            assert_eq!(version_check(major, minor, "v", "here").verdict, Verdict::Ok, "{major}.{minor}");
        }
    }

    #[tokio::test]
    async fn a_cluster_that_does_not_answer_is_one_finding() {
        let script = Script::new(|_| Some(Answer::Lost));
        let checks = examine(&script.session()).await;
        assert_eq!(checks.len(), 1);
        assert!(
            checks[0].verdict == Verdict::Fail && checks[0].message.contains("cannot reach"),
            "{checks:?}"
        );
    }

    #[tokio::test]
    async fn an_empty_cluster_is_told_to_install() {
        let script = Script::new(|asked| {
            let version = serde_json::json!({"major": "1", "minor": "34", "gitVersion": "v1.34.1", "gitCommit": "",
                "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
            let is_list = |name: &str| asked.uri.split('?').next().is_some_and(|path| path.ends_with(name));
            match asked.uri.as_str() {
                "/version" => Some(Answer::Is(200, version)),
                _ if is_list("/deployments") => {
                    Some(Answer::Is(200, crate::cluster::script::list("Deployment", &[])))
                }
                _ => None,
            }
        });
        let checks = examine(&script.session()).await;
        let failed: Vec<&str> =
            checks.iter().filter(|c| c.verdict == Verdict::Fail).map(|c| c.name.as_str()).collect();
        assert_eq!(failed, ["definitions", "operator", "namespace"], "{checks:#?}");
        assert!(checks.iter().any(|c| c.fix.as_deref().is_some_and(|fix| fix.starts_with("helm upgrade --install"))));
    }
}
