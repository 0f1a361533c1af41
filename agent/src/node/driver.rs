//! The driver's libraries and programs on a node, found as NVIDIA's container toolkit finds them: in the loader's cache,
//! and in the folders where distributions put them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use super::loader;

/// What a program that computes needs, by the name that the loader asks for. The first two are never missing.
const LIBRARIES: [&str; 9] = [
    "libcuda.so.1",
    "libnvidia-ml.so.1",
    "libnvidia-ptxjitcompiler.so.1",
    "libnvidia-nvvm.so.4",
    "libnvidia-nvvm70.so.4",
    "libnvidia-cfg.so.1",
    "libcudadebugger.so.1",
    "libnvidia-pkcs11.so",
    "libnvidia-pkcs11-openssl3.so",
];
const NEEDED: usize = 2;
/// Libraries whose names end in the driver's version, and which the others load by that name.
const VERSIONED: [&str; 1] = ["libnvidia-gpucomp.so"];

/// Where distributions put 64-bit libraries, below the root.
const FOLDERS: [&str; 10] = [
    "usr/lib64",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "lib64",
    "lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/nvidia/current",
    "usr/lib/aarch64-linux-gnu/nvidia/current",
    "usr/local/nvidia/lib64",
    "usr/lib",
];
/// Where the programs are.
const PROGRAM_FOLDERS: [&str; 3] = ["usr/bin", "usr/local/nvidia/bin", "usr/sbin"];
/// The MPS control daemon.
const MPS_CONTROL: &str = "nvidia-cuda-mps-control";
/// The loader's cache.
const CACHE: &str = "etc/ld.so.cache";
/// Links may lead to links; so many are followed.
const MOST_LINKS: usize = 16;

/// What was not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{library} is not found below {root} (looked in the loader's cache and in {}): install NVIDIA's driver on the node, or \
     name the folder that it is installed in with --driver-root (/run/nvidia/driver where NVIDIA's GPU operator installs \
     it)",
    FOLDERS.join(", "),
    root = root.display()
)]
pub struct LibraryMissing {
    library: &'static str,
    root: PathBuf,
}

/// A driver's files. Paths are the node's own: without the folder that its root is mounted at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// File of each library, by the name that the loader asks for.
    pub libraries: BTreeMap<String, PathBuf>,
    /// Folder of the MPS programs; none where there are none.
    pub programs: Option<PathBuf>,
}

impl Driver {
    /// Finds the driver below `root`.
    ///
    /// # Errors
    /// [`LibraryMissing`].
    pub fn find(root: &Path) -> Result<Self, LibraryMissing> {
        let cached = fs::read(root.join(CACHE)).map(|cache| loader::libraries(&cache)).unwrap_or_default();
        let mut libraries = BTreeMap::new();
        for (number, name) in LIBRARIES.into_iter().enumerate() {
            match locate(root, &cached, name) {
                Some(file) => {
                    libraries.insert(name.to_owned(), file);
                }
                None if number < NEEDED => {
                    return Err(LibraryMissing { library: name, root: root.to_owned() });
                }
                None => {}
            }
        }
        let version = libraries.get(LIBRARIES[0]).and_then(|file| version(file)).map(str::to_owned);
        for name in version.iter().flat_map(|version| VERSIONED.map(|name| format!("{name}.{version}"))) {
            libraries.extend(locate(root, &cached, &name).map(|file| (name, file)));
        }
        let mut programs = PROGRAM_FOLDERS.iter().map(|folder| Path::new("/").join(folder));
        let has_mps = |folder: &PathBuf| {
            resolve(root, &folder.join(MPS_CONTROL)).is_some_and(|file| is_elf(&below(root, &file)))
        };
        Ok(Self { libraries, programs: programs.find(has_mps) })
    }

    /// Fills `folder` with a link to each library below `root`, under the name that the loader asks for, so that it can be
    /// searched without any of the node's other libraries.
    ///
    /// # Errors
    /// What the system answers.
    pub fn link(&self, root: &Path, folder: &Path) -> io::Result<()> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        for (name, file) in &self.libraries {
            std::os::unix::fs::symlink(below(root, file), folder.join(name))?;
        }
        Ok(())
    }
}

/// A file's path from here, when `root` is where the node's root is seen.
pub(super) fn below(root: &Path, file: &Path) -> PathBuf {
    root.join(file.strip_prefix("/").unwrap_or(file))
}

/// The file that a library's name leads to.
fn locate(root: &Path, cached: &BTreeMap<String, PathBuf>, name: &str) -> Option<PathBuf> {
    let in_folders = FOLDERS.iter().map(|folder| Path::new("/").join(folder).join(name));
    cached.get(name).cloned().into_iter().chain(in_folders).find_map(|path| resolve(root, &path))
}

/// Follows links as they are meant below `root`, where absolute ones begin anew. None if it is no file in the end.
fn resolve(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let mut done = PathBuf::from("/");
        let mut rest = path.components();
        let mut link = None;
        for part in rest.by_ref() {
            match part {
                Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
                Component::ParentDir => {
                    done.pop();
                    continue;
                }
                Component::Normal(name) => done.push(name),
            }
            if let Ok(target) = fs::read_link(below(root, &done)) {
                done.pop();
                link = Some(done.join(target));
                break;
            }
        }
        match link {
            Some(link) => path = link.join(rest.as_path()),
            None => return below(root, &done).is_file().then_some(done),
        }
    }
    None
}

