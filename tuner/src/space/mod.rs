//! All valid configurations of a kernel for one problem.
//!
//! A configuration's *rank* is its number among all raw combinations, counted like digits with the first
//! parameter as the highest one. A [`Space`] holds the ranks of the valid configurations in ascending
//! order, 8 bytes each; a configuration's *index* is its place among them. Nothing else is kept per
//! configuration. Where there are too many to list, nothing is kept at all: an index is a rank, and whether it is
//! valid is found out when it is met.

mod constraints;
mod diagnosis;
mod enumerate;
mod names;
mod order;
mod parameters;
mod points;
mod vast;

use std::collections::BTreeMap;

use rand::{Rng, RngExt};

use crate::Violation;
use crate::expr::{Scope, Type};
use crate::kernel::{Configuration, Parameter, Value};
use enumerate::Limit;
use parameters::Domain;
use vast::Vast;

/// Most valid configurations that are listed.
pub const MAX_CONFIGURATIONS: usize = 10_000_000;

/// All valid configurations of a kernel for one problem.
#[derive(Debug)]
pub struct Space {
    parameters: Vec<SpaceParameter>,
    domains: Vec<Domain>,
    scope: Scope,
    sizes: Vec<i64>,
    raw: u64,
    undefined: u64,
    members: Members,
}

/// The valid configurations.
#[derive(Debug)]
enum Members {
    /// Their ranks, ascending.
    Listed(Vec<u64>),
    /// Over [`MAX_CONFIGURATIONS`].
    Vast(Vast),
}

/// A parameter and the values it can take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceParameter {
    /// Its name.
    pub name: String,
    /// Its values in the order in which they were written, or ascending where a range was.
    pub values: Vec<Value>,
}

impl Space {
    /// Finds every configuration of the parameters that satisfies the constraints, with the sizes as
    /// constants. `path` is where the kernel stands, such as `spec.kernels[0]`.
    ///
    /// # Errors
    /// Everything that is wrong with the parameters and constraints at once; or, where nothing is, that
    /// no configuration is valid, that finding them takes too long, or that there are too many to list and too few
    /// to find by chance.
    pub fn build(
        path: &str,
        parameters: &[Parameter],
        constraints: &[String],
        sizes: &BTreeMap<String, i64>,
    ) -> Result<Space, Vec<Violation>> {
        let mut violations = Vec::new();
        let checked = parameters::check(path, parameters, sizes, &mut violations);
        let mut scope = Scope::new();
        let mut domains = Vec::with_capacity(checked.len());
        for parameter in &checked {
            scope.add(&parameter.name, parameters::type_of(&parameter.values).unwrap_or(Type::Int));
            domains.push(Domain::new(parameter.values.iter().map(|value| scope.encode(value)).collect()));
        }
        for name in sizes.keys() {
            scope.add(name, Type::Int);
        }
        let untyped = checked.iter().any(|p| parameters::type_of(&p.values).is_none());
        let compiled = constraints::compile(path, constraints, &scope, untyped, &mut violations);
        if !violations.is_empty() {
            return Err(violations);
        }

        let raw = parameters::place(path, &mut domains).map_err(|violation| vec![violation])?;
        let sizes: Vec<i64> = sizes.values().copied().collect();
        let plan = constraints::Plan::new(&compiled, &domains, &sizes);
        let (undefined, members) = match enumerate::enumerate(&plan, raw, &sizes) {
            Ok(found) if found.ranks.is_empty() => {
                return Err(vec![diagnosis::empty(path, &compiled, &domains, raw, &sizes)]);
            }
            Ok(found) => (found.undefined, Members::Listed(found.ranks)),
            Err(Limit::Configurations) => match Vast::new(plan.levels, raw, &sizes) {
                Some(vast) => (0, Members::Vast(vast)),
                None => return Err(vec![enumerate::too_many(path, raw)]),
            },
            Err(Limit::Steps) => return Err(vec![enumerate::too_long(path, raw)]),
        };
        Ok(Space { parameters: checked, domains, scope, sizes, raw, undefined, members })
    }

