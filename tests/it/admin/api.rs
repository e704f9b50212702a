//! What the pages say.

use fairlead::base::time;
use fairlead::control::admin::pages::{RefusedProblem, ReloadPage};
use serde_json::json;

use super::{Fixture, ask, tcp};

/// The page without what differs from run to run.
fn steady(mut page: serde_json::Value) -> serde_json::Value {
    const MOVING: [&str; 4] = ["since", "age_seconds", "evidence_age_seconds", "at"];
    match &mut page {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if MOVING.contains(&name.as_str()) && !value.is_null() {
                    *value = json!("…");
                } else {
                    *value = steady(value.take());
                }
            }
        }
        serde_json::Value::Array(items) => {
            items
                .iter_mut()
                .for_each(|item| *item = steady(item.take()));
        }
        _ => {}
    }
    page
}

#[test]
fn an_upstream_tells_its_primary_and_the_evidence() {
    let mut fixture = Fixture::start();
    fixture.settle();
    let page = steady(fixture.json("/api/v1/upstreams/orders"));
    let probe = |detail: &str| json!({ "ok": true, "took_seconds": 0.004, "detail": detail, "age_seconds": "…" });
    let endpoint = |id: &str, role: &str, probe: serde_json::Value| {
        let lag = (role == "replica").then_some(0);
        json!({
            "id": id, "role": role, "epoch": 3, "health": "healthy", "eligible": true,
            "reasons": [], "why": null, "in_flight": 0, "latency_ewma_seconds": null, "weight": 1,
            "lag_bytes": lag, "lag_seconds": lag.map(f64::from), "told": null, "since": "…", "last_probe": probe,
        })
    };
    assert_eq!(
        page,
        json!({
            "name": "orders", "kind": "postgres", "balance": "least_conn",
            "generation": page["generation"], "state": "serving",
            "primary": {
                "endpoint": "10.0.0.5:5432", "epoch": 3, "since": "…", "evidence_age_seconds": "…",
            },
            "fence_epoch": 3, "last_primary": null, "is_split_brain": false,
            "suspension": null, "source": null, "held_connections": 0,
            "endpoints": [
                endpoint("10.0.0.5:5432", "primary", probe("not in recovery, timeline 3, lsn 0/3000148")),
                endpoint("10.0.0.6:5432", "replica", probe("in recovery, timeline 3, lsn 0/3000148")),
            ],
        }),
        "{page:#}"
    );
}

#[test]
fn every_endpoint_without_traffic_says_why() {
    let mut fixture = Fixture::start();
    fixture.settle();
    let page = fixture.json("/api/v1/upstreams/app");
    assert_eq!(page["state"], "no_eligible_endpoint");
    let endpoints = page["endpoints"].as_array().unwrap();
    assert_eq!(endpoints[0]["reasons"], json!(["probe_failed"]));
    assert_eq!(endpoints[0]["health"], "unhealthy");
    assert_eq!(endpoints[0]["last_probe"]["ok"], false);
    assert_eq!(
        endpoints[0]["last_probe"]["detail"],
        "connect: connection refused"
    );
    assert_eq!(endpoints[1]["reasons"], json!(["draining"]));
    for endpoint in endpoints {
        let has_reason = !endpoint["reasons"].as_array().unwrap().is_empty();
        assert_ne!(endpoint["eligible"] == true, has_reason, "{endpoint}");
        assert_eq!(endpoint["role"], serde_json::Value::Null);
    }
}

#[test]
fn the_status_sums_up_and_warns() {
    let mut fixture = Fixture::start();
    let before = fixture.json("/api/v1/status");
    assert_eq!(before["is_ready"], false);
    assert_eq!(before["upstreams"][0]["state"], "starting");
    fixture.settle();
    fixture.context.readiness.applied(time::now());
    fixture.context.readiness.bound();
    let page = fixture.json("/api/v1/status");
    assert_eq!(page["is_ready"], true);
    assert_eq!(
        page["upstreams"],
        json!([
            { "name": "app", "state": "no_eligible_endpoint", "eligible": 0, "endpoints": 2, "primary": null },
            { "name": "orders", "state": "serving", "eligible": 2, "endpoints": 2, "primary": "10.0.0.5:5432" },
        ])
    );
    let warnings = json!(["upstream app: no_eligible_endpoint"]);
    assert_eq!(page["warnings"], warnings);
    assert_eq!(
        (&page["listeners"], &page["routes"]),
        (&json!(2), &json!(1))
    );
}

#[test]
fn listeners_show_where_they_are_bound_and_where_they_lead() {
    let fixture = Fixture::start();
    let page = fixture.json("/api/v1/listeners");
    let items = page["items"].as_array().unwrap();
    assert_eq!(items[0]["name"], "pg");
    assert_eq!(
        (&items[0]["upstream"], &items[0]["role"]),
        (&json!("orders"), &json!("primary"))
    );
    assert_eq!(items[1]["bind"], json!(["127.0.0.1:8080"]));
}

