//! Starting, and why it may be refused.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use galileo_experiment::local::{Error, LocalPlatform, Options, Port, ReplicaSpec};

use crate::ground::{Ground, cgroups_of, command, run_id, script};

#[tokio::test]
async fn replica_gets_its_environment_port_and_folder() {
    let ground = Ground::new();
    let mut platform = ground.open("env");
    let mut spec = script(
        "web-0",
        "echo \"$K $PORT $GALILEO_REPLICA\"; pwd; echo err >&2",
    );
    spec.env.insert("K".to_owned(), "v w".to_owned());
    spec.cwd = Some(PathBuf::from("/usr"));
    spec.port = Port::Free;
    let replica = platform.start(spec).unwrap();
    assert!(replica.wait().await.is_success());

    let port = replica.port().unwrap();
    assert_eq!(replica.addr().unwrap(), ([127, 0, 0, 1], port).into());
    let expected = format!("v w {port} {}/web-0\n/usr\n", run_id("env"));
    assert_eq!(
        fs::read_to_string(&replica.output().stdout).unwrap(),
        expected
    );
    assert_eq!(
        fs::read_to_string(&replica.output().stderr).unwrap(),
        "err\n"
    );
    platform.stop(Duration::ZERO).await;
    assert!(replica.output().stdout.exists(), "output outlives the run");
}

#[tokio::test]
async fn command_that_is_missing_is_named() {
    let ground = Ground::new();
    let mut platform = ground.open("missing");
    let folder = ground.state.path().display().to_string();
    let tell = |platform: &mut LocalPlatform, spec| platform.start(spec).unwrap_err().to_string();

    let relative = ReplicaSpec {
        cwd: Some(folder.clone().into()),
        ..command("web-0", &["./server"])
    };
    assert_eq!(
        tell(&mut platform, relative),
        format!("web-0: command not found: ./server (looked for in {folder})")
    );
    assert_eq!(
        tell(&mut platform, command("web-0", &["no-such-program"])),
        "web-0: command not found: no-such-program"
    );
    assert_eq!(
        tell(&mut platform, command("web-0", &[])),
        "web-0: the command is empty"
    );
    let nowhere = ReplicaSpec {
        cwd: Some("/nowhere".into()),
        ..command("web-0", &["true"])
    };
    assert!(
        tell(&mut platform, nowhere).starts_with("web-0: cannot change to the folder /nowhere: ")
    );

    let text = ground.state.path().join("text");
    fs::write(&text, "#!/no/such/interpreter\n").unwrap();
    let text = text.display().to_string();
    assert_eq!(
        tell(&mut platform, command("web-0", &[&text])),
        format!("web-0: {text} is not executable (chmod +x?)")
    );
    fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(
        tell(&mut platform, command("web-0", &[&text])),
        format!("web-0: {text} is there, but the interpreter that it names is not")
    );

    // What was refused is in nobody's way.
    assert!(
        platform
            .start(command("web-0", &["true"]))
            .unwrap()
            .wait()
            .await
            .is_success()
    );
}

#[tokio::test]
async fn cpu_that_does_not_exist_is_refused() {
    let ground = Ground::new();
    let mut platform = ground.open("cpus");
    let error = platform
        .start(ReplicaSpec {
            cpus: vec![0, 1000],
            ..command("web-0", &["true"])
        })
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("there is no CPU 1000 for this process"),
        "{error}"
    );
}

#[tokio::test]
async fn limit_that_the_kernel_does_not_take_is_refused_and_leaves_nothing() {
    let Some(ground) = Ground::of_root() else {
        return;
    };
    let mut platform = ground.open("limit");
    let error = platform
        .start(ReplicaSpec {
            cpu_limit: Some(0.0),
            ..command("web-0", &["true"])
        })
        .unwrap_err();
    assert!(matches!(error, Error::Limit { what: "CPU", .. }), "{error}");
    let run = platform
        .own_cgroup()
        .unwrap()
        .folder
        .parent()
        .unwrap()
        .to_owned();
    assert!(run.join("self").exists() && !run.join("web-0").exists());
}

#[tokio::test]
async fn port_that_is_taken_is_refused_with_its_holder() {
    let ground = Ground::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut platform = ground.open("port");
    let spec = ReplicaSpec {
        port: Port::Fixed(port),
        ..script("web-0", "exec sleep 1000")
    };
    let error = platform.start(spec.clone()).unwrap_err();
    match &error {
        Error::PortTaken {
            port: taken,
            holder: Some(holder),
            ..
        } => {
            assert_eq!((*taken, holder.pid), (port, std::process::id()));
        }
        other => panic!("{other}"),
    }
    assert!(
        error
            .to_string()
            .contains(&format!("(process {})", std::process::id())),
        "{error}"
    );

    drop(listener);
    platform.start(spec.clone()).unwrap();
    let error = platform
        .start(ReplicaSpec {
            name: "web-1".to_owned(),
            ..spec
        })
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("web-1: port {port} is taken by web-0 ")),
        "{error}"
    );
}

#[test]
fn program_that_is_no_helper_is_noticed() {
    let Some(ground) = Ground::of_root() else {
        return;
    };
    let options = Options {
        helper: "/bin/true".into(),
        ..ground.options("helper")
    };
    let error = LocalPlatform::open(options).unwrap_err();
    assert!(matches!(error, Error::Helper { .. }), "{error}");
    assert_eq!(cgroups_of(&run_id("helper")), Vec::<PathBuf>::new());
}

#[test]
fn run_that_is_in_progress_is_not_opened_again() {
    let ground = Ground::new();
    let platform = ground.open("twice");
    let error = LocalPlatform::open(ground.options("twice")).unwrap_err();
    assert!(matches!(error, Error::Running { .. }), "{error}");
    drop(platform);
    drop(ground.open("twice"));
}

#[test]
fn cgroup_parent_that_does_not_exist_is_refused() {
    let Some(ground) = Ground::of_root() else {
        return;
    };
    let options = Options {
        cgroup_parent: Some("/no/such".into()),
        ..ground.options("parent")
    };
    let error = LocalPlatform::open(options).unwrap_err();
    assert!(
        error.to_string().contains("there is no such cgroup"),
        "{error}"
    );
}
