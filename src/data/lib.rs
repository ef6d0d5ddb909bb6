//! Raw files to canonical examples, and their statistics. Knows nothing of stages, caching or reports.
