//! The long suites: `make test-full`.
