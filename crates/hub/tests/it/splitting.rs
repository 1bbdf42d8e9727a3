//! Big files over several connections, when one of them is slow.

use std::time::Duration;

use hub::Event;

use crate::fake_hub::{FakeHub, REPO, noise, sha256};
use crate::server::Reply;
use crate::setup::Setup;

/// Splits at once, whatever the speed.
fn eager(hub: &FakeHub) -> Setup {
    let mut setup = Setup::hub(&hub.hub.url());
    setup.config.split.after = Duration::ZERO;
    setup.config.split.slower_than = u64::MAX;
    setup.config.split.least_remaining = 1;
    setup.config.split.piece = 100_000;
    setup
}

fn connections(setup: &Setup) -> Option<usize> {
    setup.events.iter().find_map(|event| match event {
        Event::Split { connections, .. } => Some(*connections),
        _ => None,
    })
}

#[test]
fn pieces_in_any_order_make_the_same_file() {
    let weights = noise(3_456_789, 1);
    let hub = FakeHub::start(&[("model.safetensors", &weights, true)]);
    let mut setup = eager(&hub);
    let acquired = setup.acquire(REPO).unwrap();
    assert_eq!(connections(&setup), Some(4));
    assert_eq!(std::fs::read(acquired.main_file()).unwrap(), weights);
    assert!(hub.cdn.requests().len() > 20, "{}", hub.cdn.requests().len());
    // The signed address is used again, the hub is not asked for every piece.
    assert_eq!(hub.hub.count("/resolve/"), 1);
}

#[test]
fn cut_pieces_and_expired_addresses_are_repaired() {
    let weights = noise(2_000_000, 2);
    let hub = FakeHub::start(&[("model.safetensors", &weights, true)]);
    let blob = format!("/blob/{}", sha256(&weights));
    let mut setup = eager(&hub);
    hub.cut(&weights, &[600_000]);
    hub.cut(&weights, &[50_000, 0, 99_999]);
    hub.fault(&blob, [Reply::status(403), Reply::status(503), Reply::status(403)]);
    let acquired = setup.acquire(REPO).unwrap();
    assert_eq!(std::fs::read(acquired.main_file()).unwrap(), weights);

    let hub = FakeHub::start(&[("model.safetensors", &weights, true)]);
    let mut setup = eager(&hub);
    let source = hub::Source::resolve(REPO, &setup.config.endpoint).unwrap();
    let client = hub::Client::new(setup.config.clone()).unwrap();
    let acquired = hub::acquire(&source, &client, &hub::AcquireOptions::default(), &mut |event| {
        if matches!(event, Event::Split { .. }) {
            hub.expire_signatures();
        }
        setup.events.push(event);
    })
    .unwrap();
    assert_eq!(std::fs::read(acquired.main_file()).unwrap(), weights);
}

#[test]
fn a_broken_split_leaves_a_file_that_can_be_continued() {
    let weights = noise(2_000_000, 3);
    let hub = FakeHub::start(&[("model.safetensors", &weights, true)]);
    let mut setup = eager(&hub);
    let blob = format!("/blob/{}", sha256(&weights));
    // The first answer is as usual, the pieces are cut, then nothing is there any more.
    hub.fault(&blob, [Reply::status(0)]);
    hub.cut(&weights, &[30_000; 40]);
    hub.fault(&blob, vec![Reply::status(404); 400]);
    setup.acquire(REPO).unwrap_err();
    let blobs = setup.cache().join("models--PekingU--rtdetr_r50vd/blobs");
    let partial = std::fs::read(blobs.join(format!("{}.incomplete", sha256(&weights)))).unwrap();
    assert!(!partial.is_empty() && weights.starts_with(&partial));

    let hub = FakeHub::start(&[("model.safetensors", &weights, true)]);
    setup.config.endpoint = hub.hub.url().parse().unwrap();
    let acquired = setup.acquire(REPO).unwrap();
    assert_eq!(setup.resumed_from("model.safetensors"), Some(partial.len() as u64));
    assert_eq!(std::fs::read(acquired.main_file()).unwrap(), weights);
}

#[test]
fn nothing_is_split_without_ranges_or_need() {
    let weights = noise(2_000_000, 4);
    let hub = FakeHub::without_ranges(&[("model.safetensors", &weights, true)]);
    let mut setup = eager(&hub);
    setup.acquire(REPO).unwrap();
    assert_eq!((connections(&setup), hub.cdn.requests().len()), (None, 1));

    let hub = FakeHub::start(&[("model.safetensors", &weights, true)]);
    let mut setup = Setup::hub(&hub.hub.url());
    setup.acquire(REPO).unwrap();
    assert_eq!((connections(&setup), hub.cdn.requests().len()), (None, 1));
}
