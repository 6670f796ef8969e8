//! Models of the concurrent protocols; see `tests/`.
