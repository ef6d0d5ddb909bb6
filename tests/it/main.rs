//! The program from outside: whole runs of the binary in folders of their own. Knows no internals.

mod faults_kill;
mod processes;
mod space;
