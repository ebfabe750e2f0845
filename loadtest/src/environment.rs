//! Where a run is made: the host, its settings that matter for the figures, and the command.

use std::collections::BTreeMap;
use std::env;
use std::fs;

use ringwire::ring::raise_descriptor_limit;

use crate::probe;
use crate::redact;
use crate::results::Environment;

/// Settings by their sysctl name, below `/proc/sys`.
const SYSCTLS: [&str; 9] = [
    "fs.file-max",
    "fs.nr_open",
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_wmem",
];

/// Settings that are no sysctl: name and file.
const FILES: [(&str, &str); 3] = [
    ("clocksource", "/sys/devices/system/clocksource/clocksource0/current_clocksource"),
    ("cpu_governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    ("transparent_hugepage", "/sys/kernel/mm/transparent_hugepage/enabled"),
];

/// This host and this command. What cannot be read is empty, 0 or absent.
pub(crate) fn read() -> Environment {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let words = env::args_os().map(|word| word.to_string_lossy().into_owned());
    Environment {
        host: line("/proc/sys/kernel/hostname").unwrap_or_default(),
        kernel: line("/proc/sys/kernel/osrelease").unwrap_or_default(),
        cpu: model(&processors).unwrap_or(env::consts::ARCH).to_owned(),
        cpus: processors.lines().filter(|line| line.starts_with("processor")).count() as u64,
        memory_bytes: probe::memory_total().unwrap_or(0),
        descriptors: raise_descriptor_limit(),
        settings: settings(),
        command: redact::command(words),
    }
}

/// Names this host and the part of it whose processes can be seen: a process id means the same to
/// all who are at the same place.
pub(crate) fn place() -> String {
    let boot = line("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let processes = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{boot} {}", processes.display())
}

fn settings() -> BTreeMap<String, String> {
    let sysctls =
        SYSCTLS.iter().map(|&name| (name, format!("/proc/sys/{}", name.replace('.', "/"))));
    let files = FILES.iter().map(|&(name, path)| (name, path.to_owned()));
    let mut settings: BTreeMap<_, _> = sysctls
        .chain(files)
        .filter_map(|(name, path)| Some((name.to_owned(), line(&path)?)))
        .collect();
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if let Some(mitigations) = mitigations(&command_line) {
        settings.insert("mitigations".to_owned(), mitigations.to_owned());
    }
    settings
}

/// A file of one line that is not empty, its blanks made single.
fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// What the first processor calls itself; ARM does not say.
fn model(processors: &str) -> Option<&str> {
    let line = processors.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// What the kernel was started with, if that is not its default.
fn mitigations(command_line: &str) -> Option<&str> {
    command_line.split_ascii_whitespace().find_map(|word| word.strip_prefix("mitigations="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_described() {
        let environment = read();
        assert!(!environment.kernel.is_empty() && !environment.cpu.is_empty());
        assert!(environment.cpus > 0 && environment.memory_bytes > 1 << 20);
        assert!(environment.descriptors > 0 && !environment.command.is_empty());
        let range = &environment.settings["net.ipv4.ip_local_port_range"];
        assert_eq!(range.split(' ').count(), 2, "{range}");
    }

    #[test]
    fn processors_have_a_model_or_none() {
        let text = "processor\t: 0\nmodel name\t: Some: CPU\nprocessor\t: 1";
        assert_eq!(model(text), Some("Some: CPU"));
        assert_eq!(model("processor : 0\nBogoMIPS : 50"), None);
    }

    #[test]
    fn mitigations_are_named_when_they_were_chosen() {
        assert_eq!(mitigations("quiet mitigations=off ro\n"), Some("off"));
        assert_eq!(mitigations("quiet"), None);
    }
}
