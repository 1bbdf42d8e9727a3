//! Who asks: a guest, or the holder of a key.
//!
//! A personal key (`nvapi-…`) is a bearer token itself. A legacy key is exchanged for one, which lives for minutes;
//! a 401 therefore means "exchange again" once before it means "not allowed".

use std::hash::{BuildHasher, RandomState};
use std::sync::PoisonError;

use base64::Engine as _;
use serde::Deserialize;

use crate::client::{Client, Failure, Refusal, Request};
use crate::config::{NgcConfig, Secret};
use crate::error::Error;
use crate::progress::Events;
use crate::source::NgcId;

/// How the catalog is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Guest,
    Key,
}

/// A key and where it belongs.
struct Credentials {
    key: Secret,
    org: Option<String>,
    team: Option<String>,
}

/// The key of the configuration, else of the `ngc` program's settings.
fn credentials(config: &NgcConfig) -> Option<Credentials> {
    if let Some(key) = &config.key {
        return Some(Credentials { key: key.clone(), org: config.org.clone(), team: config.team.clone() });
    }
    let text = std::fs::read_to_string(config.settings_file.as_ref()?).ok()?;
    let value = |name: &str| {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let found = pairs.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| *key == name)?;
        (!found.1.is_empty() && !found.1.starts_with("no-")).then(|| found.1.to_owned())
    };
    let key = Secret::new(&value("apikey")?)?;
    Some(Credentials {
        key,
        org: config.org.clone().or_else(|| value("org")),
        team: config.team.clone().or_else(|| value("team")),
    })
}

/// Whether there is a key to fall back on.
pub(super) fn has_key(client: &Client) -> bool {
    credentials(&client.config().ngc).is_some()
}

/// The request with what this access sends along.
pub(super) fn signed(
    client: &Client,
    access: Access,
    id: &NgcId,
    request: Request,
    events: &Events,
) -> Result<Request, Failure> {
    if access == Access::Guest {
        return Ok(request.header("X-NGC-Guest-Token", guest_token()));
    }
    let Some(credentials) = credentials(&client.config().ngc) else {
        return Err(Failure::Fatal(Error::NgcUnauthorized { model: id.to_string(), with_key: false }));
    };
    let mut request = request;
    if let Some(org) = &credentials.org {
        request = request.header("nv-ngc-org", org.clone());
        if let Some(team) = &credentials.team {
            request = request.header("nv-ngc-team", team.clone());
        }
    }
    if credentials.key.expose().starts_with("nvapi-") {
        return Ok(request.bearer(Some(&credentials.key)));
    }
    let token = exchanged(client, &credentials, id, events)?;
    Ok(request.bearer(Some(&token)))
}

/// A bearer token for a legacy key, from memory or from the token service.
fn exchanged(
    client: &Client,
    credentials: &Credentials,
    id: &NgcId,
    events: &Events,
) -> Result<Secret, Failure> {
    #[derive(Deserialize)]
    struct Answer {
        token: String,
    }
    let org = credentials.org.as_deref().unwrap_or(id.org());
    let team = if credentials.org.is_some() { credentials.team.as_deref() } else { id.team() };
    let mut url = client.config().ngc.auth.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push("token");
    }
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("service", "ngc").append_pair("scope", &format!("group/ngc:{org}"));
        if let Some(team) = team {
            query.append_pair("scope", &format!("group/ngc:{org}/{team}"));
        }
    }
    let scope = url.to_string();
    let known =
        |tokens: &[(String, Secret)]| tokens.iter().find(|(s, _)| *s == scope).map(|(_, t)| t.clone());
    if let Some(token) = known(&client.ngc_tokens.lock().unwrap_or_else(PoisonError::into_inner)) {
        return Ok(token);
    }
    let basic =
        base64::engine::general_purpose::STANDARD.encode(format!("$oauthtoken:{}", credentials.key.expose()));
    let request = Request::new(url).header("Authorization", format!("Basic {basic}"));
    let (answer, _) = client.json::<Answer>(&request, 1 << 20, events).map_err(|failure| match failure {
        Failure::Refused(refusal) if matches!(refusal.status, 400 | 401 | 403) => {
            Failure::Fatal(Error::NgcUnauthorized { model: id.to_string(), with_key: true })
        }
        other => other,
    })?;
    let unusable = || {
        let reason = "it holds no token".to_owned();
        Failure::Fatal(Error::BadAnswer { url: client.config().ngc.auth.to_string(), reason })
    };
    let token = Secret::new(&answer.token).ok_or_else(unusable)?;
    client.ngc_tokens.lock().unwrap_or_else(PoisonError::into_inner).push((scope, token.clone()));
    Ok(token)
}

/// Forgets exchanged tokens; whether there were any.
pub(super) fn forget_tokens(client: &Client) -> bool {
    let mut tokens = client.ngc_tokens.lock().unwrap_or_else(PoisonError::into_inner);
    let any = !tokens.is_empty();
    tokens.clear();
    any
}

/// What a refusal of the catalog means. `versions` are those that exist, for the hint.
pub(super) fn explain(id: &NgcId, with_key: bool, versions: Vec<String>, refusal: Refusal) -> Error {
    let model = id.to_string();
    if refusal.status == 412 || refusal.body.contains("PRECONDITION_FAILED") {
        return Error::NgcTerms { model };
    }
    match refusal.status {
        401 | 403 => Error::NgcUnauthorized { model, with_key },
        404 => Error::NgcNotFound { model, with_key, versions },
        _ => refusal.into_error(),
    }
}

/// A random UUID (version 4), which the catalog wants from guests.
fn guest_token() -> String {
    let (high, low) = (RandomState::new().hash_one(0u8), RandomState::new().hash_one(1u8));
    let (high, low) = (high & !0xf000 | 0x4000, low & !(0b11 << 62) | (0b10 << 62));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_token_is_a_random_uuid() {
        let token = guest_token();
        let lengths: Vec<usize> = token.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{token}");
        assert_eq!(&token[14..15], "4", "{token}");
        assert!(matches!(&token[19..20], "8" | "9" | "a" | "b"), "{token}");
        assert_ne!(token, guest_token());
    }

    #[test]
    fn the_settings_of_the_ngc_program_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        std::fs::write(
            &file,
            ";WARNING\n[CURRENT]\napikey = abc\nformat_type = ascii\norg = mine\nteam = no-team\n",
        )
        .unwrap();
        let url = url::Url::parse("https://api.ngc.nvidia.com").unwrap();
        let mut config = NgcConfig {
            api: url.clone(),
            auth: url,
            key: None,
            org: None,
            team: None,
            settings_file: Some(file),
        };
        let found = credentials(&config).unwrap();
        assert_eq!((found.key.expose(), found.org.as_deref(), found.team), ("abc", Some("mine"), None));
        config.key = Secret::new("nvapi-1");
        assert_eq!(credentials(&config).unwrap().key.expose(), "nvapi-1");
    }
}
