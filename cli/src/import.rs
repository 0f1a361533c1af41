//! Making a job of a tuning problem in the T1 format.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use fractune_agent::tune::exit;
use fractune_crds::LoadError;
use fractune_tuner::Violation;
use fractune_tuner::formats::t1::{self, Imported, MAX_SOURCE_BYTES};
use fractune_tuner::space::count_in_words;
use serde_json::{Value as Json, json};

use crate::args::Import;
use crate::commands::{print_error, write};
use crate::error::CliError;
use crate::import_source::with_includes;

/// Largest tuning file that is read, one byte more than the translation accepts.
const MAX_BYTES: u64 = (8 << 20) + 1;

/// Writes a job made of a tuning file, and says on standard error what it had to leave out.
///
/// # Errors
/// [`CliError`], with everything that cannot be translated at once.
pub fn import(args: &Import) -> Result<u8, CliError> {
    let from_stdin = args.file == Path::new("-");
    let file = if from_stdin { "standard input".to_owned() } else { args.file.display().to_string() };
    let refused = |violations| CliError::Import { file: file.clone(), violations };

    let bytes = read(&args.file).map_err(|source| CliError::Io { path: file.clone(), source })?;
    let tuning = t1::read(&bytes).map_err(refused)?;
    let folder = args.file.parent().filter(|_| !from_stdin).unwrap_or(Path::new(""));
    let source = if let Some(path) = &args.source {
        source(path, None)?
    } else {
        let (path, within) = find(folder, tuning.kernel_file()).map_err(|message| {
            let field = "KernelSpecification.KernelFile";
            refused(vec![Violation::new(field, tuning.kernel_file(), message)])
        })?;
        source(&path, Some(&within))?
    };
    let name = args.name.clone().unwrap_or_else(|| tuning.name());
    let imported = tuning.translate(&name, &source, args.reference.as_deref()).map_err(refused)?;
    let yaml = render(&imported, &name, &args.shares, &file)
        .map_err(|error| CliError::Render(format!("the job cannot be written as YAML: {error}")))?;

    // What has been written is read as `lint` and `run` will read it.
    let (_, tasks) = fractune_crds::load(yaml.as_bytes(), |_| {}).map_err(|error| {
        let file = format!("the job made of {file}");
        match error {
            LoadError::Violations(violations) => {
                CliError::Invalid { file, violations: of_flags(violations, args) }
            }
            other => CliError::Unreadable { file, message: other.to_string() },
        }
    })?;
    for warning in &imported.warnings {
        print_error(&format!("warning: {warning}"));
    }
    if imported.kernel.verify.none {
        print_error(
            "warning: a T1 file has no reference, so this job verifies nothing and may call a wrong kernel the best: \
             add a slow, right kernel with the same arguments to the source and name it with --reference",
        );
    }
    for task in tasks {
        let space = &task.space;
        print_error(&format!(
            "{}: {} valid configurations of {}",
            task.name(),
            count_in_words(space.len() as u64),
            space.raw()
        ));
    }
    write(&args.output, &yaml)?;
    Ok(exit::DONE)
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().take(MAX_BYTES).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The violations, those of what the command line says under its flags, each once: the name is in the job
/// twice.
fn of_flags(violations: Vec<Violation>, args: &Import) -> Vec<Violation> {
    let mut found: Vec<Violation> = Vec::with_capacity(violations.len());
    for mut violation in violations {
        let path = violation.path.as_str();
        let flag = if path.starts_with("spec.shares") {
            Some("--shares")
        } else if args.name.is_some() && matches!(path, "metadata.name" | "spec.kernels[0].name") {
            Some("--name")
        } else if args.reference.is_some() && path.ends_with("verify.entrypoint") {
            Some("--reference")
        } else {
            None
        };
        if let Some(flag) = flag {
            flag.clone_into(&mut violation.path);
        }
        let is_known = |known: &Violation| (&known.path, &known.value) == (&violation.path, &violation.value);
        if flag.is_none() || !found.iter().any(is_known) {
            found.push(violation);
        }
    }
    found
}

/// The kernel's file: beside the tuning file, or one folder up, as Kernel Tuner looks for it; and the folder
/// that it and its includes must be in, so that a file from elsewhere cannot have others read into the job.
fn find(folder: &Path, kernel_file: &str) -> Result<(PathBuf, PathBuf), String> {
    let beside = folder.join(kernel_file);
    let above = folder.join("..").join(kernel_file);
    let found = [&beside, &above].into_iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        format!(
            "is neither {} nor {}; put the source there, or name it with --source",
            beside.display(),
            above.display()
        )
    })?;
    let unresolved = |error: std::io::Error| format!("cannot be resolved ({error}); name it with --source");
    let within = Path::new(".").join(folder).join("..").canonicalize().map_err(unresolved)?;
    if !found.canonicalize().map_err(unresolved)?.starts_with(&within) {
        return Err(
            "is outside the folder of the T1 file and the one above it; move it there, or name it with --source"
                .into(),
        );
    }
    Ok((found, within))
}

