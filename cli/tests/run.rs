//! Local runs from end to end, on this machine's CPUs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::Duration;

use common::{expect_code, fractune, good_job, job, place, results, run, run_command, trials};

#[test]
fn a_job_is_tuned_at_every_share_and_leaves_results_and_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = place(dir.path(), &good_job("maxTrials: 12"));
    let output = run(&file, &out, &[]);
    expect_code(&output, 0);
    let results = results(&out);
    let task = &results["tasks"][0];
    assert_eq!(task["trials"], 12);
    assert_eq!(task["verified"], true);
    for share in task["shares"].as_array().unwrap() {
        let best = share["best"]["timeNs"].as_u64().unwrap();
        assert!(best > 0 && best <= share["baseline"]["timeNs"].as_u64().unwrap());
        assert!(share["metrics"]["gflops"].as_f64().unwrap() > 0.0);
        for served in share["served"].as_array().unwrap() {
            assert!(served["timeNs"].as_u64().unwrap() >= best, "another share's choice beat the winner");
        }
    }
    let report = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(report.contains("<svg") && report.contains("unroll"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("add"));
    assert!(!out.join("objects").exists(), "compiled kernels are dropped at the end");
}

#[test]
fn each_kind_of_bad_candidate_costs_one_trial() {
    let parameters = "        - {name: fault, values: [0, 1, 2, 3, 4, 5, 6, 7, 8], default: 0}";
    let body = r#"
            #if fault == 8
            does not compile
            #endif
            if (fault == 1) for (;;) __asm__ volatile("");
            if (fault == 2) *(volatile int *)8 = 1;
            if (fault == 3) exit(0);
            if (fault == 4) memset(c, 0, 1 << 30);
            if (fault == 5) for (;;) memset(malloc(1 << 26), 1, 1 << 26);
            if (fault == 6) { char s[4096]; memset(s, 'x', sizeof s); for (int i = 0; i < 2500; i++) fwrite(s, 1, sizeof s, stdout); }
            for (int i = 0; i < n; i++) c[i] = a[i] + b[i];
            if (fault == 7) c[n / 2] += 1;"#;
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = place(dir.path(), &job(parameters, body, "strategy: Exhaustive"));
    expect_code(&run(&file, &out, &[]), 0);
    let trials = trials(&out, "add.small");
    let outcome = |fault: i64| {
        let trial = trials.iter().find(|trial| trial["configuration"]["fault"] == fault).unwrap();
        trial["outcome"].as_str().unwrap().to_string()
    };
    assert_eq!(trials.len(), 9);
    assert_eq!(outcome(0), "Ok");
    assert_eq!(outcome(1), "RunTimeout");
    assert_eq!(outcome(2), "RuntimeError");
    assert_eq!(outcome(3), "RuntimeError");
    assert_eq!(outcome(4), "RuntimeError");
    assert!(["RuntimeError", "RunTimeout"].contains(&outcome(5).as_str()), "memory ends, or time does");
    assert_eq!(outcome(6), "Ok", "printing harms nobody");
    assert_eq!(outcome(7), "WrongAnswer");
    assert_eq!(outcome(8), "CompileError");
}

