//! The program from outside: whole runs of the binary in folders of their own. Knows no internals.

mod document;
mod documents;
mod faults_kill;
mod gallery;
mod processes;
mod shell;
mod space;
