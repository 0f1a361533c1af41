//! Prints how long it takes to find the valid configurations of a well-known space and of large synthetic
//! ones, and the peak memory: `cargo run --release -p fractune-tuner --example bench_space`.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::collections::BTreeMap;
use std::time::Instant;

use fractune_tuner::kernel::{Parameter, Range, Value};
use fractune_tuner::space::Space;

fn main() {
    let (parameters, constraints) = gemm();
    report("gemm of CLBlast, best of 20", 20, &parameters, &constraints);

    let tens: Vec<Parameter> = (0..9).map(|i| range(&format!("p{i}"), 1, 10)).collect();
    let constraints = texts(&[
        "p0 * p1 % 4 == 0",
        "p2 <= p3",
        "(p4 + p5) % 3 == 0",
        "p6 * p7 * p8 <= 60",
        "(p0 + p2 + p4 + p6 + p8) % 5 == 0",
    ]);
    report("synthetic, constraints over few parameters", 1, &tens, &constraints);

    let sum = texts(&["p0 + p1 + p2 + p3 + p4 + p5 + p6 + p7 + p8 <= 25"]);
    report("synthetic, one sum over all parameters", 1, &tens, &sum);

    // Ten to the nine raw combinations, a million of them valid.
    let million = texts(&["p0 + p1 == p2", "p3 * p4 == p5 * p6"]);
    report("synthetic, a chain of equations", 1, &tens, &million);
    println!("peak memory: {}", peak_memory());

    // Further spaces, as `bench/space` writes them.
    for path in std::env::args().skip(1) {
        match read(&path) {
            Some((name, parameters, constraints)) => report(&name, 10, &parameters, &constraints),
            None => println!("{path}: no description of a space"),
        }
    }
}

/// A space's name, parameters and constraints: `{"name", "values": {NAME: [...]}, "constraints": [...]}`.
fn read(path: &str) -> Option<(String, Vec<Parameter>, Vec<String>)> {
    let space: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    let values = |list: &serde_json::Value| serde_json::from_value::<Vec<Value>>(list.clone()).ok();
    let parameters: Option<Vec<Parameter>> = space["values"]
        .as_object()?
        .iter()
        .map(|(name, list)| {
            Some(Parameter { name: name.clone(), values: values(list)?, range: None, default: None })
        })
        .collect();
    let constraints = serde_json::from_value(space["constraints"].clone()).ok()?;
    Some((space["name"].as_str()?.to_owned(), parameters?, constraints))
}

fn report(name: &str, runs: usize, parameters: &[Parameter], constraints: &[String]) {
    let mut best = f64::INFINITY;
    let mut found = None;
    for _ in 0..runs {
        let start = Instant::now();
        found = Some(Space::build("", parameters, constraints, &BTreeMap::new()));
        best = best.min(start.elapsed().as_secs_f64());
    }
    match found {
        Some(Ok(space)) => {
            println!("{name}: {} of {} valid, {:.2} ms", space.len(), space.raw(), best * 1e3);
        }
        Some(Err(violations)) => {
            for violation in violations {
                println!("{name}: {violation}, {:.2} ms", best * 1e3);
            }
        }
        None => {}
    }
}

/// The process's largest resident set, as Linux counts it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map_or_else(|| "unknown".to_owned(), |peak| peak.trim().to_owned())
}

fn gemm() -> (Vec<Parameter>, Vec<String>) {
    let lists: [(&str, &[i64]); 17] = [
        ("GEMMK", &[0]),
        ("MWG", &[16, 32, 64, 128]),
        ("NWG", &[16, 32, 64, 128]),
        ("KWG", &[32]),
        ("MDIMC", &[8, 16, 32]),
        ("NDIMC", &[8, 16, 32]),
        ("MDIMA", &[8, 16, 32]),
        ("NDIMB", &[8, 16, 32]),
        ("KWI", &[2]),
        ("VWM", &[1, 2, 4, 8]),
        ("VWN", &[1, 2, 4, 8]),
        ("STRM", &[0]),
        ("STRN", &[0]),
        ("SA", &[0, 1]),
        ("SB", &[0, 1]),
        ("KREG", &[1]),
        ("PRECISION", &[32]),
    ];
    let parameters = lists.iter().map(|(name, values)| list(name, values)).collect();
    let constraints = texts(&[
        "KWG % KWI == 0",
        "MWG % (MDIMC * VWM) == 0",
        "NWG % (NDIMC * VWN) == 0",
        "MWG % (MDIMA * VWM) == 0",
        "NWG % (NDIMB * VWN) == 0",
        "KWG % ((MDIMC * NDIMC) / MDIMA) == 0",
        "KWG % ((MDIMC * NDIMC) / NDIMB) == 0",
    ]);
    (parameters, constraints)
}

fn list(name: &str, values: &[i64]) -> Parameter {
    let values = values.iter().copied().map(Value::Int).collect();
    Parameter { name: name.to_owned(), values, range: None, default: None }
}

fn range(name: &str, min: i64, max: i64) -> Parameter {
    let range = Some(Range { min, max, step: 1 });
    Parameter { name: name.to_owned(), values: Vec::new(), range, default: None }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}