    /// Number of valid configurations, at least 1; one more than [`MAX_CONFIGURATIONS`] where they are not
    /// [listed](Space::is_listed).
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.members {
            Members::Listed(ranks) => ranks.len(),
            Members::Vast(_) => MAX_CONFIGURATIONS + 1,
        }
    }

    /// Whether there is no valid configuration, which [`Space::build`] rules out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The index of a valid configuration, always the same: the first one where they are listed.
    #[must_use]
    pub fn first(&self) -> usize {
        match &self.members {
            Members::Listed(_) => 0,
            Members::Vast(vast) => vast.first() as usize,
        }
    }

    /// Whether the valid configurations are listed, and indices count them from 0. Where there are over
    /// [`MAX_CONFIGURATIONS`] they are not: then an index is any number below [`Space::raw`] that
    /// [is there](Space::contains).
    #[must_use]
    pub fn is_listed(&self) -> bool {
        matches!(self.members, Members::Listed(_))
    }

    /// Whether there is a valid configuration of this index.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        match &self.members {
            Members::Listed(ranks) => index < ranks.len(),
            Members::Vast(vast) => vast.contains(index as u64, &self.domains),
        }
    }

    /// Number of combinations of values, valid or not.
    #[must_use]
    pub fn raw(&self) -> u64 {
        self.raw
    }

    /// Number of combinations left out (0 where the valid ones are not listed) because a constraint could not be evaluated for them (such as a
    /// division by zero), as far as they were met: one that another constraint rejects first is not
    /// counted.
    #[must_use]
    pub fn undefined(&self) -> u64 {
        self.undefined
    }

    /// The parameters in the order in which they were written.
    #[must_use]
    pub fn parameters(&self) -> &[SpaceParameter] {
        &self.parameters
    }

    /// The variables of expressions over a configuration: the parameters in order, then the sizes by
    /// name.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The values of the [scope](Space::scope)'s variables for the configuration at `index`.
    ///
    /// # Panics
    /// If the valid configurations are listed, and `index` is not less than [`Space::len`].
    #[must_use]
    pub fn slots(&self, index: usize) -> Vec<i64> {
        let rank = self.rank(index);
        let parameters = self.domains.iter().map(|domain| domain.values[domain.digit(rank)]);
        parameters.chain(self.sizes.iter().copied()).collect()
    }

    /// The configuration at `index` as the number of each parameter's value.
    ///
    /// # Panics
    /// If the valid configurations are listed, and `index` is not less than [`Space::len`].
    #[must_use]
    pub fn point(&self, index: usize) -> Vec<u16> {
        let rank = self.rank(index);
        self.domains.iter().map(|domain| domain.digit(rank) as u16).collect()
    }

    /// The index of the configuration given as the number of each parameter's value, if it is valid.
    #[must_use]
    pub fn index_of_point(&self, point: &[u16]) -> Option<usize> {
        if point.len() != self.domains.len() {
            return None;
        }
        let mut rank = 0;
        for (domain, &digit) in self.domains.iter().zip(point) {
            if usize::from(digit) >= domain.values.len() {
                return None;
            }
            rank += u64::from(digit) * domain.stride;
        }
        self.index_of_rank(rank)
    }

    /// The configuration at `index`.
    ///
    /// # Panics
    /// If the valid configurations are listed, and `index` is not less than [`Space::len`].
    #[must_use]
    pub fn configuration(&self, index: usize) -> Configuration {
        let rank = self.rank(index);
        let named = self.parameters.iter().zip(&self.domains);
        Configuration(named.map(|(p, d)| (p.name.clone(), p.values[d.digit(rank)].clone())).collect())
    }

    /// The index of a configuration, if it is valid: it has a value for each parameter and no other.
    #[must_use]
    pub fn index_of(&self, configuration: &Configuration) -> Option<usize> {
        if configuration.0.len() != self.parameters.len() {
            return None;
        }
        let mut rank = 0;
        for (parameter, domain) in self.parameters.iter().zip(&self.domains) {
            let value = configuration.0.get(&parameter.name)?;
            let digit = parameter.values.iter().position(|known| known == value)?;
            rank += digit as u64 * domain.stride;
        }
        self.index_of_rank(rank)
    }

    /// A random valid configuration, each with the same probability; where they are not listed, only each with some
    /// probability, or none if constraints leave so little that it would take too long to find one.
    pub fn sample(&self, rng: &mut dyn Rng) -> Option<usize> {
        match &self.members {
            Members::Listed(ranks) => (!ranks.is_empty()).then(|| rng.random_range(0..ranks.len())),
            Members::Vast(vast) => vast.sample(rng).map(|rank| rank as usize),
        }
    }

    /// The valid configurations that differ from the one at `index` in exactly one parameter, by
    /// parameter and value.
    ///
    /// # Panics
    /// If the valid configurations are listed, and `index` is not less than [`Space::len`].
    #[must_use]
    pub fn neighbours(&self, index: usize) -> Vec<usize> {
        let rank = self.rank(index);
        let mut neighbours = Vec::new();
        for domain in &self.domains {
            let own = domain.digit(rank);
            let base = rank - own as u64 * domain.stride;
            for digit in (0..domain.values.len()).filter(|&digit| digit != own) {
                neighbours.extend(self.index_of_rank(base + digit as u64 * domain.stride));
            }
        }
        neighbours
    }

    fn rank(&self, index: usize) -> u64 {
        match &self.members {
            Members::Listed(ranks) => ranks[index],
            Members::Vast(_) => index as u64,
        }
    }

    fn index_of_rank(&self, rank: u64) -> Option<usize> {
        match &self.members {
            Members::Listed(ranks) => ranks.binary_search(&rank).ok(),
            Members::Vast(vast) => vast.contains(rank, &self.domains).then_some(rank as usize),
        }
    }
}

/// A number of valid configurations, as [`Space::len`] says it, in words.
#[must_use]
pub fn count_in_words(valid: u64) -> String {
    if valid > MAX_CONFIGURATIONS as u64 { format!("over {MAX_CONFIGURATIONS}") } else { valid.to_string() }
}

/// The path of a field of the kernel at `path`.
fn field(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

#[cfg(test)]
mod tests;
