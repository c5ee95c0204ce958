//! The rooms that sites are built in: containers of Docker and of Podman, and confined processes. What
//! holds of one holds of all.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hiendien_container::{ConfinedBuilder, Engine, image_archive, image_files};
use hiendien_domain::content::SiteContent;
use hiendien_domain::site::FileTree;
use hiendien_engine::ports::{BuildJob, ErrorChain, FailureKind, PortError, SiteBuilder};
use hiendien_render::{confine, render, template};
use integration_tests::site::{
    BuildEngine, builder_settings, hostile_renderer, render_binary, templates,
};
use integration_tests::wait::wait_for;

use crate::site::all_sites;

const LIMIT: Duration = Duration::from_mins(1);
/// A template of businesses.
const TEMPLATE: &str = "storefront";
/// What a neighbour's build may take beyond its usual time while this machine is attacked.
const DISTURBANCE_MAX: Duration = Duration::from_secs(3);

/// Stories below, in one kind of room.
macro_rules! in_rooms {
    ($module:ident of $engine:ident: $($story:ident),* $(,)?) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story(super::BuildEngine::$engine).await;
            })*
        }
    };
}

in_rooms!(docker of Docker:
    the_same_files_are_made_as_by_the_library,
    many_jobs_at_once_are_all_built_with_few_rooms,
    a_bad_template_is_rejected_with_its_place_and_leaves_nothing,
    a_hostile_program_gets_nowhere_and_its_neighbour_does_not_notice,
    rooms_that_die_or_are_of_an_old_binary_are_replaced_while_they_wait,
    what_a_killed_worker_left_behind_is_removed_and_nobody_elses,
);
in_rooms!(podman of Podman:
    the_same_files_are_made_as_by_the_library,
    many_jobs_at_once_are_all_built_with_few_rooms,
    a_bad_template_is_rejected_with_its_place_and_leaves_nothing,
    a_hostile_program_gets_nowhere_and_its_neighbour_does_not_notice,
    rooms_that_die_or_are_of_an_old_binary_are_replaced_while_they_wait,
    what_a_killed_worker_left_behind_is_removed_and_nobody_elses,
);
in_rooms!(process of Process:
    the_same_files_are_made_as_by_the_library,
    many_jobs_at_once_are_all_built_with_few_rooms,
    a_bad_template_is_rejected_with_its_place_and_leaves_nothing,
    a_hostile_program_gets_nowhere_and_its_neighbour_does_not_notice,
    rooms_that_die_or_are_of_an_old_binary_are_replaced_while_they_wait,
);

fn sample_job() -> BuildJob {
    BuildJob {
        template: TEMPLATE.to_owned(),
        content: template::sample(&templates(), TEMPLATE).unwrap(),
    }
}

fn owner() -> String {
    format!("test-{}", uuid::Uuid::new_v4())
}

/// Runs `docker` with an engine; Podman answers it as well.
fn docker(engine: BuildEngine, arguments: &[&str]) -> String {
    let socket = engine.socket().unwrap();
    let output = Command::new("docker")
        .arg("-H")
        .arg(format!("unix://{}", socket.display()))
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The rooms of this owner, running or not, as the engine or the kernel tells.
fn rooms(engine: BuildEngine, owner: &str) -> Vec<String> {
    if engine != BuildEngine::Process {
        let filter = format!("label=hiendien.owner={owner}");
        let ids = docker(engine, &["ps", "-a", "-q", "--filter", &filter]);
        return ids.lines().map(str::to_owned).collect();
    }
    // Each test has a process of its own, whose children they are.
    let own = format!(" {} ", std::process::id());
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.ok()?.path();
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        let (_, stat) = stat.rsplit_once(')')?;
        let is_ours = stat.get(2..)?.starts_with(&own);
        let command = fs::read_to_string(path.join("cmdline")).ok()?;
        let is_room = command
            .split('\0')
            .any(|word| word == confine::Work::Site.argument());
        (is_ours && is_room).then(|| path.file_name().unwrap().to_string_lossy().into_owned())
    });
    processes.collect()
}

