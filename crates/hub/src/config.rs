//! Everything that the crate has to be told: addresses, secrets, folders, limits.
//!
//! This crate reads no environment variable. [`Config::from_lookup`] turns any lookup (the environment in `cli`, a
//! table in tests) into a [`Config`]; files that it names (a token file) are read when the client is made.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::error::{Error, Result};
use crate::source::{HUGGING_FACE, is_loopback};

/// A value that may not appear in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret of this text, without surrounding blanks; `None` when nothing is left.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where an access token comes from.
#[derive(Debug, Clone, Default)]
pub enum TokenSource {
    /// Nothing is sent.
    #[default]
    None,
    /// The token itself.
    Value(Secret),
    /// A file that holds it; a missing file means no token.
    File(PathBuf),
}

/// Where the NGC key, organisation and team come from when they are not given.
#[derive(Debug, Clone)]
pub struct NgcConfig {
    /// The API, `https://api.ngc.nvidia.com`.
    pub api: Url,
    /// The token exchange for legacy keys, `https://authn.nvidia.com`.
    pub auth: Url,
    /// A legacy or personal (`nvapi-…`) key.
    pub key: Option<Secret>,
    /// The organisation that the key belongs to, where it is not the model's.
    pub org: Option<String>,
    /// The team that the key belongs to.
    pub team: Option<String>,
    /// The `ngc` tool's own settings (an INI file with `apikey`, `org`, `team`), read when no key is given.
    pub settings_file: Option<PathBuf>,
}

/// When a big file is fetched over several connections.
#[derive(Debug, Clone, Copy)]
pub struct SplitPolicy {
    /// How long the first connection is measured.
    pub after: Duration,
    /// A connection faster than this many bytes a second is limited by this machine, so more of them cannot pay.
    pub slower_than: u64,
    /// Fewer remaining bytes than this are left to the first connection.
    pub least_remaining: u64,
    /// Bytes a request; up to `parallel` + 2 of them are held in memory.
    pub piece: u64,
}

impl Default for SplitPolicy {
    fn default() -> Self {
        Self {
            after: Duration::from_secs(1),
            slower_than: 150 << 20,
            least_remaining: 64 << 20,
            piece: 8 << 20,
        }
    }
}

/// How a pause is made; tests count instead of waiting.
pub type Sleep = Arc<dyn Fn(Duration) + Send + Sync>;

/// When and how often a failed request is repeated.
#[derive(Clone)]
pub struct RetryPolicy {
    /// Tries in all that bring no byte forward.
    pub attempts: u32,
    /// The pause after the first failure; it doubles each time, less up to half of it at random.
    pub first_delay: Duration,
    /// The longest of those pauses.
    pub longest_delay: Duration,
    /// The longest pause that a server may ask for by `Retry-After` or `RateLimit`.
    pub longest_server_delay: Duration,
    /// How to pause.
    pub sleep: Sleep,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_delay: Duration::from_millis(500),
            longest_delay: Duration::from_secs(20),
            longest_server_delay: Duration::from_mins(5),
            sleep: Arc::new(std::thread::sleep),
        }
    }
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempts, first_delay, longest_delay, .. } = self;
        write!(f, "RetryPolicy({attempts} attempts, {first_delay:?} to {longest_delay:?})")
    }
}

/// What a client needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The Hugging Face endpoint; `https`, or `http` on loopback.
    pub endpoint: Url,
    /// The Hugging Face access token.
    pub token: TokenSource,
    /// The Hugging Face cache (the folder with `models--…`), shared with Python.
    pub cache: Option<PathBuf>,
    /// No network at all: only what is in the caches.
    pub offline: bool,
    /// NVIDIA's catalog.
    pub ngc: NgcConfig,
    /// An HTTP proxy, as a URL; secret because it may hold a password.
    pub proxy: Option<Secret>,
    /// Hosts that are reached without the proxy, separated by commas.
    pub no_proxy: Option<String>,
    /// Certificates (PEM) to trust instead of the built-in ones, as companies with a proxy of their own need.
    pub certificates: Option<PathBuf>,
    /// What the client calls itself.
    pub user_agent: String,
    /// Connections at a time.
    pub parallel: usize,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest wait for the next bytes of an answer.
    pub read_timeout: Duration,
    /// When a failed request is repeated.
    pub retry: RetryPolicy,
    /// When a big file is fetched over several connections.
    pub split: SplitPolicy,
}

