//! Is io_uring usable by this process, and if not, what should the operator do?
//!
//! Features are asked for, not versions: distributions back-port, containers forbid.

use std::fmt::{self, Display};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types};
use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// The oldest kernel line that has all the server needs (DEFER_TASKRUN came last).
pub const KERNEL_NEEDED: &str = "6.1";

/// What io_uring offers here; everything the server needs is among it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// The release of the running kernel, as `uname -r` prints it.
    pub kernel: String,
    /// The set-up flags, feature bits and behaviours that are on, by the kernel's names.
    pub on: Vec<&'static str>,
}

impl Display for Features {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (Linux {})", self.on.join(" "), self.kernel)
    }
}

/// Why io_uring cannot be used. Each message tells the operator what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeError {
    /// EPERM, and the administrator's switch says so.
    SwitchedOff {
        /// `kernel.io_uring_disabled`: 1 (only for a group) or 2 (for everybody).
        level: u8,
    },
    /// EPERM although the switch allows it: a seccomp profile.
    Blocked,
    /// ENOSYS.
    Absent {
        /// The release of the running kernel.
        kernel: String,
    },
    /// ENOMEM.
    Memory {
        /// The locked-memory limit in bytes; `None` is unlimited.
        limit: Option<u64>,
    },
    /// EMFILE or ENFILE.
    Files {
        /// The open-file limit; `None` is unlimited.
        limit: Option<u64>,
    },
    /// The kernel has io_uring but lacks something the server needs.
    Lacking {
        /// The release of the running kernel.
        kernel: String,
        /// What is missing, by the kernel's names.
        what: Vec<&'static str>,
    },
    /// The kernel claims to have all, but an operation did not do what it should.
    Misbehaves {
        /// The release of the running kernel.
        kernel: String,
        /// What was seen, in words.
        seen: String,
    },
    /// Any other error number.
    Other {
        /// The release of the running kernel.
        kernel: String,
        /// The call that failed.
        call: &'static str,
        /// What it answered.
        errno: Errno,
    },
}

impl Display for ProbeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SwitchedOff { level } => write!(
                formatter,
                "io_uring is switched off on this host (kernel.io_uring_disabled = {level}). An \
                 administrator can allow it with: sysctl kernel.io_uring_disabled=0 (or =1 and add \
                 this user's group to kernel.io_uring_group)."
            ),
            Self::Blocked => formatter.write_str(
                "io_uring is blocked for this process, most likely by the container's seccomp \
                 profile (Docker and containerd block it by default since late 2023). Run with a \
                 profile that allows io_uring_setup, io_uring_enter and io_uring_register, e.g. \
                 docker run --security-opt seccomp=PROFILE.json … (Kubernetes: seccompProfile: \
                 Localhost).",
            ),
            Self::Absent { kernel } => write!(
                formatter,
                "This kernel has no io_uring (this build needs Linux ≥ {KERNEL_NEEDED}), or the \
                 container runtime hides it (podman/crun answer \"not implemented\"). Kernel \
                 reported: {kernel}."
            ),
            Self::Memory { limit } => {
                formatter.write_str("The kernel would not lock enough memory for io_uring. ")?;
                match limit {
                    Some(bytes) => write!(formatter, "Locked-memory limit is {} KiB", bytes / 1024),
                    None => formatter.write_str("Locked memory is unlimited, so the host is short"),
                }?;
                formatter.write_str(
                    "; set LimitMEMLOCK=infinity (systemd), --ulimit memlock=-1 (Docker).",
                )
            }
            Self::Files { limit } => match limit {
                Some(files) => write!(
                    formatter,
                    "Open-file limit is {files}, and no file is left for io_uring. Set \
                     LimitNOFILE=1048576 (systemd), --ulimit nofile=1048576 (Docker)."
                ),
                None => formatter.write_str(
                    "The host has no open file left for io_uring. Raise it with: sysctl \
                     fs.file-max=9223372036854775807",
                ),
            },
            Self::Lacking { kernel, what } => write!(
                formatter,
                "Kernel {kernel} lacks: {}. Run Linux ≥ {KERNEL_NEEDED}.",
                what.join(", ")
            ),
            Self::Misbehaves { kernel, seen } => write!(
                formatter,
                "io_uring of kernel {kernel} does not work as it should: {seen}. Run another \
                 release of Linux ≥ {KERNEL_NEEDED}."
            ),
            Self::Other { kernel, call, errno } => write!(
                formatter,
                "{call} failed: {errno}. Kernel reported: {kernel} (this build needs Linux ≥ \
                 {KERNEL_NEEDED})."
            ),
        }
    }
}

