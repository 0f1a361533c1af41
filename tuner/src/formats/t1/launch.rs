//! The problem's sizes, and the launch: grid, block and shared memory.
//!
//! A file may give the grid twice. With `ProblemSize` it is that over `GridDivX`, `GridDivY`, `GridDivZ`, or over
//! the block's sizes where those are missing, rounded up, as in Kernel Tuner, which looks at nothing else.
//! Without, it is `GlobalSize`: in blocks, or in threads where `GlobalSizeType` says `OpenCL`, as in BAT.

use serde_json::Value as Json;

use super::cel::Cel;
use super::file::{KernelSpecification, OneOrMore, Sizes};
use super::python::{Expr, Object, PythonError, evaluate, parse};
use super::report::Report;
use super::translate::{Dimension, Names, Tunable};
use crate::kernel::{Launch, Value};

const PATH: &str = "KernelSpecification";
const AXES: [&str; 3] = ["X", "Y", "Z"];
/// Most threads of a block, on every CUDA device.
const MAX_THREADS: i64 = 1024;

/// The dimensions of `ProblemSize`; its numbers become sizes `problem_size_x` and so on.
pub(super) fn problem_size(
    specification: &KernelSpecification,
    tunables: &[Tunable],
    report: &mut Report,
) -> Vec<Dimension> {
    let items = specification.problem_size.as_ref().map_or(&[][..], OneOrMore::as_slice);
    if items.len() > 3 {
        let message = format!("has {} dimensions; a launch has at most three", items.len());
        report.refuse(format!("{PATH}.ProblemSize"), "", message);
    }
    let mut dimensions = Vec::with_capacity(items.len());
    for ((i, item), axis) in items.iter().enumerate().zip(["x", "y", "z"]) {
        let path = format!("{PATH}.ProblemSize[{i}]");
        match item {
            Json::Number(number) => match number.as_i64().filter(|value| *value > 0) {
                Some(value) => {
                    let mut name = format!("problem_size_{axis}");
                    while tunables.iter().any(|tunable| tunable.parameter.name == name) {
                        name.push('_');
                    }
                    dimensions.push(Dimension::Size { name, value });
                }
                None => report.refuse(path, &number.to_string(), "is no size; write a whole number over 0"),
            },
            Json::String(text) => {
                dimensions.extend(report.keep(&path, text, parse(text)).map(Dimension::Expression));
            }
            other => report.refuse(path, &other.to_string(), "is no size; write a number or an expression"),
        }
    }
    dimensions
}

/// The launch, and the constraint that keeps a block within a device's limit.
pub(super) fn launch(
    specification: &KernelSpecification,
    names: &Names<'_>,
    report: &mut Report,
) -> Option<(Launch, Option<String>)> {
    let block = block(specification, names, report);
    let grid = grid(specification, names, block.as_deref().unwrap_or_default(), report);
    let shared_memory = shared_memory(specification, names, report);
    let (grid, block) = (grid?, block?);
    let threads = block.iter().skip(1).fold(block.first().cloned()?, |product, size| product.multiply(size));
    let limit = threads.compare("<=", &Cel::int(MAX_THREADS));
    let limit = threads.constant().is_none().then(|| limit.into_text());
    let texts = |sizes: Vec<Cel>| trimmed(sizes).into_iter().map(Cel::into_text).collect();
    Some((Launch { grid: texts(grid), block: texts(block), shared_memory }, limit))
}

/// Without the ones at the end.
fn trimmed(mut sizes: Vec<Cel>) -> Vec<Cel> {
    while sizes.len() > 1 && sizes.last().is_some_and(|size| size.text() == "1") {
        sizes.pop();
    }
    sizes
}

fn block(specification: &KernelSpecification, names: &Names<'_>, report: &mut Report) -> Option<Vec<Cel>> {
    match &specification.local_size {
        Some(sizes) => dimensions("LocalSize", sizes, names, report),
        // As Kernel Tuner names them.
        None => Some(
            ["block_size_x", "block_size_y", "block_size_z"]
                .into_iter()
                .map(|name| parse(name).and_then(|e| names.size(&e)).unwrap_or_else(|_| Cel::int(1)))
                .collect(),
        ),
    }
}

fn dimensions(field: &str, sizes: &Sizes, names: &Names<'_>, report: &mut Report) -> Option<Vec<Cel>> {
    let written = [Some(&sizes.x), sizes.y.as_ref(), sizes.z.as_ref()];
    let translated: Vec<Option<Cel>> = written
        .into_iter()
        .zip(AXES)
        .map(|(json, axis)| {
            let Some(json) = json else { return Some(Cel::int(1)) };
            let path = format!("{PATH}.{field}.{axis}");
            let (text, expression) = report.expression(&path, json)?;
            report.keep(&path, &text, names.size(&expression))
        })
        .collect();
    translated.into_iter().collect()
}

fn grid_divisors(specification: &KernelSpecification) -> [&[Json]; 3] {
    [&specification.grid_div_x, &specification.grid_div_y, &specification.grid_div_z]
        .map(|divisors| divisors.as_ref().map_or(&[][..], OneOrMore::as_slice))
}

fn grid(
    specification: &KernelSpecification,
    names: &Names<'_>,
    block: &[Cel],
    report: &mut Report,
) -> Option<Vec<Cel>> {
    let divisors = grid_divisors(specification);
    if !names.problem_size.is_empty() {
        let grid = divided(&divisors, names, report);
        compare_with_global_size(specification, &divisors, names, report);
        return grid;
    }
    let Some(sizes) = &specification.global_size else {
        let message = "is missing, and there is no ProblemSize; write one of them";
        report.refuse(format!("{PATH}.GlobalSize"), "", message);
        return None;
    };
    let global = dimensions("GlobalSize", sizes, names, report)?;
    if in_blocks(specification, report)? {
        return Some(global);
    }
    Some(global.iter().zip(block).map(|(global, block)| global.ceil_divide(block)).collect())
}

