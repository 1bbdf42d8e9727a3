//! Tests through the public interface, on every backend that this machine has.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod embedded;
#[cfg(test)]
mod foreign;
#[cfg(test)]
mod onnxruntime;
#[cfg(all(test, unix))]
mod python_exporter;
#[cfg(test)]
mod stored;
#[cfg(test)]
mod suppression;
#[cfg(all(test, unix))]
mod trtexec;
#[cfg(test)]
mod usable;
#[cfg(test)]
mod written;
