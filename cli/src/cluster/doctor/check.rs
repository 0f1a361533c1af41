//! A finding, and how findings are shown.

use std::fmt::Write as _;

use serde::Serialize;

use super::ClusterError;
use super::text::{count, one_line, wrap};
use crate::cluster::error::ASK;

/// What mends most of what a plain user is shown, so that a terminal has it once.
const ADMINISTRATOR: &str = "kubectl fractune doctor, run by an administrator of the cluster";

/// How good or bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but somebody should look; or it cannot be told.
    Warn,
    /// It does not work.
    Fail,
}

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What was looked at, in a word.
    pub(super) name: String,
    /// How it is.
    pub(super) verdict: Verdict,
    /// What was found.
    pub(super) message: String,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fix: Option<String>,
}

impl Check {
    fn new(name: &str, verdict: Verdict, message: &str, fix: Option<String>) -> Self {
        Self { name: name.to_owned(), verdict, message: one_line(message), fix }
    }

    pub(super) fn ok(name: &str, message: impl Into<String>) -> Self {
        Self::new(name, Verdict::Ok, &message.into(), None)
    }

    pub(super) fn warn(name: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(name, Verdict::Warn, &message.into(), Some(fix.into()))
    }

    pub(super) fn fail(name: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(name, Verdict::Fail, &message.into(), Some(fix.into()))
    }

    /// What is broken because something else is, whose finding has the command.
    pub(super) fn follows(name: &str, message: impl Into<String>) -> Self {
        Self::new(name, Verdict::Fail, &message.into(), None)
    }

    /// What could not be looked at. That alone is no failure of the installation.
    pub(super) fn unknown(name: &str, error: &ClusterError) -> Self {
        let said = error.to_string();
        let (said, fix) = match error {
            ClusterError::Forbidden(_) => (said.trim_end_matches(ASK), ADMINISTRATOR),
            _ => (said.as_str(), "kubectl fractune doctor, once more"),
        };
        Self::warn(name, format!("cannot be told: {said}"), fix)
    }
}

/// The findings for a terminal.
pub(super) fn render(checks: &[Check], width: usize) -> String {
    let names = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let indent = "fail  ".len() + names + 2;
    let mut text = String::new();
    let mut said = false;
    for check in checks {
        let verdict = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        let mut lines = wrap(&check.message, width.saturating_sub(indent)).into_iter();
        let _ = writeln!(text, "{verdict:<4}  {:<names$}  {}", check.name, lines.next().unwrap_or_default());
        for line in lines {
            let _ = writeln!(text, "{:indent$}{line}", "");
        }
        let again = check.fix.as_deref() == Some(ADMINISTRATOR) && std::mem::replace(&mut said, true);
        if let Some(fix) = check.fix.as_ref().filter(|_| !again) {
            // A command is not broken: it is to be copied.
            let _ = writeln!(text, "{:indent$}mend: {fix}", "");
        }
    }
    let of = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    let (warnings, failures) = (of(Verdict::Warn), of(Verdict::Fail));
    let _ = match (warnings, failures) {
        (0, 0) => writeln!(text, "\n{}, all ok", count(checks.len(), "check")),
        _ => writeln!(
            text,
            "\n{}: {} ok, {}, {}",
            count(checks.len(), "check"),
            of(Verdict::Ok),
            count(warnings, "warning"),
            count(failures, "failure")
        ),
    };
    text
}

/// The findings for programs.
pub(super) fn to_json(checks: &[Check]) -> String {
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    serde_json::json!({"ok": !failed, "version": env!("CARGO_PKG_VERSION"), "checks": checks}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_aligned_and_wrapped_and_commands_stay_whole() {
        let checks = [
            Check::ok("cluster", "Kubernetes v1.34.1"),
            Check::fail(
                "rights",
                "the operator may not create jobs.batch and a few other things",
                "helm upgrade x",
            ),
        ];
        assert_eq!(
            render(&checks, 50),
            "ok    cluster  Kubernetes v1.34.1\n\
             FAIL  rights   the operator may not create\n\
            \x20              jobs.batch and a few other things\n\
            \x20              mend: helm upgrade x\n\
             \n\
             2 checks: 1 ok, 0 warnings, 1 failure\n"
        );
        assert!(render(&checks[..1], 50).ends_with("\n1 check, all ok\n"));
    }

    #[test]
    fn an_administrator_is_asked_for_once() {
        let forbidden = |what: &str| {
            let details = serde_json::from_value(serde_json::json!({"name": what})).unwrap();
            let status = kube::core::Status::failure(&format!("cannot list {what}"), "").with_code(403);
            Check::unknown(what, &ClusterError::answer(&status.with_details(details), "here"))
        };
        let text = render(&[forbidden("nodes"), forbidden("pods"), forbidden("leases")], 100);
        assert_eq!(text.matches("administrator").count(), 1, "{text}");
        assert!(text.contains("cannot be told: not allowed: cannot list pods\n"), "{text}");
    }

    #[test]
    fn programs_read_the_same() {
        let json = to_json(&[Check::warn("nodes", "a", "b")]);
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed["ok"], true);
        assert_eq!(parsed["checks"][0]["verdict"], "warn");
        assert_eq!(parsed["checks"][0]["fix"], "b");
    }
}
