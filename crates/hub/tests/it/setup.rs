//! A client for a test: its own cache, its own clock, no environment.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hub::{AcquireOptions, Acquired, Client, Config, Error, Event, Source};

/// What a test needs besides its server.
pub(crate) struct Setup {
    pub config: Config,
    pub slept: Arc<Mutex<Vec<Duration>>>,
    pub events: Vec<Event>,
    pub folder: tempfile::TempDir,
}

impl Setup {
    /// Variables as `cli` would look them up; the cache is a new folder.
    pub(crate) fn new(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap().to_owned();
        let lookup = |name: &str| {
            let given = variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            given.or_else(|| (name == "HOME").then(|| home.clone()))
        };
        let mut config = Config::from_lookup(lookup).unwrap();
        let slept = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&slept);
        config.retry.sleep = Arc::new(move |delay| seen.lock().unwrap().push(delay));
        Self { config, slept, events: Vec::new(), folder }
    }

    /// For a fake hub.
    pub(crate) fn hub(endpoint: &str) -> Self {
        Self::new(&[("HF_ENDPOINT", endpoint)])
    }

    pub(crate) fn cache(&self) -> &Path {
        self.config.cache.as_deref().unwrap()
    }

    pub(crate) fn acquire(&mut self, source: &str) -> Result<Acquired, Error> {
        self.acquire_with(source, &AcquireOptions::default())
    }

    pub(crate) fn acquire_with(
        &mut self,
        source: &str,
        options: &AcquireOptions<'_>,
    ) -> Result<Acquired, Error> {
        let source = Source::resolve(source, &self.config.endpoint)?;
        let client = Client::new(self.config.clone())?;
        self.events.clear();
        hub::acquire(&source, &client, options, &mut |event| self.events.push(event))
    }

    /// How many files were in the cache already.
    pub(crate) fn cached(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Finished { cached: true, .. })).count()
    }

    /// Bytes that the first start of a file continued from.
    pub(crate) fn resumed_from(&self, name: &str) -> Option<u64> {
        self.events.iter().find_map(|event| match event {
            Event::Started { file, resumed_from, .. } if file == name => Some(*resumed_from),
            _ => None,
        })
    }
}
