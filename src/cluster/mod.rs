//! All Kubernetes I/O: lazy connections, list, server-side apply, prune, delete, wait, port-forward.
