//! Waiting for a condition.

use std::time::Duration;

use fairlead::base::time;

/// Long enough for anything on a machine that is busy with other things.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Calls `look` again and again until it gives something. Fails the test after `deadline`, saying
/// `what` was waited for.
#[track_caller]
pub(crate) fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let end = time::now().after(deadline);
        loop {
            // A look that hangs is a look that found nothing.
            let left = end.since(time::now());
            if let Ok(Some(found)) = tokio::time::timeout(left, look()).await {
                return found;
            }
            assert!(
                time::now() < end,
                "waited {deadline:?} for: {what} ({caller})"
            );
            // The pause of the poll loop every test waits with.
            tokio::time::sleep(PAUSE).await;
        }
    }
}
