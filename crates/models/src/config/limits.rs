//! Bounds of the sizes that a configuration may ask for.
//!
//! They are far above any model in the field; they exist so that a hostile `config.json` cannot make the exporter loop or
//! allocate without end.

use super::CONFIG;
use crate::Error;

/// Checks sizes; errors name the key with this prefix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    prefix: &'static str,
}

impl Limits {
    pub(crate) fn of(prefix: &'static str) -> Self {
        Self { prefix }
    }

    /// Channels, features, hidden sizes.
    pub(crate) fn width(self, key: &str, value: usize) -> Result<(), Error> {
        self.within(key, value, 1, 65_536)
    }

    /// Repeated layers.
    pub(crate) fn layers(self, key: &str, value: usize) -> Result<(), Error> {
        self.within(key, value, 1, 512)
    }

    /// A number from `least` to `most`.
    pub(crate) fn within(self, key: &str, value: usize, least: usize, most: usize) -> Result<(), Error> {
        if (least..=most).contains(&value) {
            return Ok(());
        }
        let field = format!("{}{key}", self.prefix);
        Err(Error::unsupported(CONFIG, &field, value, format!("{least} to {most}")))
    }

    /// A number of heads that divides `width`.
    pub(crate) fn heads(self, key: &str, value: usize, width: usize) -> Result<(), Error> {
        self.within(key, value, 1, 1024)?;
        if width.is_multiple_of(value) {
            return Ok(());
        }
        let field = format!("{}{key}", self.prefix);
        Err(Error::unsupported(CONFIG, &field, value, format!("a divisor of {width}")))
    }
}
