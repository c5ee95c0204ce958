//! Takes from a process all that rendering does not need, for good.
//!
//! What is allowed is said here once: a container engine gets it as limits and as a profile of
//! system calls, a bare process lays it on itself before it reads its job. Rendering reads one pipe,
//! writes another and asks for memory; it opens, starts and reaches nothing.

use std::fmt::{self, Write as _};
use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, Ruleset,
    RulesetAttr, RulesetStatus, Scope,
};
use rustix::process::{
    DumpableBehavior, Gid, Resource, Rlimit, Uid, geteuid, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, set_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use seccompiler::{TargetArch, apply_filter, compile_from_json};
use serde_json::{Value, json};

/// What a renderer is started for, which says what it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Site,
    Picture,
}

impl Work {
    /// Memory of one job, MiB. A picture: 320 for the largest that is decoded (40 million pixels of 8 octets), as
    /// much as half of that for what a decoder keeps beside it, the upload, and room.
    pub fn memory_mib_max(self) -> u32 {
        match self {
            Self::Site => 128,
            Self::Picture => 512,
        }
    }

    /// Processor time of one job, seconds; the bound on the clock is the builder's and comes first.
    pub fn cpu_secs_max(self) -> u32 {
        match self {
            Self::Site => 30,
            Self::Picture => 120,
        }
    }

    /// The argument that has the renderer confine itself before it reads its job.
    pub fn argument(self) -> &'static str {
        match self {
            Self::Site => "--confined",
            Self::Picture => "--confined-picture",
        }
    }

    /// What the argument asks for, where it asks to be confined.
    pub fn of_argument(argument: &str) -> Option<Self> {
        [Self::Site, Self::Picture]
            .into_iter()
            .find(|work| work.argument() == argument)
    }
}

/// `nobody` and its group.
pub const NOBODY: u32 = 65534;
/// What a confined process says before it reads its job, followed by what holds it and a line's end.
pub const CONFINED: &str = "confined: ";

// The same numbers on every architecture we build for.
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const PROT_EXEC: u32 = 4;
const MAP_ANONYMOUS: u32 = 0x20;
const CLONE_THREAD: u32 = 0x1_0000;
const SIGABRT: u32 = 6;
const SIGBUS: u32 = 7;
const SIGSEGV: u32 = 11;

/// What an argument of a call must be.
#[derive(Debug, Clone, Copy)]
enum Condition {
    Equals { argument: u8, value: u32 },
    Masked { argument: u8, mask: u32, bits: u32 },
}

use Condition::{Equals, Masked};

