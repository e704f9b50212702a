//! The commands by which an operator changes what an upstream does.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::base::time::{Time, now};
use crate::cli::ask::{Api, failed, is_name, short, unknown};
use crate::cli::exit::{Exit, complain, print};
use crate::config::default;
use crate::config::file::unit::parse_duration;
use crate::control::admin::client::{self, ClientError};
use crate::control::admin::pages::{
    EventPage, Items, PauseOrder, PrimaryOrder, SwitchOrder, UpstreamPage,
};

/// Between two looks at whether a switch is over.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(super) struct PrimaryArguments {
    /// The upstream
    upstream: String,
    /// The endpoint, as host:port
    endpoint: String,
    /// Refuse unless this epoch (timeline) is newer than the newest known
    #[arg(long, value_name = "N")]
    epoch: Option<u64>,
    /// Also when its history is older than one that was primary since: what that has acknowledged is
    /// lost
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(super) struct PauseArguments {
    /// The upstream
    upstream: String,
    #[command(flatten)]
    times: Times,
}

#[derive(Debug, Args)]
pub(super) struct SwitchArguments {
    /// The upstream
    upstream: String,
    /// Who is expected to become primary, as host:port; anybody else than now when left out
    #[arg(long, value_name = "ENDPOINT")]
    to: Option<String>,
    #[command(flatten)]
    times: Times,
    /// Wait until the new primary is verified, and say how long writes were held
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Args)]
struct Times {
    /// It ends by itself after this (pause: 30s, switch: 60s)
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    lasts: Option<Duration>,
    /// Transactions that run may go on for this long (5s)
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    grace: Option<Duration>,
}

impl Times {
    fn lasts(&self) -> Option<f64> {
        self.lasts.as_ref().map(Duration::as_secs_f64)
    }

    fn grace(&self) -> Option<f64> {
        self.grace.as_ref().map(Duration::as_secs_f64)
    }
}

/// A switch that is over.
struct Switched {
    from: Option<String>,
    page: UpstreamPage,
    held_seconds: Option<f64>,
}

impl Api {
    pub(super) fn primary(&self, arguments: &PrimaryArguments) -> Exit {
        let body = PrimaryOrder {
            endpoint: arguments.endpoint.clone(),
            epoch: arguments.epoch,
            force: arguments.force,
        };
        self.order(&arguments.upstream, "primary", &body, |page| {
            match &page.primary {
                Some(primary) => format!(
                    "{}: primary is {}, epoch {}\n",
                    page.name, primary.endpoint, primary.epoch
                ),
                None => format!("{}: {}\n", page.name, page.state),
            }
        })
    }

    pub(super) fn pause(&self, arguments: &PauseArguments) -> Exit {
        let body = PauseOrder {
            for_seconds: arguments.times.lasts(),
            grace_seconds: arguments.times.grace(),
        };
        self.order(&arguments.upstream, "pause", &body, suspended)
    }

    pub(super) fn resume(&self, upstream: &str) -> Exit {
        let body = PauseOrder::default();
        self.order(upstream, "resume", &body, |page| {
            format!("{}: {}\n", page.name, page.state)
        })
    }

    pub(super) fn switch(&self, arguments: &SwitchArguments) -> Exit {
        let upstream = &arguments.upstream;
        let body = SwitchOrder {
            to: arguments.to.clone(),
            for_seconds: arguments.times.lasts(),
            grace_seconds: arguments.times.grace(),
        };
        if !arguments.wait {
            return self.order(upstream, "switch", &body, suspended);
        }
        if !is_name(upstream) {
            return unknown(upstream);
        }
        match self.switch_and_wait(upstream, &body) {
            Ok(end) => self.switched(&end),
            Err(error) => failed(&error),
        }
    }

    /// Gives the order and waits for its end.
    fn switch_and_wait(&self, upstream: &str, body: &SwitchOrder) -> Result<Switched, ClientError> {
        let path = format!("/api/v1/upstreams/{upstream}");
        let timeout = default::CLIENT_TIMEOUT;
        let before: UpstreamPage = client::read(&self.address, &path)?;
        let from = before.primary.map(|primary| primary.endpoint);
        let order = format!("{path}/switch");
        let mut page: UpstreamPage = client::post(&self.address, &order, body, timeout)?;
        let most = page.suspension.as_ref().map_or(0.0, |one| one.seconds_left);
        let most = Duration::try_from_secs_f64(most).unwrap_or_default();
        let until: Time = now().after(most + timeout);
        while page.suspension.is_some() && now() < until {
            pause();
            page = client::read(&self.address, &path)?;
        }
        let events = format!("/api/v1/events?upstream={upstream}");
        let events: Items<EventPage> = client::read(&self.address, &events)?;
        let mut ends = events.items.into_iter().rev();
        Ok(Switched {
            from: from.or(before.last_primary),
            held_seconds: ends.find_map(|event| event.lasted_seconds),
            page,
        })
    }

    /// Done when another primary than before is verified.
    fn switched(&self, end: &Switched) -> Exit {
        let page = &end.page;
        let to = page.primary.as_ref().map(|primary| &primary.endpoint);
        if self.is_json {
            let held = end.held_seconds;
            let text = serde_json::json!({ "from": end.from, "to": to, "held_seconds": held });
            print(&format!("{text:#}\n"));
        }
        let held = end.held_seconds;
        let held = held.map_or_else(String::new, |held| {
            format!("; writes were held {held:.3} s")
        });
        let trouble = match &page.primary {
            _ if page.suspension.is_some() => "still suspended".to_owned(),
            None => format!("there is no primary{held}"),
            Some(same) if Some(&same.endpoint) == end.from.as_ref() => {
                format!(
                    "nobody else became primary, {} goes on{held}",
                    same.endpoint
                )
            }
            Some(_) if self.is_json => return Exit::Done,
            Some(new) => {
                let (name, epoch) = (&page.name, new.epoch);
                let new = &new.endpoint;
                return print(&format!("{name}: primary is {new}, epoch {epoch}{held}\n"));
            }
        };
        complain(&format!("{}: {trouble}", page.name));
        Exit::Failed
    }

    fn order(
        &self,
        upstream: &str,
        word: &str,
        body: &impl Serialize,
        text: impl FnOnce(&UpstreamPage) -> String,
    ) -> Exit {
        if !is_name(upstream) {
            return unknown(upstream);
        }
        let path = format!("/api/v1/upstreams/{upstream}/{word}");
        let timeout = default::ORDER_WAIT * 2 + default::CLIENT_TIMEOUT;
        let answer = client::post::<serde_json::Value>(&self.address, &path, body, timeout);
        match answer {
            Ok(page) if self.is_json => print(&format!("{page:#}\n")),
            Ok(page) => match serde_json::from_value(page) {
                Ok(page) => print(&text(&page)),
                Err(error) => {
                    complain(&format!("the answer cannot be read: {error}"));
                    Exit::Failed
                }
            },
            Err(error) => failed(&error),
        }
    }
}

fn suspended(page: &UpstreamPage) -> String {
    match &page.suspension {
        Some(suspension) => format!(
            "{}: new sessions are held until {} ({}) at most; `fairlead resume {}` ends it\n",
            page.name,
            suspension.until,
            short(suspension.seconds_left),
            page.name
        ),
        None => format!("{}: {}\n", page.name, page.state),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command that blocks, between two looks"
)]
fn pause() {
    std::thread::sleep(LOOK_PAUSE);
}
