//! A program that a test puts in the renderer's place: what the renderer is once somebody has broken
//! into it. It does what the job's content tells it, and all of it is hostile.
#![expect(clippy::unwrap_used, reason = "it may end anyhow")]

use std::fs;
use std::io::{Read, Write, stderr, stdin, stdout};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use hiendien_render::confine::{CONFINED, Work, confine};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Uid, pidfd_open, setrlimit, test_kill_process,
};
use rustix::thread::{UnshareFlags, set_thread_uid};

fn frame(path: &str, body: &[u8]) -> Vec<u8> {
    let header = format!(r#"{{"path":"{path}","identity":{}}}"#, body.len());
    let length = u32::try_from(header.len()).unwrap().to_be_bytes();
    [&length[..], header.as_bytes(), body].concat()
}

fn answer(frames: &[Vec<u8>]) {
    let frames = [frames.concat(), vec![0; 4]].concat();
    let length = (frames.len() as u64).to_be_bytes();
    let mut out = stdout().lock();
    out.write_all(&[&length[..], &frames].concat()).unwrap();
    out.flush().unwrap();
}

/// Tells what it could get at.
fn look() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let words: Vec<_> = line.unwrap_or_default().split_whitespace().collect();
        if words.is_empty() {
            format!("{name} unseen")
        } else {
            words.join(" ")
        }
    };
    let mut found = vec![
        line("Uid:"),
        line("CapEff:"),
        line("CapBnd:"),
        line("NoNewPrivs:"),
        line("Seccomp:"),
    ];
    let interfaces = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = interfaces
        .lines()
        .skip(2)
        .filter_map(|line| line.split(':').next());
    let names: Vec<_> = names.map(str::trim).collect();
    found.push(format!("interfaces: {}", names.join(" ")));
    for address in ["192.0.2.1:80", "172.17.0.1:22", "127.0.0.1:22"] {
        let address = address.parse().unwrap();
        let reached = TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
        found.push(format!("connect {address}: {reached}"));
    }
    found.push(format!(
        "listen: {}",
        TcpListener::bind("127.0.0.1:0").is_ok()
    ));
    found.push(format!(
        "datagrams: {}",
        UdpSocket::bind("127.0.0.1:0").is_ok()
    ));
    for path in [
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/run/hiendien-lab/docker.sock",
    ] {
        found.push(format!(
            "connect {path}: {}",
            UnixStream::connect(path).is_ok()
        ));
    }
    for path in [
        "/x",
        "/etc/x",
        "/tmp/x",
        "/var/tmp/x",
        "/dev/shm/x",
        "/proc/self/oom_score_adj",
        "/hiendien-render",
    ] {
        found.push(format!("write {path}: {}", fs::write(path, b"1").is_ok()));
    }
    let linked = std::os::unix::fs::symlink("/etc/passwd", "/tmp/index.html").is_ok();
    found.push(format!("link /tmp/index.html: {linked}"));
    for path in [
        "/etc/passwd",
        "/etc/shadow",
        "/root",
        "/bin/sh",
        "/run/docker.sock",
        "/var/run/docker.sock",
    ] {
        found.push(format!("see {path}: {}", fs::metadata(path).is_ok()));
    }
    // In a container process 1 is itself, whose environment holds nothing of anybody's.
    let environment = fs::read_to_string("/proc/1/environ").unwrap_or_default();
    let mut names: Vec<_> = environment
        .split('\0')
        .filter_map(|entry| entry.split('=').next())
        .collect();
    names.sort_unstable();
    found.push(format!(
        "environment of process 1: {}",
        names.join(" ").trim()
    ));
    let mut processes = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        processes += usize::from(entry.file_name().to_string_lossy().parse::<u32>().is_ok());
    }
    found.push(format!("processes seen: {processes}"));
    found.push(format!(
        "run a program: {}",
        Command::new("/proc/self/exe").arg("x").spawn().is_ok()
    ));
    // Not even this need be told.
    let parent = i32::try_from(std::os::unix::process::parent_id())
        .ok()
        .and_then(Pid::from_raw);
    let signalled = parent.is_some_and(|parent| test_kill_process(parent).is_ok());
    found.push(format!("signal its parent: {signalled}"));
    let held = pidfd_open(Pid::INIT, PidfdFlags::empty()).is_ok();
    found.push(format!("hold a process: {held}"));
    let memory = parent.map(|parent| format!("/proc/{}/mem", parent.as_raw_nonzero()));
    let traced = memory.is_some_and(|memory| fs::File::open(memory).is_ok());
    found.push(format!("trace its parent: {traced}"));
    let became = set_thread_uid(Uid::ROOT).is_ok();
    found.push(format!("become root: {became}"));
    #[expect(deprecated, reason = "it may do harm, that is what it is for")]
    let left = rustix::thread::unshare(UnshareFlags::NEWUSER).is_ok();
    found.push(format!("have a namespace: {left}"));
    let one = Rlimit {
        current: Some(1),
        maximum: Some(1),
    };
    let raised = setrlimit(Resource::Core, one).is_ok();
    found.push(format!("raise a limit: {raised}"));
    found.join("\n")
}