impl std::error::Error for ProbeError {}

/// Asks the kernel, on a small ring of its own that is gone on return. Takes about a millisecond;
/// where the kernel does not answer, a few seconds.
///
/// # Errors
///
/// The first thing that keeps the server from running here.
pub fn probe() -> Result<Features, ProbeError> {
    examine().map_err(|failure| explain(failure, &Surroundings::read()))
}

/// How long the self-test waits for one completion, in seconds. They come within microseconds; a
/// kernel that needs longer is broken, and a start that hangs tells nobody so.
const PATIENCE_SECONDS: u64 = 2;

/// How often a signal may cut short the wait for one completion.
const WAITS_MAX: usize = 16;

/// Operations of the server, beyond what any io_uring has.
const OPERATIONS: [(u8, &str); 9] = [
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::PollRemove::CODE, "POLL_REMOVE"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    (opcode::Timeout::CODE, "TIMEOUT"),
    (opcode::Accept::CODE, "ACCEPT"),
    (opcode::Recv::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::Shutdown::CODE, "SHUTDOWN"),
    (opcode::Close::CODE, "CLOSE"),
];

/// What went wrong, before it is explained.
#[derive(Debug)]
enum Failure {
    Call(&'static str, Errno),
    Lacking(Vec<&'static str>),
    Misbehaves(String),
}

/// What an error number is read against.
#[derive(Debug, Default)]
struct Surroundings {
    kernel: String,
    io_uring_disabled: Option<u8>,
    locked_memory: Option<u64>,
    open_files: Option<u64>,
}

impl Surroundings {
    fn read() -> Self {
        let switch = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
        Self {
            kernel: kernel_release(),
            io_uring_disabled: switch.ok().and_then(|text| text.trim().parse().ok()),
            locked_memory: getrlimit(Resource::Memlock).current,
            open_files: getrlimit(Resource::Nofile).current,
        }
    }
}

/// The release of the running kernel, as `uname -r` prints it.
pub(crate) fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn explain(failure: Failure, surroundings: &Surroundings) -> ProbeError {
    let kernel = surroundings.kernel.clone();
    match failure {
        Failure::Lacking(what) => ProbeError::Lacking { kernel, what },
        Failure::Misbehaves(seen) => ProbeError::Misbehaves { kernel, seen },
        Failure::Call(call, errno) => match errno {
            Errno::PERM => match surroundings.io_uring_disabled {
                Some(level @ 1..) => ProbeError::SwitchedOff { level },
                _ => ProbeError::Blocked,
            },
            Errno::NOSYS => ProbeError::Absent { kernel },
            Errno::NOMEM => ProbeError::Memory { limit: surroundings.locked_memory },
            Errno::MFILE => ProbeError::Files { limit: surroundings.open_files },
            Errno::NFILE => ProbeError::Files { limit: None },
            errno => ProbeError::Other { kernel, call, errno },
        },
    }
}

fn examine() -> Result<Features, Failure> {
    let mut ring = set_up()?;
    let mut on = vec!["SINGLE_ISSUER", "DEFER_TASKRUN"];
    on.extend(feature_bits(ring.params())?);
    supported_operations(&ring)?;
    self_test(&mut ring)?;
    on.push("POLL_MULTISHOT");
    Ok(Features { kernel: kernel_release(), on })
}

fn set_up() -> Result<IoUring, Failure> {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    builder.build(8).map_err(|error| match errno(&error) {
        // The kernel answers EINVAL to a set-up flag it does not know.
        Errno::INVAL => Failure::Lacking(vec!["SINGLE_ISSUER", "DEFER_TASKRUN"]),
        errno => Failure::Call("io_uring_setup", errno),
    })
}

fn feature_bits(parameters: &io_uring::Parameters) -> Result<Vec<&'static str>, Failure> {
    let needed = [
        // Completions are never lost, however full the queue.
        (parameters.is_feature_nodrop(), "NODROP"),
        // What a submission points to may go once it is submitted.
        (parameters.is_feature_submit_stable(), "SUBMIT_STABLE"),
        // A wait can have an end.
        (parameters.is_feature_ext_arg(), "EXT_ARG"),
    ];
    let welcome = [
        (parameters.is_feature_fast_poll(), "FAST_POLL"),
        (parameters.is_feature_native_workers(), "NATIVE_WORKERS"),
        (parameters.is_feature_skip_cqe_on_success(), "CQE_SKIP"),
    ];
    let missing: Vec<_> = needed.iter().filter(|(on, _)| !on).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        return Err(Failure::Lacking(missing));
    }
    Ok(needed.iter().chain(&welcome).filter(|(on, _)| *on).map(|(_, name)| *name).collect())
}

