//! What an operator orders of an upstream, over the Unix socket: a primary, a pause, a switch, an
//! end to either.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::base::time::{Time, now};
use crate::config::default;
use crate::control::admin::answer::{
    Page, Way, json, not_allowed, not_found, problem, read_body, read_only,
};
use crate::control::admin::pages::{PauseOrder, PrimaryOrder, SwitchOrder};
use crate::control::admin::{AdminContext, picture};
use crate::control::orders::OrderError;
use crate::model::address::Address;
use crate::model::name::Name;
use crate::model::order::{Order, OrderRefused};
use crate::model::role::Epoch;

/// The upstream and the order of `/api/v1/upstreams/NAME/ORDER`.
pub(super) fn path_of(path: &str) -> Option<(&str, &str)> {
    let (name, word) = path.strip_prefix("/api/v1/upstreams/")?.split_once('/')?;
    matches!(word, "primary" | "pause" | "switch" | "resume").then_some((name, word))
}

/// Takes an order. What it changed is in the upstream's page, which is the answer.
pub(super) async fn take(
    context: &AdminContext,
    way: Way,
    (name, word): (&str, &str),
    request: Request<Incoming>,
) -> Page {
    if *request.method() != Method::POST {
        return not_allowed("POST");
    }
    if way != Way::Socket {
        return read_only("orders are given over the Unix socket (admin.socket) only");
    }
    let body = match read_body(request.into_body()).await {
        Ok(body) => body,
        Err(page) => return *page,
    };
    let Some(desk) = context.desks.load().get(name).cloned() else {
        let known: Vec<_> = context
            .desks
            .load()
            .keys()
            .map(ToString::to_string)
            .collect();
        let known = known.join(", ");
        return not_found(&format!(
            "there is no upstream {name:?}; there are: {known}"
        ));
    };
    let order = match order(word, &body, now()) {
        Ok(order) => order,
        Err(detail) => return problem(StatusCode::BAD_REQUEST, "bad_order", &detail),
    };
    match desk.order(order).await {
        Ok(()) => json(StatusCode::OK, &picture::upstream(desk.cell(), now())),
        Err(error) => refused(&error),
    }
}

fn refused(error: &OrderError) -> Page {
    let (status, code) = match error {
        OrderError::Refused(OrderRefused::NoRoles(_)) => (StatusCode::CONFLICT, "no_roles"),
        OrderError::Refused(OrderRefused::Conflict(_)) => (StatusCode::CONFLICT, "conflict"),
        OrderError::Refused(OrderRefused::UnknownEndpoint(_)) => {
            (StatusCode::NOT_FOUND, "unknown_endpoint")
        }
        OrderError::Refused(OrderRefused::NotVerified(_)) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "not_verified")
        }
        OrderError::Gone => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
    };
    problem(status, code, &error.to_string())
}

/// The order that a body says, or what is wrong with it.
fn order(word: &str, body: &Bytes, now: Time) -> Result<Order, String> {
    match word {
        "primary" => {
            let body: PrimaryOrder = parse(body)?;
            Ok(Order::Primary {
                endpoint: endpoint(&body.endpoint)?,
                epoch: body.epoch.map(Epoch),
                is_forced: body.force,
            })
        }
        "pause" => {
            let PauseOrder {
                for_seconds,
                grace_seconds,
            } = parse(body)?;
            let (until, grace) = times(for_seconds, default::PAUSE, grace_seconds, now)?;
            Ok(Order::Pause {
                until,
                grace,
                ends_with_switch: false,
                candidate: None,
            })
        }
        "switch" => {
            let SwitchOrder {
                to,
                for_seconds,
                grace_seconds,
            } = parse(body)?;
            let (until, grace) = times(for_seconds, default::SWITCH, grace_seconds, now)?;
            Ok(Order::Pause {
                until,
                grace,
                ends_with_switch: true,
                candidate: to.as_deref().map(endpoint).transpose()?,
            })
        }
        _ => Ok(Order::Resume),
    }
}

/// An empty body is an empty object.
fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, String> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| format!("the body is not such an order: {error}"))
}