/// A system call, and the cases it is allowed in: one of them, with all its conditions; where there are
/// none, always. Names are those that exist on every architecture we build for.
type Call = (&'static str, &'static [&'static [Condition]]);

const NOT_EXECUTABLE: Condition = Masked {
    argument: 2,
    mask: PROT_EXEC,
    bits: 0,
};
const OF_NO_FILE: Condition = Masked {
    argument: 3,
    mask: MAP_ANONYMOUS,
    bits: MAP_ANONYMOUS,
};
const INTO_OUT_OR_FAULT: &[&[Condition]] = &[
    &[Equals {
        argument: 0,
        value: 1,
    }],
    &[Equals {
        argument: 0,
        value: 2,
    }],
];

/// The system calls of a renderer at work. It has one thread and waits for nothing but its streams,
/// so that one whose parent is gone ends by itself or by its limit of processor time.
const CALLS: &[Call] = &[
    // The job and the answer, whatever else was left open.
    (
        "read",
        &[&[Equals {
            argument: 0,
            value: 0,
        }]],
    ),
    ("write", INTO_OUT_OR_FAULT),
    ("writev", INTO_OUT_OR_FAULT),
    // Memory, none of which can be run.
    ("brk", &[]),
    ("madvise", &[]),
    ("mmap", &[&[NOT_EXECUTABLE, OF_NO_FILE]]),
    ("mprotect", &[&[NOT_EXECUTABLE]]),
    ("mremap", &[]),
    ("munmap", &[]),
    // Seeds of hash tables, clocks.
    ("clock_gettime", &[]),
    ("getrandom", &[]),
    ("restart_syscall", &[]),
    ("sched_yield", &[]),
    // The end, also by a fault.
    ("exit", &[]),
    ("exit_group", &[]),
    ("getpid", &[]),
    ("gettid", &[]),
    (
        "rt_sigaction",
        &[
            &[Equals {
                argument: 0,
                value: SIGABRT,
            }],
            &[Equals {
                argument: 0,
                value: SIGBUS,
            }],
            &[Equals {
                argument: 0,
                value: SIGSEGV,
            }],
        ],
    ),
    ("rt_sigreturn", &[]),
    ("sigaltstack", &[]),
    ("tgkill", &[]),
];

/// What is called besides in a container: by its runtime between the profile and the program, and by
/// the program's start. None of it leads out of a root without files, devices, network or rights;
/// processes are not to be had, threads are, for a runtime written in Go may need one more.
const CALLS_OF_A_START: &[Call] = &[
    (
        "clone",
        &[&[Masked {
            argument: 0,
            mask: CLONE_THREAD,
            bits: CLONE_THREAD,
        }]],
    ),
    ("arch_prctl", &[]),
    ("capget", &[]),
    ("capset", &[]),
    ("chdir", &[]),
    ("close", &[]),
    ("close_range", &[]),
    ("dup3", &[]),
    ("epoll_create1", &[]),
    ("epoll_ctl", &[]),
    ("epoll_pwait", &[]),
    ("execve", &[]),
    ("fcntl", &[]),
    ("fstat", &[]),
    ("fstatfs", &[]),
    ("futex", &[]),
    ("getdents64", &[]),
    ("geteuid", &[]),
    ("getppid", &[]),
    ("lseek", &[]),
    ("mmap", &[&[NOT_EXECUTABLE]]),
    ("nanosleep", &[]),
    ("newfstatat", &[]),
    ("openat", &[]),
    ("openat2", &[]),
    ("poll", &[]),
    ("ppoll", &[]),
    ("prctl", &[]),
    ("prlimit64", &[]),
    ("read", &[]),
    ("readlinkat", &[]),
    ("rseq", &[]),
    ("rt_sigaction", &[]),
    ("rt_sigprocmask", &[]),
    ("sched_getaffinity", &[]),
    ("set_robust_list", &[]),
    ("set_tid_address", &[]),
    ("setgid", &[]),
    ("setgroups", &[]),
    ("setuid", &[]),
    ("statx", &[]),
    ("umask", &[]),
    ("write", &[]),
];

/// The profile a container engine confines a renderer with, in the form of Docker and Podman. Calls
/// that are not in it answer that they are not permitted.
pub fn container_profile() -> Value {
    let calls = CALLS.iter().chain(CALLS_OF_A_START);
    let rules = calls.flat_map(|(name, cases)| {
        each_case(cases, |conditions| {
            let arguments = conditions.iter().map(|condition| match condition {
                Equals { argument, value } => {
                    json!({ "index": argument, "value": value, "op": "SCMP_CMP_EQ" })
                }
                Masked { argument, mask, bits } => {
                    json!({ "index": argument, "value": mask, "valueTwo": bits, "op": "SCMP_CMP_MASKED_EQ" })
                }
            });
            json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": arguments.collect::<Vec<_>>() })
        })
    });
    // libc takes "there is no such call" as a reason to make the older one, which tells its flags.
    let newer =
        json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS, "args": [] });
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "syscalls": rules.chain([newer]).collect::<Vec<_>>(),
    })
}

/// What `rule` makes of each case; of no conditions where there are no cases.
fn each_case(cases: &[&[Condition]], rule: impl Fn(&[Condition]) -> Value) -> Vec<Value> {
    match cases {
        [] => vec![rule(&[])],
        cases => cases.iter().map(|conditions| rule(conditions)).collect(),
    }
}

/// The same for a bare process, in the form of `seccompiler`.
fn process_filter() -> Value {
    let rules = CALLS.iter().flat_map(|(name, cases)| {
        each_case(cases, |conditions| {
            if conditions.is_empty() {
                return json!({ "syscall": name });
            }
            let arguments = conditions.iter().map(|condition| match condition {
                Equals { argument, value } => {
                    json!({ "index": argument, "type": "dword", "op": "eq", "val": value })
                }
                Masked { argument, mask, bits } => {
                    json!({ "index": argument, "type": "dword", "op": { "masked_eq": mask }, "val": bits })
                }
            });
            json!({ "syscall": name, "args": arguments.collect::<Vec<_>>() })
        })
    });
    json!({
        "renderer": {
            "mismatch_action": { "errno": EPERM },
            "match_action": "allow",
            "filter": rules.collect::<Vec<_>>(),
        }
    })
}

