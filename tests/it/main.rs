//! The program from outside: whole runs of the binary in folders of their own. Knows no internals.

mod cache_commands;
mod cache_damage;
mod document;
mod documents;
mod faults_disk;
mod faults_guard;
mod faults_kill;
mod faults_order;
mod faults_output;
mod faults_places;
mod faults_race;
mod faults_runners;
mod faults_sandbox;
mod faults_secrets;
mod faults_signals;
mod faults_slots;
mod faults_stage;
mod fetch_lock;
mod fetch_trouble;
mod gallery;
mod house;
mod origin;
mod processes;
mod shell;
mod space;
