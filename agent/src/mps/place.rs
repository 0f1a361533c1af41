//! The folder of a private daemon.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::protocol::Place;

/// Longest path of a pipe directory, in bytes: a Unix socket's address ends at 107, and the daemon's sockets
/// in it have names such as `control_privileged`.
const LONGEST: usize = 107 - 40;

/// Creates a folder for a daemon, for this user alone, in the first of `bases` that will have it. It goes when
/// the first value is dropped.
pub(super) fn create(bases: &[PathBuf], program: &Path) -> io::Result<(TempDir, Place)> {
    let mut reason = io::Error::new(io::ErrorKind::NotFound, "no folder is short enough for its sockets");
    for base in bases {
        match create_in(base, program) {
            Ok(Some(created)) => return Ok(created),
            Ok(None) => {}
            Err(error) => reason = io::Error::new(error.kind(), format!("{}: {error}", base.display())),
        }
    }
    Err(reason)
}

/// Where this process may have its folder, the best first.
pub(super) fn bases() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    runtime.into_iter().chain([std::env::temp_dir(), PathBuf::from("/tmp")]).collect()
}

/// None where the path would be too long for sockets, or cannot be told in a message.
fn create_in(base: &Path, program: &Path) -> io::Result<Option<(TempDir, Place)>> {
    let only_owner = Permissions::from_mode(0o700);
    let folder = tempfile::Builder::new().prefix("fractune-mps-").permissions(only_owner).tempdir_in(base)?;
    let place = Place {
        folder: folder.path().to_owned(),
        pipe: folder.path().join("pipe"),
        log: folder.path().join("log"),
        program: program.to_owned(),
    };
    if place.pipe.to_str().is_none_or(|path| path.len() > LONGEST) {
        return Ok(None);
    }
    for directory in [&place.pipe, &place.log] {
        DirBuilder::new().mode(0o700).create(directory)?;
    }
    Ok(Some((folder, place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_folder_is_of_its_user_alone_and_goes_with_its_handle() {
        let base = tempfile::tempdir_in("/tmp").unwrap();
        let (folder, place) = create(&[base.path().into()], Path::new("/bin/true")).unwrap();
        assert_eq!([&place.folder, &place.pipe, &place.log].map(|path| mode(path)), [0o700; 3]);
        drop(folder);
        assert!(!place.folder.exists());
    }

    #[test]
    fn a_base_that_is_too_long_for_sockets_or_missing_is_passed_over() {
        let base = tempfile::tempdir_in("/tmp").unwrap();
        let long = base.path().join("x".repeat(60));
        std::fs::create_dir(&long).unwrap();
        let missing = base.path().join("missing");
        let (_folder, place) =
            create(&[long.clone(), missing.clone(), base.path().into()], Path::new("/bin/true")).unwrap();
        assert_eq!(place.folder.parent(), Some(base.path()));
        assert_eq!(std::fs::read_dir(&long).unwrap().count(), 0);
        assert!(create(&[long], Path::new("/bin/true")).is_err());
        let refused = create(&[missing], Path::new("/bin/true")).unwrap_err();
        assert!(refused.to_string().contains("/missing: "), "{refused}");
    }
}
