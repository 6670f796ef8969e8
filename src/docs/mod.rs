//! The design and its reasons, kept beside the code they explain.
