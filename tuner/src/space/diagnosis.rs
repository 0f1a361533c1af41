//! Why a space has no valid configuration.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::field;
use super::parameters::Domain;
use crate::Violation;
use crate::expr::Expression;

/// Combinations that each constraint is tried on.
const SAMPLES: u64 = 100_000;
/// Most constraints that the message names.
const NAMED: usize = 3;

/// Says which constraints reject how much when each stands alone.
pub(super) fn empty(
    path: &str,
    constraints: &[Expression],
    domains: &[Domain],
    raw: u64,
    sizes: &[i64],
) -> Violation {
    let tried = raw.min(SAMPLES);
    let mut rejections: Vec<(u64, usize)> = (0..constraints.len()).map(|i| (0, i)).collect();
    let mut undefined = vec![0_u64; constraints.len()];
    // The seed is fixed: the same job gets the same message.
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut values: Vec<i64> = domains.iter().map(|_| 0).chain(sizes.iter().copied()).collect();
    for sample in 0..tried {
        let rank = if raw <= SAMPLES { sample } else { rng.random_range(0..raw) };
        for (value, domain) in values.iter_mut().zip(domains) {
            *value = domain.values[domain.digit(rank)];
        }
        for ((rejected, i), undefined) in rejections.iter_mut().zip(&mut undefined) {
            let result = constraints[*i].eval_bool(&values);
            *rejected += u64::from(result != Ok(true));
            *undefined += u64::from(result.is_err());
        }
    }
    rejections.sort_by_key(|&(rejected, i)| (u64::MAX - rejected, i));
    let parts: Vec<String> = rejections
        .iter()
        .filter(|(rejected, _)| *rejected > 0)
        .take(NAMED)
        .map(|&(rejected, i)| {
            let mut part = format!("constraints[{i}] alone rejects {}", amount(rejected, tried));
            if undefined[i] > 0 {
                let failing = amount(undefined[i], tried);
                part = format!("{part} (for {failing} it divides by zero or overflows)");
            }
            part
        })
        .collect();
    let worst = rejections.first().and_then(|(_, i)| constraints.get(*i)).map_or("", Expression::text);
    let base =
        if raw <= SAMPLES { format!("of {raw} combinations") } else { format!("of {tried} sampled ones") };
    let message = format!(
        "no configuration satisfies the constraints; {base}, {}; change them or add values",
        parts.join(", "),
    );
    Violation::new(field(path, "constraints"), worst, message)
}

fn amount(part: u64, of: u64) -> String {
    if part == of { "all of them".to_owned() } else { format!("{:.1} %", part as f64 * 100.0 / of as f64) }
}
