//! Recorded spaces as the strategies see them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use fractune_tuner::formats;
use fractune_tuner::kernel::Value;
use fractune_tuner::search::Points;

/// A recorded space: every configuration that was recorded is valid, those that failed included.
#[derive(Debug)]
pub struct RecordedSpace {
    /// The file's name without its extensions.
    pub name: String,
    /// Name and values of every parameter.
    pub parameters: Vec<(String, Vec<Value>)>,
    points: Vec<Vec<u16>>,
    indices: HashMap<Vec<u16>, usize>,
    /// Mean time in nanoseconds by configuration; none where it failed.
    pub times: Vec<Option<u64>>,
    /// The least of the times.
    pub optimum: u64,
}

impl RecordedSpace {
    /// Reads a cachefile or T4 results.
    ///
    /// # Errors
    /// When the file cannot be read, is no recorded space, or holds no time.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let recorded = formats::read(&bytes).with_context(|| path.display().to_string())?;
        let mut space = RecordedSpace {
            name: name_of(path),
            parameters: recorded.parameters,
            points: Vec::new(),
            indices: HashMap::new(),
            times: Vec::new(),
            optimum: 0,
        };
        for entry in &recorded.entries {
            let mut point = Vec::new();
            for (name, values) in &space.parameters {
                let value = entry.configuration.0.get(name);
                let Some(digit) = values.iter().position(|known| Some(known) == value) else {
                    bail!("{}: a value of `{name}` that the header does not list", path.display());
                };
                point.push(digit as u16);
            }
            if space.indices.insert(point.clone(), space.points.len()).is_some() {
                bail!("{}: a configuration is recorded twice: {}", path.display(), entry.configuration);
            }
            space.points.push(point);
            let samples = &entry.samples_ns;
            let mean = samples.iter().sum::<u64>().checked_div(samples.len() as u64);
            space.times.push(mean);
        }
        let best = space.times.iter().flatten().min();
        space.optimum = *best.with_context(|| format!("{}: no configuration has a time", path.display()))?;
        Ok(space)
    }

    /// Whether another space lists the same configurations in the same order, so that an index means the
    /// same in both.
    #[must_use]
    pub fn is_like(&self, other: &RecordedSpace) -> bool {
        self.parameters == other.parameters && self.points == other.points
    }

    /// Whether another space is the same recording, in another format for example.
    #[must_use]
    pub fn is_copy_of(&self, other: &RecordedSpace) -> bool {
        let sorted = |space: &RecordedSpace| {
            let mut times: Vec<u64> = space.times.iter().flatten().copied().collect();
            times.sort_unstable();
            times
        };
        self.times.len() == other.times.len() && sorted(self) == sorted(other)
    }
}

/// Every recorded space in a directory, and what was left out and why.
///
/// # Errors
/// When the directory cannot be read, or nothing in it is a recorded space.
pub fn read_all(directory: &Path) -> anyhow::Result<(Vec<Arc<RecordedSpace>>, Vec<String>)> {
    let mut spaces: Vec<Arc<RecordedSpace>> = Vec::new();
    let mut left_out = Vec::new();
    for file in files(directory)? {
        match RecordedSpace::read(&file) {
            Ok(space) => match spaces.iter().find(|known| space.is_copy_of(known)) {
                Some(known) => left_out.push(format!("{}: the same times as {}", space.name, known.name)),
                None => spaces.push(Arc::new(space)),
            },
            Err(error) => left_out.push(format!("{error:#}")),
        }
    }
    if spaces.is_empty() {
        bail!("{}: no recorded space in it: {}", directory.display(), left_out.join("; "));
    }
    Ok((spaces, left_out))
}

/// The JSON files in a directory, by name.
fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .with_context(|| directory.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".json") || name.ends_with(".json.gz")
        })
        .collect();
    files.sort();
    Ok(files)
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.trim_end_matches(".gz").trim_end_matches(".json").to_owned()
}

impl Points for RecordedSpace {
    fn len(&self) -> usize {
        self.points.len()
    }

    fn values(&self) -> Vec<Vec<Value>> {
        self.parameters.iter().map(|(_, values)| values.clone()).collect()
    }

    fn point(&self, index: usize) -> Vec<u16> {
        self.points[index].clone()
    }

    fn index_of(&self, point: &[u16]) -> Option<usize> {
        self.indices.get(point).copied()
    }
}
