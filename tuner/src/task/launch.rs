//! Launch sizes of CUDA kernels.

use super::{Checks, Task};
use crate::expr::{Expression, Scope, Type};
use crate::kernel::{Language, Launch};

/// The size of one launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchSizes {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
}

/// Compiled launch sizes.
#[derive(Clone, Debug)]
pub(super) struct LaunchExpressions {
    grid: Vec<Expression>,
    block: Vec<Expression>,
    shared_memory: Option<Expression>,
}

impl Checks<'_> {
    /// The kernel's launch: required for CUDA, refused for C.
    pub(super) fn launch(&mut self, scope: &Scope) -> Option<LaunchExpressions> {
        match (&self.kernel.launch, self.kernel.language) {
            (Some(launch), Language::Cuda) => self.launch_expressions("launch", launch, scope),
            (None, Language::Cuda) => {
                let message = "is missing; a CUDA kernel needs launch: {grid: [...], block: [...]}";
                self.refuse("launch", "", message);
                None
            }
            (Some(_), Language::C) => {
                self.refuse("launch", "", "is for CUDA only; a C function is called, so remove it");
                None
            }
            (None, Language::C) => None,
        }
    }

    /// The reference's own launch, where it has one.
    pub(super) fn reference_launch(&mut self, scope: &Scope) -> Option<LaunchExpressions> {
        let launch = self.kernel.verify.launch.as_ref()?;
        if self.kernel.language == Language::C {
            self.refuse("verify.launch", "", "is for CUDA only; a C function is called, so remove it");
            return None;
        }
        self.launch_expressions("verify.launch", launch, scope)
    }

    fn launch_expressions(
        &mut self,
        field: &str,
        launch: &Launch,
        scope: &Scope,
    ) -> Option<LaunchExpressions> {
        let grid = self.dimensions(&format!("{field}.grid"), &launch.grid, scope);
        let block = self.dimensions(&format!("{field}.block"), &launch.block, scope);
        let shared_memory = launch.shared_memory.as_ref();
        let shared_memory =
            shared_memory.map(|text| self.int_expression(&format!("{field}.sharedMemory"), text, scope));
        let shared_memory = match shared_memory {
            Some(None) => return None,
            Some(expression) => expression,
            None => None,
        };
        Some(LaunchExpressions { grid: grid?, block: block?, shared_memory })
    }

    fn dimensions(&mut self, field: &str, texts: &[String], scope: &Scope) -> Option<Vec<Expression>> {
        if texts.is_empty() || texts.len() > 3 {
            self.refuse(field, texts.join(", "), "needs one to three sizes: x, y, z");
            return None;
        }
        let compiled: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(i, text)| self.int_expression(&format!("{field}[{i}]"), text, scope))
            .collect();
        compiled.into_iter().collect()
    }

    fn int_expression(&mut self, field: &str, text: &str, scope: &Scope) -> Option<Expression> {
        let expression = self.expression(field, text, scope)?;
        let ty = expression.result_type();
        if ty != Type::Int {
            self.refuse(field, text, format!("is of type {ty}; a launch size is an int (cast with int())"));
            return None;
        }
        Some(expression)
    }
}

impl LaunchExpressions {
    fn sizes(&self, slots: &[i64]) -> Result<LaunchSizes, String> {
        /// What the CUDA programming guide allows, for every device since compute capability 3.0.
        const GRID: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];
        const BLOCK: [u32; 3] = [1024, 1024, 64];
        const THREADS: u32 = 1024;

        let grid = dimensions("grid", &self.grid, GRID, slots)?;
        let block = dimensions("block", &self.block, BLOCK, slots)?;
        let threads: u32 = block.iter().product();
        if threads > THREADS {
            return Err(format!("a block has {threads} threads, over CUDA's limit of {THREADS}"));
        }
        let shared_bytes = match &self.shared_memory {
            Some(expression) => size("shared memory", expression, 0, u32::MAX, slots)?,
            None => 0,
        };
        Ok(LaunchSizes { grid, block, shared_bytes })
    }
}

fn dimensions(
    what: &str,
    expressions: &[Expression],
    most: [u32; 3],
    slots: &[i64],
) -> Result<[u32; 3], String> {
    let mut sizes = [1; 3];
    for (((to, expression), most), axis) in sizes.iter_mut().zip(expressions).zip(most).zip(["x", "y", "z"]) {
        *to = size(&format!("{what} {axis}"), expression, 1, most, slots)?;
    }
    Ok(sizes)
}

fn size(what: &str, expression: &Expression, least: u32, most: u32, slots: &[i64]) -> Result<u32, String> {
    let text = expression.text();
    let value = expression.eval_int(slots).map_err(|error| format!("{what} = {text}: {error}"))?;
    u32::try_from(value)
        .ok()
        .filter(|value| (least..=most).contains(value))
        .ok_or_else(|| format!("{what} = {text} is {value}, outside {least} to {most}"))
}

impl Task {
    /// The launch sizes at a configuration; none for C. An error is a sentence: a size that does not exist
    /// or that no CUDA device takes.
    #[must_use]
    pub fn launch(&self, index: usize) -> Option<Result<LaunchSizes, String>> {
        Some(self.launch.as_ref()?.sizes(&self.space.slots(index)))
    }

    /// The launch sizes of the reference at a configuration: its own, else the kernel's.
    #[must_use]
    pub fn reference_launch(&self, index: usize) -> Option<Result<LaunchSizes, String>> {
        let launch = self.reference_launch.as_ref().or(self.launch.as_ref())?;
        Some(launch.sizes(&self.space.slots(index)))
    }
}
