//! Comparison of a candidate's outputs with the reference's.

use fractune_tuner::kernel::ElementType;

use super::element::{Element, Visit, dispatch};
use crate::worker::protocol::Tolerance;

/// Integers of fewer bytes than this may equal the poison by chance, all of them.
const CHANCE: usize = 8;

/// What is known of an output beside its bytes.
#[derive(Clone, Debug)]
pub(in crate::backend) struct Output<'a> {
    pub(in crate::backend) name: &'a str,
    pub(in crate::backend) element: ElementType,
    /// Whether it was poisoned before the run; otherwise it had contents.
    pub(in crate::backend) poisoned: bool,
}

/// Why the reference's output cannot be what candidates are compared with, if so.
pub(in crate::backend) fn reference_fault(output: &Output<'_>, bytes: &[u8]) -> Option<String> {
    dispatch(output.element, ReferenceFault { output, bytes })
}

/// How a candidate's output differs from the reference's beyond the tolerance, if it does.
pub(in crate::backend) fn difference(
    output: &Output<'_>,
    tolerance: Tolerance,
    got: &[u8],
    expected: &[u8],
) -> Option<String> {
    dispatch(output.element, Difference { output, tolerance, got, expected })
}

fn elements<E: Element>(bytes: &[u8]) -> impl Iterator<Item = E> {
    bytes.chunks_exact(E::BYTES).map(E::read)
}

struct ReferenceFault<'a> {
    output: &'a Output<'a>,
    bytes: &'a [u8],
}

impl Visit for ReferenceFault<'_> {
    type Output = Option<String>;

    fn visit<E: Element>(self) -> Option<String> {
        let Output { name, element, poisoned } = self.output;
        let untouched = |x: E| *poisoned && x.is_poison();
        if let Some(i) = elements::<E>(self.bytes).position(|x| x.is_nan() && !untouched(x)) {
            return Some(format!("the reference writes NaN at {name}[{i}]"));
        }
        let certain = element.is_float() || self.bytes.len() >= CHANCE;
        if certain && !self.bytes.is_empty() && elements::<E>(self.bytes).all(untouched) {
            return Some(format!(
                "the reference writes nothing to {name}: call it with the right arguments, or give {name} an \
                 init if it adds to what is there"
            ));
        }
        None
    }
}

struct Difference<'a> {
    output: &'a Output<'a>,
    tolerance: Tolerance,
    got: &'a [u8],
    expected: &'a [u8],
}

impl Visit for Difference<'_> {
    type Output = Option<String>;

    fn visit<E: Element>(self) -> Option<String> {
        let Output { name, poisoned, .. } = *self.output;
        let untouched = |x: E| poisoned && x.is_poison();
        let relative = self.tolerance.relative;
        let absolute = allowed::<E>(self.output, self.tolerance, self.expected);
        let mut first = None;
        let mut differing = 0_usize;
        let mut largest = 0.0_f64;
        let pairs = elements::<E>(self.got).zip(elements::<E>(self.expected));
        for (i, (got, expected)) in pairs.enumerate() {
            // NaN is never equal, and poison is NaN in floats.
            if got == expected || untouched(got) && untouched(expected) {
                continue;
            }
            let comparable =
                !untouched(got) && !untouched(expected) && got.is_finite() && expected.is_finite();
            let distance = got.distance(expected);
            if comparable && distance <= absolute + relative * expected.as_f64().abs() {
                continue;
            }
            differing += 1;
            if comparable && expected.as_f64() != 0.0 {
                largest = largest.max(distance / expected.as_f64().abs());
            }
            first.get_or_insert((i, got, expected));
        }
        let (i, got, expected) = first?;
        let (got, expected, written) = (shown(got), shown(expected), (!untouched(got), !untouched(expected)));
        let what = match written {
            (false, _) => format!("{name}[{i}] is not written, the reference has {expected}"),
            (_, false) => format!("{name}[{i}] is {got}, the reference leaves it alone"),
            _ => format!("{name}[{i}] is {got}, the reference has {expected}"),
        };
        let total = self.expected.len() / E::BYTES;
        let error =
            if largest > 0.0 { format!(", largest relative error {largest:.1e}") } else { String::new() };
        Some(format!("{what} ({differing} of {total} elements differ{error})"))
    }
}

/// The absolute error that every element of an output may have.
pub(in crate::backend) fn absolute(output: &Output<'_>, tolerance: Tolerance, expected: &[u8]) -> f64 {
    dispatch(output.element, Absolute { output, tolerance, expected })
}

struct Absolute<'a> {
    output: &'a Output<'a>,
    tolerance: Tolerance,
    expected: &'a [u8],
}

impl Visit for Absolute<'_> {
    type Output = f64;
    fn visit<E: Element>(self) -> f64 {
        allowed::<E>(self.output, self.tolerance, self.expected)
    }
}