/// Whether a file is a program of the machine's own. Some nodes have scripts that prepare the way for the driver's
/// programs, which nothing can run where there is no shell.
fn is_elf(file: &Path) -> bool {
    let mut magic = [0; 4];
    fs::File::open(file).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

/// The driver's version, as in `libcuda.so.580.159.04`.
fn version(file: &Path) -> Option<&str> {
    let version = file.file_name()?.to_str()?.strip_prefix("libcuda.so.")?;
    version.contains('.').then_some(version)
}

#[cfg(test)]
pub(crate) mod fixtures {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A node's root with a driver in `folder`, as distributions install it.
    pub(crate) fn installed(folder: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let libraries = root.path().join(folder);
        let programs = root.path().join("usr/bin");
        fs::create_dir_all(&libraries).unwrap();
        fs::create_dir_all(&programs).unwrap();
        for (name, file) in [
            ("libcuda.so.1", "libcuda.so.580.159.04"),
            ("libnvidia-ml.so.1", "libnvidia-ml.so.580.159.04"),
            ("libnvidia-ptxjitcompiler.so.1", "libnvidia-ptxjitcompiler.so.580.159.04"),
        ] {
            fs::write(libraries.join(file), "").unwrap();
            symlink(file, libraries.join(name)).unwrap();
        }
        fs::write(libraries.join("libnvidia-gpucomp.so.580.159.04"), "").unwrap();
        fs::write(programs.join(MPS_CONTROL), b"\x7fELF").unwrap();
        root
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::fixtures::installed;
    use super::*;

    fn names(driver: &Driver) -> Vec<&str> {
        driver.libraries.keys().map(String::as_str).collect()
    }

    #[test]
    fn libraries_are_found_where_distributions_put_them_with_those_that_bear_the_version() {
        for folder in ["usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib/x86_64-linux-gnu/nvidia/current"] {
            let root = installed(folder);
            let driver = Driver::find(root.path()).unwrap();
            let expected = [
                "libcuda.so.1",
                "libnvidia-gpucomp.so.580.159.04",
                "libnvidia-ml.so.1",
                "libnvidia-ptxjitcompiler.so.1",
            ];
            assert_eq!(names(&driver), expected);
            let file = Path::new("/").join(folder).join("libcuda.so.580.159.04");
            assert_eq!(driver.libraries["libcuda.so.1"], file, "the node's own path, not a link");
            assert_eq!(driver.programs, Some("/usr/bin".into()));
        }
    }

    #[test]
    fn absolute_links_are_followed_below_the_root_and_circles_end() {
        let root = installed("opt/driver");
        let usual = root.path().join("usr/lib64");
        fs::create_dir_all(&usual).unwrap();
        for name in ["libcuda.so.1", "libnvidia-ml.so.1"] {
            symlink(format!("/opt/driver/{name}"), usual.join(name)).unwrap();
        }
        symlink("/usr/lib64/libnvidia-cfg.so.1", usual.join("libnvidia-cfg.so.1")).unwrap();
        let driver = Driver::find(root.path()).unwrap();
        assert_eq!(driver.libraries["libcuda.so.1"], Path::new("/opt/driver/libcuda.so.580.159.04"));
        assert!(!driver.libraries.contains_key("libnvidia-cfg.so.1"));
    }

    #[test]
    fn folders_that_are_links_are_followed_too() {
        let root = installed("opt/driver");
        symlink("opt/driver", root.path().join("lib64")).unwrap();
        let driver = Driver::find(root.path()).unwrap();
        assert_eq!(driver.libraries["libcuda.so.1"], Path::new("/opt/driver/libcuda.so.580.159.04"));
    }

    #[test]
    fn programs_are_taken_and_not_the_scripts_that_lead_to_them() {
        let root = installed("usr/local/nvidia/lib64");
        let programs = root.path().join("usr/local/nvidia/bin");
        fs::create_dir_all(&programs).unwrap();
        fs::rename(root.path().join("usr/bin").join(MPS_CONTROL), programs.join(MPS_CONTROL)).unwrap();
        fs::write(root.path().join("usr/bin").join(MPS_CONTROL), "#!/bin/sh\n").unwrap();
        assert_eq!(Driver::find(root.path()).unwrap().programs, Some("/usr/local/nvidia/bin".into()));
    }

    #[test]
    fn what_is_missing_is_told_with_where_it_was_looked_for() {
        let root = tempfile::tempdir().unwrap();
        let missing = Driver::find(root.path()).unwrap_err().to_string();
        assert!(missing.contains("libcuda.so.1 is not found") && missing.contains("usr/lib64"), "{missing}");
        assert!(missing.contains("--driver-root"), "{missing}");
    }

    #[test]
    fn links_for_the_loader_bear_the_names_that_it_asks_for() {
        let root = installed("usr/lib64");
        let driver = Driver::find(root.path()).unwrap();
        let folder = root.path().join("links");
        for _ in 0..2 {
            driver.link(root.path(), &folder).unwrap();
            let target = fs::read_link(folder.join("libcuda.so.1")).unwrap();
            assert_eq!(target, root.path().join("usr/lib64/libcuda.so.580.159.04"));
            assert_eq!(fs::read_dir(&folder).unwrap().count(), driver.libraries.len());
        }
    }
}
