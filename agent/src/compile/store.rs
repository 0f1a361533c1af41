//! Where artifacts are: in the run's own folder, from which workers load them, and in a cache that runs may share.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::cache::{Cache, Entry};

/// A volume that takes longer to answer is left alone: compiling is quicker.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where artifacts are.
#[derive(Clone, Debug)]
pub struct Store {
    objects: PathBuf,
    cache: Option<Arc<Cache>>,
}

impl Store {
    /// Artifacts are kept in the folder `objects`, which is this run's own, and shared by `cache`.
    #[must_use]
    pub fn new(objects: &Path, cache: Option<Arc<Cache>>) -> Self {
        Self { objects: objects.to_path_buf(), cache }
    }

    /// The run's own folder.
    pub(super) fn objects(&self) -> &Path {
        &self.objects
    }

    pub(super) fn is_shared(&self) -> bool {
        self.cache.is_some()
    }

    /// Writes an artifact aside in the run's own folder and moves it to its place when it is whole.
    pub(super) fn keep(&self, path: &Path, image: &[u8]) -> io::Result<()> {
        std::fs::create_dir_all(&self.objects)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.objects)?;
        file.write_all(image)?;
        file.persist(path)?;
        Ok(())
    }

    /// What another run made of the same. It is checked here and kept by the caller: what workers load is never in a
    /// place that others may write.
    pub(super) async fn borrow(&self, key: &str) -> Option<Entry> {
        let key = key.to_owned();
        self.ask(move |cache| cache.read(&key)).await.flatten()
    }

    /// Lets other runs use what this one has made.
    pub(super) async fn lend(&self, key: &str, entry: Entry) {
        let key = key.to_owned();
        self.ask(move |cache| cache.write(&key, &entry)).await;
    }

    /// Does something with the cache, if there is one, while the loop goes on: it may lie on another machine. That is done
    /// in a thread that nobody waits for at the end of the process.
    async fn ask<T: Send + 'static>(&self, work: impl FnOnce(&Cache) -> T + Send + 'static) -> Option<T> {
        let cache = self.cache.as_ref()?;
        let asked = Arc::clone(cache);
        let (answer, answered) = oneshot::channel();
        let thread = std::thread::Builder::new().name("cache".into()).spawn(move || {
            let _ = answer.send(work(&asked));
        });
        thread.ok()?;
        let Ok(answer) = timeout(PATIENCE, answered).await else {
            cache.give_up(&format!("it did not answer within {} s", PATIENCE.as_secs()));
            return None;
        };
        answer.ok()
    }
}