fn source(path: &Path, within: Option<&Path>) -> Result<String, CliError> {
    let shown = path.display().to_string();
    let text = with_includes(path, within).map_err(|error| CliError::Unreadable {
        file: error.path.display().to_string(),
        message: error.message,
    })?;
    if text.trim().is_empty() {
        return Err(CliError::Unreadable {
            file: shown,
            message: "the source is empty; name another file".into(),
        });
    }
    if text.len() > MAX_SOURCE_BYTES {
        let message = format!(
            "the source and what it includes have {} bytes, over the {MAX_SOURCE_BYTES} that a job can hold; \
             shorten it, or put it into a ConfigMap and use source.configMapKeyRef",
            text.len()
        );
        return Err(CliError::Unreadable { file: shown, message });
    }
    Ok(text)
}

/// The job as YAML, with the comments that a reader needs.
fn render(
    imported: &Imported,
    name: &str,
    shares: &[u8],
    file: &str,
) -> Result<String, Box<dyn std::error::Error>> {
    let mut kernel = serde_json::to_value(&imported.kernel)?;
    if let Some(fields) = kernel.as_object_mut()
        && let Some(source) = fields.shift_remove("source")
    {
        // Last, because it is long.
        fields.insert("source".into(), source);
    }
    let mut spec = json!({ "shares": shares, "kernels": [kernel] });
    if let (Some(max_trials), Some(fields)) = (imported.max_trials, spec.as_object_mut()) {
        fields.insert("search".into(), json!({ "maxTrials": max_trials }));
    }
    let job: Json = json!({
        "apiVersion": fractune_crds::API_VERSION,
        "kind": "TuneJob",
        "metadata": { "name": name },
        "spec": spec,
    });
    let yaml = serde_yaml::to_string(&job)?;
    let mut text = format!("# Made of {} by kubectl-fractune import.\n", one_line(file));
    for warning in &imported.warnings {
        let _ = writeln!(text, "# {}", one_line(&warning.to_string()));
    }
    let mut explained = !imported.kernel.verify.none;
    for line in yaml.lines() {
        if !explained && line.trim() == "verify:" {
            let indent = line.len() - line.trim_start().len();
            for comment in NOT_VERIFIED {
                let _ = writeln!(text, "{:indent$}# {comment}", "");
            }
            explained = true;
        }
        text.push_str(line);
        text.push('\n');
    }
    Ok(text)
}

/// What stands above `verify: {none: true}`.
const NOT_VERIFIED: [&str; 3] = [
    "A T1 file has no reference, so nothing is verified: a wrong kernel can win.",
    "Add a slow, right kernel with the same arguments to the source and write, instead of none: true,",
    "entrypoint: <its name> (and launch, if its grid or block differ).",
];

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