async fn until_none_are_left(engine: BuildEngine, owner: &str) {
    wait_for("the rooms to be gone", LIMIT, || async {
        match rooms(engine, owner) {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        }
    })
    .await;
}

async fn until_warm(builder: &ConfinedBuilder) {
    wait_for("the rooms to be warm", LIMIT, || async {
        match builder.warm_rooms() {
            2 => Ok(()),
            count => Err(count),
        }
    })
    .await;
}

async fn the_same_files_are_made_as_by_the_library(engine: BuildEngine) {
    let owner = owner();
    let builder = ConfinedBuilder::start(builder_settings(engine, &owner, render_binary()));
    // The program is one and the same everywhere: in the other rooms a few sites show that.
    let count = if engine == BuildEngine::Docker {
        usize::MAX
    } else {
        3
    };
    let samples = all_sites()
        .into_iter()
        .filter(|(site, ..)| site.contains("sample"));
    for (site, template, content) in samples.take(count) {
        let here = render(&template, &content).unwrap();
        let job = BuildJob {
            template: template.name.clone(),
            content,
        };
        let there = builder
            .build(&job)
            .await
            .unwrap_or_else(|error| panic!("{site}: {}", ErrorChain(&error)));
        assert_eq!(there, here, "{site}");
        assert_eq!(there.revision(), here.revision(), "{site}");
    }
    builder.shutdown().await;
    until_none_are_left(engine, &owner).await;
}