/// Whether `GlobalSize` counts blocks; if not, it counts threads.
fn in_blocks(specification: &KernelSpecification, report: &mut Report) -> Option<bool> {
    match specification.global_size_type.as_deref() {
        None | Some("CUDA" | "cuda") => Some(true),
        Some("OpenCL" | "opencl") => Some(false),
        Some(other) => {
            let message = "is not known here; write CUDA (blocks) or OpenCL (threads)";
            report.refuse(format!("{PATH}.GlobalSizeType"), other, message);
            None
        }
    }
}

/// The grid as Kernel Tuner makes it.
fn divided(divisors: &[&[Json]; 3], names: &Names<'_>, report: &mut Report) -> Option<Vec<Cel>> {
    let mut grid = Vec::with_capacity(3);
    for (i, (divisors, axis)) in divisors.iter().zip(AXES).enumerate() {
        let size = match names.problem_size.get(i) {
            Some(Dimension::Size { name, value }) if *value > 1 => Cel::variable(name, 1, i64::MAX >> 16),
            Some(Dimension::Expression(expression)) => {
                report.keep(&format!("{PATH}.ProblemSize[{i}]"), "", names.size(expression))?
            }
            // One block covers what is not there, whatever divides it.
            Some(Dimension::Size { .. }) | None => Cel::int(1),
        };
        if size.text() == "1" {
            grid.push(size);
            continue;
        }
        let mut divisor = Cel::int(1);
        if divisors.is_empty() {
            // Kernel Tuner's default: the block of that dimension, where it is a parameter.
            let name = format!("block_size_{}", axis.to_lowercase());
            if let Ok(size) = parse(&name).and_then(|expression| names.size(&expression)) {
                divisor = size;
            }
        }
        for (j, json) in divisors.iter().enumerate() {
            let path = format!("{PATH}.GridDiv{axis}[{j}]");
            let (text, expression) = report.expression(&path, json)?;
            divisor = divisor.multiply(&report.keep(&path, &text, names.size(&expression))?);
        }
        grid.push(size.ceil_divide(&divisor));
    }
    Some(grid)
}

/// Says so where the grid that is not used differs from the one that is, for the default configuration.
fn compare_with_global_size(
    specification: &KernelSpecification,
    divisors: &[&[Json]; 3],
    names: &Names<'_>,
    report: &mut Report,
) {
    let defaults = defaults(names.tunables);
    let number = |json: &Json| -> Result<f64, PythonError> {
        let text = json.as_str().map_or_else(|| json.to_string(), str::to_owned);
        match evaluate(&parse(&text)?, &defaults)? {
            Object::Int(value) => Ok(value as f64),
            Object::Float(value) => Ok(value),
            _ => Err(PythonError::new(1, "no number")),
        }
    };
    let Some(sizes) = &specification.global_size else { return };
    let written = |sizes: &Sizes| [Some(sizes.x.clone()), sizes.y.clone(), sizes.z.clone()];
    let local = specification.local_size.as_ref().map_or([None, None, None], written);
    let threads =
        specification.global_size_type.as_deref().is_some_and(|ty| ty.eq_ignore_ascii_case("opencl"));
    for (i, global) in written(sizes).into_iter().enumerate() {
        let size = match names.problem_size.get(i) {
            Some(Dimension::Size { value, .. }) => *value,
            Some(Dimension::Expression(_)) => continue,
            None => 1,
        };
        let axis = AXES.get(i).copied().unwrap_or_default();
        let divisor: Result<f64, PythonError> = match divisors.get(i).copied().unwrap_or_default() {
            _ if size <= 1 => Ok(1.0),
            [] => Ok(number(&Json::from(format!("block_size_{}", axis.to_lowercase()))).unwrap_or(1.0)),
            divisors => divisors.iter().try_fold(1.0, |product, json| Ok(product * number(json)?)),
        };
        let global = global.as_ref().map_or(Ok(1.0), number);
        let block = local.get(i).and_then(Option::as_ref).map_or(Ok(1.0), number);
        let (Ok(divisor), Ok(global), Ok(block)) = (divisor, global, block) else { continue };
        let unused = if threads { (global / block).ceil() } else { global };
        let used = (size as f64 / divisor).ceil();
        if (used - unused).abs() > 0.5 {
            let message = format!(
                "would be {unused} blocks with the default configuration; not used, because ProblemSize over GridDiv{axis}, by default block_size_{}, says {used}, as Kernel Tuner has it",
                axis.to_lowercase()
            );
            report.warn(format!("{PATH}.GlobalSize.{axis}"), "", message);
        }
    }
}

fn defaults(tunables: &[Tunable]) -> Vec<(String, Object)> {
    let object = |tunable: &Tunable| {
        let value = tunable.parameter.default.as_ref().or(tunable.parameter.values.first())?;
        let object = match value {
            Value::Int(value) => Object::Int(*value),
            Value::Bool(value) => Object::Bool(*value),
            Value::Text(text) => Object::Text(text.clone()),
        };
        Some((tunable.parameter.name.clone(), object))
    };
    tunables.iter().filter_map(object).collect()
}

fn shared_memory(
    specification: &KernelSpecification,
    names: &Names<'_>,
    report: &mut Report,
) -> Option<String> {
    let path = format!("{PATH}.SharedMemory");
    let json = specification.shared_memory.as_ref().filter(|json| !json.is_null())?;
    let (text, expression): (String, Expr) = report.expression(&path, json)?;
    let bytes = report.keep(&path, &text, names.size(&expression))?;
    (bytes.text() != "0").then(|| bytes.into_text())
}
