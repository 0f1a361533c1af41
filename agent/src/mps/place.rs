//! The folder of a private daemon.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::protocol::{Home, Place};

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
        temporary: true,
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

/// Makes a home ready for a daemon: its folders are there, hold nothing of an earlier daemon's, and can be entered by
/// those who may. The pipe directory itself stays the same one, for it is mounted elsewhere.
pub(super) fn prepare(home: &Home, program: &Path) -> io::Result<Place> {
    let place = Place {
        folder: home.folder.clone(),
        temporary: false,
        pipe: home.folder.join("pipe"),
        log: home.folder.join("log"),
        program: program.to_owned(),
    };
    if place.pipe.as_os_str().len() > LONGEST {
        let reason = format!(
            "{} is longer than the {LONGEST} bytes that leave room for sockets",
            place.pipe.display()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    // Anybody who sees them may reach the daemon, and change nothing. No group can be told to: a server takes its clients'
    // user, and keeps the daemon's own group.
    for directory in [&place.folder, &place.pipe, &place.log] {
        fs::create_dir_all(directory)?;
        fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    }
    for left in fs::read_dir(&place.pipe)? {
        let left = left?.path();
        if left.is_dir() { fs::remove_dir_all(&left)? } else { fs::remove_file(&left)? }
    }
    Ok(place)
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
    fn a_home_stays_where_it_is_and_keeps_nothing_of_an_earlier_daemons() {
        let base = tempfile::tempdir_in("/tmp").unwrap();
        let home = Home { folder: base.path().join("gpu") };
        let place = prepare(&home, Path::new("/bin/true")).unwrap();
        assert_eq!([&place.folder, &place.pipe, &place.log].map(|path| mode(path)), [0o755; 3]);
        let number = std::os::unix::fs::MetadataExt::ino(&place.pipe.metadata().unwrap());
        std::fs::write(place.pipe.join("nvidia-cuda-mps-control.pid"), "7").unwrap();
        std::fs::write(place.log.join("control.log"), "kept").unwrap();
        assert_eq!(prepare(&home, Path::new("/bin/true")).unwrap(), place);
        assert_eq!(std::fs::read_dir(&place.pipe).unwrap().count(), 0);
        assert_eq!(std::os::unix::fs::MetadataExt::ino(&place.pipe.metadata().unwrap()), number);
        assert!(place.log.join("control.log").exists());
        let long = Home { folder: base.path().join("x".repeat(60)) };
        assert!(prepare(&long, Path::new("/bin/true")).unwrap_err().to_string().contains("67 bytes"));
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
