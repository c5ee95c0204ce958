//! A program that a test puts in the renderer's place: it does what the job's content tells it, and
//! all of it is hostile. Compiled by the test itself, without dependencies; not a module.

use std::fs;
use std::io::{Read, Write, stderr, stdin, stdout};
use std::net::TcpStream;
use std::process::Command;

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

fn main() {
    let mut length = [0; 8];
    stdin().read_exact(&mut length).unwrap();
    let mut job = String::new();
    let length = u64::from_be_bytes(length);
    stdin().take(length).read_to_string(&mut job).unwrap();
    let asked = |what: &str| job.contains(&format!("do:{what};"));
    if asked("look") {
        // Tells what it could get at.
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.unwrap_or_default()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        let mut found = vec![
            line("Uid:"),
            line("CapEff:"),
            line("CapBnd:"),
            line("NoNewPrivs:"),
        ];
        let interfaces = fs::read_to_string("/proc/net/dev").unwrap_or_default();
        let names = interfaces
            .lines()
            .skip(2)
            .filter_map(|line| line.split(':').next());
        found.push(format!(
            "interfaces: {}",
            names.map(str::trim).collect::<Vec<_>>().join(" ")
        ));
        for address in ["192.0.2.1:80", "172.17.0.1:22"] {
            found.push(format!(
                "connect {address}: {}",
                TcpStream::connect(address).is_ok()
            ));
        }
        for path in ["/x", "/etc/x", "/tmp/x", "/dev/shm/x", "/hiendien-render"] {
            found.push(format!("write {path}: {}", fs::write(path, b"x").is_ok()));
        }
        for path in [
            "/run/docker.sock",
            "/var/run/docker.sock",
            "/etc/shadow",
            "/root",
            "/bin/sh",
        ] {
            found.push(format!("see {path}: {}", fs::metadata(path).is_ok()));
        }
        answer(&[frame("index.html", found.join("\n").as_bytes())]);
    } else if asked("fork") {
        // Each child does the same, until no more are let; none of them ends by itself.
        let children: Vec<_> = (0..200)
            .filter_map(|_| {
                Command::new("/hiendien-render")
                    .stderr(std::process::Stdio::null())
                    .stdin(std::process::Stdio::piped())
                    .spawn()
                    .ok()
            })
            .collect();
        answer(&[frame("index.html", children.len().to_string().as_bytes())]);
    } else if asked("loop") {
        loop {
            std::hint::spin_loop();
        }
    } else if asked("flood") {
        let chunk = vec![b'x'; 1 << 20];
        while stdout().lock().write_all(&chunk).is_ok() {}
    } else if asked("trickle") {
        // Promises much, sends without end and so slowly that it never gets there.
        stdout()
            .lock()
            .write_all(&(30u64 << 20).to_be_bytes())
            .unwrap();
        while stdout().lock().write_all(b"x").is_ok() && stdout().flush().is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(1));
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
        stdout()
            .lock()
            .write_all(&(answer.len() as u64 + 100).to_be_bytes())
            .unwrap();
        stdout().lock().write_all(&answer).unwrap();
    }
}