fn supported_operations(ring: &IoUring) -> Result<(), Failure> {
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| Failure::Call("io_uring_register", errno(&error)))?;
    let missing: Vec<_> = OPERATIONS
        .iter()
        .filter(|(code, _)| !probe.is_supported(*code))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(Failure::Lacking(missing)) }
}

/// The life of an idle connection in small: a multishot poll is armed, fires, stays armed, and is
/// cancelled with exactly one terminal completion.
fn self_test(ring: &mut IoUring) -> Result<(), Failure> {
    const POLL: u64 = 1;
    const CANCEL: u64 = 2;
    let event: OwnedFd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
        .map_err(|errno| Failure::Call("eventfd", errno))?;
    let poll = opcode::PollAdd::new(types::Fd(event.as_raw_fd()), PollFlags::IN.bits().into());
    submit(ring, &poll.multi(true).build().user_data(POLL))?;
    rustix::io::write(&event, &1_u64.to_ne_bytes())
        .map_err(|errno| Failure::Call("eventfd write", errno))?;
    let fired = next_completion(ring)?;
    if fired.user_data() != POLL || fired.result() <= 0 || !cqueue::more(fired.flags()) {
        let seen = format!("a multishot poll answered {} and ended", fired.result());
        return Err(Failure::Misbehaves(seen));
    }
    submit(ring, &opcode::AsyncCancel::new(POLL).build().user_data(CANCEL))?;
    // The two completions of a cancellation come in either order.
    let mut answers = [next_completion(ring)?, next_completion(ring)?];
    answers.sort_unstable_by_key(cqueue::Entry::user_data);
    let [poll, cancel] = answers.map(|entry| (entry.user_data(), entry.result(), entry.flags()));
    let cancelled = -Errno::CANCELED.raw_os_error();
    if poll.0 == POLL && poll.1 == cancelled && !cqueue::more(poll.2) && cancel.1 == 0 {
        return Ok(());
    }
    Err(Failure::Misbehaves(format!("a cancelled poll answered {}, {}", poll.1, cancel.1)))
}

fn submit(ring: &mut IoUring, entry: &squeue::Entry) -> Result<(), Failure> {
    // SAFETY: the entries of the self-test carry no pointers, and the kernel holds its own
    // reference to the file of the poll from submission on.
    let pushed = unsafe { ring.submission().push(entry) };
    assert!(pushed.is_ok(), "three entries fit into a queue of eight");
    ring.submit().map(drop).map_err(|error| Failure::Call("io_uring_enter", errno(&error)))
}

fn next_completion(ring: &mut IoUring) -> Result<cqueue::Entry, Failure> {
    let patience = types::Timespec::new().sec(PATIENCE_SECONDS);
    let arguments = types::SubmitArgs::new().timespec(&patience);
    for _ in 0..WAITS_MAX {
        if let Some(entry) = ring.completion().next() {
            return Ok(entry);
        }
        match ring.submitter().submit_with_args(1, &arguments).map_err(|error| errno(&error)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::TIME) => break,
            Err(errno) => return Err(Failure::Call("io_uring_enter", errno)),
        }
    }
    Err(Failure::Misbehaves("an operation did not complete".to_owned()))
}

