//! Telling systemd how it goes (sd_notify(3)). Without systemd each of these does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// Started, or reloaded: the configuration is in force.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins. `Type=notify-reload` of systemd 253 needs the moment with it.
pub fn reloading() {
    let began = NotifyState::monotonic_usec_now();
    match began {
        Ok(began) => tell(&[NotifyState::Reloading, began]),
        Err(error) => tracing::debug!(%error, "cannot read the clock for systemd"),
    }
}

/// The end begins; it may take `patience`.
pub fn stopping(patience: Duration) {
    let micros = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(micros),
    ]);
}

/// Still alive.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often systemd wants to hear [`alive`]: half of `WatchdogSec=`; `None` when it does not.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot reach systemd");
    }
}
