//! The protocol-neutral resource lifecycle: validate, plan, apply, read, import, upgrade. Knows no gRPC and no Kubernetes.
