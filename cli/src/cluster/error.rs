//! How speaking with a cluster can fail: one line each, with the way out, and an exit code.

use kube::core::Status;

/// What is asked for is not there.
const NOT_FOUND: u8 = 66;
/// What is needed is not there: a cluster, the definitions.
const UNAVAILABLE: u8 = 69;
/// The API server does not let this user do it.
const FORBIDDEN: u8 = 77;
/// The kubeconfig is wrong.
const CONFIG: u8 = 78;

/// Command that installs the chart.
pub(crate) const INSTALL: &str =
    "helm upgrade --install fractune charts/fractune --namespace fractune --create-namespace";

/// The way out for who lacks a right.
pub(super) const ASK: &str =
    "; ask an administrator for that right (the chart's roles for users aggregate to view and edit)";

/// Why the cluster did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no usable kubeconfig, or no such context in it.
    #[error("{0}")]
    Config(String),
    /// The API server does not answer.
    #[error(
        "cannot reach {place}: {why}; is the cluster up, and is it the one you mean (kubectl config get-contexts)?"
    )]
    Unreachable {
        /// The cluster.
        place: String,
        /// What happened on the way.
        why: String,
    },
    /// The API server has no `TuneJobs`.
    #[error(
        "{0} knows no TuneJobs: fractune is not installed there, or it is another cluster than you mean; install it: {INSTALL}"
    )]
    NoDefinitions(String),
    /// No such job, or nothing of it that could be shown.
    #[error("{0}")]
    NotFound(String),
    /// Not with these credentials.
    #[error("{0}")]
    Forbidden(String),
    /// The API server says no for another reason.
    #[error("{0}")]
    Refused(String),
    /// What the cluster holds cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// Something did not come in time.
    #[error("{0}")]
    Late(String),
}

impl ClusterError {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            ClusterError::Config(_) => CONFIG,
            ClusterError::Unreachable { .. } | ClusterError::NoDefinitions(_) => UNAVAILABLE,
            ClusterError::NotFound(_) => NOT_FOUND,
            ClusterError::Forbidden(_) => FORBIDDEN,
            ClusterError::Refused(_) | ClusterError::Unreadable(_) => fractune_agent::tune::exit::SPEC,
            ClusterError::Late(_) => fractune_agent::tune::exit::INTERRUPTED,
        }
    }

    /// What an error of the client means at `place`, a cluster in words.
    pub(crate) fn of(error: &kube::Error, place: &str) -> Self {
        match error {
            kube::Error::Api(status) => Self::answer(status, place),
            kube::Error::SerdeError(error) => ClusterError::Unreadable(format!(
                "an object does not fit this program, version {}: {error}; use the version that is installed on the \
                 cluster",
                env!("CARGO_PKG_VERSION")
            )),
            kube::Error::Auth(error) => {
                ClusterError::Config(format!("the credentials for {place} cannot be had: {}", chain(error)))
            }
            other => ClusterError::Unreachable { place: place.to_owned(), why: cause(other) },
        }
    }

    /// What a refusal means.
    pub(crate) fn answer(status: &Status, place: &str) -> Self {
        let said = status.message.trim();
        match status.code {
            401 => ClusterError::Forbidden(format!(
                "{place} does not accept your credentials; log in again, or choose others with --context or --user"
            )),
            403 => ClusterError::Forbidden(format!("not allowed: {said}{ASK}")),
            // Without a name it is the kind that is unknown.
            404 if status.details.as_ref().is_none_or(|details| details.name.is_empty()) => {
                ClusterError::NoDefinitions(place.to_owned())
            }
            404 => ClusterError::NotFound(said.to_owned()),
            429 | 500.. => ClusterError::Unreachable {
                place: place.to_owned(),
                why: format!("it answers {}: {said}", status.code),
            },
            _ => ClusterError::Refused(format!("the API server refuses: {said}")),
        }
    }
}

/// The innermost cause, which says what happened; those around it say where.
fn cause(error: &kube::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let text = inner.to_string();
    if text.contains("error trying to connect") { chain(error) } else { text }
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // Many errors repeat what their cause says.
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, message: &str, name: &str) -> ClusterError {
        let details = serde_json::from_value(serde_json::json!({"name": name})).unwrap();
        let status = Status::failure(message, "").with_code(code).with_details(details);
        ClusterError::answer(&status, "https://h:1 (context a)")
    }

    #[test]
    fn each_refusal_has_its_own_exit_code_and_way_out() {
        let told = |error: ClusterError| (error.exit_code(), error.to_string());
        let (code, text) = told(answer(404, "404 page not found", ""));
        assert!(
            code == 69 && text.contains("helm upgrade --install") && text.contains("context a"),
            "{code} {text}"
        );
        let (code, text) = told(answer(403, "User \"bob\" cannot get resource \"tunejobs\"", "x"));
        assert!(code == 77 && text.contains("cannot get resource \"tunejobs\""), "{code} {text}");
        let (code, text) = told(answer(401, "Unauthorized", ""));
        assert!(code == 77 && text.contains("credentials"), "{code} {text}");
        let (code, text) = told(answer(404, "tunejobs \"x\" not found", "x"));
        assert!(code == 66 && text.contains("not found"), "{code} {text}");
        let (code, text) = told(answer(503, "etcd is away", ""));
        assert!(code == 69 && text.contains("etcd is away"), "{code} {text}");
        let (code, text) = told(answer(422, "spec is immutable", "x"));
        assert!(code == 65 && text.contains("immutable"), "{code} {text}");
    }
}
