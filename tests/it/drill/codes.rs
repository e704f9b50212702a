//! How a drill ends when it cannot or may not begin.

use fairlead::io::resp::Reply;

use super::drill;
use crate::support::RedisServer;
use crate::support::ports::Port;

#[tokio::test]
async fn without_yes_it_says_what_it_would_do_and_touches_nothing() {
    let redis = RedisServer::start().await;
    let line = format!("redis --target r={0} --direct {0}", redis.endpoint());
    let drilled = drill(&line, Some("make it so")).await;
    assert_eq!(drilled.code, 5, "{drilled:#?}");
    for part in ["write hashes fairlead_drill_", "make it so", "--yes"] {
        assert!(drilled.errors.contains(part), "{drilled:#?}");
    }
    assert_eq!(redis.command(&["DBSIZE"]).await, Reply::Integer(0));
    let info = redis.info("commandstats", "cmdstat_hset").await;
    assert_eq!(info, None, "somebody wrote");
}

#[tokio::test]
async fn wrong_arguments_are_2() {
    let at = "127.0.0.1:1";
    for line in [
        "redis --yes".to_owned(),
        format!("mysql --target a={at} --direct {at} --yes"),
        format!("redis --target {at} --direct {at} --yes"),
        format!("redis --target a={at} --target a={at} --direct {at} --yes"),
        format!("redis --target a={at} --direct {at} --sessions 0 --per-op 0 --yes"),
        format!("redis --target a={at} --direct {at} --sessions 2000 --yes"),
        format!("redis --target a={at} --direct {at} --interval 0s --yes"),
        format!("redis --target a={at} --direct {at} --runs 0 --yes"),
        format!("redis --target a={at} --direct {at} --password-file /nowhere/pass --yes"),
    ] {
        let drilled = drill(&line, None).await;
        assert_eq!(drilled.code, 2, "{line}: {drilled:#?}");
    }
}

#[tokio::test]
async fn what_cannot_be_reached_is_4_and_nothing_is_left() {
    let nobody = Port::reserve();
    let line = format!("redis --target a={0} --direct {0} --yes", nobody.address());
    assert_eq!(drill(&line, None).await.code, 4);

    // The database is there, the target is not.
    let redis = RedisServer::start().await;
    let line = format!(
        "redis --target a={} --direct {} --op-timeout 100ms --yes",
        nobody.address(),
        redis.endpoint()
    );
    let drilled = drill(&line, None).await;
    assert_eq!(drilled.code, 4, "{drilled:#?}");
    assert!(
        drilled.errors.contains("no write through a"),
        "{drilled:#?}"
    );
    assert_eq!(redis.command(&["DBSIZE"]).await, Reply::Integer(0));
}

#[tokio::test]
async fn two_primaries_are_no_state_to_begin_with() {
    let (one, other) = (RedisServer::start().await, RedisServer::start().await);
    let line = format!(
        "redis --target a={0} --direct {0},{1} --yes",
        one.endpoint(),
        other.endpoint()
    );
    let drilled = drill(&line, None).await;
    assert_eq!(drilled.code, 5, "{drilled:#?}");
    assert!(
        drilled.errors.contains("2 direct endpoints say"),
        "{drilled:#?}"
    );
}

#[tokio::test]
async fn a_password_is_read_from_a_file_and_told_to_nobody() {
    let redis = RedisServer::start_with(&["--requirepass", "s3cret"]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pass");
    let line = |password: &str| {
        std::fs::write(&file, password).unwrap();
        format!(
            "redis --target a={0} --direct {0} --password-file {1} --for 300ms --no-failover --yes",
            redis.endpoint(),
            file.display()
        )
    };
    let drilled = drill(&line("s3cret\n"), None).await;
    assert_eq!(drilled.code, 0, "{drilled:#?}");
    let refused = drill(&line("wr0ng\n"), None).await;
    assert_eq!(refused.code, 4, "{refused:#?}");
    assert!(
        refused.errors.contains("AUTH was refused: WRONGPASS"),
        "{refused:#?}"
    );
    for told in [
        drilled.output,
        drilled.errors,
        refused.output,
        refused.errors,
    ] {
        assert!(
            !told.contains("s3cret") && !told.contains("wr0ng"),
            "{told}"
        );
    }
}
