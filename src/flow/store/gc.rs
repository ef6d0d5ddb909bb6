//! What no recent run reaches, and removing it.
