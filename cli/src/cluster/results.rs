//! `results`: what a job found.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment};
use fractune_agent::tune::exit;
use fractune_crds::conditions::{FAILED, RECONCILING, STALLED, SUSPENDED};
use fractune_crds::{JobTotal, State, TuneJob, TuneJobStatus, TunedResult, names};
use fractune_tuner::condition::Condition as Served;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use super::args::{Results, ResultsFormat};
use super::error::ClusterError;
use super::text::{count, one_line, wait, wrap};
use super::{Session, across, find};
use crate::commands::{print, print_error, terminal_width};
use crate::error::CliError;
use crate::table::{duration, new_table, push_table, three_digits};

/// Columns of a message where nothing says how wide the terminal is.
const WIDTH: u16 = 100;

/// Prints a job's results; the exit code says whether they are all there.
pub(crate) async fn results(session: &Session, args: &Results) -> Result<u8, CliError> {
    let job = find::job(session, &args.job).await?;
    let complete = is_complete(&job);
    if args.output == ResultsFormat::Table {
        print(&table(&job, terminal_width()))?;
    } else {
        print(&published(session, &job, args.output).await?)?;
        if !complete {
            print_error(&format!("note: {}", standing(&job)));
        }
    }
    Ok(if complete { exit::DONE } else { exit::NO_RESULT })
}

/// The results as pods mount them.
pub(crate) async fn published(
    session: &Session,
    job: &TuneJob,
    format: ResultsFormat,
) -> Result<String, CliError> {
    let map = names::tuned(&names::base(&job.name_any()));
    let key = if format == ResultsFormat::Header { names::HEADER_KEY } else { names::JSON_KEY };
    let text = find::entry(session, &map, key).await?;
    let Some(text) = text else {
        let has_results = job.status.as_ref().is_some_and(|status| !status.results.is_empty());
        return Err(if has_results {
            ClusterError::NotFound(format!(
                "{} has results, but ConfigMap {map} has no {key}; kubectl describe tunejob {} tells why, -o table shows them",
                job.name_any(),
                job.name_any()
            ))
        } else {
            ClusterError::NotFound(format!("no results yet: {}", standing(job)))
        }
        .into());
    };
    if format != ResultsFormat::Yaml {
        return Ok(if text.ends_with('\n') { text } else { text + "\n" });
    }
    let unreadable = |error: String| ClusterError::Unreadable(format!("ConfigMap {map}, {key}: {error}"));
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    Ok(serde_yaml::to_string(&value).map_err(|error| unreadable(error.to_string()))?)
}

/// Whether the job is done with its spec as it stands.
pub(crate) fn is_complete(job: &TuneJob) -> bool {
    is_current(job) && job.status.as_ref().and_then(|status| status.state) == Some(State::Complete)
}

/// Whether the status speaks of the spec as it stands.
pub(crate) fn is_current(job: &TuneJob) -> bool {
    job.status.as_ref().is_some_and(|status| status.observed_generation == job.metadata.generation)
}

/// The condition that says why a job stands as it does, where there is something to say.
pub(crate) fn reason(status: &TuneJobStatus) -> Option<&Condition> {
    let is_true = |kind: &str| status.conditions.iter().find(|c| c.type_ == kind && c.status == "True");
    [FAILED, STALLED, SUSPENDED].into_iter().find_map(is_true)
}

/// What the operator says of a job of which nothing runs yet.
pub(crate) fn waiting(status: &TuneJobStatus) -> Option<&str> {
    let pending = status.state == Some(State::Pending);
    let condition = status.conditions.iter().find(|c| c.type_ == RECONCILING && c.status == "True")?;
    (pending && !condition.message.is_empty()).then_some(condition.message.as_str())
}

/// The state of a job in a word.
pub(crate) fn state(job: &TuneJob) -> String {
    let state = job.status.as_ref().and_then(|status| status.state);
    state.map_or_else(|| "not seen by the operator yet".to_owned(), |state| format!("{state:?}"))
}