/// Why a process is not confined. It must not read a job.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    #[error("{0} failed")]
    Step(&'static str, #[source] io::Error),
    #[error(
        "the kernel has no Landlock: Linux 5.13 or newer, with `landlock` among those of the boot parameter `lsm`"
    )]
    NoLandlock,
    #[error("Landlock did not take hold")]
    Landlock(#[source] landlock::RulesetError),
    #[error("the kernel let no filter of system calls be set (seccomp)")]
    Seccomp(#[source] seccompiler::Error),
}

/// What holds this process.
#[derive(Debug)]
pub struct Confined {
    landlock: LandlockStatus,
    has_namespaces: bool,
    is_nobody: bool,
}

impl fmt::Display for Confined {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::from("seccomp, no new privileges, limits");
        if let LandlockStatus::Available { effective_abi, .. } = &self.landlock {
            write!(text, ", Landlock {effective_abi:?}")?;
        }
        if self.has_namespaces {
            text.push_str(", namespaces of its own for network and IPC");
        }
        if self.is_nobody {
            text.push_str(", user nobody");
        }
        formatter.write_str(&text)
    }
}

/// Confines this process, which has one thread and needs nothing but its standard streams.
pub fn confine(work: Work) -> Result<Confined, ConfineError> {
    let has_namespaces = leave_namespaces();
    let is_nobody = geteuid().is_root();
    if is_nobody {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        step("giving up the groups", set_thread_groups(&[]))?;
        let became = set_thread_res_gid(group, group, group);
        step("becoming `nobody`", became)?;
        let became = set_thread_res_uid(user, user, user);
        step("becoming `nobody`", became)?;
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    step("giving up the capabilities", set_capabilities(None, none))?;
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    step("hiding from debuggers", hidden)?;
    step("giving up new privileges", set_no_new_privs(true))?;
    let landlock = shut_landlock()?;
    limit(work)?;
    filter_calls()?;
    Ok(Confined {
        landlock,
        has_namespaces,
        is_nobody,
    })
}

fn step(action: &'static str, result: rustix::io::Result<()>) -> Result<(), ConfineError> {
    result.map_err(|error| ConfineError::Step(action, error.into()))
}

/// A network without interfaces and no shared memory, where the kernel lets us. One without such
/// rights has them in a user namespace of its own, where those are let. No others: a process
/// namespace holds children, which are not let, and a mount namespace keeps what is mounted.
#[expect(
    deprecated,
    reason = "what makes it unsafe is sharing less of the table of descriptors"
)]
fn leave_namespaces() -> bool {
    let namespaces = UnshareFlags::NEWNET | UnshareFlags::NEWIPC;
    let unshare = rustix::thread::unshare;
    unshare(namespaces).is_ok() || unshare(namespaces | UnshareFlags::NEWUSER).is_ok()
}

/// No file, no port, no signal and no socket of another process, as far as this kernel knows of them.
fn shut_landlock() -> Result<LandlockStatus, ConfineError> {
    const NEWEST: ABI = ABI::V6;
    let restricted = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(ConfineError::Landlock)?;
    match restricted.ruleset {
        RulesetStatus::NotEnforced => Err(ConfineError::NoLandlock),
        _ => Ok(restricted.landlock),
    }
}

fn limit(work: Work) -> Result<(), ConfineError> {
    let limits = [
        (Resource::As, u64::from(work.memory_mib_max()) * 1024 * 1024),
        (Resource::Cpu, u64::from(work.cpu_secs_max())),
        (Resource::Fsize, 0),
        (Resource::Nproc, 0),
        (Resource::Nofile, 3),
        (Resource::Core, 0),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
    ];
    for (resource, most) in limits {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        step("setting a limit", setrlimit(resource, limit))?;
    }
    Ok(())
}

fn filter_calls() -> Result<(), ConfineError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|error| ConfineError::Seccomp(error.into()))?;
    let filter = process_filter().to_string();
    let programs =
        compile_from_json(filter.as_bytes(), architecture).map_err(ConfineError::Seccomp)?;
    for program in programs.values() {
        apply_filter(program).map_err(ConfineError::Seccomp)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_knows_the_calls_of_a_process() {
        let filter = process_filter().to_string();
        for architecture in [TargetArch::x86_64, TargetArch::aarch64] {
            let programs = compile_from_json(filter.as_bytes(), architecture).unwrap();
            assert_eq!(programs.len(), 1);
        }
    }

    #[test]
    fn the_profile_of_a_container_starts_no_process_and_opens_no_socket() {
        let profile = container_profile();
        let rules = profile["syscalls"].as_array().unwrap();
        let rule = |name: &str| rules.iter().find(|rule| rule["names"][0] == name);
        for name in [
            "socket",
            "fork",
            "vfork",
            "ptrace",
            "kill",
            "mount",
            "unshare",
            "bpf",
            "io_uring_setup",
        ] {
            assert!(rule(name).is_none(), "{name}");
        }
        assert_eq!(rule("clone").unwrap()["args"][0]["valueTwo"], CLONE_THREAD);
        assert_eq!(rule("clone3").unwrap()["errnoRet"], ENOSYS);
        assert_eq!(rule("mmap").unwrap()["args"][0]["valueTwo"], 0);
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    }
}