#[expect(clippy::print_stdout, reason = "what a renderer says")]
fn main() {
    if let Some(work) = std::env::args()
        .nth(1)
        .and_then(|first| Work::of_argument(&first))
    {
        let confined = confine(work).unwrap();
        println!("{CONFINED}{confined}");
    }
    let mut length = [0; 8];
    stdin().read_exact(&mut length).unwrap();
    let mut job = String::new();
    let length = u64::from_be_bytes(length);
    stdin().take(length).read_to_string(&mut job).unwrap();
    let asked = |what: &str| job.contains(&format!("do:{what};"));
    if asked("look") {
        answer(&[frame("index.html", look().as_bytes())]);
    } else if asked("fork") {
        // Each child does the same, until no more are let; none of them ends by itself.
        let children: Vec<_> = (0..200)
            .filter_map(|_| {
                Command::new("/proc/self/exe")
                    .stderr(Stdio::null())
                    .stdin(Stdio::piped())
                    .spawn()
                    .ok()
            })
            .collect();
        answer(&[frame("index.html", children.len().to_string().as_bytes())]);
    } else if asked("threads") {
        let started = (0..200).filter(|_| {
            let thread = std::thread::Builder::new().stack_size(64 * 1024);
            thread
                .spawn(|| {
                    loop {
                        std::hint::spin_loop();
                    }
                })
                .is_ok()
        });
        answer(&[frame("index.html", started.count().to_string().as_bytes())]);
    } else if asked("loop") {
        loop {
            std::hint::spin_loop();
        }
    } else if asked("flood") {
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..10 << 10 {
            if stdout().lock().write_all(&chunk).is_err() {
                break;
            }
        }
    } else if asked("trickle") {
        // Promises much, sends without end and so slowly that it never gets there.
        stdout()
            .lock()
            .write_all(&(30u64 << 20).to_be_bytes())
            .unwrap();
        while stdout().lock().write_all(b"x").is_ok() && stdout().flush().is_ok() {
            for _ in 0..1 << 20 {
                std::hint::spin_loop();
            }
        }
    } else if asked("complain") {
        while stderr().lock().write_all(&[b'e'; 4096]).is_ok() {}
    } else if asked("memory") {
        let mut held = Vec::new();
        loop {
            held.push(vec![1_u8; 1 << 20]);
        }
    } else if asked("escape") {
        answer(&[frame("index.html", b"x"), frame("../../escaped", b"x")]);
    } else if asked("absolute") {
        answer(&[
            frame("index.html", b"x"),
            frame("/etc/cron.d/escaped", b"x"),
        ]);
    } else if asked("link") {
        // A tar archive with a link in it, as another kind of renderer might answer.
        let mut archive = vec![0; 1024];
        archive[..10].copy_from_slice(b"index.html");
        archive[156] = b'2';
        archive[157..168].copy_from_slice(b"/etc/passwd");
        stdout().lock().write_all(&archive).unwrap();
    } else if asked("cut") {
        let answer = frame("index.html", b"half of it");
        let promised = (answer.len() as u64 + 100).to_be_bytes();
        stdout().lock().write_all(&promised).unwrap();
        stdout().lock().write_all(&answer).unwrap();
    }
}