/// A job in a sentence: `demo is Running: 1 of 2 tasks, 61 trials`.
pub(crate) fn standing(job: &TuneJob) -> String {
    let status = job.status.clone().unwrap_or_default();
    let mut text = format!("{} is {}", job.name_any(), state(job));
    if !is_current(job) && status.state.is_some() {
        text.push_str(" (before its last change)");
    }
    if status.tasks.total > 0 {
        let tasks = &status.tasks;
        let _ = write!(
            text,
            ": {} of {} done, {}",
            tasks.succeeded,
            count(tasks.total, "task"),
            count(status.trials, "trial")
        );
    }
    if status.tasks.failed > 0 {
        let _ = write!(text, ", {} failed", status.tasks.failed);
    }
    text
}

/// The results for people. `width` is the terminal's, in columns.
pub(crate) fn table(job: &TuneJob, width: Option<u16>) -> String {
    let status = job.status.clone().unwrap_or_default();
    let mut text = standing(job);
    if let (Some(start), Some(end)) = (&status.start_time, &status.completion_time) {
        let took = std::time::Duration::try_from(end.0.duration_since(start.0)).unwrap_or_default();
        let _ = write!(text, " in {}", wait(took));
    }
    text.push('\n');
    if let Some(condition) = reason(&status) {
        let message = format!("{}: {}", condition.reason, one_line(&condition.message));
        for line in wrap(&message, usize::from(width.unwrap_or(WIDTH)).saturating_sub(2)) {
            let _ = writeln!(text, "  {line}");
        }
    }
    if status.results.is_empty() {
        text.push_str("\nno results yet\n");
        return text;
    }
    if !is_complete(job) {
        text.push_str("\nnot complete: these are the results so far\n");
    }
    text.push('\n');
    push_table(&mut text, winners(job, &status.results, width), width);
    for line in across::disturbed(&status).iter().flat_map(|note| wrap(note, width.unwrap_or(WIDTH).into())) {
        let _ = writeln!(text, "{line}");
    }
    if !status.totals.is_empty() {
        text.push_str("\nTotals by weight\n");
        push_table(&mut text, totals(&status), width);
    }
    let told = across::sentences(job, &status);
    if !told.is_empty() {
        text.push_str("\nAcross shares\n");
    }
    for sentence in told {
        for (at, line) in
            wrap(&sentence, usize::from(width.unwrap_or(WIDTH)).saturating_sub(4)).iter().enumerate()
        {
            let _ = writeln!(text, "{}{line}", if at == 0 { "  " } else { "    " });
        }
    }
    text
}

