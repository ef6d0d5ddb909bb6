//! Metric rows to tables, charts and self-contained pages. Knows nothing of how rows came about.