async fn many_jobs_at_once_are_all_built_with_few_rooms(engine: BuildEngine) {
    let owner = owner();
    let settings = builder_settings(engine, &owner, render_binary());
    let builder = Arc::new(ConfinedBuilder::start(settings));
    let jobs = (0..25).map(|number| {
        let builder = Arc::clone(&builder);
        let mut job = sample_job();
        if let SiteContent::Business(business) = &mut job.content {
            business.trade_name = format!("Quán số {number}");
        }
        tokio::spawn(async move { (number, builder.build(&job).await) })
    });
    for job in jobs.collect::<Vec<_>>() {
        let (number, tree) = job.await.unwrap();
        let page = index(&tree.unwrap());
        assert!(
            page.contains(&format!("Quán số {number}<")),
            "each job has its own answer"
        );
    }
    builder.shutdown().await;
    until_none_are_left(engine, &owner).await;
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn a_bad_template_is_rejected_with_its_place_and_leaves_nothing(engine: BuildEngine) {
    let owner = owner();
    let mut settings = builder_settings(engine, &owner, render_binary());
    let folder = tempfile::tempdir().unwrap();
    folder.path().clone_into(&mut settings.templates);
    let changed = folder.path().join(TEMPLATE);
    let builder = ConfinedBuilder::start(settings);
    let doubled = "{% set all = namespace(text='0123456789abcdef') %}{% for i in range(40) %}{% set all.text = all.text ~ all.text %}{% endfor %}x";
    let too_large = format!("page `index.html` of template `{TEMPLATE}` is larger than");
    let cases = [
        ("index.html", "a\nb\n{% if %}", "(in index.html:3)"),
        (
            "index.html",
            "a\n{{ content.nothing_of_that_name.at_all }}",
            "(in index.html:2)",
        ),
        (
            "index.html",
            "{% extends \"../../../etc/passwd\" %}",
            "template not found",
        ),
        (
            "index.html",
            "{% include \"/etc/passwd\" %}",
            "template not found",
        ),
        (
            "index.html",
            "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = a * b %}{% endfor %}{% endfor %}",
            "out of fuel",
        ),
        (
            "index.html",
            "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
            "recursion",
        ),
        (
            "index.html",
            "{% for a in range(9999) %}{{ '0123456789abcdef' * 99 }}{% endfor %}",
            too_large.as_str(),
        ),
        ("index.html", doubled, "MiB and was killed"),
        ("index.html", " ", "makes no `index.html`"),
        ("bad name.html", "x", "is not a site path"),
        (
            "template.toml",
            "name = 'other'\nkinds = []\n",
            "template.toml",
        ),
    ];
    for (file, text, expected) in cases {
        let _ = fs::remove_dir_all(&changed);
        copy(&templates(), folder.path());
        fs::write(changed.join(file), text).unwrap();
        let error = builder.build(&sample_job()).await.unwrap_err();
        let told = ErrorChain(&error).to_string();
        assert!(told.contains(expected), "{text}: {told}");
        assert!(!told.contains('\n'), "{told}");
        let kind = if file == "template.toml" {
            FailureKind::Misconfigured
        } else {
            FailureKind::Rejected
        };
        assert_eq!(error.kind, kind, "{text}: {told}");
    }
    // A link is not a template's file, wherever it leads to.
    let _ = fs::remove_dir_all(&changed);
    copy(&templates(), folder.path());
    std::os::unix::fs::symlink("/etc/passwd", changed.join("passwd.html")).unwrap();
    match builder.build(&sample_job()).await {
        Ok(tree) => assert!(tree.get("passwd.html").is_none(), "a link was followed"),
        Err(error) => assert_eq!(error.kind, FailureKind::Misconfigured),
    }
    builder.shutdown().await;
    until_none_are_left(engine, &owner).await;
}

fn hostile_job(what: &str) -> BuildJob {
    let mut job = sample_job();
    if let SiteContent::Business(business) = &mut job.content {
        business.trade_name = format!("do:{what};");
    }
    job
}

fn index(tree: &FileTree) -> String {
    String::from_utf8(tree.get("index.html").unwrap().identity.clone()).unwrap()
}

async fn timed(builder: &ConfinedBuilder) -> Duration {
    let began = Instant::now();
    builder.build(&sample_job()).await.unwrap();
    began.elapsed()
}

async fn a_hostile_program_gets_nowhere_and_its_neighbour_does_not_notice(engine: BuildEngine) {
    let (owner, of_neighbour) = (owner(), owner());
    let mut settings = builder_settings(engine, &owner, hostile_renderer());
    settings.timeout = Duration::from_secs(3);
    let builder = ConfinedBuilder::start(settings);
    let neighbour =
        ConfinedBuilder::start(builder_settings(engine, &of_neighbour, render_binary()));
    until_warm(&neighbour).await;
    let mut usual = timed(&neighbour).await;
    until_warm(&neighbour).await;
    usual = usual.max(timed(&neighbour).await);
    let mut disturbed = HashMap::new();

    let seen = index(&builder.build(&hostile_job("look")).await.unwrap());
    let shown = format!("what_a_hostile_program_can_get_at_{}", engine.as_str());
    insta::assert_snapshot!(shown, seen);
    for (what, most) in [("fork", 0), ("threads", 15)] {
        let (tree, took) = tokio::join!(
            async { builder.build(&hostile_job(what)).await },
            timed(&neighbour)
        );
        let made: usize = index(&tree.unwrap()).parse().unwrap();
        assert!(made <= most, "{what}: {made} were let");
        disturbed.insert(what, took);
    }
    let longer = "longer than 3 s and was killed";
    for (what, expected) in [
        ("flood", "larger than its bound"),
        ("escape", "is not a site path"),
        ("absolute", "is not a site path"),
        ("link", "larger than its bound"),
        ("cut", "ended without a word"),
        ("memory", "it used more than 128 MiB and was killed"),
        ("loop", longer),
        ("trickle", longer),
        ("complain", longer),
        // One that ends without a word is tried again, and then told.
        ("nothing", "ended without a word"),
    ] {
        until_warm(&neighbour).await;
        let (built, took) = tokio::join!(
            async { builder.build(&hostile_job(what)).await },
            timed(&neighbour)
        );
        let error: PortError = built.unwrap_err();
        let told = ErrorChain(&error).to_string();
        assert!(told.contains(expected), "{what}: {told}");
        let is_slow = expected == longer || expected.starts_with("ended");
        match error.kind {
            FailureKind::Rejected => assert!(!is_slow, "{what}: {told}"),
            FailureKind::Transient { .. } => assert!(is_slow, "{what}: {told}"),
            FailureKind::Held | FailureKind::Misconfigured => panic!("{what}: {told}"),
        }
        disturbed.insert(what, took);
    }
    for (what, took) in disturbed {
        assert!(
            took < usual + DISTURBANCE_MAX,
            "beside {what} the neighbour took {took:?}, usually {usual:?}"
        );
    }
    builder.shutdown().await;
    neighbour.shutdown().await;
    until_none_are_left(engine, &owner).await;
    until_none_are_left(engine, &of_neighbour).await;
}

async fn rooms_that_die_or_are_of_an_old_binary_are_replaced_while_they_wait(engine: BuildEngine) {
    let folder = tempfile::tempdir().unwrap();
    let owner = owner();
    let binary = folder.path().join("renderer");
    fs::copy(render_binary(), &binary).unwrap();
    let builder = ConfinedBuilder::start(builder_settings(engine, &owner, binary.clone()));
    until_warm(&builder).await;
    let first = rooms(engine, &owner);
    for id in &first {
        match engine {
            BuildEngine::Process => {
                assert!(
                    Command::new("kill")
                        .args(["-KILL", id])
                        .status()
                        .unwrap()
                        .success()
                );
            }
            _ => drop(docker(engine, &["kill", id])),
        }
    }
    // Nobody has asked for one, nor does the next job notice.
    let two_besides = async |those: &[String]| {
        wait_for("other rooms to wait", LIMIT, || async {
            let now = rooms(engine, &owner);
            let are_others = now.len() == 2 && now.iter().all(|id| !those.contains(id));
            if are_others { Ok(()) } else { Err(now) }
        })
        .await;
    };
    two_besides(&first).await;
    builder.build(&sample_job()).await.unwrap();
    until_warm(&builder).await;
    let old = rooms(engine, &owner);

    // As an upgrade does it: the new one comes in the place of the old at one moment.
    let new = folder.path().join("new");
    fs::copy(hostile_renderer(), &new).unwrap();
    fs::rename(&new, &binary).unwrap();
    two_besides(&old).await;
    until_warm(&builder).await;
    let answer = builder.build(&hostile_job("fork")).await.unwrap();
    assert_eq!(index(&answer), "0", "the new binary answers");
    builder.shutdown().await;
    until_none_are_left(engine, &owner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_engine_or_a_binary_it_is_told_what_to_do_and_building_goes_on_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let owner = owner();
    let binary = render_binary();
    let mut settings =
        builder_settings(BuildEngine::Docker, &owner, folder.path().join("renderer"));
    let away = folder.path().join("engine.sock");
    settings.engine = Engine::Container {
        socket: away.clone(),
        files: folder.path().to_owned(),
    };
    fs::write(&settings.render_binary, "not yet").unwrap();
    let builder = ConfinedBuilder::start(settings.clone());
    let job = sample_job();
    let error = builder.build(&job).await.unwrap_err();
    let told = ErrorChain(&error).to_string();
    assert_eq!(error.kind, FailureKind::Misconfigured, "{told}");
    assert!(told.contains("start Docker or Podman"), "{told}");
    assert!(told.contains(&away.display().to_string()), "{told}");

    // The engine comes back, the binary is missing.
    fs::remove_file(&settings.render_binary).unwrap();
    std::os::unix::fs::symlink(BuildEngine::Docker.socket().unwrap(), &away).unwrap();
    wait_for("the missing binary to be told", LIMIT, || async {
        let error = builder.build(&job).await.unwrap_err();
        let told = ErrorChain(&error).to_string();
        if told.contains("reading the render binary") && error.kind == FailureKind::Misconfigured {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
    fs::copy(binary, &settings.render_binary).unwrap();
    wait_for("a site to be built", LIMIT, || async {
        builder
            .build(&job)
            .await
            .map_err(|error| ErrorChain(&error).to_string())
    })
    .await;
    builder.shutdown().await;
    until_none_are_left(BuildEngine::Docker, &owner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_cannot_be_confined_is_given_no_job() {
    // One that says nothing of being confined.
    let settings = builder_settings(BuildEngine::Process, &owner(), "/bin/true".into());
    let builder = ConfinedBuilder::start(settings);
    let error = builder.build(&sample_job()).await.unwrap_err();
    let told = ErrorChain(&error).to_string();
    assert_eq!(error.kind, FailureKind::Misconfigured, "{told}");
    assert!(told.contains("it is not confined"), "{told}");
    builder.shutdown().await;

    // A kernel without Landlock, as a container of ours shows it: our profile does not let it be asked.
    let (engine, owner) = (BuildEngine::Docker, owner());
    let builder = ConfinedBuilder::start(builder_settings(engine, &owner, render_binary()));
    until_warm(&builder).await;
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("seccomp.json");
    fs::write(&profile, confine::container_profile().to_string()).unwrap();
    let image = image_archive(&image_files(&render_binary()).unwrap()).unwrap();
    let output = Command::new("docker")
        .arg("-H")
        .arg(format!("unix://{}", engine.socket().unwrap().display()))
        .args([
            "run",
            "--rm",
            "--network",
            "none",
            "--user",
            "65534",
            "--cap-drop",
            "ALL",
        ])
        .args(["--security-opt", "no-new-privileges", "--security-opt"])
        .arg(format!("seccomp={}", profile.display()))
        .args([
            image.name.as_str(),
            "/hiendien-render",
            confine::Work::Site.argument(),
        ])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && output.stdout.is_empty(),
        "{told}"
    );
    assert!(told.contains("the kernel has no Landlock"), "{told}");
    builder.shutdown().await;
    until_none_are_left(engine, &owner).await;
}

async fn what_a_killed_worker_left_behind_is_removed_and_nobody_elses(engine: BuildEngine) {
    let (owner, other) = (owner(), owner());
    let binary = render_binary();
    let filled = |owner: String| async move {
        wait_for("the rooms to be there", LIMIT, || async {
            match rooms(engine, &owner) {
                ids if ids.len() == 2 => Ok(ids),
                ids => Err(ids),
            }
        })
        .await
    };
    // A worker that is killed runs no destructor.
    let killed = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    {
        let _entered = killed.enter();
        std::mem::forget(ConfinedBuilder::start(builder_settings(
            engine,
            &owner,
            binary.clone(),
        )));
    }
    let neighbour = ConfinedBuilder::start(builder_settings(engine, &other, binary.clone()));
    let left = filled(owner.clone()).await;
    let others = filled(other.clone()).await;
    killed.shutdown_background();

    let builder = ConfinedBuilder::start(builder_settings(engine, &owner, binary));
    builder.build(&sample_job()).await.unwrap();
    wait_for("the old containers to be gone", LIMIT, || async {
        let now = rooms(engine, &owner);
        if left.iter().any(|id| now.contains(id)) {
            Err(now)
        } else {
            Ok(())
        }
    })
    .await;
    assert_eq!(rooms(engine, &other), others);
    builder.shutdown().await;
    neighbour.shutdown().await;
    until_none_are_left(engine, &owner).await;
    until_none_are_left(engine, &other).await;
}

/// The archive that `cargo xtask image` writes is one that both engines take, as the image the
/// builder looks for.
#[test]
fn the_image_archive_is_loaded_by_both_engines() {
    let folder = tempfile::tempdir().unwrap();
    let archive = image_archive(&image_files(&render_binary()).unwrap()).unwrap();
    let file = folder.path().join("image.tar");
    fs::write(&file, &archive.octets).unwrap();
    let ids = [BuildEngine::Docker, BuildEngine::Podman].map(|engine| {
        docker(engine, &["load", "--input", file.to_str().unwrap()]);
        let format = ["image", "inspect", "--format", "{{.Id}}", &archive.name];
        docker(engine, &format)
            .trim()
            .trim_start_matches("sha256:")
            .to_owned()
    });
    assert_eq!(ids[0], ids[1], "both know it by the same hash");
}