fn winners(job: &TuneJob, results: &[TunedResult], width: Option<u16>) -> comfy_table::Table {
    let full = job.spec.shares.iter().max().copied().unwrap_or(100);
    let several = job.spec.shares.len() > 1;
    let metrics: BTreeSet<&String> = results.iter().flat_map(|result| result.metrics.keys()).collect();
    let of_full = format!("Over {full} %'s choice");
    let mut rows = vec![["Kernel", "Problem", "Share", "Best", "Speedup"].map(str::to_owned).to_vec()];
    if let Some(header) = rows.first_mut() {
        header.extend(several.then_some(of_full));
    }
    let mut before = ("", "");
    for result in results {
        let names = (result.kernel.as_str(), result.problem.as_str());
        let (kernel, problem) = if names == before { ("", "") } else { names };
        before = names;
        let ratio =
            |ratio: &Option<String>| ratio.as_ref().map_or("-".to_owned(), |ratio| format!("{ratio}x"));
        let of_full =
            if result.share == full { String::new() } else { ratio(&result.speedup_over_full_gpu_choice) };
        let mut row = vec![
            kernel.to_owned(),
            problem.to_owned(),
            Served { share: result.share, neighbours: result.neighbours }.to_string(),
            duration(result.time_ns.unsigned_abs()),
            ratio(&result.speedup_over_default),
        ];
        row.extend(several.then_some(of_full));
        rows.push(row);
    }
    let last = if metrics.is_empty() { "Configuration" } else { "Configuration, metrics" };
    let room = width.map(|width| room(&rows, width.into()).max(last.len()));
    let mut rows = rows.into_iter();
    let header: Vec<String> = rows.next().unwrap_or_default();
    let mut table = new_table(&header.iter().map(String::as_str).chain([last]).collect::<Vec<_>>(), 2);
    let mut names: Vec<Cell> = header.iter().map(Cell::new).collect();
    names.push(Cell::new(last).set_alignment(CellAlignment::Left));
    table.set_header(names);
    for (row, result) in rows.zip(results) {
        let configuration = one_line(&result.configuration.to_string());
        let mut lines = room.map_or_else(|| vec![configuration.clone()], |room| wrap(&configuration, room));
        let over_quiet = result.speedup_over_quiet_choice.iter();
        lines.extend(over_quiet.map(|ratio| format!("{ratio}x over the quiet choice")));
        lines.extend(result.metrics.iter().map(metric));
        let mut cells: Vec<Cell> = row.into_iter().map(Cell::new).collect();
        cells.push(Cell::new(lines.join("\n")).set_alignment(CellAlignment::Left));
        table.add_row(cells);
    }
    table
}

/// Columns that are left beside these cells.
fn room(rows: &[Vec<String>], width: usize) -> usize {
    /// What the table puts around a cell.
    const PADDING: usize = 3;
    let columns = rows.first().map_or(0, Vec::len);
    let widest = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let taken: usize = (0..columns).map(|column| widest(column) + PADDING).sum();
    width.saturating_sub(taken + PADDING)
}

/// `gflops 20.6`.
fn metric((name, value): (&String, &String)) -> String {
    let value = value.parse().map_or_else(|_| value.clone(), three_digits);
    one_line(&format!("{name} {value}"))
}