#[test]
fn a_killed_run_is_resumed_and_measures_no_trial_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = place(dir.path(), &good_job("strategy: Random, maxTrials: 30, seed: 7"));
    let mut child = run_command(&file, &out).arg("-q").spawn().unwrap();
    while trials(&out, "add.small").len() < 5 {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = trials(&out, "add.small");
    assert!(before.len() < 30);

    expect_code(&run(&file, &out, &["--resume"]), 0);
    let after = trials(&out, "add.small");
    assert_eq!(after[..before.len()], before[..], "what was measured stays as it was");
    let undisturbed = dir.path().join("undisturbed");
    expect_code(&run(&file, &undisturbed, &[]), 0);
    let configurations = |mut trials: Vec<serde_json::Value>| {
        trials.sort_by_key(|trial| trial["trial"].as_u64());
        trials.into_iter().map(|trial| trial["configuration"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(configurations(after), configurations(common::trials(&undisturbed, "add.small")));
}

#[test]
fn a_killed_worker_costs_no_trial() {
    // The first one is killed as soon as it is there, which is while it gets ready.
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = place(dir.path(), &good_job("strategy: Exhaustive"));
    let mut child = run_command(&file, &out).arg("-q").spawn().unwrap();
    let mut killed = 0;
    while child.try_wait().unwrap().is_none() {
        if killed < 3 && trials(&out, "add.small").len() >= 6 * killed {
            killed += usize::from(kill_a_worker_of(child.id()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    assert!(killed > 0, "no worker was running when it should have been killed");
    assert!(trials(&out, "add.small").iter().all(|trial| trial["outcome"] == "Ok"));
}

/// Kills one child of `parent` that runs as `worker`, if there is one.
fn kill_a_worker_of(parent: u32) -> bool {
    let children =
        std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let worker = children.split_whitespace().find(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(b"\0worker\0"))
    });
    worker.is_some_and(|pid| std::process::Command::new("kill").args(["-9", pid]).status().unwrap().success())
}

#[test]
fn an_interrupted_run_says_how_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = place(dir.path(), &good_job("strategy: Exhaustive"));
    let child = run_command(&file, &out)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while trials(&out, "add.small").is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let interrupt =
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let stderr = expect_code(&child.wait_with_output().unwrap(), 75);
    assert!(stderr.contains("--resume"), "{stderr}");
    let kept = trials(&out, "add.small").len();
    expect_code(&run(&file, &out, &["--resume"]), 0);
    assert!(kept >= 1 && trials(&out, "add.small").len() == 36);
}

#[test]
fn raising_the_budget_of_a_finished_run_goes_on_from_its_trials() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = place(dir.path(), &good_job("maxTrials: 8"));
    expect_code(&run(&file, &out, &[]), 0);
    let before = trials(&out, "add.small");
    expect_code(&run(&file, &out, &["--resume", "--max-trials", "20"]), 0);
    let after = trials(&out, "add.small");
    assert_eq!((before.len(), after.len()), (8, 20));
    assert_eq!(after[..8], before[..]);
    assert_eq!(results(&out)["tasks"][0]["trials"], 20);
}

#[test]
fn an_exported_header_compiles_the_tuned_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = place(dir.path(), &good_job("maxTrials: 8"));
    expect_code(&run(&file, &out, &[]), 0);
    let header = fractune(&["export", "--format", "header"]).arg(&out).output().unwrap();
    expect_code(&header, 0);
    std::fs::write(dir.path().join("tuned.h"), header.stdout).unwrap();
    let source = "void add(const float *a, const float *b, float *c, int n) {\n\
                  for (int i = 0; i < n; i++) c[i] = a[i] + b[i] + 0 * unroll * step; }\n";
    std::fs::write(dir.path().join("add.c"), source).unwrap();
    let compiled = std::process::Command::new("cc")
        .current_dir(dir.path())
        .args(["-c", "-Werror", "-include", "tuned.h", "-DFRACTUNE_SELECT_ADD_SMALL_100", "add.c"])
        .status()
        .unwrap();
    assert!(compiled.success());
}

#[test]
fn a_replay_of_a_run_is_called_a_simulation_and_repeats_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = place(dir.path(), &good_job("strategy: Exhaustive"));
    expect_code(&run(&file, &out, &[]), 0);
    let recording = out.join("add.small/trials.jsonl");
    let replay = |name: &str, more: &[&str]| {
        let again = dir.path().join(name);
        let mut arguments = vec!["--backend", "replay", "--recording", recording.to_str().unwrap()];
        arguments.extend(more);
        let output = run(&file, &again, &arguments);
        expect_code(&output, 0);
        (again, String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (first, table) = replay("first", &[]);
    assert!(table.to_lowercase().contains("simulation"), "{table}");
    // A run cut short and resumed equals one that was not.
    replay("second", &["--max-trials", "9"]);
    let (second, _) = replay("second", &["--resume"]);
    let strip = |out: &std::path::Path| {
        let mut trials = trials(out, "add.small");
        for trial in &mut trials {
            trial.as_object_mut().unwrap().remove("elapsedMs");
        }
        trials
    };
    assert_eq!(strip(&first), strip(&second));
    assert_eq!(results(&first)["tasks"][0]["shares"], results(&second)["tasks"][0]["shares"]);
}

#[test]
fn the_command_line_s_search_is_checked_kept_and_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = place(dir.path(), &good_job("maxTrials: 8"));
    let flags = ["--strategy", "genetic", "--option", "population=4", "--seed", "7", "--max-trials", "6"];
    expect_code(&run(&file, &out, &flags), 0);
    let search = &results(&out)["search"];
    let used =
        serde_json::json!({"strategy": "Genetic", "options": {"population": 4}, "seed": 7, "maxTrials": 6});
    assert_eq!(search, &used);
    let message = expect_code(&run(&file, &out, &["--resume"]), 65);
    assert!(message.contains("belongs to another run"), "two searches are not mixed: {message}");
    expect_code(&fractune(&["recheck", "--times", "1"]).arg(&out).output().unwrap(), 0);
    // As if the job had said so.
    let message = expect_code(&run(&file, &out, &["--strategy", "Random", "--option", "kick=2"]), 65);
    assert!(message.contains("spec.search.options.kick"), "{message}");
}

#[test]
fn two_runs_that_share_a_gate_both_end_well() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = place(dir.path(), &good_job("maxTrials: 12"));
    let other = dir.path().join("other");
    let mut first = run_command(&file, &out).arg("-q").spawn().unwrap();
    while trials(&out, "add.small").is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    // The first serves the gate; the second joins, and takes over when the first is gone.
    let second = run_command(&file, &other).spawn().unwrap();
    while trials(&other, "add.small").is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    expect_code(&second.wait_with_output().unwrap(), 0);
    expect_code(&run(&file, &out, &["--resume"]), 0);
    assert_eq!((trials(&out, "add.small").len(), trials(&other, "add.small").len()), (12, 12));
}

#[test]
fn a_slow_reference_is_not_taken_from_a_trial_s_time() {
    let parameters = "        - {name: fault, values: [0, 1, 2, 3], default: 0}";
    let body = "if (fault == 1) abort(); for (int i = 0; i < n; i++) c[i] = a[i] + b[i];";
    let dir = tempfile::tempdir().unwrap();
    let job = job(parameters, body, "strategy: Exhaustive").replace(
        "void add_reference(const float *a, const float *b, float *c, int n) {",
        "void add_reference(const float *a, const float *b, float *c, int n) { usleep(1500000);",
    );
    let (file, out) = place(dir.path(), &job);
    expect_code(&run(&file, &out, &["--shares", "100"]), 0);
    let outcomes: Vec<_> = trials(&out, "add.small").iter().map(|t| t["outcome"].to_string()).collect();
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "\"Ok\"").count(), 3, "{outcomes:?}");
}

