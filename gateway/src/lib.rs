//! The gateway: WebSocket sessions, dispatch and resume.