impl Config {
    /// The configuration that the Hugging Face and NGC environment variables describe.
    ///
    /// `HF_ENDPOINT`, `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_DISABLE_IMPLICIT_TOKEN`,
    /// `HF_HOME`, `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `XDG_CACHE_HOME`, `HOME`, `HF_HUB_OFFLINE`,
    /// `TRANSFORMERS_OFFLINE`, `HF_HUB_DOWNLOAD_TIMEOUT`, `NGC_CLI_API_KEY`, `NGC_API_KEY`, `NGC_APP_KEY`,
    /// `NGC_CLI_ORG`, `NGC_CLI_TEAM`, `NGC_CLI_API_URL`, `NGC_CLI_AUTH_URL`, `NGC_CLI_HOME`, `HTTPS_PROXY`,
    /// `ALL_PROXY`, `NO_PROXY`, `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`, `SSL_CERT_FILE`. An empty value counts as unset.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let get =
            |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let any = |names: &[&str]| names.iter().find_map(|name| get(name));
        let is_on = |name: &str| get(name).is_some_and(|value| is_true(&value));
        let home = any(&["HOME", "USERPROFILE"]).map(PathBuf::from);
        let expanded = |path: String| expand_home(path, home.as_ref());

        let cache_home = get("XDG_CACHE_HOME").map(expanded).or_else(|| Some(home.as_ref()?.join(".cache")));
        let hf_home = get("HF_HOME").map(expanded).or_else(|| Some(cache_home?.join("huggingface")));
        let cache = any(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
            .map(expanded)
            .or_else(|| Some(hf_home.as_ref()?.join("hub")));
        let token_file = get("HF_TOKEN_PATH").map(expanded).or_else(|| Some(hf_home.as_ref()?.join("token")));
        let token = if is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            TokenSource::None
        } else if let Some(token) = any(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]).and_then(|t| Secret::new(&t))
        {
            TokenSource::Value(token)
        } else {
            token_file.map_or(TokenSource::None, TokenSource::File)
        };
        let ngc_home = get("NGC_CLI_HOME").map(expanded).or_else(|| Some(home.as_ref()?.join(".ngc")));
        let read_timeout =
            get("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|s| s.parse().ok()).filter(|s| (1..=3600).contains(s));

        Ok(Self {
            endpoint: endpoint(&get("HF_ENDPOINT").unwrap_or_else(|| HUGGING_FACE.to_owned()))?,
            token,
            cache,
            offline: is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE"),
            ngc: NgcConfig {
                api: endpoint(
                    &get("NGC_CLI_API_URL").unwrap_or_else(|| "https://api.ngc.nvidia.com".to_owned()),
                )?,
                auth: endpoint(
                    &get("NGC_CLI_AUTH_URL").unwrap_or_else(|| "https://authn.nvidia.com".to_owned()),
                )?,
                key: any(&["NGC_CLI_API_KEY", "NGC_API_KEY", "NGC_APP_KEY"])
                    .and_then(|key| Secret::new(&key)),
                org: get("NGC_CLI_ORG").filter(|org| org != "no-org"),
                team: get("NGC_CLI_TEAM").filter(|team| team != "no-team"),
                settings_file: ngc_home.map(|folder| folder.join("config")),
            },
            proxy: any(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
                .and_then(|url| Secret::new(&url)),
            no_proxy: any(&["NO_PROXY", "no_proxy"]),
            certificates: any(&["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"]).map(expanded),
            user_agent: concat!("sightline/", env!("CARGO_PKG_VERSION")).to_owned(),
            parallel: 4,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(read_timeout.unwrap_or(30)),
            retry: RetryPolicy::default(),
            split: SplitPolicy::default(),
        })
    }

    /// The Hugging Face cache, or an error where none is known.
    pub(crate) fn hub_cache(&self) -> Result<&PathBuf> {
        self.cache.as_ref().ok_or(Error::NoCacheFolder)
    }

    /// The folder beside the Hugging Face cache that keeps the files of NVIDIA's catalog.
    pub fn ngc_cache(&self) -> Option<PathBuf> {
        self.cache.as_ref().map(|cache| cache.with_file_name("ngc"))
    }
}

