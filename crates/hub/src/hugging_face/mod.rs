//! The Hugging Face Hub: a revision to a commit, a commit to a listing, a listing to files in the shared cache.
//!
//! A revision is resolved once; everything after that is asked for by commit, so a push in the middle of a download
//! cannot mix two states.

mod api;
mod refusal;

use std::path::PathBuf;

use crate::acquire::{AcquiredFile, Store};
use crate::cache::RepoCache;
use crate::choose::{Entry, Listing};
use crate::client::{Client, Failure, Refusal};
use crate::download::{Job, all, hash_file};
use crate::error::{Error, Result};
use crate::progress::{Event, Events};
use crate::source::{RepoId, RepoPath, Revision};

/// A repository at one commit.
#[derive(Debug)]
pub(crate) struct Repository<'a> {
    client: &'a Client,
    repo: RepoId,
    commit: String,
    cache: RepoCache,
    listing: Listing,
    licence: Option<String>,
}

impl<'a> Repository<'a> {
    /// Resolves the revision and lists its files, from the network or, offline, from the cache.
    pub(crate) fn open(
        client: &'a Client,
        repo: &RepoId,
        revision: Option<&Revision>,
        events: &Events,
    ) -> Result<Self> {
        let config = client.config();
        let cache = RepoCache::new(config.hub_cache()?, repo);
        let revision = revision.cloned().unwrap_or_default();
        if config.offline {
            let not_cached = || Error::Offline { what: format!("{repo}@{revision}") };
            let commit = cache.commit_of(&revision).ok_or_else(not_cached)?;
            let listing = cache.listing(&commit);
            if listing.entries.is_empty() {
                return Err(not_cached());
            }
            events.send(Event::Note(format!("offline: `{repo}` at {commit} from the cache")));
            return Ok(Self { client, repo: repo.clone(), commit, cache, listing, licence: None });
        }
        let explain = |refusal: Refusal| refusal::explain(client, repo, &revision, None, refusal);
        let info = api::model_info(client, repo, &revision, events).map_err(|f| or_explained(f, &explain))?;
        let listing = api::tree(client, repo, &info.commit, events).map_err(|f| or_explained(f, &explain))?;
        cache.tag()?;
        cache.write_ref(&revision, &info.commit)?;
        Ok(Self { client, repo: repo.clone(), commit: info.commit, cache, listing, licence: info.licence })
    }

    fn entry(&self, path: &RepoPath) -> Result<&Entry> {
        self.listing
            .get(path.as_str())
            .ok_or_else(|| Error::FileNotFound { repo: self.repo.to_string(), path: path.to_string() })
    }

    /// The files as the cache has them, each checked against the name of its blob.
    fn cached(&self, entries: &[&Entry], events: &Events) -> Result<Vec<AcquiredFile>> {
        let snapshot = self.cache.snapshot(&self.commit);
        let mut files = Vec::with_capacity(entries.len());
        for entry in entries {
            let local = entry.path.under(&snapshot);
            let digests = hash_file(&local, true, |_| ())?;
            digests.check(entry.digest.as_ref(), entry.path.as_str())?;
            events.send(Event::Finished { file: entry.path.to_string(), size: digests.len, cached: true });
            files.push(AcquiredFile {
                path: entry.path.clone(),
                local,
                size: digests.len,
                sha256: digests.sha256,
            });
        }
        Ok(files)
    }

    fn downloaded(&self, entries: &[&Entry], events: &Events) -> Result<Vec<AcquiredFile>> {
        let revision: Revision = self.commit.parse()?;
        let mut places = Vec::with_capacity(entries.len());
        for entry in entries {
            let digest = entry.digest.clone().ok_or_else(|| Error::BadAnswer {
                url: self.client.config().endpoint.to_string(),
                reason: format!("the listing promises no content for `{}`", entry.path),
            })?;
            let request =
                self.client.hub_request(api::resolve_url(self.client, &self.repo, &self.commit, &entry.path));
            let locate = move |_: &Events| Ok::<_, Failure>(request.clone());
            let (client, repo, revision, path) =
                (self.client, &self.repo, revision.clone(), entry.path.clone());
            let explain =
                move |refusal: Refusal| refusal::explain(client, repo, &revision, Some(&path), refusal);
            places.push((*entry, digest, locate, explain));
        }
        let jobs: Vec<Job<'_>> = places
            .iter()
            .map(|(entry, digest, locate, explain)| Job {
                name: entry.path.to_string(),
                locate,
                explain,
                size: entry.size,
                digest: Some(digest.clone()),
                commit: Some(self.commit.clone()),
                target: self.cache.blob(digest),
                partial: self.cache.partial(digest),
                lock: self.cache.lock(digest),
            })
            .collect();
        let digests = all(self.client, &jobs, events)?;
        let mut files = Vec::with_capacity(places.len());
        for ((entry, digest, ..), found) in places.iter().zip(digests) {
            let local = self.cache.link(&self.commit, &entry.path, digest)?;
            files.push(AcquiredFile {
                path: entry.path.clone(),
                local,
                size: found.len,
                sha256: found.sha256,
            });
        }
        Ok(files)
    }
}

fn or_explained(failure: Failure, explain: &impl Fn(Refusal) -> Error) -> Error {
    match failure {
        Failure::Refused(refusal) => explain(*refusal),
        other => other.into_error(),
    }
}

impl Store for Repository<'_> {
    fn name(&self) -> String {
        self.repo.to_string()
    }

    fn revision(&self) -> Option<String> {
        Some(self.commit.clone())
    }

    fn folder(&self) -> PathBuf {
        self.cache.snapshot(&self.commit)
    }

    fn listing(&self) -> &Listing {
        &self.listing
    }

    fn licence(&self) -> Option<String> {
        self.licence.clone()
    }

    fn fetch(&self, paths: &[RepoPath], events: &Events) -> Result<Vec<AcquiredFile>> {
        let entries = paths.iter().map(|path| self.entry(path)).collect::<Result<Vec<_>>>()?;
        if self.client.config().offline {
            return self.cached(&entries, events);
        }
        self.downloaded(&entries, events)
    }
}
