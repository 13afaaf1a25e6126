//! Developer tasks: test, ci, bench, cassandra, redis.

fn main() {}
