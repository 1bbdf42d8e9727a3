//! Facts of this machine that stand beside every measurement.
//!
//! A fact that cannot be had is absent, never guessed: a figure without its machine is still better than a figure with
//! a wrong one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::tools::nvidia_smi;

/// What a measurement was taken on. Fields come out in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: Option<String>,
    /// Cores that this process may use; two on one core count twice where the processor has hyper-threading.
    pub cores: usize,
    /// Physical cores, where the system tells.
    pub physical_cores: Option<usize>,
    /// Main memory in bytes.
    pub memory_bytes: Option<u64>,
    /// The operating system's name and version.
    pub os: String,
    /// The kernel's version.
    pub kernel: Option<String>,
    /// The instruction set: `x86_64`, `aarch64`.
    pub architecture: String,
    /// Graphics processors of NVIDIA, in the driver's order. Empty without one, or without its driver.
    pub gpus: Vec<Gpu>,
}

/// A graphics processor of NVIDIA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// The product's name.
    pub name: String,
    /// Its memory in MiB; absent where it shares the main memory (Jetson).
    pub memory_mib: Option<u64>,
    /// The driver's version.
    pub driver: String,
    /// The compute capability, as `9.0`.
    pub compute_capability: Option<String>,
}

impl Machine {
    /// Looks at this machine. Asks `nvidia-smi` for the graphics processors, which takes up to a second where there are
    /// some.
    pub fn detect() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
        Self {
            cpu: cpu_name(&cpuinfo),
            cores: available(),
            physical_cores: physical_cores(&cpuinfo),
            memory_bytes: memory(&read("/proc/meminfo")),
            os: os_name(&read("/etc/os-release")).unwrap_or_else(|| std::env::consts::OS.to_owned()),
            kernel: (!kernel.is_empty()).then_some(kernel),
            architecture: std::env::consts::ARCH.to_owned(),
            gpus: nvidia_smi::gpus().unwrap_or_default(),
        }
    }

    /// The processor and the cores in words, for a backend that computes on them.
    pub fn processor() -> String {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| cpu_name(&text));
        cpu.unwrap_or_else(|| format!("{} processor", std::env::consts::ARCH))
    }

    /// How many threads compute fastest: one for each physical core, no more than this process may use.
    pub fn worker_threads() -> usize {
        let physical = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| physical_cores(&text));
        physical.unwrap_or(usize::MAX).min(available()).max(1)
    }
}

fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Distinct pairs of package and core. ARM kernels do not tell.
fn physical_cores(cpuinfo: &str) -> Option<usize> {
    let mut package = "";
    let mut cores = BTreeSet::new();
    for (key, value) in cpuinfo.lines().filter_map(|line| line.split_once(':')) {
        match key.trim() {
            "physical id" => package = value.trim(),
            "core id" => {
                cores.insert((package, value.trim()));
            }
            _ => {}
        }
    }
    (!cores.is_empty()).then_some(cores.len())
}

/// The first processor's name. ARM kernels have no `model name`; a Jetson has `Model` at the end.
fn cpu_name(cpuinfo: &str) -> Option<String> {
    ["model name", "Model", "Hardware"].iter().find_map(|key| {
        let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = fields.find(|(field, _)| field.trim() == *key)?;
        // Names are padded with runs of blanks.
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        (!value.is_empty()).then_some(value)
    })
}

/// Main memory in bytes, of `/proc/meminfo`'s `MemTotal: 8138104 kB`.
fn memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// `PRETTY_NAME` of `/etc/os-release`.
fn os_name(release: &str) -> Option<String> {
    let value = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_found_on_x86_and_arm() {
        let cases = [
            (
                "processor\t: 0\nmodel name\t: Intel(R)  Xeon(R) Processor\n",
                Some("Intel(R) Xeon(R) Processor"),
            ),
            ("processor\t: 0\nmodel\t\t: 167\n\nModel\t: Jetson AGX Orin\n", Some("Jetson AGX Orin")),
            ("processor\t: 0\nCPU part\t: 0xd42\n", None),
            ("model name\t:  \n", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(cpu_name(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn hyper_threads_are_one_core() {
        let thread = |package: u8, core: u8| format!("physical id\t: {package}\ncore id\t\t: {core}\n\n");
        let cases = [
            ([thread(0, 0), thread(0, 0), thread(0, 1), thread(0, 1)].concat(), Some(2)),
            ([thread(0, 0), thread(1, 0)].concat(), Some(2)),
            ("processor : 0\n".to_owned(), None),
        ];
        for (text, expected) in cases {
            assert_eq!(physical_cores(&text), expected, "{text}");
        }
        assert!(Machine::worker_threads() >= 1);
    }

    #[test]
    fn memory_is_in_bytes() {
        let cases = [
            ("MemTotal:        8138104 kB\nMemFree: 1 kB\n", Some(8_138_104 * 1024)),
            ("MemTotal: many kB\n", None),
            ("MemTotal: 99999999999999999999 kB\n", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(memory(text), expected, "{text}");
        }
    }

    #[test]
    fn the_system_has_its_pretty_name() {
        let text = "NAME=\"Ubuntu\"\nPRETTY_NAME=\"Ubuntu 24.04.3 LTS\"\n";
        assert_eq!(os_name(text).as_deref(), Some("Ubuntu 24.04.3 LTS"));
        assert_eq!(os_name("PRETTY_NAME=\"\"\n"), None);
    }

    #[test]
    fn this_machine_is_described() {
        let machine = Machine::detect();
        assert!(machine.cores >= 1);
        assert!(!machine.os.is_empty() && !machine.architecture.is_empty());
        assert!(!Machine::processor().is_empty());
    }
}
