//! Another configuration for a process that runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use super::{Daemon, Origin, Port, Wire, printed, said, web, wire};
use crate::support::{LONG, eventually};

const SUCCESSFUL: &str = "fairlead_config_last_reload_successful";

/// Two listeners with an upstream each.
struct Two {
    origins: [Origin; 2],
    ports: [Port; 2],
}

impl Two {
    fn start() -> Two {
        Two {
            origins: [Origin::start("one"), Origin::start("two")],
            ports: [Port::reserve(), Port::reserve()],
        }
    }

    fn text(&self, which: usize) -> String {
        let name = ["a", "b"][which];
        web(
            name,
            self.ports[which].address(),
            self.origins[which].address(),
        )
    }

    /// The body of an answer of a listener.
    fn body(&self, which: usize) -> String {
        wire::get(self.ports[which].address(), "/").unwrap().body
    }
}

#[tokio::test]
async fn sighup_a_replaced_file_and_a_command_each_put_the_new_file_in_force() {
    let two = Two::start();
    let daemon = Daemon::start(&two.text(0)).await;
    assert_eq!(daemon.generation(), 1);

    // A file that was replaced.
    daemon.configure(&(two.text(0) + &two.text(1)));
    daemon.generation_is(2).await;
    assert_eq!(
        (two.body(0), two.body(1)),
        ("one".to_owned(), "two".to_owned())
    );

    // A signal, without a change.
    daemon.signal(Signal::HUP);
    daemon.generation_is(3).await;

    // A command. Where the file watch was faster, there is nothing left to tell: once more.
    eventually("a reload to print what it changed", LONG, async || {
        daemon.configure(&(two.text(0) + &two.text(1)));
        assert_eq!(daemon.command(&["reload"]).status.code(), Some(0));
        daemon.configure(&two.text(0));
        let output = daemon.command(&["reload"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let removed = "removed: listeners.b, upstreams.b";
        printed(&output).contains(removed).then_some(())
    })
    .await;
    eventually("b to be closed", LONG, async || {
        wire::is_refused(two.ports[1].address()).then_some(())
    })
    .await;
    assert_eq!(two.body(0), "one");
}

#[tokio::test]
async fn a_swapped_link_above_the_file_is_noticed_as_in_kubernetes() {
    let two = Two::start();
    let folder = tempfile::tempdir().unwrap();
    let mounted = folder.path().join("mounted");
    let write = |version: &str, text: &str| {
        std::fs::create_dir_all(mounted.join(version)).unwrap();
        let file = mounted.join(version).join("fairlead.toml");
        std::fs::write(file, super::page(&folder, text)).unwrap();
    };
    write("..1", &two.text(0));
    std::os::unix::fs::symlink("..1", mounted.join("..data")).unwrap();
    let file = mounted.join("fairlead.toml");
    std::os::unix::fs::symlink("..data/fairlead.toml", &file).unwrap();
    write("..2", &two.text(1));
    let daemon = Daemon::start_at(folder, &file, &[]).await;
    assert_eq!(two.body(0), "one");
    std::os::unix::fs::symlink("..2", mounted.join("..next")).unwrap();
    std::fs::rename(mounted.join("..next"), mounted.join("..data")).unwrap();
    std::fs::remove_dir_all(mounted.join("..1")).unwrap();
    daemon.generation_is(2).await;
    assert_eq!(two.body(1), "two");
}

#[tokio::test]
async fn an_invalid_file_changes_nothing_and_everybody_is_told() {
    let two = Two::start();
    let daemon = Daemon::start(&two.text(0)).await;
    assert_eq!(daemon.metric(SUCCESSFUL), Some(1.0));
    daemon.configure(
        &two.text(0)
            .replace("kind = \"http\"\nupstream", "kindd = \"http\"\nupstream"),
    );
    let line = daemon.logged(&["reload refused", "kindd"]).await;
    assert!(line.contains("ERROR"), "{line}");
    assert_eq!(daemon.metric(SUCCESSFUL), Some(0.0));
    let output = daemon.command(&["status"]);
    assert!(
        printed(&output).contains("warning: "),
        "{}",
        printed(&output)
    );
    assert!(printed(&output).contains("reload"), "{}", printed(&output));
    let output = daemon.command(&["reload"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(
        said(&output).contains("fairlead.toml:7:1: "),
        "{}",
        said(&output)
    );
    assert!(said(&output).contains("kindd"), "{}", said(&output));
    assert_eq!((daemon.generation(), two.body(0)), (1, "one".to_owned()));
    assert!(daemon.command(&["healthcheck"]).status.success());

    daemon.configure(&two.text(0));
    let output = daemon.command(&["reload"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(daemon.metric(SUCCESSFUL), Some(1.0));
    let output = daemon.command(&["status"]);
    assert!(
        !printed(&output).contains("warning: "),
        "{}",
        printed(&output)
    );
}

#[tokio::test]
async fn settings_of_the_start_are_named_by_every_reload_until_the_restart() {
    let two = Two::start();
    let daemon = Daemon::start(&two.text(0)).await;
    let others = "[metrics]\nlisten = \"127.0.0.1:1\"\nper_endpoint = false\n";
    daemon.configure(&format!(
        "[process]\nworker_threads = 7\ndrain_delay = \"1s\"\n{others}{}",
        two.text(0)
    ));
    for _ in 0..2 {
        let output = daemon.command(&["reload"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let words = "after a restart: process.worker_threads, metrics.listen\n";
        assert!(printed(&output).contains(words), "{}", printed(&output));
    }
    assert_eq!(daemon.metric("fairlead_endpoint_up"), None);
    daemon.configure(&two.text(0));
    let output = daemon.command(&["reload"]);
    assert!(
        !printed(&output).contains("restart"),
        "{}",
        printed(&output)
    );
}

#[tokio::test]
async fn a_port_that_is_taken_refuses_the_whole_reload() {
    let two = Two::start();
    let daemon = Daemon::start(&two.text(0)).await;
    let taken = std::net::TcpListener::bind(two.ports[1].address()).unwrap();
    daemon.configure(&(two.text(0).replace("\"one\"", "\"three\"") + &two.text(1)));
    let output = daemon.command(&["reload"]);
    assert_ne!(output.status.code(), Some(0));
    assert!(
        said(&output).contains("the address is in use"),
        "{}",
        said(&output)
    );
    assert_eq!((daemon.generation(), two.body(0)), (1, "one".to_owned()));
    assert!(
        daemon.page("/api/v1/upstreams")["items"]
            .as_array()
            .unwrap()
            .len()
            == 1
    );
    drop(taken);
    assert_eq!(daemon.command(&["reload"]).status.code(), Some(0));
    assert_eq!(two.body(1), "two");
}

#[tokio::test]
async fn what_did_not_change_keeps_its_connections_health_and_estimates() {
    let two = Two::start();
    let daemon = Daemon::start(&(two.text(0) + &two.text(1))).await;
    let mut kept = Wire::connect(two.ports[0].address()).unwrap();
    let first = kept.get("/").field("x-connection").unwrap().to_owned();
    let mut busy = Wire::connect(two.ports[0].address()).unwrap();
    busy.ask("/slow");
    eventually("the slow request", LONG, async || {
        (two.origins[0].waiting() == 1).then_some(())
    })
    .await;
    let page = |path: &str| daemon.page(path)["endpoints"][0].clone();
    let before = page("/api/v1/upstreams/a");
    assert_eq!(before["in_flight"], 1);
    assert!(
        before["latency_ewma_seconds"].as_f64().is_some(),
        "{before}"
    );

    // b goes, a stays as it was.
    daemon.configure(&two.text(0));
    assert_eq!(daemon.command(&["reload"]).status.code(), Some(0));
    let after = page("/api/v1/upstreams/a");
    for field in ["in_flight", "health", "since"] {
        assert_eq!(before[field], after[field], "{field}");
    }
    assert!(after["latency_ewma_seconds"].as_f64().is_some(), "{after}");
    // The same client connection, and behind it the same pooled one.
    let mut again = kept.get("/");
    if again.field("x-connection") != Some(&first) {
        // The slow request may have taken that one; then its successor stays.
        let successor = again.field("x-connection").unwrap().to_owned();
        again = kept.get("/");
        assert_eq!(again.field("x-connection"), Some(&*successor));
    }
    two.origins[0].open();
    assert_eq!(busy.reply().unwrap().status, 200);
    eventually("nothing to run", LONG, async || {
        (page("/api/v1/upstreams/a")["in_flight"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_listener_can_change_its_name_and_its_way_of_accepting_without_closing_its_port() {
    let two = Two::start();
    let daemon = Daemon::start(&two.text(0)).await;
    let balanced = |text: String| {
        text.replace(
            "upstream = \"a\"\n",
            "upstream = \"a\"\naccept = \"balanced\"\n",
        )
    };
    for text in [
        two.text(0).replace("listeners.a", "listeners.renamed"),
        balanced(two.text(0)),
        balanced(two.text(0)).replace("listeners.a", "listeners.renamed"),
        two.text(0),
    ] {
        daemon.configure(&text);
        let output = daemon.command(&["reload"]);
        assert_eq!(output.status.code(), Some(0), "{text}{}", said(&output));
        for _ in 0..8 {
            assert_eq!(two.body(0), "one");
        }
    }
    let pages = daemon.page("/api/v1/listeners");
    assert_eq!(pages["items"].as_array().unwrap().len(), 1, "{pages}");
}

#[tokio::test]
async fn reloads_under_load_lose_no_request() {
    let two = Two::start();
    let daemon = Daemon::start(&two.text(0)).await;
    let listen = two.ports[0].address();
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || {
                let mut count = 0;
                let mut kept = Wire::connect(listen).unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(wire::get(listen, "/").unwrap().status, 200);
                    assert_eq!(kept.get("/").status, 200);
                    count += 1;
                }
                count
            })
        })
        .collect();
    // The upstream changes, another listener comes and goes, routes come and go.
    let slower = two
        .text(0)
        .replace("interval = \"100ms\"", "interval = \"150ms\"");
    let route = "[routes.r]\nlisteners = [\"a\"]\npath_prefix = \"/\"\nupstream = \"b\"\n";
    let texts = [
        slower.clone(),
        two.text(0) + &two.text(1),
        two.text(0) + &two.text(1) + route,
        slower + &two.text(1) + route,
        two.text(0),
    ];
    for text in texts.iter().cycle().take(20) {
        daemon.configure(text);
        let output = daemon.command(&["reload"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.join().unwrap() > 0);
    }
}

#[tokio::test]
async fn a_listener_that_changes_its_name_under_load_refuses_nobody() {
    let two = Two::start();
    let daemon = Daemon::start(&two.text(0)).await;
    let listen = two.ports[0].address();
    let is_over = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&is_over);
    let client = std::thread::spawn(move || {
        while !asked.load(Ordering::Relaxed) {
            assert_eq!(wire::get(listen, "/").unwrap().status, 200);
        }
    });
    let renamed = two.text(0).replace("listeners.a", "listeners.renamed");
    for text in [&renamed, &two.text(0)].iter().cycle().take(10) {
        daemon.configure(text);
        let output = daemon.command(&["reload"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    is_over.store(true, Ordering::Relaxed);
    client.join().unwrap();
}