/// The words that `huggingface_hub` takes for true.
fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

fn expand_home(path: String, home: Option<&PathBuf>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// An address that secrets and downloads may be trusted to: `https`, or `http` on this machine.
fn endpoint(text: &str) -> Result<Url> {
    let refused = |reason: &str| Error::BadEndpoint { url: text.to_owned(), reason: reason.to_owned() };
    let url = Url::parse(text.trim_end_matches('/')).map_err(|e| refused(&e.to_string()))?;
    if url.cannot_be_a_base() || url.host().is_none() {
        return Err(refused("it has no host"));
    }
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&url)) {
        return Err(refused("it is not `https://`"));
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(refused("it holds a password, a query or a fragment"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Result<Config> {
        Config::from_lookup(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_cache_folder_follows_the_same_order_as_python() {
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let cases: [Case<'_>; 6] = [
            (&[("HOME", "/h")], Some("/h/.cache/huggingface/hub")),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], Some("/x/huggingface/hub")),
            (&[("HOME", "/h"), ("HF_HOME", "~/hf")], Some("/h/hf/hub")),
            (&[("HF_HOME", "/hf"), ("HUGGINGFACE_HUB_CACHE", "/old")], Some("/old")),
            (&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/c"), ("HUGGINGFACE_HUB_CACHE", "/old")], Some("/c")),
            (&[], None),
        ];
        for (pairs, expected) in cases {
            assert_eq!(config(pairs).unwrap().cache, expected.map(PathBuf::from), "{pairs:?}");
        }
        assert_eq!(config(&[("HF_HOME", "/hf")]).unwrap().ngc_cache(), Some(PathBuf::from("/hf/ngc")));
    }

    #[test]
    fn tokens_come_in_order_and_are_never_printed() {
        let both =
            config(&[("HF_TOKEN", "hf_a"), ("HUGGING_FACE_HUB_TOKEN", "hf_b"), ("HOME", "/h")]).unwrap();
        assert!(matches!(&both.token, TokenSource::Value(token) if token.expose() == "hf_a"));
        assert!(!format!("{both:?}").contains("hf_a"));
        let file = config(&[("HOME", "/h"), ("HF_TOKEN", " ")]).unwrap();
        assert!(matches!(&file.token, TokenSource::File(path) if path.ends_with("huggingface/token")));
        let off = config(&[("HF_TOKEN", "hf_a"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).unwrap();
        assert!(matches!(off.token, TokenSource::None));
    }

    #[test]
    fn endpoints_are_https_unless_loopback() {
        let cases = [
            ("https://hf-mirror.example.org/", true),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://localhost:8080/base", true),
            ("http://huggingface.co", false),
            ("http://127.0.0.1.evil.org", false),
            ("ftp://huggingface.co", false),
            ("https://user:pass@huggingface.co", false),
            ("https://huggingface.co?x=1", false),
            ("huggingface.co", false),
        ];
        for (text, good) in cases {
            let result = config(&[("HF_ENDPOINT", text)]);
            assert_eq!(result.is_ok(), good, "{text}");
            assert!(result.map_or_else(|e| e.exit_code(), |_| 10) == 10);
        }
    }

    #[test]
    fn offline_is_any_of_the_true_words() {
        for (name, value, expected) in [
            ("HF_HUB_OFFLINE", "1", true),
            ("HF_HUB_OFFLINE", "yes", true),
            ("TRANSFORMERS_OFFLINE", "True", true),
            ("HF_HUB_OFFLINE", "0", false),
            ("HF_HUB_OFFLINE", "", false),
        ] {
            assert_eq!(config(&[(name, value)]).unwrap().offline, expected, "{name}={value}");
        }
    }
}
