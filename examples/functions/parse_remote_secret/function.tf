terraform {
  required_providers {
    mesh = { source = "terraform-provider-mesh/mesh" }
  }
}

# What an istiod would find in a Secret made by istioctl create-remote-secret; never the token.
output "remote" {
  value = nonsensitive(provider::mesh::parse_remote_secret(var.secret))
}

variable "secret" {
  description = "The Secret as YAML, for instance what `kubectl get secret -o yaml` prints."
  type        = string
  sensitive   = true
}
