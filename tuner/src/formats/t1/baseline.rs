//! The default configuration.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::report::Report;
use super::translate::Tunable;
use crate::kernel::Configuration;
use crate::space::Space;

/// Configurations that are looked at where there are too many to look at all.
const DRAWS: usize = 2_000;

/// Many files have a default that breaks their own conditions: the valid configuration that has most values
/// in common with it takes its place, of several the one whose other values are nearest in their lists.
pub(super) fn valid_default(tunables: &mut [Tunable], space: &Space, report: &mut Report) {
    let named = tunables
        .iter()
        .filter_map(|tunable| Some((tunable.parameter.name.clone(), tunable.parameter.default.clone()?)));
    let written = Configuration(named.collect());
    if space.index_of(&written).is_some() {
        return;
    }
    let points: Vec<usize> = tunables
        .iter()
        .map(|Tunable { parameter, .. }| {
            let default = parameter.default.as_ref();
            parameter.values.iter().position(|value| Some(value) == default).unwrap_or(0)
        })
        .collect();
    // How many values differ, and by how many places in their lists. Of equals the first, so that the same
    // file always gives the same job.
    let distance = |index: &usize| {
        let point = space.point(*index);
        let apart = point.iter().zip(&points).map(|(a, b)| usize::from(*a).abs_diff(*b));
        apart.fold((0, 0), |(differ, places), apart| (differ + usize::from(apart > 0), places + apart))
    };
    let nearest = if space.is_listed() {
        (0..space.len()).min_by_key(distance)
    } else {
        // One of many: nobody can look at all.
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        (0..DRAWS).map_while(|_| space.sample(&mut rng)).min_by_key(distance)
    };
    let Some(nearest) = nearest.map(|index| space.configuration(index)) else { return };
    for tunable in tunables {
        tunable.parameter.default = nearest.0.get(&tunable.parameter.name).cloned();
    }
    let which =
        if space.is_listed() { "the nearest valid configuration" } else { "the nearest of some valid ones" };
    let message = format!(
        "is a default that breaks the conditions; {which} takes its place, so speedups are over another baseline than the file's: {nearest}"
    );
    report.warn("ConfigurationSpace.TuningParameters", &written.to_string(), message);
}
