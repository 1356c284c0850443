terraform {
  required_providers {
    mesh = { source = "terraform-provider-mesh/mesh" }
  }
}

variable "kubeconfigs" {
  description = "Kubeconfig file of each cluster, by the cluster's name."
  type        = map(string)
}

variable "charts" {
  description = "Where Istio's charts come from; null for Istio's own repository."
  type        = object({ repository = optional(string), directory = optional(string), version = optional(string) })
  default     = null
}

variable "one_machine" {
  description = "Whether all API servers listen on the loopback address of one machine, as those of the lab do."
  type        = bool
  default     = false
}

provider "mesh" {
  clusters = { for name, path in var.kubeconfigs : name => { config_path = path } }
  charts   = var.charts
}
