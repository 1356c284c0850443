//! A review of a plan for pull requests: who will see whom, trust, blast radius.