fn totals(status: &TuneJobStatus) -> comfy_table::Table {
    let mut table = new_table(&["Share", "Default", "Tuned", "Speedup", "Left out"], 0);
    for JobTotal { share, neighbours, default_ns, best_ns, speedup, left_out } in &status.totals {
        table.add_row(vec![
            Served { share: *share, neighbours: *neighbours }.to_string(),
            duration(default_ns.unsigned_abs()),
            duration(best_ns.unsigned_abs()),
            speedup.as_ref().map_or("-".to_owned(), |speedup| format!("{speedup}x")),
            format!("{left_out} of {}", status.tasks.total),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::sample::job_with;
    use crate::cluster::script::{Answer, Script};

    fn status(state: &str) -> Value {
        let result = |problem: &str, share: u8, long: bool| {
            let mut configuration = json!({"BLOCK": 64, "LANES": 4});
            if long {
                for n in 0..12 {
                    configuration[format!("parameter_{n}")] = json!(n);
                }
            }
            json!({"kernel": "matmul", "problem": problem, "share": share, "neighbours": "Quiet",
                "configuration": configuration, "timeNs": 3_570_000, "speedupOverDefault": "2.31",
                "speedupOverFullGpuChoice": "1.05", "metrics": {"gflops": "12.5"},
                "cause": format!("at {share} % (32 SMs) the choice of 100 % takes 5.0 % longer: its 16 blocks leave 16 SMs idle, this one's 64 use all of them")})
        };
        json!({
            "observedGeneration": 1, "state": state, "trials": 80,
            "startTime": "2026-11-22T10:00:00Z", "completionTime": "2026-11-22T10:01:50Z",
            "tasks": {"total": 2, "succeeded": 2, "summary": "2/2"},
            "results": [result("small", 50, false), result("small", 100, false), result("large", 50, true)],
            "across": [{"kernel": "matmul", "problem": "large", "knee": {"share": 50, "slowdown": "1.04"},
                "oneForAll": {"trial": 3, "configuration": {"BLOCK": 32}, "worstShare": 50, "worstSlowdown": "1.08"}}],
            "totals": [{"share": 50, "neighbours": "Quiet", "defaultNs": 8_000_000, "bestNs": 4_000_000, "speedup": "2.00"}],
        })
    }

    #[test]
    fn the_table_fits_a_terminal_and_shows_every_value() {
        let text = table(&job_with(status("Complete")), Some(100));
        assert!(text.starts_with("demo is Complete: 2 of 2 tasks done, 80 trials in 110 s\n"), "{text}");
        for expected in [
            "3.57 ms",
            "2.31x",
            "1.05x",
            "BLOCK=64 LANES=4",
            "parameter_11=11",
            "Totals",
            "12.5",
            "50 % is enough: 1.04x",
            "100 %'s",
            "BLOCK=32 (1.08x the best time at 50 %",
            "SMs idle, this one's 64",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(!text.contains("so far"), "{text}");
    }

    #[test]
    fn times_that_were_disturbed_are_told_under_the_table() {
        let of = |noise: &str, small: i64| {
            let mut status = status("Complete");
            status["across"] = json!([]);
            for (at, result) in status["results"].as_array_mut().unwrap().iter_mut().enumerate() {
                result["noisePercent"] = json!(if at == 0 { noise } else { "0.8" });
                result["timeNs"] = json!(if at == 0 { small } else { 3_970_000 });
            }
            table(&job_with(status), Some(100))
        };
        let text = of("11.31", 1_060_000);
        let note = "note: noise of 11.3 % (matmul / small at 50 %): something else used the device";
        assert!(text.contains(note), "{text}");
        assert!(
            text.contains("matmul / small: 50 % was faster than 100 %: the times were disturbed"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        let text = of("0.9", 4_000_000);
        assert!(!text.contains("noise of") && !text.contains("disturbed"), "{text}");
    }

    #[test]
    fn a_job_that_is_not_done_says_so_and_why() {
        let mut running = status("Stalled");
        running["conditions"] = json!([{"type": "Stalled", "status": "True", "reason": "SourceMissing",
            "message": "ConfigMap kernels is not there", "lastTransitionTime": "2026-11-22T10:00:00Z"}]);
        let text = table(&job_with(running.clone()), None);
        assert!(text.contains("SourceMissing: ConfigMap kernels is not there"), "{text}");
        assert!(text.contains("results so far"), "{text}");
        running["results"] = json!([]);
        assert!(table(&job_with(running), None).contains("no results yet"));
        let (job, _) = crate::cluster::sample::job(&["small"]);
        assert!(table(&job, None).contains("not seen by the operator yet"));
    }

    #[tokio::test]
    async fn what_programs_read_is_what_pods_mount() {
        let script = Script::new(|asked| {
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "demo-tuned"},
                "data": {"tuned.json": "[{\"share\":50}]", "tuned.h": "#define X 1\n"}});
            asked.uri.contains("configmaps/demo-tuned").then_some(Answer::Is(200, map))
        });
        let (session, job) = (script.session(), job_with(status("Complete")));
        let of = async |format| published(&session, &job, format).await.unwrap();
        assert_eq!(of(ResultsFormat::Json).await, "[{\"share\":50}]\n");
        assert_eq!(of(ResultsFormat::Yaml).await, "- share: 50\n");
        assert_eq!(of(ResultsFormat::Header).await, "#define X 1\n");
        let nothing = Script::new(|_| None);
        let error = published(&nothing.session(), &job, ResultsFormat::Json).await.unwrap_err();
        assert!(error.to_string().contains("ConfigMap demo-tuned has no tuned.json"), "{error}");
        assert_eq!(error.exit_code(), 66);
    }
}
