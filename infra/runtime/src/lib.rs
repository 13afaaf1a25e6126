//! What every process needs: configuration, telemetry, the admin listener and graceful stop.
