//! What the hub refuses, how often it is asked again, and what is never sent or followed.

use std::time::Duration;

use hub::Error;

use crate::fake_hub::{COMMIT, FakeHub, REPO, noise, refusal, sha256};
use crate::server::{Reply, Server};
use crate::setup::Setup;

fn hub() -> (FakeHub, Vec<u8>) {
    let weights = noise(50_000, 1);
    (FakeHub::start(&[("model.safetensors", &weights, true), ("config.json", b"{}", false)]), weights)
}

#[test]
fn gated_missing_and_disabled_are_told_apart() {
    type Is = fn(&Error) -> bool;
    let cases: [(&str, Reply, Is, &str); 6] = [
        (
            "/model.safetensors",
            refusal(401, "GatedRepo"),
            |e| matches!(e, Error::Gated { .. }),
            "accept the terms",
        ),
        (
            "/model.safetensors",
            refusal(403, "GatedRepo"),
            |e| matches!(e, Error::Gated { .. }),
            "accept the terms",
        ),
        (
            "/revision/main",
            refusal(401, "RepoNotFound"),
            |e| matches!(e, Error::RepoNotFound { .. }),
            "HF_TOKEN",
        ),
        ("/revision/main", Reply::status(401), |e| matches!(e, Error::RepoNotFound { .. }), "spelling"),
        (
            "/model.safetensors",
            refusal(404, "EntryNotFound"),
            |e| matches!(e, Error::FileNotFound { .. }),
            "",
        ),
        (
            "/revision/main",
            Reply::status(403).header("X-Error-Message", "Access to this resource is disabled."),
            |e| matches!(e, Error::Disabled { .. }),
            "",
        ),
    ];
    for (path, reply, is_expected, hint) in cases {
        let (hub, _) = hub();
        hub.fault(path, [reply]);
        let mut setup = Setup::hub(&hub.hub.url());
        let error = setup.acquire(REPO).unwrap_err();
        assert!(is_expected(&error), "{error}");
        assert_eq!(error.exit_code(), 10, "{error}");
        assert!(error.hint().unwrap_or_default().contains(hint), "{error}");
        assert!(setup.slept.lock().unwrap().is_empty(), "a refusal is not repeated");
    }
    let (hub, _) = hub();
    let mut setup = Setup::hub(&hub.hub.url());
    assert!(matches!(setup.acquire("nobody/nothing").unwrap_err(), Error::RepoNotFound { .. }));
    assert!(matches!(setup.acquire(&format!("{REPO}@v9")).unwrap_err(), Error::RevisionNotFound { .. }));
    assert!(matches!(
        setup.acquire(&format!("{}/{REPO}/resolve/main/other.onnx", hub.hub.url())).unwrap_err(),
        Error::FileNotFound { .. }
    ));
}

#[test]
fn a_bad_token_is_named() {
    let (hub, _) = hub();
    let reply = Reply::status(401).header("X-Error-Message", "Invalid credentials in Authorization header");
    hub.fault("/revision/main", [reply]);
    let mut setup = Setup::new(&[("HF_ENDPOINT", &hub.hub.url()), ("HF_TOKEN", "hf_wrong")]);
    assert!(matches!(setup.acquire(REPO).unwrap_err(), Error::BadToken { .. }));
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let (hub, _) = hub();
    let mut setup = Setup::new(&[("HF_ENDPOINT", &hub.hub.url()), ("HF_TOKEN", "hf_secret")]);
    setup.acquire(REPO).unwrap();
    assert!(hub.hub.requests().iter().all(|r| r.header("authorization") == Some("Bearer hf_secret")));
    assert!(!hub.cdn.requests().is_empty());
    assert!(hub.cdn.requests().iter().all(|r| r.header("authorization").is_none()));
    assert!(
        hub.hub
            .requests()
            .iter()
            .all(|r| r.header("user-agent").is_some_and(|a| a.starts_with("sightline/")))
    );

    // From the token file of a login; none without one.
    let mut setup = Setup::hub(&hub.hub.url());
    let file = setup.folder.path().join(".cache/huggingface/token");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "hf_file\n").unwrap();
    setup.acquire(REPO).unwrap();
    assert_eq!(hub.hub.requests().last().unwrap().header("authorization"), Some("Bearer hf_file"));
    Setup::hub(&hub.hub.url()).acquire(REPO).unwrap();
    assert_eq!(hub.hub.requests().last().unwrap().header("authorization"), None);
}

#[test]
fn a_page_of_the_listing_on_another_host_is_refused() {
    let (hub, _) = hub();
    let reply = Reply::json(&serde_json::json!([])).header("Link", "<http://127.0.0.1:9/x>; rel=\"next\"");
    hub.fault(&format!("/tree/{COMMIT}"), [reply]);
    let error = Setup::hub(&hub.hub.url()).acquire(REPO).unwrap_err();
    assert!(error.to_string().contains("another host"), "{error}");
}

#[test]
fn busy_servers_are_asked_again() {
    let (hub, weights) = hub();
    hub.fault(
        "/revision/main",
        [
            Reply::status(503),
            Reply::status(429).header("Retry-After", 7),
            Reply::status(429).header("RateLimit", "\"api\";r=0;t=11"),
            Reply::status(500),
        ],
    );
    hub.fault(&format!("/blob/{}", sha256(&weights)), [Reply::status(408), Reply::status(504)]);
    // A JSON answer that breaks off is asked again too.
    hub.fault(&format!("/tree/{COMMIT}"), [Reply::json(&serde_json::json!([{"type": "file"}])).cut_after(4)]);
    let mut setup = Setup::hub(&hub.hub.url());
    setup.acquire(REPO).unwrap();
    let slept = setup.slept.lock().unwrap().clone();
    assert_eq!(slept.len(), 7, "{slept:?}");
    assert_eq!(slept[1..3], [Duration::from_secs(7), Duration::from_secs(11)]);
}

