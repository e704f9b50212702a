//! An upgraded connection (WebSocket and its like): after 101, bytes in both directions.
