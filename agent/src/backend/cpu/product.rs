//! The name of the processor.

use std::fs;

/// Product name of this machine's processor, such as `AMD EPYC 7763 64-Core Processor`.
#[must_use]
pub fn product() -> String {
    name_in(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

/// x86 gives a name; ARM gives numbers.
fn name_in(cpuinfo: &str) -> String {
    let field = |name| {
        cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim())
        })
    };
    match (field("model name"), field("CPU implementer"), field("CPU part")) {
        (Some(name), _, _) => name.to_owned(),
        (None, Some(implementer), Some(part)) => format!("ARM implementer {implementer} part {part}"),
        _ => format!("unknown {} processor", std::env::consts::ARCH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_on_both_architectures() {
        assert_eq!(name_in("processor\t: 0\nmodel name\t: AMD EPYC 7763\n"), "AMD EPYC 7763");
        assert_eq!(
            name_in("CPU implementer\t: 0x41\nCPU part\t: 0xd40\n"),
            "ARM implementer 0x41 part 0xd40"
        );
        assert!(name_in("").starts_with("unknown"));
    }
}
