//! Names and labels of what a job owns, as docs/pods.md lists them.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Longest base: with an index and five characters it has to fit into a label.
const MAX_BASE: usize = 52;
/// Hexadecimal digits that end a shortened name.
const HASH: usize = 8;

/// Key of the job and its sources in [`manifest`].
pub(crate) const MANIFEST_KEY: &str = "job.yaml";
/// Key of the results as JSON in [`tuned`].
pub(crate) const JSON_KEY: &str = "tuned.json";
/// Key of the results as a header in [`tuned`].
pub(crate) const HEADER_KEY: &str = "tuned.h";
/// Label of a pod with its task's index.
pub(crate) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The start of the names of everything that a job owns.
pub(crate) fn base(job: &str) -> String {
    if job.len() <= MAX_BASE {
        return job.to_owned();
    }
    let kept: String = job.chars().take(MAX_BASE - HASH - 1).collect();
    // As the operator hashes it: each part is ended by a zero byte.
    let digest = Sha256::digest([job.as_bytes(), &[0]].concat());
    let hash = digest.iter().take(HASH / 2).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    format!("{kept}-{hash}")
}

/// Name of the `ConfigMap` with the job and its sources.
pub(crate) fn manifest(job: &str) -> String {
    format!("{}-job", base(job))
}

/// Name of the `ConfigMap` with the results.
pub(crate) fn tuned(job: &str) -> String {
    format!("{}-tuned", base(job))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_operators() {
        assert_eq!((manifest("sgemm"), tuned("sgemm")), ("sgemm-job".into(), "sgemm-tuned".into()));
        // printf 'aaa…a\0' | sha256sum, of 63 characters.
        let long = base(&"a".repeat(63));
        assert_eq!(long, format!("{}-{}", "a".repeat(43), HASH_OF_63));
        assert_eq!(long.len(), MAX_BASE);
    }

    const HASH_OF_63: &str = "e273060a";
}
