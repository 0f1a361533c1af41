//! A large space whose times are computed, for measuring how long Auto thinks.

use std::sync::Arc;
use std::time::Instant;

use fractune_tuner::kernel::Value;
use fractune_tuner::search::{self, Observation, Points, Start};
use fractune_tuner::settings::{Strategy, StrategyOptions};

/// Values of each of the six parameters.
const VALUES: u16 = 10;
const PARAMETERS: u32 = 6;

/// A million configurations, all valid.
#[derive(Debug)]
struct Million;

impl Points for Million {
    fn len(&self) -> usize {
        usize::from(VALUES).pow(PARAMETERS)
    }

    fn values(&self) -> Vec<Vec<Value>> {
        vec![(1..=i64::from(VALUES)).map(Value::Int).collect(); PARAMETERS as usize]
    }

    fn point(&self, index: usize) -> Vec<u16> {
        let values = usize::from(VALUES);
        (0..PARAMETERS).map(|parameter| (index / values.pow(parameter) % values) as u16).collect()
    }

    fn index_of(&self, point: &[u16]) -> Option<usize> {
        Some(point.iter().rev().fold(0, |index, &digit| index * usize::from(VALUES) + usize::from(digit)))
    }
}

/// Milliseconds per asked configuration, of one batch, at each of some counts of known trials.
#[must_use]
pub fn thinking_ms(batch: usize, counts: &[usize]) -> Vec<f64> {
    let options = StrategyOptions::default();
    let start = Start { strategy: Strategy::Auto, options: &options, first: &[0], shares: 1, seed: 1 };
    let mut search = search::start(Arc::new(Million), &start);
    let mut known = 0;
    counts
        .iter()
        .map(|&count| {
            // An odd stride visits each configuration once.
            for i in known..count {
                let index = (i * 271_829) % Million.len();
                let away: u64 = Million.point(index).iter().map(|&d| u64::from(d.abs_diff(6)).pow(2)).sum();
                search.tell(index, &Observation { times_ns: vec![Some(100_000 + 3000 * away)] });
            }
            known = count;
            let began = Instant::now();
            let asked = search.ask(batch).len();
            began.elapsed().as_secs_f64() * 1e3 / asked.max(1) as f64
        })
        .collect()
}
