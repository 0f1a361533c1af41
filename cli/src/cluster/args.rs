//! The command line of what speaks with a cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use fractune_tuner::task::is_dns_label;
use jiff::SignedDuration;

/// Which cluster, and as whom: the flags that kubectl has.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub struct Connection {
    /// Namespace [default: the context's].
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,
    /// File with clusters and credentials [default: `$KUBECONFIG`, else ~/.kube/config].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of that file [default: its current one].
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Cluster of that file, instead of the context's.
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// User of that file, instead of the context's.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// User to act as, which takes the right to impersonate.
    #[arg(long = "as", value_name = "USER")]
    pub as_user: Option<String>,
    /// Longest wait for an answer, such as 5s or 1m.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = duration)]
    pub request_timeout: Duration,
}

impl Connection {
    /// The first flag that was given and says that a cluster is meant.
    #[must_use]
    pub fn given(&self) -> Option<&'static str> {
        let Self { namespace, kubeconfig, context, cluster, user, as_user, request_timeout: _ } = self;
        let flags = [
            ("--namespace", namespace.is_some()),
            ("--kubeconfig", kubeconfig.is_some()),
            ("--context", context.is_some()),
            ("--cluster", cluster.is_some()),
            ("--user", user.is_some()),
            ("--as", as_user.is_some()),
        ];
        flags.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }
}

/// Follow a job until its end.
#[derive(Clone, Debug, clap::Args)]
pub struct Watch {
    /// The `TuneJob`.
    #[arg(value_parser = job_name)]
    pub job: String,
    /// End with exit code 1 as soon as the job is Stalled, instead of waiting for somebody to mend it.
    #[arg(long)]
    pub fail_on_stall: bool,
    /// End with exit code 75 after this time, such as 90s or 2h; the job goes on.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// A line for each change instead of a live table, as where standard output is no terminal.
    #[arg(long)]
    pub plain: bool,
    /// Which cluster.
    #[command(flatten)]
    pub connection: Connection,
}

/// Print what a job found.
#[derive(Clone, Debug, clap::Args)]
pub struct Results {
    /// The `TuneJob`.
    #[arg(value_parser = job_name)]
    pub job: String,
    /// How to print: a table, or the results' `ConfigMap`'s JSON (also as YAML) or C and CUDA header.
    #[arg(long, short, value_enum, default_value_t = ResultsFormat::Table)]
    pub output: ResultsFormat,
    /// Which cluster.
    #[command(flatten)]
    pub connection: Connection,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ResultsFormat {
    /// For people.
    Table,
    /// What pods mount as `tuned.json`.
    Json,
    /// The same as YAML.
    Yaml,
    /// What pods mount as `tuned.h`.
    Header,
}

/// Print the logs of a job's pods.
#[derive(Clone, Debug, clap::Args)]
pub struct Logs {
    /// The `TuneJob`.
    #[arg(value_parser = job_name)]
    pub job: String,
    /// Of one task only: its index, as in the name of its `TuneTask`.
    #[arg(long, value_name = "INDEX")]
    pub task: Option<u32>,
    /// Go on with what is logged from now on, in new pods as well, until the job's end.
    #[arg(long, short)]
    pub follow: bool,
    /// The reporter's log, which writes the status, instead of the tuning container's.
    #[arg(long)]
    pub reporter: bool,
    /// Lines of each pod at most, from the end.
    #[arg(long, value_name = "LINES")]
    pub tail: Option<u32>,
    /// Which cluster.
    #[command(flatten)]
    pub connection: Connection,
}

/// Set or unset `spec.suspend`.
#[derive(Clone, Debug, clap::Args)]
pub struct Switch {
    /// The `TuneJob`.
    #[arg(value_parser = job_name)]
    pub job: String,
    /// Return when it is done: no pod runs any more, or the job is under way again.
    #[arg(long)]
    pub wait: bool,
    /// Longest wait, such as 90s or 5m.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration, requires = "wait")]
    pub timeout: Duration,
    /// Which cluster.
    #[command(flatten)]
    pub connection: Connection,
}

/// Say what is wrong with an installation, and how to mend it.
#[derive(Clone, Debug, clap::Args)]
pub struct Doctor {
    /// How to print.
    #[arg(long, short, value_enum, default_value_t = DoctorFormat::Text)]
    pub output: DoctorFormat,
    /// Which cluster; the namespace is the one whose `TuneJobs` are looked at.
    #[command(flatten)]
    pub connection: Connection,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `demo`, or as kubectl prints it: `tunejob.fractune.dev/demo`.
pub(crate) fn job_name(text: &str) -> Result<String, String> {
    let name = match text.split_once('/') {
        Some(("tunejob" | "tunejobs" | "tj" | "tunejob.fractune.dev" | "tunejobs.fractune.dev", name)) => {
            name
        }
        _ => text,
    };
    if is_dns_label(name) {
        return Ok(name.to_owned());
    }
    Err("a TuneJob's name has lower-case letters, digits and dashes, and at most 63 of them".to_owned())
}

/// `90s`, `5m`, `1h30m`; a plain number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<u32>() {
        Ok(seconds) => Ok(SignedDuration::from_secs(i64::from(seconds))),
        Err(_) => text.parse::<SignedDuration>(),
    };
    let positive = parsed.ok().and_then(|time| Duration::try_from(time).ok()).filter(|time| !time.is_zero());
    positive.ok_or_else(|| "write a time such as 30s, 5m or 1h30m, longer than nothing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_may_be_named_as_kubectl_prints_it() {
        for text in ["demo", "tunejob/demo", "tunejob.fractune.dev/demo", "tj/demo"] {
            assert_eq!(job_name(text), Ok("demo".to_owned()));
        }
        for wrong in ["", "Demo", "pod/demo", "../demo", "demo?x"] {
            assert!(job_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_read_as_kubectl_reads_them() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for wrong in ["", "0", "0s", "-1s", "soon", "99999999999999999999"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
