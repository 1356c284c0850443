//! The messages and servers generated from the `.proto` files beside this one; `make docs` rewrites them.
#![allow(clippy::all, clippy::pedantic, missing_docs, reason = "generated")]

pub mod tfplugin6 {
    include!("tfplugin6.rs");
}

pub mod plugin {
    include!("plugin.rs");
}

pub mod google {
    pub mod protobuf {
        include!("google.protobuf.rs");
    }
}
