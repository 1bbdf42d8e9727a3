//! Suppression of every head.