#[test]
fn a_report_needs_no_option_that_the_run_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = place(dir.path(), &good_job("maxTrials: 8").replace(common::shares(), "[0]"));
    expect_code(&run(&file, &out, &["--shares", "100"]), 0);
    expect_code(&fractune(&["report"]).arg(&out).output().unwrap(), 0);
    let mut recheck = fractune(&["recheck", "--times", "1", "--json"]);
    let recheck = recheck.arg(&out).env("FRACTUNE_GATE", dir.path().join("gate")).output().unwrap();
    expect_code(&recheck, 0);
    let json: serde_json::Value = serde_json::from_slice(&recheck.stdout).unwrap();
    assert!(json["winners"][0]["medianNs"].as_u64().unwrap() > 0);
}

#[test]
fn an_exported_header_carries_sizes_that_are_macros() {
    let body = "for (int i = 0; i < LENGTH; i += step) c[i] = a[i] + b[i]; (void)n;";
    let job = job("        - {name: step, values: [1], default: 1}", body, "maxTrials: 2")
        .replace("sizes: {n: 4096}", "sizes: {LENGTH: 4096}")
        .replace("\"n\"}", "\"LENGTH\"}")
        .replace("length: \"n\"", "length: \"LENGTH\"")
        .replace("double(n)", "double(LENGTH)")
        .replace("compile: {", "compile: {sizes: Macros, ");
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = place(dir.path(), &job);
    expect_code(&run(&file, &out, &["--shares", "100"]), 0);
    let header = fractune(&["export", "--format", "header"]).arg(&out).output().unwrap();
    expect_code(&header, 0);
    std::fs::write(dir.path().join("tuned.h"), header.stdout).unwrap();
    std::fs::write(dir.path().join("add.c"), "int length = LENGTH * step;\n").unwrap();
    let compiled = std::process::Command::new("cc")
        .current_dir(dir.path())
        .args(["-c", "-include", "tuned.h", "-DFRACTUNE_SELECT_ADD_SMALL_100", "add.c"])
        .status()
        .unwrap();
    assert!(compiled.success());
}
