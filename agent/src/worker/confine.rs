//! Confinement: what a worker gives up before it loads anything.
//!
//! Landlock takes away writing files, TCP and signals to others; seccomp takes away the system calls that no
//! kernel needs. Both bind every thread that is started later, and neither can be undone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, RestrictionStatus,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::syscalls::{REFUSED, TWIN_BIT, conditional};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// Set in the flags of `clone` for a thread of the same process.
const CLONE_THREAD: u64 = 0x0001_0000;

/// What may still be read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Readable<'a> {
    /// All that this user may read.
    Everything,
    /// These folders and files alone.
    Only(&'a [PathBuf]),
}

/// Confines the calling thread and all threads that it will start. Returns a sentence for each part that the
/// system could not give.
pub(crate) fn confine(readable: Readable<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Err(error) = rustix::thread::set_no_new_privs(true) {
        notes.push(format!("no_new_privs is refused ({error}): set-uid programs keep their rights"));
    }
    match landlock(readable) {
        Ok(status) => match status.ruleset {
            RulesetStatus::FullyEnforced => {}
            RulesetStatus::PartiallyEnforced => notes.push(
                "Landlock of this kernel is old: candidates may still open TCP connections, cut files short \
                 or signal other processes, where seccomp does not refuse it"
                    .to_owned(),
            ),
            RulesetStatus::NotEnforced => {
                notes.push("Landlock is not available: candidates can write files".to_owned());
            }
        },
        Err(error) => notes.push(format!("Landlock failed ({error}): candidates can write files")),
    }
    if let Err(error) = seccomp() {
        notes.push(format!("seccomp failed ({error}): candidates can open sockets and start programs"));
    }
    notes
}

/// What is readable may be executed, nothing written; no TCP; no signals or abstract sockets outwards.
fn landlock(readable: Readable<'_>) -> Result<RestrictionStatus, RulesetError> {
    // The newest ABI whose rights are all about what is taken away here.
    let abi = ABI::V6;
    let root = [PathBuf::from("/")];
    let paths = match readable {
        Readable::Everything => root.as_slice(),
        Readable::Only(paths) => paths,
    };
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?;
    // What does not exist needs no rule. Without the root nothing could be read at all: that is the caller's
    // note, not a panic.
    for path in paths.iter().filter_map(|path| PathFd::new(path).ok()) {
        ruleset = ruleset.add_rule(PathBeneath::new(path, AccessFs::from_read(abi)))?;
    }
    ruleset.restrict_self()
}

/// Why seccomp could not be set up.
#[derive(Debug, thiserror::Error)]
enum SeccompError {
    #[error(transparent)]
    Build(#[from] seccompiler::BackendError),
    #[error(transparent)]
    Apply(#[from] seccompiler::Error),
}

fn seccomp() -> Result<(), SeccompError> {
    // glibc falls back to `clone`, whose flags can be seen, when `clone3` does not exist. That filter goes
    // first: the second one would not let us add another if it had to refuse `seccomp` one day.
    let missing = filter(with_twins(vec![(conditional::CLONE3, vec![])]), ENOSYS)?;
    let refused = filter(refusals()?, EPERM)?;
    seccompiler::apply_filter(&missing)?;
    seccompiler::apply_filter(&refused)?;
    Ok(())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A program that fails the calls in `rules` with `errno` and allows all others.
fn filter(rules: Rules, errno: u32) -> Result<BpfProgram, SeccompError> {
    let architecture = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), architecture)?;
    Ok(filter.try_into()?)
}

/// Requests of `ioctl` and options of `prctl`, as Linux numbers them.
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;
const PR_SET_PDEATHSIG: u64 = 1;

fn refusals() -> Result<Rules, SeccompError> {
    let own = u64::from(std::process::id());
    let condition = |argument, op, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value).map_err(SeccompError::from)
    };
    let rule = |c| Ok::<_, SeccompError>(SeccompRule::new(vec![c])?);
    // `abort` and `raise` signal the process itself; nobody else may be signalled.
    let others = rule(condition(0, SeccompCmpOp::Ne, own)?)?;
    let no_thread = rule(condition(0, SeccompCmpOp::MaskedEq(CLONE_THREAD), 0)?)?;
    // Reading limits is harmless (glibc does it); setting them is not: an administrator may raise them.
    let sets = rule(SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?)?;
    // What would type into the terminal that the run was started from.
    let types = [TIOCSTI, TIOCLINUX].map(|request| rule(condition(1, SeccompCmpOp::Eq, request)?));
    let types = types.into_iter().collect::<Result<Vec<_>, SeccompError>>()?;
    // A worker must not outlive its agent.
    let outlives = rule(condition(0, SeccompCmpOp::Eq, PR_SET_PDEATHSIG)?)?;
    let mut rules: Vec<_> = REFUSED.iter().map(|&number| (number, vec![])).collect();
    rules.push((conditional::CLONE, vec![no_thread]));
    rules.push((conditional::KILL, vec![others.clone()]));
    rules.push((conditional::TGKILL, vec![others]));
    rules.push((conditional::PRLIMIT64, vec![sets]));
    rules.push((conditional::IOCTL, types));
    rules.push((conditional::PRCTL, vec![outlives]));
    Ok(with_twins(rules))
}

/// The rules, for both numbers of each call.
fn with_twins(rules: Vec<(i64, Vec<SeccompRule>)>) -> Rules {
    rules.into_iter().flat_map(|(number, rule)| [(number, rule.clone()), (number | TWIN_BIT, rule)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_and_fit() {
        let refused = filter(refusals().unwrap(), EPERM).unwrap();
        // BPF programs have at most 4096 instructions.
        assert!(refused.len() > REFUSED.len() && refused.len() < 4096, "{}", refused.len());
        assert!(filter(with_twins(vec![(conditional::CLONE3, vec![])]), ENOSYS).is_ok());
    }

    #[test]
    fn no_call_is_listed_twice() {
        let mut numbers = REFUSED.to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), REFUSED.len());
    }
}
