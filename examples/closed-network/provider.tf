terraform {
  # Variables that are ephemeral. OpenTofu has them since 1.11.
  required_version = ">= 1.10"

  required_providers {
    mesh = { source = "terraform-provider-mesh/mesh" }
  }
}

variable "kubeconfigs" {
  description = "Kubeconfig file of each cluster, by the cluster's name."
  type        = map(string)
}

variable "mirror" {
  description = "Where the charts are: a Helm repository (https) or an OCI registry (oci), the version, and the digest of each chart's archive."
  type        = object({ repository = string, version = string, digests = map(string) })
}

variable "mirror_login" {
  description = "Who reads the charts there. No plan and no state keeps it, so every run needs it, such as by TF_VAR_mirror_login."
  type        = object({ username = string, password = string })
  ephemeral   = true
  sensitive   = true
}

variable "images" {
  description = "Registry and path of Istio's images, and the names of the Secrets by which kubelets log in there."
  type        = object({ hub = string, pull_secrets = optional(set(string)) })
}

variable "one_machine" {
  description = "Whether all API servers listen on the loopback address of one machine, as those of the lab do."
  type        = bool
  default     = false
}

# Where the system does not trust the mirror's authority, the environment names it: SSL_CERT_FILE, which replaces
# the system's roots. The authorities of API servers are in their kubeconfigs.
provider "mesh" {
  clusters = { for name, path in var.kubeconfigs : name => { config_path = path } }

  charts = {
    repository = var.mirror.repository
    version    = var.mirror.version
    digests    = var.mirror.digests
    username   = var.mirror_login.username
    password   = var.mirror_login.password
  }
}
