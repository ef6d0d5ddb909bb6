//! The program from outside: whole runs of the binary in folders of their own. Knows no internals.

mod cache_commands;
mod cache_damage;
mod fetch_lock;
mod fetch_trouble;
mod origin;
mod space;
