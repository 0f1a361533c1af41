//! Names of what a job owns. docs/pods.md lists them.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Longest base: pods are called `<base>-<index>-xxxxx`, and a label's value has at most 63 characters.
const MAX_BASE: usize = 52;
/// Hexadecimal digits of the hash that ends a shortened name.
const HASH: usize = 8;

/// Annotation with the digest of what a `ConfigMap` was made of: of the results by which reloaders see a change, and of
/// the job that pods read.
pub const DIGEST_ANNOTATION: &str = "fractune.dev/digest";

/// Key of the job and its sources in the `ConfigMap` [`manifest`].
pub const MANIFEST_KEY: &str = "job.yaml";
/// Key of the results as JSON in the `ConfigMap` [`tuned`].
pub const JSON_KEY: &str = "tuned.json";
/// Key of the results as a header in C in the same.
pub const HEADER_KEY: &str = "tuned.h";

/// The start of the names of everything that a job owns, and the name of its batch Job.
#[must_use]
pub fn base(job: &str) -> String {
    if job.len() <= MAX_BASE {
        return job.to_owned();
    }
    let kept: String = job.chars().take(MAX_BASE - HASH - 1).collect();
    format!("{kept}-{}", digest([job.as_bytes()]).get(..HASH).unwrap_or_default())
}

/// Name of the `TuneTask` with this index, and the start of its pods' names.
#[must_use]
pub fn task(base: &str, index: usize) -> String {
    format!("{base}-{index}")
}

/// Name of the `ConfigMap` with the job and its sources, for its pods.
#[must_use]
pub fn manifest(base: &str) -> String {
    format!("{base}-job")
}

/// Name of the `ConfigMap` with the results.
#[must_use]
pub fn tuned(base: &str) -> String {
    format!("{base}-tuned")
}

/// Name of the `ServiceAccount` and `RoleBinding` of a job's reporters.
#[must_use]
pub fn agent(base: &str) -> String {
    format!("{base}-agent")
}

/// SHA-256 of the parts, each ended by a zero byte, in hexadecimal.
#[must_use]
pub fn digest<const N: usize>(parts: [&[u8]; N]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_derived_name_fits_a_label_and_no_two_jobs_share_one() {
        let long = "a".repeat(63);
        let other = format!("{}b", "a".repeat(62));
        let base_name = base(&long);
        assert_eq!(base_name.len(), MAX_BASE);
        assert_ne!(base_name, base(&other));
        // The Job controller cuts a pod's prefix at 58 characters, and adds five.
        assert!(format!("{}-", task(&base_name, 2047)).len() <= 58);
        assert!(agent(&base_name).len() <= 63 && tuned(&base_name).len() <= 63);
    }

    #[test]
    fn a_name_that_fits_is_kept() {
        assert_eq!(base("sgemm"), "sgemm");
        assert_eq!(base(&"x".repeat(MAX_BASE)), "x".repeat(MAX_BASE));
    }
}