#[test]
fn patience_has_an_end() {
    let (hub, _) = hub();
    hub.fault("/revision/main", vec![Reply::status(503); 50]);
    let mut setup = Setup::hub(&hub.hub.url());
    let error = setup.acquire(REPO).unwrap_err();
    assert!(matches!(error, Error::Http { status: 503, .. }), "{error}");
    assert_eq!((hub.hub.count("/revision/main"), error.exit_code()), (6, 1));

    let (hub, _) = self::hub();
    hub.fault("/revision/main", [Reply::status(429).header("Retry-After", 3600)]);
    let error = Setup::hub(&hub.hub.url()).acquire(REPO).unwrap_err();
    assert!(matches!(error, Error::RateLimited { seconds: 3600, .. }), "{error}");
}

#[test]
fn servers_that_are_silent_closed_or_no_tls_are_told_as_such() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Accepts by the backlog, never answers.
    let mut setup = Setup::hub(&format!("http://{address}"));
    setup.config.read_timeout = Duration::from_millis(20);
    let error = setup.acquire(REPO).unwrap_err();
    assert!(matches!(error, Error::Transport { .. }), "{error}");
    assert_eq!(setup.slept.lock().unwrap().len(), 5);
    drop(listener);
    let error = setup.acquire(REPO).unwrap_err();
    assert!(matches!(error, Error::Transport { .. }), "{error}");
    assert!(error.hint().unwrap().contains("HF_HUB_OFFLINE=1"));

    let plain = Server::start(|_| Reply::status(200));
    let mut setup = Setup::hub(&plain.url().replace("http://", "https://"));
    let error = setup.acquire(REPO).unwrap_err();
    assert!(matches!(error, Error::Transport { .. }), "{error}");
    assert!(plain.requests().iter().all(|request| request.path.is_empty() || request.path == "/"));
}

#[test]
fn a_renamed_repository_is_followed() {
    let (hub, _) = hub();
    let mut setup = Setup::hub(&hub.hub.url());
    // The hub redirects the pages of the old name; its files are redirected as well.
    let to = format!("/{REPO}/resolve/{COMMIT}/");
    for file in ["model.safetensors", "config.json"] {
        hub.fault(
            &format!("/old/name/resolve/{COMMIT}/{file}"),
            [Reply::status(307).header("Location", format!("{to}{file}"))],
        );
    }
    let acquired = setup.acquire("old/name").unwrap();
    assert_eq!(acquired.revision.as_deref(), Some(COMMIT));
    assert!(
        setup.events.iter().any(|e| matches!(e, hub::Event::Note(note) if note.contains("is now called")))
    );
}

#[test]
fn redirects_without_end_or_into_the_open_are_refused() {
    for (to, expected) in [
        ("/loop", "too many redirects"),
        ("http://example.org/x", "not encrypted"),
        ("file:///etc/passwd", "only `https`"),
    ] {
        let server = Server::start(move |_| Reply::status(302).header("Location", to));
        let mut setup = Setup::hub(&server.url());
        let error = setup.acquire(REPO).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(server.requests().len() <= 11);
    }
}

#[test]
fn answers_without_end_or_sense_are_refused() {
    let huge = vec![b' '; 33 << 20];
    let replies = [
        (Reply::status(200).body(&huge), "larger than"),
        (Reply::status(200).body(b"<html>"), "expected value"),
        (Reply::json(&serde_json::json!({ "sha": "../../etc" })), "no commit hash"),
    ];
    for (reply, expected) in replies {
        let server = Server::start(move |_| reply.clone());
        let error = Setup::hub(&server.url()).acquire(REPO).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn names_of_the_listing_that_leave_the_folder_are_left_out() {
    let (hub, weights) = hub();
    let file = |path: &str| {
        serde_json::json!({
            "type": "file", "path": path, "size": 50_000, "oid": "0".repeat(40),
            "lfs": { "oid": sha256(&weights), "size": 50_000 },
        })
    };
    let listing = serde_json::json!([
        file("../../evil.onnx"),
        file("nul.onnx"),
        file("a\\b.onnx"),
        file("model.safetensors")
    ]);
    hub.fault(&format!("/tree/{COMMIT}"), [Reply::json(&listing)]);
    let acquired = Setup::hub(&hub.hub.url()).acquire(REPO).unwrap();
    assert_eq!(acquired.main.as_str(), "model.safetensors");
    assert!(acquired.log.iter().any(|line| line.starts_with("3 file(s) left out")), "{:?}", acquired.log);
}

#[test]
fn a_digest_of_the_listing_that_is_a_path_is_not_used_as_one() {
    let (hub, _) = hub();
    let listing = serde_json::json!([{
        "type": "file", "path": "model.safetensors", "size": 3, "oid": "../../../evil",
    }]);
    hub.fault(&format!("/tree/{COMMIT}"), [Reply::json(&listing)]);
    let error = Setup::hub(&hub.hub.url()).acquire(REPO).unwrap_err();
    assert!(error.to_string().contains("promises no content"), "{error}");
}
