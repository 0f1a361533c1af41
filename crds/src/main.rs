//! Writes the definitions of `TuneJob` and `TuneTask` as YAML, or checks that they are fresh.
//!
//! `fractune-crds DIR` writes them into a directory; `fractune-crds --check DIR` exits with 1 and names
//! the files that differ.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

use fractune_crds::schema;
use thiserror::Error;

#[derive(Debug, Error)]
enum Error {
    #[error("usage: fractune-crds [--check] DIR")]
    Usage,
    #[error("{0} is stale or missing: run `make crds`")]
    Stale(String),
    #[error("cannot write {0}: {1}")]
    Write(String, io::Error),
    #[error("cannot write YAML: {0}")]
    Yaml(#[from] serde_yaml::Error),
}

fn main() -> ExitCode {
    match run(&env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(errors) => {
            for error in errors {
                report(&error);
            }
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "what a command is for")]
fn report(error: &Error) {
    eprintln!("fractune-crds: {error}");
}

fn run(arguments: &[String]) -> Result<(), Vec<Error>> {
    let (check, folder) = match arguments {
        [flag, folder] if flag == "--check" => (true, folder),
        [folder] if !folder.starts_with('-') => (false, folder),
        _ => return Err(vec![Error::Usage]),
    };
    let failed: Vec<Error> = schema::definitions()
        .iter()
        .filter_map(|(name, definition)| one(check, &Path::new(folder).join(name), definition).err())
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(failed) }
}

fn one(check: bool, path: &Path, definition: &serde_json::Value) -> Result<(), Error> {
    let text = schema::yaml(definition)?;
    let shown = path.display().to_string();
    if !check {
        fs::write(path, text).map_err(|error| Error::Write(shown, error))
    } else if fs::read_to_string(path).is_ok_and(|there| there == text) {
        Ok(())
    } else {
        Err(Error::Stale(shown))
    }
}
