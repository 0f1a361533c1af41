//! From the command line's flags to a client.

use std::future::Future;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::args::Connection;
use super::error::ClusterError;
use super::near::nearest;

/// A cluster to speak with.
pub(crate) struct Session {
    /// The client.
    pub(crate) client: Client,
    /// Namespace of the job.
    pub(crate) namespace: String,
    /// The cluster in words, for messages.
    pub(crate) place: String,
    /// Longest wait for an answer.
    pub(crate) timeout: Duration,
}

impl Session {
    /// Opens what the flags say. No request is made yet.
    pub(crate) async fn open(connection: &Connection) -> Result<Self, ClusterError> {
        let (mut config, context) = config(connection).await?;
        config.connect_timeout = Some(connection.request_timeout);
        if connection.as_user.is_some() {
            config.auth_info.impersonate.clone_from(&connection.as_user);
        }
        let namespace = connection.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let url = config.cluster_url.to_string();
        let place = format!("{} ({context})", url.trim_end_matches('/'));
        let client = Client::try_from(config).map_err(|error| ClusterError::of(&error, &place))?;
        Ok(Self { client, namespace, place, timeout: connection.request_timeout })
    }

    /// Waits for an answer.
    pub(crate) async fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ClusterError> {
        match tokio::time::timeout(self.timeout, request).await {
            Ok(answer) => answer.map_err(|error| ClusterError::of(&error, &self.place)),
            Err(_) => Err(ClusterError::Unreachable {
                place: self.place.clone(),
                why: format!("no answer within {:?} (--request-timeout)", self.timeout),
            }),
        }
    }
}

/// The client's configuration, and where it is from in words.
async fn config(connection: &Connection) -> Result<(Config, String), ClusterError> {
    let read = match &connection.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let kubeconfig = match read {
        Ok(kubeconfig) => kubeconfig,
        Err(error) => {
            // In a pod there is none, and none is needed.
            let chosen = connection.kubeconfig.is_some() || connection.context.is_some();
            return match Config::incluster() {
                Ok(config) if !chosen => Ok((config, "this pod's own".to_owned())),
                _ => Err(ClusterError::Config(unreadable(&error))),
            };
        }
    };
    let context = connection.context.clone().or_else(|| kubeconfig.current_context.clone());
    let options = KubeConfigOptions {
        context: connection.context.clone(),
        cluster: connection.cluster.clone(),
        user: connection.user.clone(),
    };
    if let Some(user) = &connection.user
        && !kubeconfig.auth_infos.iter().any(|known| known.name == *user)
    {
        let known = kubeconfig.auth_infos.iter().map(|known| known.name.as_str()).collect::<Vec<_>>();
        return Err(ClusterError::Config(unknown("user", user, &known)));
    }
    let config = Config::from_custom_kubeconfig(kubeconfig.clone(), &options).await;
    let config = config.map_err(|error| ClusterError::Config(unusable(&error, &kubeconfig)))?;
    Ok((config, format!("context {}", context.unwrap_or_default())))
}

fn unreadable(error: &KubeconfigError) -> String {
    const WAY: &str = "name a file with --kubeconfig or KUBECONFIG";
    match error {
        KubeconfigError::ReadConfig(cause, path) => format!("{}: {cause}; {WAY}", path.display()),
        KubeconfigError::FindPath => format!("no kubeconfig: there is no home folder; {WAY}"),
        other => format!("the kubeconfig cannot be used: {other}; {WAY}"),
    }
}

fn unusable(error: &KubeconfigError, kubeconfig: &Kubeconfig) -> String {
    let contexts: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
    let clusters: Vec<&str> = kubeconfig.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    match error {
        KubeconfigError::CurrentContextNotSet => {
            format!("the kubeconfig has no current context; choose one with --context: {}", listed(&contexts))
        }
        KubeconfigError::LoadContext(name) => unknown("context", name, &contexts),
        KubeconfigError::LoadClusterOfContext(name) => unknown("cluster", name, &clusters),
        other => format!("the kubeconfig cannot be used: {other}"),
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let hint = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("it has {}", listed(known)),
    };
    format!("the kubeconfig has no {what} {name:?}; {hint}")
}

/// Names for a message; the first few where there are many.
pub(crate) fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "none".to_owned(),
        count if count > SHOWN => format!("{shown} and {} more", count - SHOWN),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = r"
contexts:
  - {name: staging, context: {cluster: c, user: u}}
  - {name: lost, context: {cluster: gone, user: u}}
clusters: [{name: c, cluster: {server: 'https://127.0.0.1:6443'}}]
users: [{name: u, user: {token: t}}]
";

    async fn refused(arguments: Connection) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        std::fs::write(&path, KUBECONFIG).unwrap();
        let connection = Connection { kubeconfig: Some(path), ..arguments };
        match config(&connection).await {
            Err(error @ ClusterError::Config(_)) => error.to_string(),
            other => unreachable!("{:?}", other.map(|(_, place)| place)),
        }
    }

    #[tokio::test]
    async fn a_wrong_kubeconfig_is_told_with_what_there_is() {
        let context = |name: &str| Connection { context: Some(name.to_owned()), ..Connection::default() };
        let text = refused(context("stagin")).await;
        assert_eq!(text, "the kubeconfig has no context \"stagin\"; did you mean staging?");
        let text = refused(Connection::default()).await;
        assert!(text.contains("no current context") && text.contains("staging, lost"), "{text}");
        let text = refused(context("lost")).await;
        assert_eq!(text, "the kubeconfig has no cluster \"gone\"; it has c");
        let user = Connection { user: Some("root".to_owned()), ..context("staging") };
        assert_eq!(refused(user).await, "the kubeconfig has no user \"root\"; it has u");
    }

    #[tokio::test]
    async fn a_kubeconfig_that_is_not_there_is_named() {
        let connection = Connection { kubeconfig: Some("/nowhere/config".into()), ..Connection::default() };
        let error = config(&connection).await.err().unwrap();
        assert!(error.to_string().contains("/nowhere/config"), "{error}");
        assert_eq!(error.exit_code(), 78);
    }

    #[test]
    fn many_names_are_cut() {
        let names: Vec<String> = (0..20).map(|n| format!("n{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(listed(&names).ends_with("n7 and 12 more"));
        assert_eq!((listed(&[]), listed(&["a", "b"])), ("none".into(), "a, b".into()));
    }
}
