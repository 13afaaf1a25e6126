//! The contract: protobuf messages, id newtypes and bucket arithmetic.