/// The error number of a system call's error; the crate makes no other kind.
fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings() -> Surroundings {
        Surroundings {
            kernel: "5.10.0-test".to_owned(),
            io_uring_disabled: None,
            locked_memory: Some(64 * 1024),
            open_files: Some(256),
        }
    }

    fn message(errno: Errno, surroundings: &Surroundings) -> String {
        explain(Failure::Call("io_uring_setup", errno), surroundings).to_string()
    }

    #[test]
    fn this_host_passes() {
        let features = probe().unwrap_or_else(|error| panic!("{error}"));
        for name in ["SINGLE_ISSUER", "DEFER_TASKRUN", "NODROP", "SUBMIT_STABLE", "POLL_MULTISHOT"]
        {
            assert!(features.on.contains(&name), "{features}");
        }
        assert!(features.to_string().contains(&kernel_release()));
    }

    #[test]
    fn eperm_with_the_switch_set_names_the_switch() {
        for level in [1, 2] {
            let told = Surroundings { io_uring_disabled: Some(level), ..surroundings() };
            assert_eq!(
                message(Errno::PERM, &told),
                format!(
                    "io_uring is switched off on this host (kernel.io_uring_disabled = {level}). \
                     An administrator can allow it with: sysctl kernel.io_uring_disabled=0 (or =1 \
                     and add this user's group to kernel.io_uring_group)."
                )
            );
        }
    }

    #[test]
    fn eperm_with_the_switch_open_names_seccomp() {
        for switch in [None, Some(0)] {
            let told = Surroundings { io_uring_disabled: switch, ..surroundings() };
            assert_eq!(
                message(Errno::PERM, &told),
                "io_uring is blocked for this process, most likely by the container's seccomp \
                 profile (Docker and containerd block it by default since late 2023). Run with a \
                 profile that allows io_uring_setup, io_uring_enter and io_uring_register, e.g. \
                 docker run --security-opt seccomp=PROFILE.json … (Kubernetes: seccompProfile: \
                 Localhost)."
            );
        }
    }

    #[test]
    fn enosys_names_the_kernel() {
        assert_eq!(
            message(Errno::NOSYS, &surroundings()),
            "This kernel has no io_uring (this build needs Linux ≥ 6.1), or the container runtime \
             hides it (podman/crun answer \"not implemented\"). Kernel reported: 5.10.0-test."
        );
    }

    #[test]
    fn enomem_names_the_limit() {
        assert_eq!(
            message(Errno::NOMEM, &surroundings()),
            "The kernel would not lock enough memory for io_uring. Locked-memory limit is 64 KiB; \
             set LimitMEMLOCK=infinity (systemd), --ulimit memlock=-1 (Docker)."
        );
        let unlimited = Surroundings { locked_memory: None, ..surroundings() };
        assert!(message(Errno::NOMEM, &unlimited).contains("unlimited"));
    }

    #[test]
    fn no_file_left_tells_the_process_from_the_host() {
        assert!(message(Errno::MFILE, &surroundings()).contains("Open-file limit is 256"));
        assert!(message(Errno::NFILE, &surroundings()).contains("fs.file-max"));
    }

    #[test]
    fn what_is_missing_is_named_with_the_kernel() {
        let error = explain(Failure::Lacking(vec!["NODROP", "SHUTDOWN"]), &surroundings());
        assert_eq!(
            error.to_string(),
            "Kernel 5.10.0-test lacks: NODROP, SHUTDOWN. Run Linux ≥ 6.1."
        );
    }

    #[test]
    fn other_numbers_are_passed_on() {
        let told = message(Errno::FAULT, &surroundings());
        assert!(told.contains("io_uring_setup failed") && told.contains("5.10.0-test"), "{told}");
    }
}
