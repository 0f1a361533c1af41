//! A finding, and how findings are shown.

use std::fmt::Write as _;

use serde::Serialize;

use super::ClusterError;
use super::text::{count, one_line, wrap};

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

    /// What could not be looked at. That alone is no failure of the installation.
    pub(super) fn unknown(name: &str, error: &ClusterError) -> Self {
        let fix = match error {
            ClusterError::Forbidden(_) => "kubectl fractune doctor, run by an administrator of the cluster",
            _ => "kubectl fractune doctor, once more",
        };
        Self::warn(name, format!("cannot be told: {error}"), fix)
    }
}

/// The findings for a terminal.
pub(super) fn render(checks: &[Check], width: usize) -> String {
    let names = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let indent = "fail  ".len() + names + 2;
    let mut text = String::new();
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
        if let Some(fix) = &check.fix {
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
    fn programs_read_the_same() {
        let json = to_json(&[Check::warn("nodes", "a", "b")]);
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed["ok"], true);
        assert_eq!(parsed["checks"][0]["verdict"], "warn");
        assert_eq!(parsed["checks"][0]["fix"], "b");
    }
}
