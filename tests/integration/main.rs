//! Everything that needs more than one module or a real counterpart, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says so by panicking"
)]

mod bench;
mod ca_found;
mod ca_interrupted;
mod ca_istiod;
mod ca_leaks;
mod ca_lifecycle;
mod ca_requests;
mod ca_self_signed;
mod ca_trust;
mod campaign;
mod chart_helm;
mod chart_templates;
mod circles;
mod cluster_api;
mod cluster_connection;
mod cluster_faults;
mod cluster_lab;
mod cluster_pods;
mod cluster_server;
mod credentials;
mod cty_oracle;
mod dependencies;
mod drift_job;
mod engine_laws;
mod engine_noise;
mod every_input;
mod examples;
mod examples_in_steps;
mod examples_laws;
mod fleets;
mod generated_docs;
mod generated_objects;
mod growth;
mod kept_alike;
mod kubeconfigs;
mod lab_clusters;
mod lab_judge;
mod layers;
mod links_external;
mod links_gateways;
mod links_own_tokens;
mod links_plan;
mod links_refusals;
mod links_renewed;
mod links_tokens;
mod links_topologies;
mod links_upkeep;
mod marked_secrets;
mod ownership;
mod package;
mod pages;
mod pages_applied;
mod pages_names;
mod pki_judges;
mod plugin_cli;
mod plugin_fuzz;
mod plugin_lifecycle;
mod plugin_proto;
mod plugin_transport;
mod primary_figures;
mod primary_interrupted;
mod primary_lifecycle;
mod primary_plan;
mod primary_platforms;
mod queries;
mod rbac;
mod registered;
mod review_ci;
mod review_pages;
mod review_plans;
mod saved_plans;
mod service_entry_forms;
mod service_entry_handshake;
mod service_entry_laws;
mod service_entry_meshes;
mod source_fetch;
mod traffic_cost;
mod traffic_failures;
mod traffic_meshes;
mod traffic_networks;
mod traffic_one_network;
mod traffic_primary_remote;
mod traffic_proof;
mod traffic_two_networks;
mod traffic_upgrades;
mod traffic_upkeep;
mod wording;
mod words;

mod support;
