//! The Connect protocol's unary RPC over hyper: server, client, codecs and errors.
