//! How requests become batches: three tiers, from the fastest answer to the most images.

use std::fmt;
use std::str::FromStr;

use super::text_proto::Message;
use crate::Error;

/// What a configuration is made for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tier {
    /// The fastest answer: small batches, hardly any waiting, answers in order, two instances so that the next request
    /// need not wait for the one before.
    Latency,
    /// Some waiting for better filled batches.
    #[default]
    Balanced,
    /// The most images a second: full batches, whatever they wait.
    Throughput,
}

impl Tier {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Latency, Self::Balanced, Self::Throughput];

    /// Its name, which is also that of its file in `configs/`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Balanced => "balanced",
            Self::Throughput => "throughput",
        }
    }

    /// Copies of a model that run side by side.
    pub(super) fn instances(self) -> u32 {
        if self == Self::Latency { 2 } else { 1 }
    }

    /// Batch sizes that are worth waiting for, and how long that is.
    fn wanted(self) -> (&'static [u32], u32) {
        match self {
            Self::Latency => (&[1, 2, 4], 100),
            Self::Balanced => (&[4, 8, 16, 32], 500),
            Self::Throughput => (&[32, 64, 128], 5000),
        }
    }

    /// The field `dynamic_batching`; `None` where there is only one image at a time.
    pub(super) fn dynamic_batching(self, max_batch: u32) -> Option<Message> {
        if max_batch < 2 {
            return None;
        }
        let (sizes, delay) = self.wanted();
        let mut sizes: Vec<u32> = sizes.iter().copied().filter(|size| *size <= max_batch).collect();
        // The server takes no size above the largest batch.
        if sizes.is_empty() {
            sizes.push(max_batch);
        }
        let mut message =
            Message::new().list("preferred_batch_size", sizes).word("max_queue_delay_microseconds", delay);
        if self == Self::Latency {
            message = message.word("preserve_ordering", true);
        }
        Some(message)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Tier {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|tier| tier.name() == text);
        found.ok_or_else(|| Error::Option {
            value: text.to_owned(),
            expected: "latency, balanced or throughput",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_preferred_size_is_above_the_largest_batch() {
        for tier in Tier::ALL {
            assert_eq!(tier.name().parse::<Tier>().unwrap(), tier);
            assert_eq!(tier.dynamic_batching(1), None);
            for max in 2..200 {
                let message = tier.dynamic_batching(max).unwrap();
                let sizes: Vec<u32> = message
                    .scalars("preferred_batch_size")
                    .iter()
                    .map(|size| size.parse().unwrap())
                    .collect();
                assert!(
                    !sizes.is_empty() && sizes.iter().all(|size| *size <= max),
                    "{tier} {max}: {sizes:?}"
                );
            }
        }
        assert!("fast".parse::<Tier>().is_err());
    }
}
