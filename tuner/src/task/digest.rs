//! What makes the trials of two runs comparable.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::Task;
use crate::kernel::{Kernel, Problem, Source};

impl Task {
    /// SHA-256, in hexadecimal, of everything that makes trials comparable: the kernel, its source text
    /// and the problem's sizes. Names, weights, metrics and other problems do not matter.
    #[must_use]
    pub fn digest(&self) -> String {
        let problem = Problem { name: String::new(), sizes: self.problem.sizes.clone(), weight: 1 };
        let kernel = Kernel {
            name: String::new(),
            // Where the text came from does not matter; the text follows.
            source: Source::default(),
            problems: vec![problem],
            metrics: Vec::new(),
            ..self.kernel.clone()
        };
        let mut hash = Sha256::new();
        hash.update(b"fractune task 1\0");
        // A kernel is plain data without maps of other keys than strings, so this does not fail.
        hash.update(serde_json::to_vec(&kernel).unwrap_or_default());
        hash.update(b"\0");
        hash.update(self.source.as_bytes());
        hash.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}