fn allowed<E: Element>(output: &Output<'_>, tolerance: Tolerance, expected: &[u8]) -> f64 {
    let Tolerance { relative, absolute } = tolerance;
    let untouched = |x: E| output.poisoned && x.is_poison();
    absolute.unwrap_or_else(|| {
        if relative > 0.0 { relative * root_mean_square::<E>(expected, untouched) } else { 0.0 }
    })
}

/// With an exponent where forty digits would be needed otherwise.
fn shown<E: Element>(x: E) -> String {
    let size = x.as_f64().abs();
    let plain = size == 0.0 || (1e-5..1e16).contains(&size);
    if plain { x.to_string() } else { format!("{x:?}") }
}

/// Of the elements that were written and are finite. Scaled by the largest, so that squares do not overflow.
fn root_mean_square<E: Element>(bytes: &[u8], untouched: impl Fn(E) -> bool) -> f64 {
    let values = || elements::<E>(bytes).filter(|&x| x.is_finite() && !untouched(x)).map(Element::as_f64);
    let scale = values().fold(0.0, |m: f64, x| m.max(x.abs()));
    if scale == 0.0 {
        return 0.0;
    }
    let (sum, count) = values().fold((0.0, 0_u64), |(s, n), x| (s + (x / scale).powi(2), n + 1));
    scale * (sum / count as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POISONED: Output<'static> = Output { name: "C", element: ElementType::F32, poisoned: true };

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_ne_bytes()).collect()
    }

    fn differ(relative: f64, absolute: Option<f64>, got: &[f32], expected: &[f32]) -> Option<String> {
        difference(&POISONED, Tolerance { relative, absolute }, &floats(got), &floats(expected))
    }

    #[test]
    fn a_difference_is_told_with_its_place_and_extent() {
        let message = differ(1e-4, None, &[1.0, 2.5, 3.0, 5.0], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(
            message,
            "C[1] is 2.5, the reference has 2 (2 of 4 elements differ, largest relative error 2.5e-1)"
        );
    }

    #[test]
    fn small_elements_beside_large_ones_get_the_root_mean_square_as_measure() {
        assert_eq!(differ(1e-4, None, &[1000.0, 0.01], &[1000.0, 0.0]), None);
        assert!(differ(1e-4, Some(0.0), &[1000.0, 0.01], &[1000.0, 0.0]).is_some());
        assert_eq!(differ(0.0, Some(0.5), &[1.5], &[1.0]), None);
    }

    #[test]
    fn nan_and_infinity_never_hide_behind_the_tolerance() {
        assert!(differ(1e9, None, &[f32::NAN], &[1.0]).unwrap().contains("NaN"));
        assert!(differ(1e-4, None, &[1.0, 7.0], &[f32::INFINITY, 1.0]).unwrap().contains("2 of 2"));
        assert!(differ(1e-4, None, &[f32::INFINITY], &[f32::NEG_INFINITY]).is_some());
        assert_eq!(differ(1e-4, None, &[f32::INFINITY], &[f32::INFINITY]), None);
    }

    #[test]
    fn what_the_reference_leaves_alone_must_be_left_alone() {
        let poison = f32::poison();
        assert_eq!(differ(1e-4, None, &[1.0, poison], &[1.0, poison]), None);
        assert!(differ(1e-4, None, &[1.0, 0.0], &[1.0, poison]).unwrap().contains("leaves it alone"));
        assert!(differ(1e-4, None, &[1.0, poison], &[1.0, 2.0]).unwrap().contains("not written"));
    }

    #[test]
    fn integers_are_exact_unless_a_tolerance_is_given() {
        let output = Output { name: "n", element: ElementType::I64, poisoned: true };
        // These two are the same as f64.
        let (a, b) = (i64::MAX.to_ne_bytes(), (i64::MAX - 1).to_ne_bytes());
        let exact = Tolerance { relative: 0.0, absolute: None };
        assert!(difference(&output, exact, &a, &b).is_some());
        assert_eq!(difference(&output, exact, &a, &a), None);
        assert_eq!(difference(&output, Tolerance { relative: 0.0, absolute: Some(1.0) }, &a, &b), None);
    }

    #[test]
    fn a_reference_that_writes_nan_or_nothing_is_refused() {
        let poison = f32::poison();
        let fault = |values: &[f32]| reference_fault(&POISONED, &floats(values));
        assert_eq!(fault(&[1.0, poison]), None);
        assert_eq!(fault(&[1.0, f32::NAN]).unwrap(), "the reference writes NaN at C[1]");
        assert!(fault(&[poison, poison]).unwrap().contains("writes nothing to C"));
        let filled = Output { poisoned: false, ..POISONED };
        assert!(reference_fault(&filled, &floats(&[poison])).unwrap().contains("NaN"));
    }
}
