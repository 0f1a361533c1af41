//! Finding the driver's libraries where the loader does not look: on a node whose root is mounted somewhere.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::args::Arguments;
use super::driver::{Driver, below};

/// The loader's variable.
const SEARCH: &str = "LD_LIBRARY_PATH";
/// Links to the driver's libraries, in the folder for temporary files.
const LINKS: &str = "fractune-driver";

/// Makes this process, and what it starts, find the driver's libraries and programs. Where that takes another
/// environment, which the loader reads only once, the process starts itself again in its own place and this does not
/// return. Only the driver's libraries are linked to: among the node's others would be its own C library, with which
/// nothing here could run.
///
/// # Errors
/// A sentence.
pub(super) fn enter(arguments: &Arguments) -> Result<(), String> {
    let root = &arguments.driver_root;
    if arguments.simulate.is_some() || root == Path::new("/") {
        return Ok(());
    }
    let links = std::env::temp_dir().join(LINKS);
    if searched().contains(&links) {
        return Ok(());
    }
    let driver = Driver::find(root).map_err(|error| error.to_string())?;
    driver.link(root, &links).map_err(|error| format!("{}: {error}", links.display()))?;
    let search =
        std::env::join_paths([links].into_iter().chain(searched())).map_err(|error| error.to_string())?;
    let programs = driver.programs.map(|folder| below(root, &folder));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::env::split_paths(&path).chain(programs))
        .map_err(|error| error.to_string())?;
    let program =
        std::env::current_exe().map_err(|error| format!("cannot find this program's own file: {error}"))?;
    let failure =
        Command::new(program).args(std::env::args_os().skip(1)).env(SEARCH, search).env("PATH", path).exec();
    Err(format!("this program cannot start itself again: {failure}"))
}

fn searched() -> Vec<PathBuf> {
    let search = std::env::var_os(SEARCH).filter(|search| !search.is_empty());
    search.map(|search| std::env::split_paths(&search).collect()).unwrap_or_default()
}