#[test]
fn events_are_listed_oldest_first_and_by_upstream() {
    let mut fixture = Fixture::start();
    fixture.settle();
    let all = fixture.json("/api/v1/events");
    let kinds: Vec<_> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        kinds.first().map(String::as_str),
        Some("endpoint_down"),
        "{all:#}"
    );
    let orders = fixture.json("/api/v1/events?upstream=orders");
    let found = orders["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|event| event["kind"] == "primary_found")
        .unwrap();
    assert_eq!(found["to"], "10.0.0.5:5432");
    assert_eq!(found["epoch"], 3);
    let text = orders.to_string();
    assert!(!text.contains("10.0.0.1:8001"), "{text}");
}

#[test]
fn the_effective_configuration_shows_no_secret() {
    let fixture = Fixture::start();
    let answer = fixture.get("/api/v1/config");
    assert!(
        answer.body.contains("[upstreams.orders]"),
        "{}",
        answer.body
    );
    assert!(answer.body.contains("pg.pass"), "{}", answer.body);
    assert!(!answer.body.contains("geheim"), "{}", answer.body);
}

#[test]
fn ready_tells_what_is_missing_and_stays_until_a_drain() {
    let mut fixture = Fixture::start();
    assert_eq!(fixture.get("/livez").status, 200);
    let answer = fixture.get("/readyz");
    assert_eq!(answer.status, 503);
    assert!(
        answer
            .body
            .contains("[-] configuration applied: not applied yet"),
        "{}",
        answer.body
    );
    let readiness = &fixture.context.readiness;
    readiness.applied(time::now());
    readiness.bound();
    let answer = fixture.get("/readyz?verbose");
    assert!(
        answer.body.contains("[+] listeners bound"),
        "{}",
        answer.body
    );
    assert!(
        answer
            .body
            .contains("[-] upstreams probed: waiting for a first verdict: app, orders"),
        "{}",
        answer.body
    );
    fixture.settle();
    let answer = fixture.get("/readyz");
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
    fixture.context.readiness.draining();
    assert_eq!(fixture.get("/readyz").status, 503);
    assert_eq!(fixture.get("/livez").status, 200);
}

#[test]
fn a_dead_upstream_keeps_nobody_unready_for_ever() {
    let fixture = Fixture::start();
    let (now, readiness) = (time::now(), &fixture.context.readiness);
    readiness.bound();
    readiness.applied(now);
    let cells = fixture.context.upstreams();
    assert!(!readiness.is_ready(&cells, now));
    let later = now.after(fairlead::config::default::READY_WAIT);
    assert!(readiness.is_ready(&cells, later));
    assert!(readiness.is_ready(&cells, now), "it stays ready");
}

#[test]
fn a_reload_answers_with_what_changed_or_why_not() {
    let mut fixture = Fixture::start();
    let address = fixture.address();
    let replies = [
        Ok(ReloadPage {
            generation: 2,
            added: vec!["upstreams.new".to_owned()],
            ..ReloadPage::default()
        }),
        Err(vec![RefusedProblem {
            code: "unknown-key".to_owned(),
            message: "unknown key".to_owned(),
            line: Some(3),
            ..RefusedProblem::default()
        }]),
    ];
    let mut answers = Vec::new();
    for reply in replies {
        let address = address.clone();
        let asked = std::thread::spawn(move || ask(&address, "POST", "/api/v1/reload"));
        let call = fixture.reloads.blocking_recv().unwrap();
        call.reply.send(reply).unwrap();
        answers.push(asked.join().unwrap());
    }
    assert_eq!(answers[0].status, 200);
    assert!(answers[0].body.contains("upstreams.new"));
    assert_eq!(answers[1].status, 422);
    let page: serde_json::Value = serde_json::from_str(&answers[1].body).unwrap();
    assert_eq!(page["code"], "configuration_invalid");
    assert_eq!(page["errors"][0]["line"], 3);
    assert!(answers[1].head.contains("application/problem+json"));
}

#[test]
fn reading_never_changes_and_changing_is_not_for_tcp() {
    let mut fixture = Fixture::start();
    for (method, status) in [("POST", 403), ("GET", 405), ("PUT", 405)] {
        let answer = ask(&tcp(fixture.admin), method, "/api/v1/reload");
        assert_eq!(answer.status, status, "{method}: {}", answer.body);
    }
    assert_eq!(fixture.get("/api/v1/reload").status, 405);
    assert_eq!(
        ask(&fixture.address(), "POST", "/api/v1/status").status,
        405
    );
    assert!(fixture.reloads.try_recv().is_err(), "nobody was asked");
}

#[test]
fn unknown_pages_are_problems_and_every_answer_has_the_generation() {
    let fixture = Fixture::start();
    for path in ["/", "/api/v1/upstreams/none", "/api/v1/upstreams/", "/api"] {
        let answer = fixture.get(path);
        assert_eq!(answer.status, 404, "{path}");
        let page: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(page["type"], "about:blank");
        assert_eq!(page["status"], 404);
        assert!(answer.head.contains("x-generation: 1"), "{}", answer.head);
    }
}
