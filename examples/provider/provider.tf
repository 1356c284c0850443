terraform {
  required_providers {
    mesh = {
      source  = "terraform-provider-mesh/mesh"
      version = "~> 0.1"
    }
  }
}

provider "mesh" {
  clusters = {
    # From a kubeconfig, with whatever credential it names.
    east = { config_path = "~/.kube/config", config_context = "east" }

    # From values, for instance of a cluster made in the same run: they may still be unknown when the plan is made.
    west = {
      host                   = var.west_endpoint
      cluster_ca_certificate = var.west_ca
      exec = {
        command = "aws"
        args    = ["eks", "get-token", "--cluster-name", "west"]
      }
    }
  }
}

variable "west_endpoint" {
  type = string
}

variable "west_ca" {
  type = string
}