/// `host:port` as endpoints are named.
fn endpoint(text: &str) -> Result<Name, String> {
    let address: Result<Address, _> = text.parse();
    let address = address.map_err(|_| format!("{text:?} is no endpoint: write host:port"))?;
    Ok(Name::from(address.to_string().as_str()))
}

fn times(
    for_seconds: Option<f64>,
    usual: Duration,
    grace_seconds: Option<f64>,
    now: Time,
) -> Result<(Time, Duration), String> {
    let most = default::PAUSE_MAX.as_secs();
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
    let lasts = match for_seconds {
        None => Some(usual),
        Some(asked) => {
            seconds(asked).filter(|asked| !asked.is_zero() && *asked <= default::PAUSE_MAX)
        }
    };
    let lasts = lasts.ok_or_else(|| {
        format!("for_seconds is above 0 and at most {most}: it ends by itself, so that a forgotten one does no harm")
    })?;
    let grace = match grace_seconds {
        None => Some(default::PAUSE_GRACE.min(lasts)),
        Some(asked) => seconds(asked).filter(|asked| *asked <= lasts),
    };
    let grace = grace.ok_or("grace_seconds is from 0 to for_seconds")?;
    Ok((now.after(lasts), grace))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(word: &str, body: &'static str) -> Result<Order, String> {
        order(word, &Bytes::from_static(body.as_bytes()), Time::ZERO)
    }

    #[test]
    fn orders_are_read_with_their_defaults() {
        let second = Duration::from_secs(1);
        let pause =
            |until: u32, grace: u32, ends_with_switch, candidate: Option<&str>| Order::Pause {
                until: Time::ZERO.after(second * until),
                grace: second * grace,
                ends_with_switch,
                candidate: candidate.map(Name::from),
            };
        for (word, body, expected) in [
            ("pause", "", pause(30, 5, false, None)),
            ("pause", r#"{"for_seconds": 2}"#, pause(2, 2, false, None)),
            (
                "pause",
                r#"{"for_seconds": 60, "grace_seconds": 0}"#,
                pause(60, 0, false, None),
            ),
            ("switch", "{}", pause(60, 5, true, None)),
            (
                "switch",
                r#"{"to": "pg2:5432"}"#,
                pause(60, 5, true, Some("pg2:5432")),
            ),
            ("resume", "", Order::Resume),
            (
                "primary",
                r#"{"endpoint": "pg2:5432", "epoch": 7}"#,
                Order::Primary {
                    endpoint: Name::from("pg2:5432"),
                    epoch: Some(Epoch(7)),
                    is_forced: false,
                },
            ),
        ] {
            assert_eq!(parsed(word, body), Ok(expected), "{word} {body}");
        }
    }

    #[test]
    fn what_is_no_order_says_what_is_wrong() {
        for (word, body, part) in [
            ("primary", "", "endpoint"),
            ("primary", r#"{"endpoint": "pg2"}"#, "host:port"),
            (
                "primary",
                r#"{"endpoint": "pg2:1", "forced": true}"#,
                "forced",
            ),
            ("pause", "[", "not such an order"),
            ("pause", r#"{"for_seconds": 0}"#, "at most 600"),
            ("pause", r#"{"for_seconds": -1}"#, "at most 600"),
            ("pause", r#"{"for_seconds": 601}"#, "at most 600"),
            (
                "pause",
                r#"{"for_seconds": 5, "grace_seconds": 6}"#,
                "for_seconds",
            ),
            ("pause", r#"{"to": "pg2:5432"}"#, "to"),
            ("switch", r#"{"to": 5}"#, "expected a string"),
        ] {
            let error = parsed(word, body).unwrap_err();
            assert!(error.contains(part), "{word} {body}: {error}");
        }
    }

    #[test]
    fn only_orders_are_paths_of_orders() {
        let path = |rest: &str| format!("/api/v1/upstreams/{rest}");
        assert_eq!(path_of(&path("orders/pause")), Some(("orders", "pause")));
        for other in ["orders", "orders/", "orders/stop", "orders/pause/x"] {
            assert_eq!(path_of(&path(other)), None, "{other}");
        }
    }
}
